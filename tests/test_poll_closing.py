"""CLOSE ends a vote at one organizer's word; its result waits for the others to object."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from models import Audit, Broadcast, Collective
from tests.delivery import ScriptedCarrier, pump_all, rows
from tests.test_broadcasts import AUTHOR, OTHER, let_due_timers_act
from tests.world import World


@pytest.fixture
def asked(world: World) -> int:
    """A vote that was sent to two organizers and a member; its collective."""
    world.line(mps=500.0)
    collective = world.collective()
    for number in (AUTHOR, OTHER):
        world.member(collective, number, roles=["organizer"])
    world.member(collective, "+15551000001")
    world.text(AUTHOR, "POLL Do we strike? / Yes / No")
    world.text(OTHER, "OK 1")
    world.clock.advance(timedelta(seconds=30))
    let_due_timers_act(world)
    pump_all(world, ScriptedCarrier(), 3)
    return collective


def results(world: World) -> list[Broadcast]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(Broadcast).where(Broadcast.kind == "result")))


def test_the_result_cools_down_and_the_other_organizers_are_told_its_number(world: World, asked: int) -> None:
    assert "HOLD 2" in world.text(AUTHOR, "CLOSE 1").texts[0]
    let_due_timers_act(world)
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 3)
    assert [(text.to, "closed vote 1 early" in text.body and "HOLD 2" in text.body) for text in carrier.taken] == [(OTHER, True)]
    (result,) = results(world)
    with world.store.read() as session:
        wait = session.get_one(Collective, asked).cool_down_seconds
        acts = dict(session.execute(sa.select(Audit.act, Audit.subject)).all())
    assert wait > 0 and result.due_at == world.clock.now() + timedelta(seconds=wait)
    assert (result.approved_by, result.state) == ("organizer", "scheduled") and acts["poll closed"] == "broadcast 1"
    world.clock.advance(timedelta(seconds=wait))
    let_due_timers_act(world)
    pump_all(world, carrier, 3)
    assert len([body for body in carrier.bodies if "Result: Do we strike?" in body]) == 3


def test_another_organizer_holds_the_result(world: World, asked: int) -> None:
    world.text(AUTHOR, "CLOSE 1")
    world.text(OTHER, "HOLD 2")
    world.clock.advance(timedelta(minutes=5))
    let_due_timers_act(world)
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 3)
    assert [each.state for each in results(world)] == ["held"]
    assert not [body for body in carrier.bodies if "Result" in body]


def test_a_vote_is_closed_once(world: World, asked: int) -> None:
    world.text(AUTHOR, "CLOSE 1")
    assert "No open vote" in world.text(OTHER, "CLOSE 1").texts[0]
    assert len(results(world)) == 1
    assert len([each for each in rows(world) if each.kind == "report"]) == 1
