"""A broadcast end to end against the twilio client alone, and against the script most people write first.

2,000 recipients, a carrier that takes 50 ms to answer and accepts without pace. Chorus: approve, plan, ring, and a real `worker.py` sends, until
the database holds every outcome; its CPU is the worker's and the planning's. The client alone: a thread pool of as many threads as the
pump has messages in flight, nothing planned, nothing written down. They take turns. Receipts are left out on both sides (see webhook).
The naive script is slow, so it sends fewer, and its time is scaled up to 2,000. (RQ's fork worker imports the job's module in every fork.)
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

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
# worker class, how many are sent, the goal
NAIVE = {"two SimpleWorkers": ("rq.worker.SimpleWorker", 200, 30.0), "two fork workers": ("rq.worker.Worker", 60, 150.0)}


def measure(bench: Bench) -> Iterator[Result]:
    times: dict[str, float] = {}
    for database in bench.databases:
        simulated = open_simulator([LINE, WARM_UP_LINE], LATENCY_MS)
        with simulated as simulator, bench.ground(database, TWILIO_API_URL=simulator.url) as ground:
            crowd = add_crowd(ground.deployment, RECIPIENTS, mps=NO_PACE)
            warm = add_crowd(ground.deployment, WARM_UP, mps=NO_PACE, line=WARM_UP_LINE, first=RECIPIENTS)
            forget_bells(ground)
            ours: list[tuple[float, float]] = []
            alone: list[tuple[float, float]] = []
            with open_worker(ground) as worker, open_sdk(ground) as sdk:
                wait_until_sent(ground, send_to(ground, warm))
                for _ in range(ROUNDS):
                    alone.append(send_by_sdk(sdk, RECIPIENTS))
                    ours.append(send_by_chorus(ground, crowd, simulator.client, worker.pid))
            (took, cpu), (sdk_took, sdk_cpu) = medians(ours), medians(alone)
            times[database] = took
            yield at_least(
                "rate, against the SDK at the same concurrency", database,
                median_ratio([one[0] for one in alone], [one[0] for one in ours]), 0.9,
                f"{RECIPIENTS / took:.0f}/s against {RECIPIENTS / sdk_took:.0f}/s on {MOST_IN_FLIGHT} threads",
            )  # fmt: skip
            yield at_most(
                "CPU a message, against the SDK alone", database, median_ratio([one[1] for one in ours], [one[1] for one in alone]), 0.7,
                f"{cpu / RECIPIENTS * 1e6:.0f} us against {sdk_cpu / RECIPIENTS * 1e6:.0f} us",
            )  # fmt: skip
    with open_simulator(latency_ms=LATENCY_MS) as simulator, bench.ground(bench.databases[0], TWILIO_API_URL=simulator.url) as ground:
        for what, (worker_class, count, goal) in NAIVE.items():
            naive_took = send_naively(ground, simulator.client, worker_class, count) / count * RECIPIENTS
            for database, took in times.items():
                figures = f"{took:.2f} s against {naive_took:.0f} s (scaled from {count} messages)"
                yield at_least(f"time, against the naive script on {what}", database, naive_took / took, goal, figures)


def medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


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


def send_naively(ground: Ground, carrier: SimulatorClient, worker_class: str, count: int) -> float:
    """The seconds from the first job put into the queue to the last message at the carrier."""
    url = ground.deployment.settings.redis_url
    connection = Redis.from_url(url)
    queue = Queue(naive.QUEUE, connection=connection)
    command = ("-m", "rq.cli", "worker", "--url", url, "--worker-class", worker_class, "--quiet", naive.QUEUE)
    workers = [start_python(*command, environment=ground.environment) for _ in range(2)]
    try:
        while not all(worker_registered(url, worker.pid) for worker in workers):
            time.sleep(0.05)
        before = carrier.count()
        began = time.perf_counter()
        for index in range(count):
            queue.enqueue(naive.send, number_of(index), result_ttl=0)
        carrier.wait_for(lambda: carrier.count() - before >= count, timeout=180)
        return time.perf_counter() - began
    finally:
        for worker in workers:
            stop_process(worker)
        connection.close()
