"""A line never has more at the carrier than it can deliver before the carrier gives it up (10 hours by SMS, 4 by WhatsApp)."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.delivery import gates
from bot.delivery.gates import CarrierQueue, Gates, Opening
from bot.delivery.leases import LeasedLine
from bot.delivery.pace import PacedLine
from models import Line, Outbound
from models.clock import real_seconds
from models.messages import LANE_BROADCAST, LANE_CHECK_IN
from tests.delivery import LINE, ScriptedCarrier, add_many_members, change, line_row, pump_all, put_letter, rows, send_broadcast, states
from tests.world import World

HOURS = timedelta(hours=1)
# So slow that twenty segments fill ten hours.
SLOW, FULL = 20 / 36_000, 20


@pytest.fixture
def broadcast(world: World) -> int:
    """Forty messages of a broadcast on a very slow line, none sent yet."""
    world.line(LINE, mps=SLOW)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 40)
    return send_broadcast(world, collective)


def leased(world: World) -> LeasedLine:
    line = line_row(world)
    return LeasedLine(line.id, line.channel, line.address, line.mps, 1, 0.0, None, line.proven_at)


def give_to_carrier(world: World, count: int, *, hours_ago: float = 0.1, **values: object) -> None:
    """The carrier has taken the first ``count`` and said nothing more of them."""
    first = [each.id for each in rows(world) if each.state == "queued"][:count]
    taken = {"state": "accepted", "accepted_at": world.clock.now() - hours_ago * HOURS}
    change(world, Outbound, Outbound.id.in_(first), **(taken | values))


def opening(world: World, queues: dict[int, CarrierQueue] | None = None, wanted: int = 8) -> Opening:
    now = real_seconds()
    line = leased(world)
    with world.store.read() as session:
        return Gates(world.store, {} if queues is None else queues).open(session, PacedLine(line, now), [], wanted, wanted, now)


def test_what_fits_may_be_claimed(world: World, broadcast: int) -> None:
    assert opening(world) == Opening(LANE_BROADCAST, 8, 8, False)
    give_to_carrier(world, FULL - 3)
    assert opening(world) == Opening(LANE_BROADCAST, 8, 3, True)


def test_a_full_queue_takes_urgent_messages_only(world: World, broadcast: int) -> None:
    give_to_carrier(world, FULL)
    assert opening(world) == Opening(LANE_CHECK_IN, 8, 8, True)
    change(world, Outbound, Outbound.id == rows(world)[0].id, state="sent")
    assert opening(world) == Opening(LANE_BROADCAST, 8, 1, True), "one was sent on"


def test_segments_count_not_messages(world: World, broadcast: int) -> None:
    give_to_carrier(world, FULL // 4, segments=4)
    assert opening(world).highest == LANE_CHECK_IN


def test_what_the_carrier_gave_up_makes_room(world: World, broadcast: int) -> None:
    give_to_carrier(world, FULL, hours_ago=9.9)
    assert opening(world).highest == LANE_CHECK_IN
    world.clock.advance(0.2 * HOURS)
    assert opening(world) == Opening(LANE_BROADCAST, 8, 8, False)


def test_whatsapp_keeps_it_for_four_hours(world: World, broadcast: int) -> None:
    change(world, Line, channel="whatsapp", mps=FULL / (4 * 3600))
    give_to_carrier(world, FULL, hours_ago=3.9)
    assert opening(world).highest == LANE_CHECK_IN
    world.clock.advance(0.2 * HOURS)
    assert opening(world).highest == LANE_BROADCAST


def test_a_fast_line_is_not_counted(world: World, broadcast: int, monkeypatch: pytest.MonkeyPatch) -> None:
    give_to_carrier(world, FULL)
    monkeypatch.setattr(gates, "TOO_MANY_TO_COUNT", FULL - 1)
    assert opening(world) == Opening(LANE_BROADCAST, 8, 8, False), "Twilio's 21611 says it there"


def test_the_count_is_kept_until_the_pace_could_have_filled_it(world: World, broadcast: int) -> None:
    queues: dict[int, CarrierQueue] = {}
    give_to_carrier(world, FULL - 10)
    assert opening(world, queues).segments == 8
    (queue,) = queues.values()
    assert queue.look_after - real_seconds() == pytest.approx(10 / SLOW, rel=0.01)
    queue.filled(9)
    give_to_carrier(world, 10)  # by somebody else: not looked at yet
    assert opening(world, queues) == Opening(LANE_BROADCAST, 8, 1, True)
    change(world, Line, mps=SLOW * 2)
    assert opening(world, queues).segments == 8, "another pace is another limit"


def test_a_full_carrier_gets_the_reply_and_no_broadcast(world: World, broadcast: int) -> None:
    give_to_carrier(world, FULL)
    with world.store.read() as session:
        member = session.scalars(sa.select(Outbound.membership_id).where(Outbound.broadcast_id == broadcast)).first()
    assert member is not None
    put_letter(world, member, "an answer")
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 1.0)
    assert carrier.bodies == ["an answer"]
    change(world, Line, next_slot=0.0)
    pump_all(world, carrier, 1.0)
    assert carrier.bodies == ["an answer"] and states(world, broadcast).count("queued") == 40 - FULL
