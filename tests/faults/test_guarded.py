"""What a guard keeps where no other test shows it (tests/guards.py takes each guard out and looks which test goes red)."""

from __future__ import annotations

import os
import threading

import pyotp
import pytest
import sqlalchemy as sa

from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.plan import plan_broadcast
from models import Broadcast, Outbound, SecondFactor
from tests.conftest import make_settings, open_frozen
from tests.delivery import add_many_members, row, rows, send_broadcast, states
from tests.faults.ground import LINE
from tests.servers import PostgresServer
from tests.waiting import wait_for
from tests.world import World

ORGANIZER = "+15559000001"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def test_one_row_a_phone_and_broadcast(world: World) -> None:
    collective = world.collective(lines=[LINE])
    world.member(collective, "+15551000001")
    number = send_broadcast(world, collective)
    (planned,) = rows(world, number)
    names = [column.key for column in sa.inspect(Outbound).columns if column.key not in ("id", "membership_id", "body")]
    copy = {name: getattr(row(world, planned.id), name) for name in names}
    with pytest.raises(sa.exc.IntegrityError), world.store.write() as session:
        session.execute(sa.insert(Outbound).values(copy))


def test_planners_wait_for_one_another(postgres: PostgresServer) -> None:
    """While one plans a chunk, another neither reads how far the planning went nor adds to the total. (SQLite has one writer.)"""
    with postgres.fresh_database(f"planners_{os.getpid()}") as url:
        deployment = open_frozen(make_settings(url))
        world = World(deployment)
        collective = world.collective(lines=[LINE])
        add_many_members(world, collective, 5)
        now = world.clock.now()
        with world.store.write() as session:
            drafted = draft_broadcast(session, now, collective, "notice", {"en": "Rally"})
            assert approve_broadcast(session, now, drafted, how="cli")
        second = threading.Thread(target=plan_broadcast, args=(deployment, drafted.id))

        def waits() -> bool:
            with world.store.read() as session:
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                return bool(session.scalar(sa.text(waiting)))

        with world.store.write() as session:
            # The first planner has all five, and is about to commit.
            session.execute(sa.update(Broadcast).where(Broadcast.id == drafted.id).values(planned_through=10**6, total=5))
            second.start()
            wait_for(lambda: waits() or not second.is_alive(), "the second planner")
            assert second.is_alive()
        second.join(30)
        assert states(world, drafted.id) == [], "the second one goes on from there"
        with world.store.read() as session:
            broadcast = session.get_one(Broadcast, drafted.id)
            assert (broadcast.total, broadcast.planned_at) == (5, now)
        deployment.store.close()


@pytest.fixture
def organizer(world: World) -> World:
    """An organizer with a second factor and a draft."""
    collective = world.collective(lines=[LINE])
    member = world.member(collective, ORGANIZER, roles=["organizer"], spoke_on=LINE)
    with world.store.write() as session:
        session.add(SecondFactor(membership_id=member, secret=SECRET))
    return world


def draft(world: World) -> int:
    world.text(ORGANIZER, "ALERT Rally today at 6 at Gandhi Chowk")
    with world.store.read() as session:
        return session.scalars(sa.select(Broadcast.id).order_by(Broadcast.id.desc())).first() or 0


def state(world: World, number: int) -> str:
    with world.store.read() as session:
        return session.get_one(Broadcast, number).state


def code(world: World) -> str:
    return pyotp.TOTP(SECRET).at(world.clock.now())


def test_a_text_from_the_organizers_number_alone_sends_nothing(organizer: World) -> None:
    """A sender is forged in a second; a code is not."""
    number = draft(organizer)
    organizer.text(ORGANIZER, "SEND")
    organizer.text(ORGANIZER, f"SEND {(int(code(organizer)) + 1) % 10**6:06d}")
    organizer.text(ORGANIZER, "OK 1")
    assert state(organizer, number) == "draft"
    organizer.text(ORGANIZER, f"SEND {code(organizer)}")
    assert state(organizer, number) == "scheduled"


def test_a_one_time_code_works_once(organizer: World) -> None:
    """Whoever reads it over her shoulder, or in her Sent folder, can not use it again."""
    first = draft(organizer)
    organizer.text(ORGANIZER, f"SEND {code(organizer)}")
    assert state(organizer, first) == "scheduled"
    second = draft(organizer)
    assert second != first
    organizer.text(ORGANIZER, f"SEND 2 {code(organizer)}")
    assert state(organizer, second) == "draft"
