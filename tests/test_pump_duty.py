"""A turn of duty: marks go stale, workers are asked to stop, pumps meet."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from bot.delivery import claims, leases
from bot.delivery import pump as pump_module
from bot.delivery import senders as senders_module
from bot.delivery.bell import MARK_SECONDS
from bot.delivery.gateway import Accepted, Outcome
from bot.delivery.leases import LeasedLine, is_anything_waiting
from bot.delivery.marks import Marked
from bot.delivery.meter import Meter
from bot.delivery.outcomes import Sent
from bot.delivery.pace import MOST_CLAIMED
from bot.delivery.pump import MOST_IN_FLIGHT, serve_lines
from bot.delivery.senders import Senders
from bot.delivery.sweep import sweep
from bot.schedule import clock
from models import Line, Outbound
from models.clock import real_seconds
from tests.delivery import (
    LINE,
    ScriptedCarrier,
    add_many_members,
    change,
    line_row,
    pump_all,
    put_letter,
    send_broadcast,
    states,
    take_the_line,
    two_members,
)
from tests.waiting import wait_for
from tests.world import World, new_sid


@pytest.fixture
def sangha(world: World) -> int:
    """A collective with two members on a fast line."""
    return two_members(world)


def collect(senders: Senders, count: int) -> list[Sent]:
    results: list[Sent] = []
    while len(results) < count:
        assert senders.ready.wait(20)
        results += senders.collect()
    senders.close()
    return results


def test_a_mark_older_than_two_seconds_is_not_sent(small_world: World) -> None:
    line = LeasedLine(1, "sms", LINE, 10.0, 1, 0.0, None)
    carrier = ScriptedCarrier()
    senders = Senders(carrier, 2, 1)
    old, fresh = real_seconds() - senders_module.FRESH_SECONDS - 0.01, real_seconds()
    senders.submit(0.0, Meter(10.0), Marked(1, 1, 1, line, "+15551000001", "stale", 1, old), "https://x")
    senders.submit(0.0, Meter(10.0), Marked(2, 1, 1, line, "+15551000001", "fresh", 1, fresh), "https://x")
    results = collect(senders, 2)
    assert carrier.bodies == ["fresh"]
    assert {sent.mark.body: sent.outcome is None for sent in results} == {"stale": True, "fresh": False}


def test_a_message_whose_seconds_were_over_goes_later(world: World, sangha: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders_module, "FRESH_SECONDS", -1.0)
    number = send_broadcast(world, sangha)
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 0.3)
    assert carrier.taken == []
    assert set(states(world, number)) == {"queued"}
    monkeypatch.undo()
    pump_all(world, carrier)
    assert set(states(world, number)) == {"accepted"}


def test_nothing_stays_claimed_when_the_worker_is_asked_to_stop(world: World) -> None:
    world.line(LINE, mps=20.0)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 60)
    number = send_broadcast(world, collective)
    stopping = threading.Event()

    def answer(_to: str, sent: int) -> Outcome:
        if sent == 10:
            stopping.set()
        return Accepted(new_sid())

    carrier = ScriptedCarrier(answer)
    began = time.monotonic()
    serve_lines(world.deployment, carrier, stopping, 30.0)
    assert time.monotonic() - began < 15
    found = states(world, number)
    assert set(found) == {"accepted", "queued"}
    assert found.count("accepted") == len(carrier.taken) < 25
    line = line_row(world)
    assert (line.lease_holder, line.lease_until) == (None, 0.0)
    with world.store.read() as session:
        assert is_anything_waiting(session, world.clock.now())


def test_two_pumps_at_once_send_everything_once(world: World) -> None:
    lines = [f"+1555000111{n}" for n in range(4)]
    for address in lines:
        world.line(address, mps=200.0)
    collectives = [world.collective(f"C{n}", lines=[address]) for n, address in enumerate(lines)]
    for collective in collectives:
        for n in range(30):
            world.member(collective, f"+1555{collective}0000{n:02d}")
        send_broadcast(world, collective)
    carrier = ScriptedCarrier()
    threads = [threading.Thread(target=pump_all, args=(world, carrier)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pump_all(world, carrier)
    assert len(carrier.taken) == len({(text.to, text.sender) for text in carrier.taken}) == 120


def test_a_message_that_is_late_when_the_lines_are_given_back_goes_back(small_world: World) -> None:
    """Its slot may be a successor's by now."""
    line = LeasedLine(1, "sms", LINE, 10.0, 1, 0.0, None)
    carrier, now = ScriptedCarrier(), real_seconds()
    senders = Senders(carrier, 2, 1)
    senders.give_way()
    senders.submit(now - 1.0, Meter(10.0), Marked(1, 1, 1, line, "+15551000001", "late", 1, now), "https://x")
    senders.submit(now + 0.3, Meter(10.0), Marked(2, 1, 1, line, "+15551000001", "in time", 1, now), "https://x")
    results = collect(senders, 2)
    assert {sent.mark.body: sent.outcome is None for sent in results}["late"]
    assert "late" not in carrier.bodies


def test_the_senders_give_way_before_the_lines_are_given_back(world: World, sangha: int, monkeypatch: pytest.MonkeyPatch) -> None:
    holders = []

    def give_way(_senders: Senders) -> None:
        holders.append(line_row(world).lease_holder)

    monkeypatch.setattr(Senders, "give_way", give_way)
    change(world, Line, mps=1.0)
    send_broadcast(world, sangha)
    pump_all(world, ScriptedCarrier(), 0.3)
    assert len(holders) == 1 and holders[0] is not None
    assert line_row(world).lease_holder is None


