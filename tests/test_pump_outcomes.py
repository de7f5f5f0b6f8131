"""What came back from the carrier, and what becomes of the message, its phone and its line."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.delivery.gateway import Accepted, Lost, Outcome, Refused
from bot.delivery.receipts import apply_receipt
from bot.delivery.sweep import sweep
from bot.delivery.tokens import callback_token
from models import Outbound, PhoneLine
from tests.delivery import (
    LINE,
    SECOND,
    ScriptedCarrier,
    add_many_members,
    change,
    line_row,
    pump_all,
    put_letter,
    rows,
    send_broadcast,
    states,
    two_members,
)
from tests.world import World, new_sid


@pytest.fixture
def sangha(world: World) -> int:
    """A collective with two members on a fast line."""
    return two_members(world)


@pytest.mark.parametrize(
    ("outcome", "state", "reason", "code"),
    [
        (Refused(21610), "failed", None, 21610),
        (Refused(21211), "failed", None, 21211),
        (Refused(21614), "failed", None, 21614),
        (Refused(21612), "failed", None, 21612),
        (Refused(21617), "failed", None, 21617),
        (Refused(99999), "failed", None, 99999),
        (Refused(21408), "held", "line", 21408),
        (Refused(21606), "held", "line", 21606),
        (Refused(20003), "held", "line", 20003),
        (Refused(21611), "held", "line", 21611),
        (Lost("ReadTimeoutError"), "unknown", None, None),
        (Lost("HTTP 500"), "unknown", None, None),
    ],
    ids=lambda value: str(value),
)
def test_what_becomes_of_it(world: World, outcome: Outcome, state: str, reason: str | None, code: int | None) -> None:
    collective = world.collective(lines=[LINE])
    world.member(collective, "+15551000001")
    number = send_broadcast(world, collective)
    carrier = ScriptedCarrier(lambda _to, _sent: outcome)
    pump_all(world, carrier)
    (found,) = rows(world, number)
    assert (found.state, found.reason, found.error_code, found.attempt) == (state, reason, code, 1)
    assert (found.done_at is not None) == (state == "failed")
    pump_all(world, carrier)
    sweep(world.store)
    pump_all(world, carrier)
    assert len(carrier.taken) == 1, "nothing goes twice by itself"


def test_21610_ends_it_for_this_phone_on_this_line_only(world: World) -> None:
    collective = world.collective(lines=[LINE, SECOND])
    world.member(collective, "+15551000001")
    number = send_broadcast(world, collective)
    pump_all(world, ScriptedCarrier(lambda _to, _sent: Refused(21610)))
    with world.store.read() as session:
        (known,) = session.scalars(sa.select(PhoneLine))
    assert (known.line_id, known.opted_out_at, known.opted_out_by) == (rows(world, number)[0].line_id, world.clock.now(), "21610")
    again = send_broadcast(world, collective)
    assert [(each.state, each.reason) for each in rows(world, again)] == [("suppressed", "opted_out")]


def test_a_misconfigured_line_rests_and_one_message_tries_it(world: World, sangha: int) -> None:
    add_many_members(world, sangha, 8)
    number = send_broadcast(world, sangha)
    broken = ScriptedCarrier(lambda _to, _sent: Refused(21606))
    pump_all(world, broken)
    first = len(broken.taken)
    found = line_row(world)
    assert found.held_code == 21606 and found.held_until is not None
    assert pump_all(world, broken) == 0
    world.clock.advance(timedelta(minutes=10))
    pump_all(world, broken)
    assert len(broken.taken) <= first + 1, "one message, not a second's worth"
    world.clock.advance(timedelta(minutes=30))
    sweep(world.store)
    pump_all(world, ScriptedCarrier())
    for _ in range(8):  # what was put off again and again, hour by hour
        world.clock.advance(timedelta(hours=6))
        sweep(world.store)
        pump_all(world, ScriptedCarrier())
    assert set(states(world, number)) == {"accepted"}
    found = line_row(world)
    assert found.held_code is None and found.held_until is not None and found.held_until <= world.clock.now()


@pytest.mark.parametrize("code", [21611, 30001])
def test_21611_and_30001_back_off_for_minutes(world: World, sangha: int, code: int) -> None:
    """The carrier's own queue is full: said at once (21611), or hours later of a message that waited too long there (30001)."""
    number = send_broadcast(world, sangha)
    if code == 21611:
        carrier = ScriptedCarrier(lambda _to, _sent: Refused(21611))
        pump_all(world, carrier)
    else:
        carrier = ScriptedCarrier()
        pump_all(world, carrier)
        sent = rows(world, number)[0]
        assert apply_receipt(world.store, callback_token(world.store, sent.id, sent.attempt), "undelivered", code, sent.sid)
    taken = len(carrier.taken)
    put_letter(world, world.member(sangha, "+15551000003"), "an answer")
    assert line_row(world).held_until == world.clock.now() + timedelta(minutes=5)
    world.clock.advance(timedelta(minutes=5) - timedelta(seconds=1))
    assert not sweep(world.store).is_waiting and pump_all(world, carrier) == 0, "nothing at all leaves for five minutes"
    world.clock.advance(timedelta(seconds=1))
    again = ScriptedCarrier()
    assert sweep(world.store).is_waiting
    pump_all(world, again)
    sweep(world.store)
    assert "an answer" in again.bodies and len(carrier.taken) == taken
    for _ in range(8):  # the messages that met it come after others, later and later
        world.clock.advance(timedelta(minutes=10))
        sweep(world.store)
        pump_all(world, again)
    assert set(states(world, number)) == {"accepted"}
    assert line_row(world).held_code is None


def test_a_country_that_is_switched_off_stops_nobody_else(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    carrier = ScriptedCarrier(lambda to, _sent: Refused(21408) if to == "+15551000001" else Accepted(new_sid()))
    pump_all(world, carrier)
    assert sorted(states(world, number)) == ["accepted", "held"]
    assert line_row(world).held_until is None


def test_a_receipt_that_overtakes_the_answer(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)

    def answer(_to: str, _sent: int) -> Outcome:
        change(world, Outbound, Outbound.state == "attempting", state="delivered", sid="SM" + "f" * 32)
        return Accepted(new_sid())

    pump_all(world, ScriptedCarrier(answer))
    assert set(states(world, number)) == {"delivered"}
    assert {each.sid for each in rows(world, number)} == {"SM" + "f" * 32}


def test_a_gateway_that_breaks_leaves_the_outcome_unknown(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)

    def answer(_to: str, _sent: int) -> Outcome:
        raise RuntimeError("words that must not be logged")

    pump_all(world, ScriptedCarrier(answer))
    assert states(world, number) == ["unknown", "unknown"]
