"""The pace of a line, in segments a second, whatever happens to threads, pumps and the carrier."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.delivery import meter as meter_module
from bot.delivery.claims import Claimed
from bot.delivery.gateway import Accepted, Throttled
from bot.delivery.leases import LeasedLine
from bot.delivery.meter import SLOT_SECOND, START_SECOND, Meter, Window
from bot.delivery.pace import LATE, MARGIN, Known, PacedLine
from bot.delivery.pump import Memory, serve_lines
from models.clock import real_seconds
from tests.delivery import LINE, ScriptedCarrier, add_many_members, line_row, pump_all, rows, send_broadcast, states, two_members
from tests.world import World, new_sid

Starts = list[tuple[float, int]]
PACES = (1.0, 2.5, 10.0, 80.0, 225.0)


@pytest.fixture
def sangha(world: World) -> int:
    """A collective with two members on a fast line."""
    return two_members(world)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    """When each message started and its segments, as the meters of all pumps saw it."""
    seen: Starts = []

    class Watched(Window):
        def add(self, moment: float, segments: int) -> None:
            super().add(moment, segments)
            seen.append((moment, segments))

    monkeypatch.setattr(meter_module, "Window", Watched)
    return seen


def most_segments_in_a_second(starts: Sequence[tuple[float, int]]) -> int:
    """The most segments that started in any window of one second."""
    ordered = sorted(starts)
    most = held = first = 0
    for moment, segments in ordered:
        held += segments
        while ordered[first][0] <= moment - 1.0:
            held -= ordered[first][1]
            first += 1
        most = max(most, held)
    return most


@pytest.mark.parametrize(("mps", "count"), [(80.0, 160), (10.0, 21), (2.0, 4)])
def test_the_pace_is_kept(world: World, starts: Starts, mps: float, count: int) -> None:
    world.line(LINE, mps=mps)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, count)
    send_broadcast(world, collective)
    before = real_seconds()
    assert pump_all(world, ScriptedCarrier()) == count
    assert most_segments_in_a_second(starts) <= mps + 1
    # The slots are exact, however late a thread wakes: so much pace was used up, and no more.
    used = line_row(world).next_slot - before
    assert (count - 1) / mps <= used
    assert max(moment for moment, _ in starts) - min(moment for moment, _ in starts) >= (count - 1) / mps - 0.05


def test_the_slots_are_exact_to_half_a_percent() -> None:
    """In the time that the pump thinks in: nothing of the machine's load is in it."""
    for mps in (1.0, 10.0, 80.0):
        paced = PacedLine(leased(mps), 1000.0)
        slots = [paced.take_slot(1000.0, 1) for _ in range(int(mps * 60) + 1)]
        assert slots[-1] - slots[0] == pytest.approx(60.0, rel=0.01)
        assert most_segments_in_a_second([(slot, 1) for slot in slots]) <= mps + 1


def leased(mps: float, next_slot: float = 0.0) -> LeasedLine:
    return LeasedLine(1, "sms", LINE, mps, 1, next_slot, None)


@given(st.sampled_from(PACES), st.lists(st.integers(1, 10), min_size=5, max_size=200))
@settings(deadline=None, max_examples=100)
def test_long_messages_keep_the_pace_too(mps: float, messages: list[int]) -> None:
    """A message of more segments than a second has takes its second alone."""
    paced = PacedLine(leased(mps), 1000.0)
    slots = [(paced.take_slot(1000.0, segments), segments) for segments in messages]
    assert most_segments_in_a_second(slots) <= max(mps + 1, *messages)
    assert all(later[0] - earlier[0] >= earlier[1] / mps for earlier, later in zip(slots, slots[1:], strict=False))


def test_late_threads_do_not_crowd() -> None:
    meter = Meter(5.0)
    assert [meter.start(1) for _ in range(5)] == [0.0] * 5
    assert 0.9 < meter.start(1) <= START_SECOND + 0.001, "the sixth waits until the first is a second old"
    assert Meter(1.0).start(10) == 0.0, "a long message alone may go"


