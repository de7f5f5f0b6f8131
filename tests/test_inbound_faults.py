"""Power cuts at every step of a message, and a database that refuses, hangs, or loses the answer to a commit."""

from __future__ import annotations

import os
import re
import selectors
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from bot.deployment import Deployment
from models import Inbound, Membership, Outbound
from tests.conftest import make_settings, open_frozen
from tests.servers import PostgresServer
from tests.world import Answer, World, new_sid

ROOT = Path(__file__).parent.parent
ASHA = "+15551000001"
REFUSED_WITHIN, HANGING_WITHIN = 2.0, 10.0


def rows(deployment: Deployment) -> list[int]:
    with deployment.store.read() as session:
        return [session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in (Inbound, Outbound, Membership)]


# --- power cuts ----------------------------------------

POINTS = {"inbound.before_commit": [0, 0, 0], "inbound.after_commit": [1, 1, 1]}

# Another process, because the one that hits a crashpoint is gone.
ONE_TEXT = """
import sys
from tests.conftest import make_settings, open_frozen
from tests.world import World
world = World(open_frozen(make_settings(sys.argv[1])))
sys.stdout.write(world.text(sys.argv[2], sys.argv[3], MessageSid=sys.argv[4]).raw.decode())
"""


def text_in_a_process_of_its_own(url: str, body: str, sid: str, crash_at: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CHORUS_CRASHPOINT": crash_at}
    return subprocess.run(
        [sys.executable, "-c", ONE_TEXT, url, ASHA, body, sid],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("point", POINTS)
def test_a_power_cut_leaves_all_or_nothing_and_the_retry_has_one_effect(database_url: str, point: str) -> None:
    deployment = open_frozen(make_settings(database_url))
    World(deployment).collective()
    sid = new_sid()
    cut = text_in_a_process_of_its_own(database_url, "JOIN SANGHA", sid, crash_at=point)
    assert (cut.returncode, cut.stdout) == (137, ""), cut.stderr
    assert rows(deployment) == POINTS[point]
    answers = [text_in_a_process_of_its_own(database_url, "JOIN SANGHA", sid) for _ in range(2)]
    assert [answer.returncode for answer in answers] == [0, 0], answers[0].stderr
    assert "Welcome to Sangha" in answers[0].stdout
    assert answers[0].stdout == answers[1].stdout
    assert rows(deployment) == [1, 1, 1]
    deployment.store.close()


def test_every_crashpoint_of_the_inbound_path_is_tried_here() -> None:
    named = [name for path in (ROOT / "bot/inbound").glob("*.py") for name in re.findall(r'crashpoint\("([^"]+)"\)', path.read_text())]
    assert sorted(named) == sorted(POINTS)


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


class Wire:
    """A TCP proxy in front of PostgreSQL that can be cut, or swallow what passes."""

    def __init__(self, server_url: str) -> None:
        url = make_url(server_url)
        host = str(url.query.get("host") or url.host or "127.0.0.1")
        port = int(str(url.query.get("port") or url.port or 5432))
        self._upstream: Any = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        self._closed = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._carriers: list[threading.Thread] = []
        self.port = 0
        self._open_the_door()
        query = {key: value for key, value in url.query.items() if key not in ("host", "port")} | {
            "sslmode": "disable",
            "gssencmode": "disable",
        }
        self.url = url.set(drivername="postgresql", host="127.0.0.1", port=self.port, query=query).render_as_string(hide_password=False)
        self.mode = "forward"  # forward | swallow | swallow commits | swallow answers to commits

    def _open_the_door(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self._door_shuts = threading.Event()
        self._doorman = threading.Thread(target=self._accept, daemon=True)
        self._doorman.start()

    def _accept(self) -> None:
        while not self._door_shuts.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            family = socket.AF_UNIX if isinstance(self._upstream, str) else socket.AF_INET
            server = socket.socket(family, socket.SOCK_STREAM)
            server.connect(self._upstream)
            self._pairs.append((client, server))
            thread = threading.Thread(target=self._carry, args=(client, server), daemon=True)
            self._carriers.append(thread)
            thread.start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        deaf = False
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            while not self._closed.is_set():
                for key, _ in ready.select(0.1):
                    from_client = key.fileobj is client
                    try:
                        data = (client if from_client else server).recv(65536)
                        if from_client and b"COMMIT" in data and self.mode.endswith("commits"):
                            deaf = True
                            if self.mode == "swallow answers to commits":
                                server.sendall(data)
                        if deaf or self.mode == "swallow":
                            if not data:
                                return
                            continue
                        if not data:
                            raise OSError("closed")
                        (server if from_client else client).sendall(data)
                    except OSError:
                        client.close()
                        server.close()
                        return

    def cut(self) -> None:
        """The server is gone: what is open breaks, what is new is refused."""
        self._door_shuts.set()
        self._doorman.join(5)
        self._listener.close()
        for pair in self._pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # this end is closed already
        self._pairs.clear()

    def mend(self) -> None:
        """The server is back, on the same port."""
        self.mode = "forward"
        self._open_the_door()

    def close(self) -> None:
        self._closed.set()
        self.cut()
        for thread in self._carriers:
            thread.join(5)


@pytest.fixture
def wire(postgres: PostgresServer) -> Iterator[Wire]:
    with postgres.fresh_database(f"wire_{os.getpid()}") as url:
        wire = Wire(url)
        yield wire
        wire.close()


@pytest.fixture
def far_world(wire: Wire) -> Iterator[World]:
    """A world whose PostgreSQL stands behind the wire, with a member and warm connections."""
    deployment = open_frozen(make_settings(wire.url))
    world = World(deployment)
    world.collective()
    assert all(answer.status == 200 for _, answer in timed_together(world, 4))
    yield world
    deployment.store.close()


@contextmanager
def unchanged(world: World, wire: Wire) -> Iterator[None]:
    before = rows(world.deployment)
    yield
    wire.cut()
    wire.mend()
    assert world.text(ASHA, "HELP").status == 200
    assert rows(world.deployment) == [before[0] + 1, before[1] + 1, before[2]]


def test_a_database_that_refuses_is_told_at_once(far_world: World, wire: Wire) -> None:
    with unchanged(far_world, wire):
        wire.cut()
        for _ in range(3):
            seconds, answer = timed(lambda: far_world.text(ASHA, "JOIN SANGHA"))
            assert (answer.status, answer.raw) == (503, b"")
            assert seconds < REFUSED_WITHIN
        assert far_world.client.get("/healthz").status_code == 503


def test_a_restarted_database_costs_nobody_a_message(far_world: World, wire: Wire) -> None:
    """Every pooled connection is dead, and no carrier tries a 503 again by default."""
    wire.cut()
    wire.mend()
    assert [answer.status for _, answer in timed_together(far_world, 4)] == [200] * 4


def test_a_database_that_hangs_is_told_in_time(far_world: World, wire: Wire) -> None:
    with unchanged(far_world, wire):
        wire.mode = "swallow"
        far_world.app.extensions["chorus.reception"].lines._read_at -= 60  # everybody wants to read the lines again
        # More than there are warm connections: some wait for an answer, others for a connection.
        for seconds, answer in timed_together(far_world, 8):
            assert (answer.status, answer.raw) == (503, b"")
            assert seconds < HANGING_WITHIN


def test_a_process_that_starts_while_the_database_hangs(wire: Wire) -> None:
    wire.mode = "swallow"
    deployment = open_frozen(make_settings(wire.url))
    world = World(deployment)
    for seconds, answer in timed_together(world, 3):
        assert answer.status == 503
        assert seconds < HANGING_WITHIN
    deployment.store.close()


@pytest.mark.parametrize(("mode", "stored"), [("swallow commits", False), ("swallow answers to commits", True)])
def test_a_commit_without_an_answer(far_world: World, wire: Wire, mode: str, stored: bool) -> None:
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
