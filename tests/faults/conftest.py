"""The ground of the fault tests: real processes in a nursery, the pretend carrier with its ledger, a real Redis, both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from bot.simulator.client import RunningSimulator, start_simulator
from tests.faults.ground import LINE, PUBLIC, Ground
from tests.faults.processes import Nursery
from tests.world import ACCOUNT, TOKEN


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as nursery:
        yield nursery


@pytest.fixture(scope="session")
def simulator() -> Iterator[RunningSimulator]:
    with start_simulator(account=ACCOUNT, token=TOKEN, webhook_base="http://127.0.0.1:9", public_base=PUBLIC, lines=[LINE]) as simulator:
        yield simulator


@pytest.fixture
def ground(database_url: str, redis_url: str, nursery: Nursery, simulator: RunningSimulator) -> Iterator[Ground]:
    """A deployment on each kind of database that real processes work on, with nothing running yet."""
    Redis.from_url(redis_url).flushdb()
    simulator.client.reset()
    simulator.client.faults(receipts={"drop": True})
    with Ground(database_url, redis_url, nursery, simulator) as ground:
        yield ground
