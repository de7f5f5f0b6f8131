"""How exactly a line keeps its pace, read from the carrier's ledger.

Lines of 1, 10 and 80 segments a second, and one of 80 with messages of three segments, send for 15 s at the same time from one worker:
longer than one turn of duty of the pump, so that the handover from one turn to the next is in it. Time is from the first message to the
last, against (segments - those of the last) / pace.

Then a worker is killed in the middle (kill -9) and another one goes on: how long nothing left, and whether the pace held across it. On
PostgreSQL the second worker runs all the time; on SQLite (one worker at a time; with --long, or on SQLite alone) it starts after the kill.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.carrier import forget_bells, open_simulator, open_worker, send_to, start_worker, states, unsent, wait_until_sent
from benchmarks.client import WORDS
from benchmarks.ground import SQLITE, Bench, Ground, add_crowd, stop_process
from benchmarks.results import Result, within
from bot.delivery.broadcasts import stop_broadcast
from bot.simulator.client import SimulatorClient
from models import Broadcast

TITLE = "Pace, as the carrier saw it"
SECONDS = 15
LONG = "Rally at Gandhi Chowk. " * 15


@dataclass(frozen=True)
class Paced:
    """One line: its pace in segments a second, what it sends and how many segments that is."""

    mps: int
    line: str
    words: str = WORDS
    segments: int = 1

    @property
    def messages(self) -> int:
        return self.mps * SECONDS // self.segments + 1

    def __str__(self) -> str:
        return f"{self.mps} segments a second" + (f", {self.segments} at a time" if self.segments > 1 else "")


PACED = [Paced(1, "+15550001001"), Paced(10, "+15550001010"), Paced(80, "+15550001080"), Paced(80, "+15550001083", LONG, 3)]
KILLED_PACE, KILL_AFTER, GO_ON, MOST_GAP = 10, 4.0, 3.0, 20.0


def measure(bench: Bench) -> Iterator[Result]:
    lines = [paced.line for paced in PACED]
    for database in bench.databases:
        with ExitStack() as stack:
            simulator = stack.enter_context(open_simulator(lines))
            ground = stack.enter_context(bench.ground(database, TWILIO_API_URL=simulator.url))
            forget_bells(ground)
            yield from keep_pace(ground, simulator.client)
        if database == SQLITE and len(bench.databases) > 1 and not bench.is_long:
            continue
        with ExitStack() as stack:
            simulator = stack.enter_context(open_simulator(lines[:1]))
            ground = stack.enter_context(bench.ground(database, TWILIO_API_URL=simulator.url))
            forget_bells(ground)
            yield from survive_a_kill(ground, simulator.client, lines[0])


def keep_pace(ground: Ground, carrier: SimulatorClient) -> Iterator[Result]:
    first, crowds = 0, []
    for paced in PACED:
        crowds.append(add_crowd(ground.deployment, paced.messages, mps=float(paced.mps), line=paced.line, first=first))
        first += paced.messages
    with open_worker(ground):
        broadcasts = [send_to(ground, crowd, paced.words) for crowd, paced in zip(crowds, PACED, strict=True)]
        for broadcast in broadcasts:
            wait_until_sent(ground, broadcast, SECONDS * 3)
    ledger = carrier.ledger()
    for paced in PACED:
        sent = [one for one in ledger if one["from"] == paced.line]
        moments = [float(one["received_monotonic"]) for one in sent]
        if [int(one["segments"]) for one in sent] != [paced.segments] * paced.messages:
            raise RuntimeError(f"{len(sent)} messages at {paced}")
        ideal = (paced.messages - 1) * paced.segments / paced.mps
        off = (max(moments) - min(moments)) / ideal - 1
        most = most_in_a_second(sent)
        yield within(f"{paced}: off the ideal time", ground.database, abs(off) * 100, 2.0, "%", f"{off * 100:+.2f} %, {SECONDS} s")
        yield within(f"{paced}: most in any second", ground.database, most, paced.mps + 1, "segments", f"{len(sent)} messages")


def survive_a_kill(ground: Ground, carrier: SimulatorClient, line: str) -> Iterator[Result]:
    count = int(KILLED_PACE * (KILL_AFTER + GO_ON + 3 * MOST_GAP))
    crowd = add_crowd(ground.deployment, count, mps=float(KILLED_PACE), line=line)
    with ExitStack() as stack:
        doomed = stack.enter_context(open_worker(ground))
        broadcast = send_to(ground, crowd)
        carrier.wait_for(lambda: carrier.count() >= KILLED_PACE * KILL_AFTER, timeout=30)
        if ground.database != SQLITE:
            stack.enter_context(open_worker(ground))
        doomed.kill()
        doomed.wait()
        at_the_kill = carrier.count()
        if ground.database == SQLITE:
            heir = start_worker(ground)
            stack.callback(stop_process, heir)
        carrier.wait_for(lambda: carrier.count() >= at_the_kill + KILLED_PACE * GO_ON, timeout=60)
        with ground.deployment.store.write() as session:
            stop_broadcast(session, ground.deployment.clock.now(), session.get_one(Broadcast, broadcast))
        ends = time.monotonic() + 20
        while unsent(ground, broadcast) and time.monotonic() < ends:
            time.sleep(0.1)
    sent = carrier.ledger()
    if len({one["to"] for one in sent}) != len(sent):
        raise RuntimeError("somebody got it twice")
    moments = sorted(float(one["received_monotonic"]) for one in sent)
    gap = max(later - earlier for earlier, later in pairwise(moments))
    unknown = states(ground, broadcast).get("unknown", 0)
    yield within("kill -9 at 10 a second: the gap", ground.database, gap, MOST_GAP, "s", f"{unknown} of unknown outcome, none twice")
    yield within(
        "kill -9 at 10 a second: most in any second",
        ground.database,
        most_in_a_second(sent),
        KILLED_PACE + 1,
        "segments",
        f"{len(sent)} messages",
    )


def most_in_a_second(sent: list[dict[str, Any]]) -> int:
    """The most segments that the carrier took within any one second."""
    ordered = sorted((float(one["received_monotonic"]), int(one["segments"])) for one in sent)
    most = held = start = 0
    for moment, segments in ordered:
        held += segments
        while ordered[start][0] <= moment - 1.0:
            held -= ordered[start][1]
            start += 1
        most = max(most, held)
    return most