def test_what_is_late_when_the_line_is_given_back_goes_back_unsent() -> None:
    meter = Meter(5.0)
    meter.expect(1)
    assert meter.start(1, latest=real_seconds() - 0.001) < 0
    assert meter.free_from(5.0) < real_seconds(), "it counts no more"


@given(st.sampled_from(PACES), st.lists(st.tuples(st.floats(0.0, 0.5), st.integers(1, 4)), min_size=1, max_size=120))
@settings(deadline=None, max_examples=200)
def test_a_successor_respects_the_last_second_of_its_predecessor(mps: float, late: list[tuple[float, int]]) -> None:
    """Whoever starts at ``free_from`` with messages of one segment, at the line's pace and knowing nothing, stays within it."""
    rate, window, slot, seen = mps * MARGIN, Window(mps, START_SECOND), 0.0, []
    for lateness, segments in late:
        moment = max(slot + lateness, seen[-1][0] if seen else 0.0)
        while (wait := window.fits(moment, segments)) > 0:
            moment += wait
        seen.append((moment, segments))
        slot = max(slot + segments / rate, moment - 0.5)
    begins = max(slot, window.free_from(rate))
    assert begins <= slot + 2.0 + 10.0 / rate, "and loses little"
    seen += [(begins + number / rate, 1) for number in range(int(2 * mps) + 1)]
    assert most_segments_in_a_second(seen) <= max(mps + 1, *(segments for _, segments in late))


def test_who_sent_late_gives_the_line_back_later() -> None:
    """On a busy machine eighty that should have been spread over a second may have started just now."""
    paced = PacedLine(leased(80.0), real_seconds())
    for _ in range(80):
        paced.meter.expect(1)
        assert paced.meter.start(1) == 0.0
    assert paced.slot_for_others - real_seconds() > 0.9
    paced.meter.expect(40)
    assert paced.slot_for_others - real_seconds() > 1.4, "forty more have their slots and did not start yet"


def test_on_time_a_handover_costs_milliseconds() -> None:
    for mps in PACES:
        rate, window = mps * MARGIN, Window(mps, START_SECOND)
        for number in range(int(mps * 3)):
            assert window.fits(number / rate, 1) == 0.0
        last = (int(mps * 3) - 1) / rate
        assert window.free_from(rate) - (last + 1 / rate) <= LATE


@pytest.mark.parametrize("text", ["Rally today", "Rally today at Gandhi Chowk, " * 8])
def test_the_pace_holds_across_handovers(world: World, starts: Starts, text: str) -> None:
    """Turn after turn of duty, each in a process of its own as far as its memory goes."""
    world.line(LINE, mps=80.0)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 400)
    number = send_broadcast(world, collective, text)
    for _ in range(6):
        serve_lines(world.deployment, ScriptedCarrier(), threading.Event(), 0.35)
    assert most_segments_in_a_second(starts) <= 81
    assert {"queued", "accepted"} == set(states(world, number))


def test_the_pace_counts_segments(world: World, starts: Starts) -> None:
    world.line(LINE, mps=20.0)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 6)
    send_broadcast(world, collective, "a long text of several segments " * 20)
    assert rows(world)[0].segments == 5
    pump_all(world, ScriptedCarrier())
    moments = [moment for moment, _ in starts]
    assert max(moments) - min(moments) > 5 * 5 / 20.0 - 0.05
    assert most_segments_in_a_second(starts) <= 21


def test_where_segments_do_not_fill_the_second_nothing_goes_stale() -> None:
    """Three segments at a time, ten a second: nine fit. The slots know it, so that no message waits behind its slot for ever."""
    paced = PacedLine(leased(10.0), 1000.0)
    slots = [paced.take_slot(1000.0, 3) for _ in range(100)]
    window = Window(10.0, START_SECOND)
    assert all(window.fits(slot, 3) == 0.0 for slot in slots), "each starts at its slot"
    assert slots[-1] - slots[0] == pytest.approx(33 * SLOT_SECOND, rel=0.01)


# --- 429 -------------------------------------------------------------------------------------------------------------------


