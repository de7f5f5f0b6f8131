"""The pump: everybody gets hers once, in her language, the urgent ones first, broadcasts taking turns."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.delivery.sweep import sweep
from bot.delivery.tokens import read_token
from models import Membership
from tests.delivery import (
    LINE,
    ScriptedCarrier,
    change,
    pump_all,
    put_letter,
    rows,
    send_broadcast,
    two_members,
)
from tests.world import World

WHATSAPP = "whatsapp:+15550003333"


@pytest.fixture
def sangha(world: World) -> int:
    """A collective with two members on a fast line."""
    return two_members(world)


def test_everybody_gets_it_once_in_her_language(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha, {"en": "Rally today", "es": "Marcha hoy"})
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier) == 2
    assert sorted((text.to, text.body) for text in carrier.taken) == [
        ("+15551000001", "Sangha: Rally today"),
        ("+15551000002", "Sangha: Marcha hoy"),
    ]
    assert {text.sender for text in carrier.taken} == {LINE}
    for each in rows(world, number):
        assert (each.state, each.attempt, each.attempted_at, each.accepted_at) == ("accepted", 1, world.clock.now(), world.clock.now())
        assert each.sid is not None and each.lease_until is None
    assert pump_all(world, carrier) == 0
    assert sweep(world.store).broadcasts_done == 1


def test_the_callback_says_which_row_and_attempt(world: World, sangha: int) -> None:
    number = rows(world, send_broadcast(world, sangha))[0].id
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    prefix = "https://chorus.example.org/twilio/status/"
    assert all(text.callback.startswith(prefix) for text in carrier.taken)
    assert (number, 1) in [read_token(world.store, text.callback.removeprefix(prefix)) for text in carrier.taken]


def test_a_letter_goes_as_it_was_written(world: World, sangha: int) -> None:
    member = world.member(sangha, "+15551000003")
    put_letter(world, member, "Your note 7: thank you! €5 {braces} 🌱")
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert carrier.bodies == ["Your note 7: thank you! €5 {braces} 🌱"]


def test_whatsapp_and_messaging_services(world: World) -> None:
    world.line(WHATSAPP), world.line("MG" + "a" * 32)
    first, second = world.collective(lines=[WHATSAPP]), world.collective("OTHER", lines=["MG" + "a" * 32])
    world.member(first, "+15551000001", spoke_on=WHATSAPP)
    world.member(second, "+15551000002")
    send_broadcast(world, first), send_broadcast(world, second)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert sorted((text.to, text.sender) for text in carrier.taken) == [
        ("+15551000002", "MG" + "a" * 32),
        ("whatsapp:+15551000001", WHATSAPP),
    ]


def test_urgent_lanes_overtake_and_broadcasts_take_turns(world: World) -> None:
    # A tenth of a second between two texts: threads that post them keep their order on a slow machine, too.
    world.line(LINE, mps=10.0)
    first, second = world.collective("FIRST", lines=[LINE]), world.collective("SECOND", lines=[LINE])
    for number in range(3):
        world.member(first, f"+1555100000{number}")
        world.member(second, f"+1555200000{number}")
    member = world.member(first, "+15551000009")
    change(world, Membership, Membership.id == member, paused_until=world.clock.now() + timedelta(days=1))
    send_broadcast(world, first, "one")
    send_broadcast(world, second, "two")
    put_letter(world, member, "code", kind="code", unprompted=False)
    put_letter(world, member, "reply")
    put_letter(world, member, "stopped", kind="stop")
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert carrier.bodies == [
        "stopped",
        "code",
        "reply",
        "First: one",
        "Second: two",
        "First: one",
        "Second: two",
        "First: one",
        "Second: two",
    ]