class HangingCarrier(ScriptedCarrier):
    """Takes a text and does not answer before ``answers`` is set."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        super().__init__(self._hang)

    def _hang(self, _to: str, _number: int) -> Outcome:
        self.answers.wait(60)
        return Accepted(new_sid())


def test_a_carrier_that_hangs_holds_up_no_shutdown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM is answered within 15 seconds: what hangs is left as it is, and everything else given back at once."""
    assert pump_module.DRAIN_SECONDS <= 13, "there is something to do after it"
    monkeypatch.setattr(pump_module, "DRAIN_SECONDS", 0.5)
    world.line(LINE, mps=20.0)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 60)
    number = send_broadcast(world, collective)
    carrier, stopping = HangingCarrier(), threading.Event()
    pump = threading.Thread(target=serve_lines, args=(world.deployment, carrier, stopping, 600.0))
    pump.start()
    wait_for(lambda: len(carrier.taken) > 3, "the sending")
    stopping.set()
    pump.join(30)
    assert not pump.is_alive()
    found = Counter(states(world, number))
    assert set(found) == {"attempting", "queued"} and found["attempting"] >= len(carrier.taken)
    assert line_row(world).lease_holder is None
    carrier.answers.set()
    change(world, Outbound, Outbound.state == "attempting", lease_until=1.0)
    assert sweep(world.store).unknown == found["attempting"], "they are looked up, never sent again"


def test_lines_share_the_room_in_flight(world: World) -> None:
    """However long the others' queues: with every request hanging, each of four lines has a quarter of them."""
    lines = [f"+1555000111{n}" for n in range(4)]
    for number, address in enumerate(lines):
        world.line(address, mps=1000.0)
        collective = world.collective(f"C{number}", lines=[address])
        for n in range(MOST_IN_FLIGHT // 4 + 10 * number):
            world.member(collective, f"+1555{number}000{n:03d}")
        send_broadcast(world, collective)
    carrier, stopping = HangingCarrier(), threading.Event()
    pump = threading.Thread(target=serve_lines, args=(world.deployment, carrier, stopping, 600.0))
    pump.start()
    wait_for(lambda: len(carrier.taken) == MOST_IN_FLIGHT, "all that may be in flight")
    carrier.answers.set()
    shares = Counter(text.sender for text in carrier.taken[:MOST_IN_FLIGHT])
    stopping.set()
    pump.join(30)
    assert shares == dict.fromkeys(lines, MOST_IN_FLIGHT // 4)


def test_more_lines_than_one_pump_serves_take_turns(world: World) -> None:
    lines = [f"+155500011{n:02d}" for n in range(pump_module.MOST_LINES + 3)]
    for number, address in enumerate(lines):
        world.line(address, mps=5.0)
        collective = world.collective(f"C{number}", lines=[address])
        for n in range(15):
            world.member(collective, f"+1555{number:02d}00{n:03d}")
        send_broadcast(world, collective)
    carrier = ScriptedCarrier()
    turns = 0
    while {text.sender for text in carrier.taken} != set(lines):
        turns += 1
        assert turns < 20
        pump_all(world, carrier, 0.5)
    assert len(carrier.taken) < 15 * len(lines), "long before the first ones are through"


def test_twenty_urgent_messages_overtake_thousands(world: World) -> None:
    world.line(LINE, mps=500.0)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 3000)
    send_broadcast(world, collective)
    talker = world.member(collective, "+15551000001")
    carrier, stopping = ScriptedCarrier(), threading.Event()
    pump = threading.Thread(target=serve_lines, args=(world.deployment, carrier, stopping, 600.0))
    pump.start()
    wait_for(lambda: len(carrier.taken) > 100, "the broadcast")
    for n in range(20):
        put_letter(world, talker, f"answer {n}")
    before = len(carrier.taken)
    wait_for(lambda: sum(body.startswith("answer") for body in carrier.bodies) == 20, "the answers", 60)
    stopping.set()
    pump.join(30)
    last = max(number for number, body in enumerate(carrier.bodies) if body.startswith("answer"))
    assert last - before < MOST_CLAIMED + 2 * MOST_IN_FLIGHT, "what was in hand goes before them, and nothing else"


def test_a_dead_workers_line_is_taken_up_within_a_minute(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease runs out, the sweep of any other worker sees that and rings: 15 and 5 seconds, and the bell's own."""
    assert leases.LEASE_SECONDS + clock.SWEEP_SECONDS + clock.TICK_SECONDS + MARK_SECONDS < 60
    number = send_broadcast(world, two_members(world))
    for module in (leases, claims):
        monkeypatch.setattr(module, "LEASE_SECONDS", 0.5)
    line = take_the_line(world)
    with world.store.write() as session:
        claims.claim_rows(world.store, session, line, 1, 1)
        leases.renew_lease(session, line, line.next_slot)
    assert pump_all(world, ScriptedCarrier()) == 0, "the dead one holds it still"
    monkeypatch.undo()
    rung = threading.Event()
    thread = clock.ClockThread(world.deployment, {}, lambda _deployment: bool(rung.set()))
    wait_for(lambda: thread.tick() or rung.is_set(), "the bell")
    assert pump_all(world, ScriptedCarrier()) == 2
    assert set(states(world, number)) == {"accepted"}
