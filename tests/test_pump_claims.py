"""One pump a line: leases, fences, and what a claim takes."""

from __future__ import annotations

import threading
import time

import pytest
import sqlalchemy as sa

from bot.delivery.claims import Claimed, claim_rows
from bot.delivery.gateway import Accepted, Outcome
from bot.delivery.leases import LeasedLine, LeaseLost, release_line, renew_lease, take_lines
from bot.delivery.marks import mark_rows
from bot.delivery.money import Purse
from bot.delivery.pace import BUSY_SECONDS, BUSY_TRIES, PacedLine
from bot.delivery.texts import Texts
from models import Line, Outbound
from models.clock import real_seconds
from tests.delivery import (
    LINE,
    SECOND,
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
from tests.world import World, new_sid


@pytest.fixture
def sangha(world: World) -> int:
    """A collective with two members on a fast line."""
    return two_members(world)


def test_one_pump_a_line(world: World, sangha: int) -> None:
    send_broadcast(world, sangha)
    take_the_line(world)
    assert take_lines(world.store, "other", 5) == []
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier) == 0


def test_a_pump_whose_fence_is_old_marks_nothing(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    old = take_the_line(world)
    with world.store.write() as session:
        claimed, _ = claim_rows(world.store, session, old, 1, 1)
        renew_lease(session, old, old.next_slot)
    change(world, Line, lease_until=1.0)
    assert states(world, number) == ["claimed", "queued"]
    new = take_the_line(world)
    assert new.fence == old.fence + 1
    assert states(world, number) == ["queued", "queued"], "what the dead pump had claimed is there again at once"
    with world.store.write() as session:
        assert mark_rows(world.store, session, old, claimed, Texts(world.store), Purse(world.store))[0] == []
    with pytest.raises(LeaseLost), world.store.write() as session:
        claim_rows(world.store, session, old, 10, 10)
        renew_lease(session, old, old.next_slot)
    with world.store.write() as session:
        release_line(session, old, 0.0)
    assert line_row(world).lease_holder == "test"
    assert states(world, number) == ["queued", "queued"]


def test_a_fence_that_moves_between_claim_and_mark(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    old = take_the_line(world)
    with world.store.write() as session:
        claimed, _ = claim_rows(world.store, session, old, 10, 10)
        renew_lease(session, old, old.next_slot)
    change(world, Line, fence=old.fence + 1)
    with pytest.raises(LeaseLost), world.store.write() as session:
        mark_rows(world.store, session, old, claimed, Texts(world.store), Purse(world.store))
    assert states(world, number) == ["claimed", "claimed"]


def test_a_pump_that_loses_its_lease_goes_on_without_the_line(world: World, sangha: int) -> None:
    world.line(SECOND, mps=2.0)
    slow = world.collective("SLOW", lines=[SECOND])
    for number in range(4):
        world.member(slow, f"+1555300000{number}")
    number = send_broadcast(world, slow)
    stolen = threading.Event()

    def answer(_to: str, sent: int) -> Outcome:
        if sent == 1:
            change(world, Line, Line.address == SECOND, fence=99, lease_holder="thief", lease_until=real_seconds() + 60)
            stolen.set()
        return Accepted(new_sid())

    carrier = ScriptedCarrier(answer)
    pump_all(world, carrier, 3.0)
    assert stolen.is_set() and 1 <= len(carrier.taken) <= 2
    assert line_row(world, SECOND).lease_holder == "thief"
    assert "attempting" not in states(world, number)


def test_a_successor_begins_where_the_pace_allows(world: World, sangha: int) -> None:
    send_broadcast(world, sangha)
    ahead = real_seconds() + 0.4
    change(world, Line, next_slot=ahead)
    carrier = ScriptedCarrier()
    began = time.monotonic()
    pump_all(world, carrier)
    assert carrier.taken[0].at - began > 0.3
    assert line_row(world).next_slot > ahead


def test_what_is_claimed_is_spoken_for_in_the_database(world: World, sangha: int) -> None:
    """A pump that is killed right after its claim leaves a next_slot that no successor can exceed the pace with."""
    world.line(SECOND, mps=10.0)
    slow = world.collective("SLOW", lines=[SECOND])
    add_many_members(world, slow, 30)
    send_broadcast(world, slow)
    seen: list[tuple[float, int]] = []

    def answer(_to: str, _number: int) -> Outcome:
        with world.store.read() as session:
            claimed = session.scalar(sa.select(sa.func.count()).where(Outbound.state.in_(("claimed", "attempting"))))
            slot = session.scalar(sa.select(Line.next_slot).where(Line.address == SECOND))
        seen.append((slot - real_seconds(), claimed))
        return Accepted(new_sid())

    pump_all(world, ScriptedCarrier(answer), 1.5)
    assert seen
    assert all(claimed <= 10 for _, claimed in seen), "at most a second of pace"
    assert all(-0.2 < ahead <= 1.1 for ahead, _ in seen)


def test_a_clock_that_was_set_back_does_not_stop_the_line(world: World) -> None:
    line = LeasedLine(1, "sms", LINE, 10.0, 1, real_seconds() + 86_400, None)
    now = real_seconds()
    assert PacedLine(line, now).next_slot == now


def test_a_claim_is_a_second_of_pace_in_segments(world: World, sangha: int) -> None:
    for number in range(8):
        put_letter(world, 1, f"{number} " + "x" * 300)
    line = take_the_line(world)
    with world.store.write() as session:
        claimed, is_dry = claim_rows(world.store, session, line, 4, 8)
    assert ([each.segments for each in claimed], is_dry) == ([2, 2], False)
    assert sorted(states(world)) == ["claimed"] * 2 + ["queued"] * 6


def test_a_phone_that_stays_busy_is_given_up_in_good_order() -> None:
    """Its row goes back to the queue; left claimed, it would look like a dead pump's and count as a try."""
    paced, busy = PacedLine(LeasedLine(1, "sms", LINE, 10.0, 1, 0.0, None), 1000.0), Claimed(6, 0, 7, 1)
    for tries in range(1, BUSY_TRIES):
        paced.delay([busy], 1000.0 + tries)
        assert paced.take_given_up() == [] and not paced.is_idle
        assert paced.due(1000.0 + tries + BUSY_SECONDS, 10) == [busy]
    paced.delay([busy], 1100.0)
    assert not paced.is_idle
    assert paced.take_given_up() == [busy]
