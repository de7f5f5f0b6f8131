"""The worker as its own process: real RQ, real Redis, the carrier over HTTP; asked to stop, killed, and left without Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import sqlalchemy as sa
from redis import Redis
from rq import Queue

from bot.delivery.bell import QUEUE, Bell, ring
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.gateway import Gateway
from bot.delivery.jobs import serve, take_duty
from bot.delivery.pump import MOST_IN_FLIGHT
from bot.delivery.sweep import sweep
from bot.demo.embedded_redis import EmbeddedRedis, redis_answers
from bot.deployment import Deployment
from bot.health.checks import count_workers
from bot.simulator.client import RunningSimulator, start_simulator
from models import Keyring, Line, Store
from tests.conftest import DATA_KEY, make_settings
from tests.delivery import add_many_members, change, pump_all, send_broadcast, states
from tests.waiting import wait_for
from tests.world import ACCOUNT, TOKEN, World
from worker import WORKER_TTL, BellWorker

LINE = "+15550001111"
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def carrier_process() -> Iterator[RunningSimulator]:
    with start_simulator(account=ACCOUNT, token=TOKEN, webhook_base="http://127.0.0.1:9", lines=[LINE]) as simulator:
        yield simulator


@pytest.fixture
def carrier(carrier_process: RunningSimulator) -> RunningSimulator:
    carrier_process.client.reset()
    carrier_process.client.faults(receipts={"drop": True})
    return carrier_process


def open_world(database_url: str, redis_url: str, carrier: RunningSimulator) -> World:
    """A world whose clock runs as the worker's does."""
    settings = make_settings(database_url, redis_url=redis_url, twilio_api_url=carrier.url)
    return World(Deployment(settings, Store(settings.database_url, Keyring(settings.data_keys))))


@pytest.fixture
def running(database_url: str, redis_url: str, carrier: RunningSimulator) -> Iterator[World]:
    Redis.from_url(redis_url).flushdb()
    world = open_world(database_url, redis_url, carrier)
    yield world
    world.store.close()


class Worker:
    """A worker process, its log in a file."""

    def __init__(self, environment: dict[str, str], log: IO[bytes]) -> None:
        self.process = subprocess.Popen([sys.executable, "worker.py"], cwd=ROOT, env=environment, start_new_session=True, stderr=log)
        self._log = log

    def ask_to_stop(self) -> float:
        """SIGTERM; returns how many seconds it took to end well."""
        began = time.monotonic()
        self.process.terminate()
        assert self.process.wait(20) == 0
        return time.monotonic() - began

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def log(self) -> bytes:
        self._log.seek(0)
        return self._log.read()


@contextmanager
def worker_for(world: World) -> Iterator[Worker]:
    settings = world.deployment.settings
    environment = os.environ | {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_API_URL": settings.twilio_api_url,
        "PUBLIC_URL": settings.public_url,
        "SECRET_KEY": settings.secret_key,
        "DATA_KEYS": DATA_KEY,
    }
    with tempfile.TemporaryFile() as log:
        worker = Worker(environment, log)
        try:
            yield worker
        finally:
            worker.kill()


def approve_only(world: World, collective: int) -> int:
    """As an organizer does it: the rest is the worker's."""
    with world.store.write() as session:
        drafted = draft_broadcast(session, world.clock.now(), collective, "notice", {"en": "Rally today"})
        approve_broadcast(session, world.clock.now(), drafted, how="cli")
    return drafted.id


def test_an_approved_broadcast_leaves_by_itself(running: World, carrier: RunningSimulator) -> None:
    running.line(LINE, mps=200.0)
    collective = running.collective(lines=[LINE])
    add_many_members(running, collective, 30)
    number = approve_only(running, collective)
    with worker_for(running) as worker:
        wait_for(lambda: states(running, number) == ["accepted"] * 30, "the sending", 30.0)
        assert worker.ask_to_stop() < 15
        log = worker.log()
    assert Counter(sent["to"] for sent in carrier.client.ledger()) == {f"+1666{n:07d}": 1 for n in range(30)}
    for secret in (b"+1666", b"+1555", b"Rally", TOKEN.encode(), DATA_KEY.encode()):
        assert secret not in log


def test_asked_to_stop_half_way_it_drains_and_another_goes_on(running: World, carrier: RunningSimulator) -> None:
    running.line(LINE, mps=25.0)
    collective = running.collective(lines=[LINE])
    add_many_members(running, collective, 60)
    number = approve_only(running, collective)
    with worker_for(running) as worker:
        wait_for(lambda: states(running, number).count("accepted") > 5, "the sending", 30.0)
        assert worker.ask_to_stop() < 15
    found = Counter(states(running, number))
    assert set(found) == {"accepted", "queued"}, "nothing stays claimed, nothing is unknown"
    assert found["accepted"] == carrier.client.count()
    change(running, Line, mps=500.0)
    with worker_for(running):
        wait_for(lambda: states(running, number) == ["accepted"] * 60, "the sending", 30.0)
    assert Counter(sent["to"] for sent in carrier.client.ledger()).most_common(1)[0][1] == 1


