"""The memory of a worker that sends 140,000 messages, looked at twice a second. Takes minutes: only with --long, or by name."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.carrier import forget_bells, open_simulator, open_worker, send_to, states, unsent
from benchmarks.ground import Bench, add_crowd
from benchmarks.results import Result, within

TITLE = "The memory of a worker sending 140,000"
RECIPIENTS, NO_PACE, LOOK_SECONDS = 140_000, 100_000.0, 0.5


def measure(bench: Bench) -> Iterator[Result]:
    for database in bench.databases:
        with ExitStack() as stack:
            simulator = stack.enter_context(open_simulator())
            ground = stack.enter_context(bench.ground(database, TWILIO_API_URL=simulator.url))
            crowd = add_crowd(ground.deployment, RECIPIENTS, mps=NO_PACE)
            forget_bells(ground)
            worker = stack.enter_context(open_worker(ground))
            broadcast = send_to(ground, crowd)
            began = time.monotonic()
            seen: list[tuple[int, float]] = []
            while left := unsent(ground, broadcast):
                seen.append((RECIPIENTS - left, megabytes(worker.pid)))
                time.sleep(LOOK_SECONDS)
            took = time.monotonic() - began
            if states(ground, broadcast) != {"accepted": RECIPIENTS}:
                raise RuntimeError(f"not everybody got it: {states(ground, broadcast)}")
        # The first fifth warms up: threads, connections, statements.
        early = max(memory for sent, memory in seen if sent <= RECIPIENTS / 5)
        most = max(memory for _, memory in seen)
        figures = f"{early:.0f} MB after the first fifth; {RECIPIENTS / took:.0f} a second"
        yield within("resident memory at most", database, most, 150.0, "MB", figures)
        yield within("growth after the first fifth", database, most - early, 10.0, "MB", "flat is what is wanted")


def megabytes(pid: int) -> float:
    """The resident memory of a process."""
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(told.stdout) / 1024
