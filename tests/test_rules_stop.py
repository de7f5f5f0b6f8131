"""O8: STOP, and every other way out, at each position of a broadcast that is being sent: nothing is marked after it commits.

That a post starts within two seconds of its mark, or goes back, is shown with a clock of its own in tests/test_pump.py.
"""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.delivery.broadcasts import broadcast_status
from bot.delivery.claims import claim_rows
from bot.delivery.gateway import Accepted, Outcome
from bot.delivery.leases import release_line, renew_lease, take_lines
from bot.delivery.marks import mark_rows
from bot.delivery.money import Purse
from bot.delivery.texts import Texts
from models import Outbound
from models.messages import ACCEPTED, ATTEMPTING, CLAIMED, HELD, OUTBOUND_STATES, QUEUED
from tests.delivery import ScriptedCarrier, change, pump_all, rows, send_broadcast
from tests.waiting import wait_for
from tests.world import World, new_sid

LINE = "+15550001111"
POSITIONS = 8
WAYS_OUT = ["STOP", "LEAVE", "PAUSE", "WRONG", "FORGET"]
UNMARKED = (QUEUED, HELD, CLAIMED)


class Interrupted(ScriptedCarrier):
    """A carrier that says when the first text has come."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = threading.Event()

    def send(self, **named: object) -> Outcome:
        super().send(**named)  # type: ignore[arg-type]
        self.under_way.set()
        return Accepted(new_sid())


def numbers(group: int = 0) -> list[str]:
    return [f"+1555{group:03}{member:04}" for member in range(POSITIONS)]


def gather(world: World, group: int = 0) -> int:
    collective = world.collective(f"GROUP{group}", lines=[LINE])
    for number in numbers(group):
        world.member(collective, number, name="Asha", spoke_on=LINE)
    return collective


def state_of(world: World, broadcast: int, number: str) -> str:
    """The state of her row; it is found by her place in the broadcast, because FORGET takes her phone away."""
    with world.store.read() as session:
        at = (Outbound.broadcast_id == broadcast, Outbound.position == int(number[-4:]))
        return session.scalars(sa.select(Outbound.state).where(*at)).one()


def say(world: World, number: str, way_out: str) -> None:
    """Her text comes in by another thread, as it does in life."""

    def write() -> None:
        mouth = World(world.deployment)
        for text in [way_out, "YES"] if way_out == "FORGET" else [way_out]:
            assert mouth.text(number, text, to=LINE).status == 200

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()


@pytest.mark.parametrize("way_out", WAYS_OUT)
def test_o8_a_way_out_at_every_position(world: World, way_out: str) -> None:
    """Her word is committed when so many rows are marked: the last one marked is hers and stays, or the next one is hers and never is."""
    world.line(LINE, mps=100.0)
    texts, purse = Texts(world.store), Purse(world.store)
    for position in range(POSITIONS):
        world.clock.advance(timedelta(minutes=1))
        broadcast = send_broadcast(world, gather(world, position))
        everybody = numbers(position)
        (line,) = take_lines(world.store, f"pump {position}", 5)
        with world.store.write() as session:
            claimed, _ = claim_rows(world.store, session, line, 100, 100)
            renew_lease(session, line, line.next_slot)
        marked = []
        for number, row in enumerate(claimed):
            if number == position:
                for hers in everybody[max(0, position - 1) : position + 1]:
                    say(world, hers, way_out)
            with world.store.write() as session:
                done, _ = mark_rows(world.store, session, line, [row], texts, purse)
            marked += [mark.to for mark in done]
        assert marked == [number for number in everybody if number != everybody[position]]
        counts = shown(world, broadcast)
        ends = "stopped" if way_out == "FORGET" else "suppressed"
        assert (counts[ATTEMPTING], counts[ends]) == (POSITIONS - 1, 1), "whoever had her mark before is counted as on her way"
        with world.store.write() as session:
            release_line(session, line, 0.0)


def shown(world: World, broadcast: int) -> dict[str, int]:
    with world.store.read() as session:
        counts: dict[str, int] = broadcast_status(session, broadcast)["counts"]
    assert set(counts) == set(OUTBOUND_STATES)
    return counts


@pytest.mark.parametrize("way_out", WAYS_OUT)
def test_o8_everybody_leaves_while_it_is_sent(world: World, way_out: str) -> None:
    """All of them write at once, in threads, while two pumps send: whoever was not marked when her word was committed gets nothing."""
    world.line(LINE, mps=30.0)
    collective = gather(world)
    broadcast = send_broadcast(world, collective)
    carrier = Interrupted()
    seen: dict[str, str] = {}

    def leave(number: str) -> None:
        say(world, number, way_out)
        seen[number] = state_of(world, broadcast, number)

    pumps = [threading.Thread(target=pump_all, args=(world, carrier)) for _ in range(2)]
    leavers = [threading.Thread(target=leave, args=(number,)) for number in reversed(numbers())]
    for thread in pumps:
        thread.start()
    assert carrier.under_way.wait(30)
    for thread in leavers:
        thread.start()
    for thread in leavers + pumps:
        thread.join()
    sent = Counter(text.to for text in carrier.taken)
    assert all(count == 1 for count in sent.values()), "nobody twice"
    assert set(seen) == set(numbers())
    assert not {number for number, state in seen.items() if state in UNMARKED} & set(sent)
    counts = shown(world, broadcast)
    assert counts[ACCEPTED] == len(sent), "what the carrier had taken is counted and shown"
    assert counts["suppressed"] + counts["stopped"] == POSITIONS - len(sent)


def test_o8_a_stop_between_mark_and_post_is_told_apart(world: World) -> None:
    """Marked before the STOP: that one text may still go, is counted as sent, and nothing follows it."""
    world.line(LINE, mps=100.0)
    collective = world.collective(lines=[LINE])
    member = world.member(collective, numbers()[0], spoke_on=LINE)
    broadcast = send_broadcast(world, collective)
    committed = threading.Event()

    class Waiting(ScriptedCarrier):
        def send(self, **named: object) -> Outcome:
            assert committed.wait(30)
            return super().send(**named)  # type: ignore[arg-type]

    carrier = Waiting()
    pump = threading.Thread(target=pump_all, args=(world, carrier))
    pump.start()
    wait_for(lambda: rows(world, broadcast)[0].state == ATTEMPTING, "her mark")
    world.text(numbers()[0], "STOP", to=LINE)
    committed.set()
    pump.join()
    assert (len(carrier.taken), rows(world, broadcast)[0].state) == (1, ACCEPTED)
    assert shown(world, broadcast)[ACCEPTED] == 1
    again = send_broadcast(world, collective, "Once more")
    change(world, Outbound, Outbound.broadcast_id == again, state="queued")
    pump_all(world, carrier)
    assert len(carrier.taken) == 1
    assert [(each.membership_id, each.state, each.reason) for each in rows(world, again)] == [(member, "suppressed", "opted_out")]