def test_killed_half_way_nothing_is_lost_and_nothing_goes_twice(running: World, carrier: RunningSimulator) -> None:
    carrier.client.faults(latency_ms=50)
    running.line(LINE, mps=100.0)
    collective = running.collective(lines=[LINE])
    # Eight seconds of pace: however late this process sees that the sending began, it kills in the middle.
    add_many_members(running, collective, 800)
    number = approve_only(running, collective)
    with worker_for(running) as worker:
        wait_for(lambda: carrier.client.count() > 20, "the sending", 30.0)
        worker.kill()
    found = Counter(states(running, number))
    assert 0 < found["attempting"] <= MOST_IN_FLIGHT
    assert found["queued"] + found["claimed"] > 0
    with running.store.read() as session:
        line = session.scalars(sa.select(Line)).one()
    assert 0 < line.lease_until - time.time() <= 15, "a successor waits for the lease at most so long"
    # Its 15 and 60 seconds pass.
    change(running, Line, lease_until=1.0, mps=500.0)
    with running.store.write() as session:
        session.execute(sa.text("UPDATE outbound SET lease_until = 1 WHERE lease_until IS NOT NULL"))
    swept = sweep(running.store)
    assert (swept.unknown, swept.is_waiting) == (found["attempting"], True)
    pump_all(running, Gateway(running.deployment.settings), 60.0)
    after = Counter(states(running, number))
    assert set(after) <= {"accepted", "unknown"} and after["unknown"] == swept.unknown
    sent = Counter(entry["to"] for entry in carrier.client.ledger())
    assert sent.most_common(1)[0][1] == 1
    assert after["accepted"] <= len(sent) <= 800


def test_redis_goes_and_comes_back(sqlite_url: str, carrier: RunningSimulator, tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as redis:
        world = open_world(sqlite_url, redis.url, carrier)
        world.line(LINE, mps=500.0)
        collective = world.collective(lines=[LINE])
        add_many_members(world, collective, 10)
        with worker_for(world) as worker:
            first = approve_only(world, collective)
            wait_for(lambda: states(world, first) == ["accepted"] * 10, "the sending", 30.0)
            redis.child.stop(5)
            second = send_broadcast(world, collective)
            assert states(world, second) == ["queued"] * 10, "it waits in the database"
            assert not ring(world.deployment)
            redis.child.start()
            wait_for(lambda: redis_answers(redis.url), "the sending", 30.0)
            wait_for(lambda: states(world, second) == ["accepted"] * 10, "the sending", 60.0)
            assert worker.process.poll() is None
            worker.ask_to_stop()
        world.store.close()


def test_a_redis_that_lost_everything_hears_of_the_worker_again(sqlite_url: str, redis_url: str, carrier: RunningSimulator) -> None:
    """Else the doctor would say that nobody sends, while it sends; and two workers on SQLite would not be seen."""
    redis = Redis.from_url(redis_url)
    redis.flushdb()
    world = open_world(sqlite_url, redis_url, carrier)
    worker = BellWorker([Queue(QUEUE, connection=redis)], connection=redis, worker_ttl=WORKER_TTL, stop=threading.Event())
    assert worker.dequeue_timeout <= 30, "so often a worker with nothing to do says that it lives"
    worker.register_birth()
    assert count_workers(world.deployment) == 1
    redis.flushdb()
    assert count_workers(world.deployment) == 0
    worker.heartbeat()
    assert count_workers(world.deployment) == 1
    worker.heartbeat()
    worker.register_death()
    assert count_workers(world.deployment) == 0
    world.store.close()


def test_a_worker_without_redis_still_stops_when_asked(sqlite_url: str, carrier: RunningSimulator) -> None:
    world = open_world(sqlite_url, "redis://127.0.0.1:1/0", carrier)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 3)
    number = approve_only(world, collective)
    with worker_for(world) as worker:
        wait_for(lambda: states(world, number) == ["queued"] * 3, "the sending", 30.0)
        assert worker.ask_to_stop() < 15
    world.store.close()


def test_a_worker_refuses_unfit_settings() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "DATA_KEYS")}
    done = subprocess.run([sys.executable, "worker.py"], cwd=ROOT, env=environment, capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert b"DATABASE_URL: is not set" in done.stderr and b"Traceback" not in done.stderr


def test_the_job_rings_again_when_more_is_left(sqlite_url: str, redis_url: str, carrier: RunningSimulator) -> None:
    redis = Redis.from_url(redis_url)
    redis.flushdb()
    world = open_world(sqlite_url, redis_url, carrier)
    stopped = threading.Event()
    stopped.set()
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 3)
    send_broadcast(world, collective)
    assert redis.llen("rq:queue:chorus") == 1
    take_duty(world.deployment, stopped)  # asked to stop before it began: it serves nobody
    assert serve() == 0
    assert redis.llen("rq:queue:chorus") == 2
    take_duty(world.deployment, threading.Event())
    change(world, Line, mps=500.0)
    assert serve() == 3
    assert redis.llen("rq:queue:chorus") == 2
    assert Bell(redis_url).ring()
    world.store.close()
