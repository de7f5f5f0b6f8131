"""A broadcast end to end against the twilio client alone, and against the script most people write first.

2,000 recipients; the carrier takes 50 ms to answer and has no pace. Chorus: approve, plan, ring, and a real `worker.py` sends, until the
database holds every outcome; its CPU is the worker's and the planning's. The client alone: a thread pool of as many threads as the pump has
messages in flight, nothing planned, nothing written down. The naive script: two workers, one RQ job for each recipient, the client made in
the job; it is slow, so it sends only a few, and its time is scaled up to 2,000. All of them take turns, each round gives one ratio.
Receipts are left out on all sides (see webhook). RQ's fork worker imports the job's module, which imports twilio, in every fork.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from redis import Redis
from rq import Queue

from benchmarks import naive
from benchmarks.carrier import forget_bells, open_simulator, open_worker, send_to, states, wait_until_sent
from benchmarks.client import LINE, number_of
from benchmarks.ground import Bench, Crowd, Ground, add_crowd, cpu_seconds, start_python, stop_process
from benchmarks.results import Result, at_least, at_most, median_ratio
from bot.delivery.pump import MOST_IN_FLIGHT
from bot.demo.__main__ import worker_registered
from bot.simulator.client import SimulatorClient

TITLE = "A broadcast of 2,000 at 50 ms latency, end to end"
RECIPIENTS, LATENCY_MS, ROUNDS = 2_000, 50.0, 3
WARM_UP, WARM_UP_LINE = 200, "+15550002222"
# Quick enough that our own pace never waits: what is measured is the machine.
NO_PACE = 100_000.0


@dataclass(frozen=True)
class Naive:
    """Two workers of one RQ class, and how many messages they send in a round."""

    what: str
    worker_class: str
    count: int
    goal: float


NAIVE = (Naive("two SimpleWorkers", "rq.worker.SimpleWorker", 80, 30.0), Naive("two fork workers", "rq.worker.Worker", 20, 150.0))


def measure(bench: Bench) -> Iterator[Result]:
    for database in bench.databases:
        with ExitStack() as stack:
            simulator = stack.enter_context(open_simulator([LINE, WARM_UP_LINE], LATENCY_MS))
            ground = stack.enter_context(bench.ground(database, TWILIO_API_URL=simulator.url))
            yield from measure_on(ground, simulator.client)


def measure_on(ground: Ground, carrier: SimulatorClient) -> Iterator[Result]:
    crowd = add_crowd(ground.deployment, RECIPIENTS, mps=NO_PACE)
    warm = add_crowd(ground.deployment, WARM_UP, mps=NO_PACE, line=WARM_UP_LINE, first=RECIPIENTS)
    forget_bells(ground)
    ours: list[tuple[float, float]] = []
    alone: list[tuple[float, float]] = []
    naively: dict[Naive, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        worker = stack.enter_context(open_worker(ground))
        sdk = stack.enter_context(open_sdk(ground))
        queues = {each: stack.enter_context(open_naive_workers(ground, each)) for each in NAIVE}
        wait_until_sent(ground, send_to(ground, warm))
        for _ in range(ROUNDS):
            alone.append(send_by_sdk(sdk, RECIPIENTS))
            ours.append(send_by_chorus(ground, crowd, carrier, worker.pid))
            for each, queue in queues.items():
                naively[each].append(send_naively(queue, carrier, each.count) / each.count * RECIPIENTS)
    took, cpu = medians(ours)
    sdk_took, sdk_cpu = medians(alone)
    yield at_least(
        "rate, against the SDK at the same concurrency", ground.database, median_ratio(column(alone, 0), column(ours, 0)), 0.9,
        f"{RECIPIENTS / took:.0f}/s against {RECIPIENTS / sdk_took:.0f}/s on {MOST_IN_FLIGHT} threads",
    )  # fmt: skip
    yield at_most(
        "CPU a message, against the SDK alone", ground.database, median_ratio(column(ours, 1), column(alone, 1)), 0.7,
        f"{cpu / RECIPIENTS * 1e6:.0f} us against {sdk_cpu / RECIPIENTS * 1e6:.0f} us",
    )  # fmt: skip
    for each, times in naively.items():
        yield at_least(
            f"time, against the naive script on {each.what}", ground.database, median_ratio(times, column(ours, 0)), each.goal,
            f"{took:.2f} s against {statistics.median(times):.0f} s (scaled from {each.count} messages)",
        )  # fmt: skip


def column(pairs: list[tuple[float, float]], place: int) -> list[float]:
    return [pair[place] for pair in pairs]


def medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(column(pairs, 0)), statistics.median(column(pairs, 1))


def send_by_chorus(ground: Ground, crowd: Crowd, carrier: SimulatorClient, worker: int) -> tuple[float, float]:
    """One broadcast to everybody: (seconds, CPU seconds of planning and worker)."""
    before = carrier.count()
    began, own_cpu, worker_cpu = time.perf_counter(), time.process_time(), cpu_seconds(worker)
    broadcast = send_to(ground, crowd)
    own_cpu = time.process_time() - own_cpu
    wait_until_sent(ground, broadcast)
    took = time.perf_counter() - began
    cpu = own_cpu + cpu_seconds(worker) - worker_cpu
    found = states(ground, broadcast)
    if found != {"accepted": RECIPIENTS} or carrier.count() - before != RECIPIENTS:
        raise RuntimeError(f"not everybody got it once: {found}, the carrier took {carrier.count() - before}")
    return took, cpu


@contextmanager
def open_sdk(ground: Ground) -> Iterator[subprocess.Popen[str]]:
    """The client on its thread pool, in a process of its own, with a connection for each thread."""
    arguments = ("-m", "benchmarks.sdk", str(MOST_IN_FLIGHT))
    process = start_python(*arguments, environment=ground.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the SDK's side did not start")
        yield process
    finally:
        stop_process(process)


def send_by_sdk(process: subprocess.Popen[str], count: int) -> tuple[float, float]:
    """(seconds, CPU seconds)"""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    took, cpu = map(float, process.stdout.readline().split())
    return took, cpu


@contextmanager
def open_naive_workers(ground: Ground, each: Naive) -> Iterator[Queue]:
    """The naive script's queue, with its two workers listening."""
    url = ground.deployment.settings.redis_url
    connection = Redis.from_url(url)
    name = f"naive {each.worker_class}"
    command = ("-m", "rq.cli", "worker", "--url", url, "--worker-class", each.worker_class, "--quiet", name)
    workers = [start_python(*command, environment=ground.environment) for _ in range(2)]
    try:
        while not all(worker_registered(url, worker.pid) for worker in workers):
            time.sleep(0.05)
        yield Queue(name, connection=connection)
    finally:
        for worker in workers:
            stop_process(worker)
        connection.close()


def send_naively(queue: Queue, carrier: SimulatorClient, count: int) -> float:
    """The seconds from the first job put into the queue to the last message at the carrier."""
    before = carrier.count()
    began = time.perf_counter()
    for index in range(count):
        queue.enqueue(naive.send, number_of(index), result_ttl=0)
    carrier.wait_for(lambda: carrier.count() - before >= count, timeout=120)
    return time.perf_counter() - began
