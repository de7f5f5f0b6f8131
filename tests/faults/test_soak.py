"""Everything is killed in random order: a few rounds with fixed seeds here, five hundred under `make soak` (SOAK_ROUNDS, SOAK_SEED)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from bot.simulator.client import RunningSimulator
from tests.faults.processes import Nursery
from tests.faults.soak import soak_ground


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [7])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_o13_processes_killed_in_random_order(
    database: str, seed: int, tmp_path: Path, nursery: Nursery, simulator: RunningSimulator
) -> None:
    with soak_ground(database, tmp_path, nursery, simulator, seed) as soak:
        assert soak.run(6).total() == 6


@pytest.mark.soak
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_five_hundred_rounds(database: str, tmp_path: Path, nursery: Nursery, simulator: RunningSimulator) -> None:
    rounds = int(os.environ.get("SOAK_ROUNDS", "500"))
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**9))
    print(f"\n{database}: {rounds} rounds; again with SOAK_SEED={seed}")
    with soak_ground(database, tmp_path, nursery, simulator, seed) as soak:
        struck = soak.run(rounds)
    print(", ".join(f"{number} x {fault}" for fault, number in sorted(struck.items())))
