"""What can not wait, outside WhatsApp's 24 hours: its knock is as urgent as what it calls her for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.delivery.caps import set_cap
from bot.delivery.knocks import knock
from bot.delivery.sweep import sweep
from models import Membership, Outbound, Spending
from models.messages import LANE_BROADCAST, LANE_RELAY
from tests.delivery import ScriptedCarrier, change, pump_all, put_letter, row, rows, send_broadcast
from tests.test_whatsapp import WHATSAPP, approve, closed, knocks
from tests.world import World

NIGHT = datetime(2026, 4, 12, 23, 0, tzinfo=UTC)
CALLER, SUPPORTER = "+919820000002", "+919820000003"


@pytest.fixture
def supporter(world: World) -> int:
    """She wrote two days ago; somebody who may call for help is there, and it is night. Her membership's id."""
    world.clock.freeze(NIGHT)
    collective = world.collective(lines=[WHATSAPP], quiet_from=21, quiet_until=8)
    hers = closed(world, collective, SUPPORTER, roles=["supporter"], timezone="UTC")
    world.member(collective, CALLER, timezone="UTC", spoke_on=WHATSAPP)
    approve(world)
    return hers


def collective_of(world: World, membership: int) -> int:
    with world.store.read() as session:
        return session.get_one(Membership, membership).collective_id


def serve(world: World) -> list[str]:
    """One minute of a worker; to whom something went."""
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    knock(world.store)
    pump_all(world, carrier)
    return [taken.to for taken in carrier.taken]


def test_a_call_for_help_knocks_at_night(world: World, supporter: int) -> None:
    world.text(f"whatsapp:{CALLER}", "SOS", WHATSAPP)
    assert serve(world) == [f"whatsapp:{SUPPORTER}"]
    assert [(each.unprompted, each.lane) for each in knocks(world)] == [(False, LANE_RELAY)]


def test_a_call_for_help_knocks_when_the_money_is_spent(world: World, supporter: int) -> None:
    world.clock.freeze(NIGHT.replace(hour=12))
    collective = collective_of(world, supporter)
    with world.store.write() as session:
        set_cap(session, world.clock.now(), collective, 1_000_000)
        session.add(Spending(collective_id=collective, month="2026-04", micros=990_000, segments=1, messages=1))
    send_broadcast(world, collective, "We meet at six")
    assert serve(world) == [], "a notice is not worth it"
    world.text(f"whatsapp:{CALLER}", "SOS", WHATSAPP)
    assert serve(world) == [f"whatsapp:{SUPPORTER}"], "the knock that waited for money goes at once"


def test_a_knock_that_waits_for_her_morning_goes_at_once_for_a_call(world: World, supporter: int) -> None:
    world.clock.freeze(NIGHT.replace(hour=20, minute=59))
    send_broadcast(world, collective_of(world, supporter), "We meet at six")
    pump_all(world, ScriptedCarrier())
    knock(world.store)
    world.clock.freeze(NIGHT)
    sweep(world.store)
    pump_all(world, ScriptedCarrier())
    assert [(each.state, each.reason, each.lane) for each in knocks(world)] == [("held", "quiet_hours", LANE_BROADCAST)]
    world.text(f"whatsapp:{CALLER}", "SOS", WHATSAPP)
    assert serve(world) == [f"whatsapp:{SUPPORTER}"] and len(knocks(world)) == 1


@pytest.mark.parametrize("unprompted", [True, False])
def test_of_what_waits_the_most_urgent_calls_her(world: World, supporter: int, unprompted: bool) -> None:
    collective = collective_of(world, supporter)
    with world.store.read() as session:
        line = session.get_one(Outbound, send_broadcast_row(world, collective)).line_id
    put_letter(world, supporter, "We can talk", kind="relay", unprompted=unprompted, line_id=line)
    change(world, Outbound, state="held", reason="window")
    knock(world.store)
    assert [(each.unprompted, each.lane) for each in knocks(world)] == [(unprompted, LANE_RELAY)]


def send_broadcast_row(world: World, collective: int) -> int:
    return rows(world, send_broadcast(world, collective, "We meet at six"))[0].id


def test_an_answer_that_has_grown_old_waits_for_her_morning(world: World, supporter: int) -> None:
    number = put_letter(world, supporter, "We can talk", kind="relay", unprompted=False)
    pump_all(world, ScriptedCarrier())
    assert row(world, number).reason == "window"
    world.clock.advance(timedelta(hours=1))
    assert serve(world) == []
    assert [(each.state, each.reason) for each in knocks(world)] == [("held", "quiet_hours")]