def test_429_slows_the_line_and_loses_nothing(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    began = time.monotonic()
    carrier = ScriptedCarrier(lambda _to, sent: Throttled(20429) if sent <= 3 else Accepted(new_sid()))
    pump_all(world, carrier)
    assert states(world, number) == ["accepted", "accepted"]
    assert len(carrier.taken) == 5
    assert time.monotonic() - began > 0.2


@dataclass
class Rehearsal:
    """A line and a carrier that says 429 until ``clears``, in a time that the test moves."""

    clears: float
    now: float = 0.0
    attempts: Counter[int] = field(default_factory=Counter)
    moments: list[float] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)


def rehearse(clears: float, until: float, turn_of_duty: float) -> Rehearsal:
    """Eighty messages a second wait; every answer comes 50 ms later. The pump's own turns, without its threads and its database."""
    line, known, told = leased(80.0), Known(), Rehearsal(clears)
    waiting, flying = [Claimed(6, number, number, 1) for number in range(500)], []
    paced, ends = PacedLine(line, 0.0, known), turn_of_duty
    while told.now < until and (waiting or flying):
        now = told.now
        for slot, row in [each for each in flying if each[0] + 0.05 <= now]:
            flying.remove((slot, row))
            paced.in_flight -= 1
            if slot >= clears:
                told.accepted.append(row.id)
                paced.went_well(now)
            else:
                paced.slow_down(now)
                paced.requeued()
                waiting = sorted([*waiting, row])
        for row in paced.due(now, 128):
            told.attempts[row.id] += 1
            slot = paced.take_slot(now, 1)
            told.moments.append(slot)
            flying.append((slot, row))
        wanted = paced.wants(now)
        if wanted:
            paced.claimed(waiting[:wanted], wanted > len(waiting), now)
            waiting = waiting[wanted:]
        if now >= ends and not flying:
            waiting = sorted([*waiting, *paced.let_go()])
            paced, ends = PacedLine(leased(80.0, paced.next_slot), now, known), now + turn_of_duty
        told.now += 0.005
    return told


@pytest.mark.parametrize("turn_of_duty", [10.0, 1000.0])
def test_o4_429_for_a_minute_slows_the_whole_line_and_loses_no_message(turn_of_duty: float) -> None:
    told = rehearse(60.0, 110.0, turn_of_duty)
    refused = [moment for moment in told.moments if moment < 60.0]
    # One moment's messages were marked when the first 429 came; from then on one message tries, after 0.1, 0.2, 0.4 ... 30 seconds.
    assert len(refused) <= 24 + 12
    assert max(told.attempts.values()) <= 13, "attempts do not grow without bound"
    tries = [moment for moment in refused if moment > 1.0]
    assert all(later - earlier >= 0.8 for earlier, later in zip(tries, tries[1:], strict=False))
    assert sorted(told.accepted) == list(range(500)), "nothing is lost, nothing goes twice"
    after = [moment for moment in told.moments if moment >= 60.0]
    assert min(after) < 60.0 + 33.0, "at most 30 seconds later, give or take a tenth, it goes on"


def test_the_back_off_has_jitter() -> None:
    waits = set()
    for _ in range(20):
        paced = PacedLine(leased(80.0), 1000.0)
        paced.slow_down(1000.0)
        waits.add(round(paced.next_slot - 1000.0, 6))
    assert len(waits) > 10 and all(0.09 <= wait <= 0.11 for wait in waits)


def test_what_was_taken_before_the_429_does_not_end_it() -> None:
    paced = PacedLine(leased(80.0), 1000.0)
    paced.slow_down(1000.0)
    paced.went_well(1000.01)
    assert paced.is_trying and paced.backoff.seconds > 0
    paced.went_well(1000.2)
    assert not paced.is_trying and paced.backoff.seconds == 0


def test_what_429_taught_outlives_the_turn_of_duty(world: World, sangha: int) -> None:
    send_broadcast(world, sangha)
    memory, carrier = Memory(), ScriptedCarrier(lambda _to, _sent: Throttled(20429))
    for _ in range(3):
        serve_lines(world.deployment, carrier, threading.Event(), 0.5, memory)
    assert memory.known[line_row(world).id].backoff.seconds >= 0.4
    sent = len(carrier.taken)
    serve_lines(world.deployment, carrier, threading.Event(), 0.3, memory)
    assert len(carrier.taken) <= sent + 1
