"""What sending needs around it: the pretend carrier, a worker, a broadcast, and the moment when all of it is done."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from redis import Redis

from benchmarks.client import LINE, WORDS
from benchmarks.ground import Crowd, Ground, start_python, stop_process
from bot.delivery.bell import MARK, ring
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.plan import plan_broadcast
from bot.demo.__main__ import worker_registered
from bot.simulator.client import RunningSimulator, start_simulator
from models import Outbound
from models.messages import ATTEMPTING, CLAIMED, QUEUED
from tests.world import ACCOUNT, TOKEN

POLL_SECONDS = 0.02
_UNSENT = (QUEUED, CLAIMED, ATTEMPTING)


@contextmanager
def open_simulator(lines: Sequence[str] = (LINE,), latency_ms: float = 0.0, receipts: bool = False) -> Iterator[RunningSimulator]:
    """A carrier that answers after ``latency_ms``. Without ``receipts`` it posts none: their cost has a benchmark of its own."""
    with start_simulator(account=ACCOUNT, token=TOKEN, webhook_base="http://127.0.0.1:9", lines=lines) as simulator:
        simulator.client.faults(latency_ms=latency_ms, receipts={"drop": not receipts})
        yield simulator


@contextmanager
def open_worker(ground: Ground) -> Iterator[subprocess.Popen[str]]:
    """`python worker.py` on this ground, from the moment when it listens."""
    process = start_worker(ground)
    try:
        yield process
    finally:
        stop_process(process)


def start_worker(ground: Ground) -> subprocess.Popen[str]:
    process = start_python("worker.py", environment=ground.environment, stderr=subprocess.DEVNULL)
    url = ground.deployment.settings.redis_url
    deadline = time.monotonic() + 30
    while not worker_registered(url, process.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            stop_process(process)
            raise RuntimeError("the worker did not start")
        time.sleep(POLL_SECONDS)
    return process


def forget_bells(ground: Ground) -> None:
    """What the worker of another ground left in Redis: its mark would keep the first bell of this one unheard."""
    connection = Redis.from_url(ground.deployment.settings.redis_url)
    connection.delete(MARK)
    connection.close()


def send_to(ground: Ground, crowd: Crowd, words: str = WORDS) -> int:
    """Approve and plan a notice to everybody, and ring, as `flask broadcast send` does; returns the broadcast's id."""
    deployment = ground.deployment
    now = deployment.clock.now()
    with deployment.store.write() as session:
        broadcast = draft_broadcast(session, now, crowd.collective_id, "notice", {"en": words})
        approve_broadcast(session, now, broadcast, how="cli")
    plan_broadcast(deployment, broadcast.id)
    ring(deployment)
    return broadcast.id


def unsent(ground: Ground, broadcast_id: int) -> int:
    """How many of its rows wait for the carrier's answer."""
    with ground.deployment.store.read() as session:
        waiting = sa.select(sa.func.count()).where(Outbound.broadcast_id == broadcast_id, Outbound.state.in_(_UNSENT))
        return session.scalar(waiting) or 0


def wait_until_sent(ground: Ground, broadcast_id: int, seconds: float = 120.0) -> None:
    """Return when the database holds an outcome for every row. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while waiting := unsent(ground, broadcast_id):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{waiting} messages are not sent after {seconds:g} s")
        time.sleep(POLL_SECONDS)


def states(ground: Ground, broadcast_id: int) -> dict[str, int]:
    """How many rows of a broadcast stand where."""
    with ground.deployment.store.read() as session:
        counted = sa.select(Outbound.state, sa.func.count()).where(Outbound.broadcast_id == broadcast_id).group_by(Outbound.state)
        return {state: number for state, number in session.execute(counted)}
