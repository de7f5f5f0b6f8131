"""A database that refuses, hangs, or loses the answer to a commit, under the webhook (power cuts: tests/faults/test_crashpoints.py)."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from bot.deployment import Deployment
from models import Inbound, Membership, Outbound
from tests.conftest import make_settings, open_frozen
from tests.faults.proxy import Proxy
from tests.servers import PostgresServer
from tests.world import Answer, World, new_sid

ASHA = "+15551000001"
REFUSED_WITHIN, HANGING_WITHIN = 2.0, 10.0


def rows(deployment: Deployment) -> list[int]:
    with deployment.store.read() as session:
        return [session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in (Inbound, Outbound, Membership)]


# --- SQLite held by somebody else ----------------------------------------


def timed(call: Any) -> tuple[float, Answer]:
    began = time.monotonic()
    answer = call()
    return time.monotonic() - began, answer


def timed_together(world: World, count: int) -> list[tuple[float, Answer]]:
    """Several members text at the same moment: (seconds, answer) of each."""
    results: list[tuple[float, Answer]] = []

    def run(number: str) -> None:
        results.append(timed(lambda: world.text(number, "JOIN SANGHA")))

    threads = [threading.Thread(target=run, args=(f"+1555300000{n}",)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == count
    return results


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_sqlite_held_by_somebody_else(small_world: World, sqlite_url: str, lock: str) -> None:
    small_world.collective()
    assert small_world.text(ASHA, "HELP").status == 200
    before = rows(small_world.deployment)
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute(lock)
    for seconds, answer in timed_together(small_world, 4):
        assert (answer.status, answer.raw) == (503, b"")
        assert seconds < HANGING_WITHIN
    holder.execute("ROLLBACK")
    holder.close()
    assert rows(small_world.deployment) == before
    assert small_world.text(ASHA, "JOIN SANGHA").status == 200


# --- a PostgreSQL behind a bad network ----------------------------------------


@pytest.fixture
def wire(postgres: PostgresServer) -> Iterator[Proxy]:
    with postgres.fresh_database(f"wire_{os.getpid()}") as url, Proxy.before_postgres(url) as wire:
        yield wire


@pytest.fixture
def far_world(wire: Proxy) -> Iterator[World]:
    """A world whose PostgreSQL stands behind the wire, with a member and warm connections."""
    deployment = open_frozen(make_settings(wire.url))
    world = World(deployment)
    world.collective()
    assert all(answer.status == 200 for _, answer in timed_together(world, 4))
    yield world
    deployment.store.close()


@contextmanager
def unchanged(world: World, wire: Proxy) -> Iterator[None]:
    before = rows(world.deployment)
    yield
    wire.cut()
    wire.mend()
    assert world.text(ASHA, "HELP").status == 200
    assert rows(world.deployment) == [before[0] + 1, before[1] + 1, before[2]]


def test_i6_a_database_that_refuses_is_told_at_once(far_world: World, wire: Proxy) -> None:
    with unchanged(far_world, wire):
        wire.cut()
        for _ in range(3):
            seconds, answer = timed(lambda: far_world.text(ASHA, "JOIN SANGHA"))
            assert (answer.status, answer.raw) == (503, b"")
            assert seconds < REFUSED_WITHIN
        assert far_world.client.get("/healthz").status_code == 503


def test_i6_a_restarted_database_costs_nobody_a_message(far_world: World, wire: Proxy) -> None:
    """Every pooled connection is dead, and no carrier tries a 503 again by default."""
    wire.cut()
    wire.mend()
    assert [answer.status for _, answer in timed_together(far_world, 4)] == [200] * 4


def test_i6_a_database_that_hangs_is_told_in_time(far_world: World, wire: Proxy) -> None:
    with unchanged(far_world, wire):
        wire.mode = "swallow"
        far_world.app.extensions["chorus.reception"].lines._read_at -= 60  # everybody wants to read the lines again
        # More than there are warm connections: some wait for an answer, others for a connection.
        for seconds, answer in timed_together(far_world, 8):
            assert (answer.status, answer.raw) == (503, b"")
            assert seconds < HANGING_WITHIN


def test_a_process_that_starts_while_the_database_hangs(wire: Proxy) -> None:
    wire.mode = "swallow"
    deployment = open_frozen(make_settings(wire.url))
    world = World(deployment)
    for seconds, answer in timed_together(world, 3):
        assert answer.status == 503
        assert seconds < HANGING_WITHIN
    deployment.store.close()


@pytest.mark.parametrize(("mode", "stored"), [("swallow commits", False), ("swallow answers to commits", True)])
def test_i6_a_commit_without_an_answer(far_world: World, wire: Proxy, mode: str, stored: bool) -> None:
    """Whether it went through nobody knows then; the retry finds out, and has no second effect."""
    before = rows(far_world.deployment)
    sid = new_sid()
    wire.mode = mode
    seconds, answer = timed(lambda: far_world.text(ASHA, "JOIN SANGHA", MessageSid=sid))
    assert answer.status == 503
    assert seconds < HANGING_WITHIN
    wire.cut()
    wire.mend()
    after = [number + 1 for number in before]
    assert rows(far_world.deployment) == (after if stored else before)
    assert "Welcome to Sangha" in far_world.text(ASHA, "JOIN SANGHA", MessageSid=sid).text
    assert rows(far_world.deployment) == after


def test_a_phone_that_somebody_else_locks_for_long(postgres: PostgresServer) -> None:
    """The server ends the wait itself; the socket is left alone."""
    with postgres.fresh_database(f"locked_{os.getpid()}") as url:
        deployment = open_frozen(make_settings(url))
        world = World(deployment)
        world.member(world.collective(), ASHA, spoke_on="+15550001111")
        assert world.text(ASHA, "MENU").status == 200
        with deployment.store.engine.begin() as other:
            other.execute(sa.text("SELECT id FROM phones FOR NO KEY UPDATE"))
            seconds, answer = timed(lambda: world.text(ASHA, "MENU"))
            assert answer.status == 503
            assert seconds < HANGING_WITHIN
            assert world.text("+15551000002", "HELP").status == 200  # nobody else waits
        assert world.text(ASHA, "MENU").status == 200
        deployment.store.close()


def test_a_long_transaction_that_is_answered_in_time_is_left_alone(postgres: PostgresServer) -> None:
    """An import takes longer than any statement may; only waiting for the server counts."""
    with postgres.fresh_database(f"long_{os.getpid()}") as url:
        deployment = open_frozen(make_settings(url))
        watchdog = deployment.store.watchdog
        assert watchdog is not None
        watchdog.seconds = 0.2
        with deployment.store.write() as session:
            began = time.monotonic()
            while time.monotonic() - began < 1.5:
                session.execute(sa.text("SELECT pg_sleep(0.05)"))
        with pytest.raises(sa.exc.OperationalError), deployment.store.write() as session:
            session.execute(sa.text("SELECT pg_sleep(5)"))
        assert World(deployment).text(ASHA, "MENU").status == 200
        deployment.store.close()
