"""What organizers are told by text: the final report, once, when it is settled; and tell_organizers, whom it reaches and whom not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.delivery.reports import report_broadcast, tell_organizers
from models import Broadcast, Collective, Membership, Outbound, Person, Phone, PhoneLine, Timer
from tests.delivery import ScriptedCarrier, change, phone_of, pump_all, rows, send_broadcast
from tests.world import World

AUTHOR, OTHER, THIRD = "+15550002001", "+15550002002", "+15550002003"


@pytest.fixture
def sangha(world: World) -> int:
    collective = world.collective()
    world.member(collective, AUTHOR, roles=["organizer"])
    world.member(collective, OTHER, roles=["organizer"], language="es")
    world.member(collective, THIRD, roles=["organizer"])
    for index in range(9):
        world.member(collective, f"+1555100{index:04d}")
    return collective


def done(world: World, sangha: int, rows_are: str = "delivered", **values: Any) -> int:
    """A broadcast of member 1, approved by member 2, whose rows are all ``rows_are``."""
    broadcast = send_broadcast(world, sangha, author_id=1)
    change(world, Outbound, Outbound.broadcast_id == broadcast, state=rows_are)
    change(world, Broadcast, Broadcast.id == broadcast, **({"state": "done", "done_at": world.clock.now(), "approver_id": 2} | values))
    return broadcast


def reports(world: World) -> list[str]:
    """The reports that go out now."""
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    return [body for body in carrier.bodies if not body.startswith("Sangha:")]


def look(world: World, broadcast: int) -> bool:
    """The report's timer is due; whether somebody was told."""
    with world.store.read() as session:
        waiting = sa.select(Timer.id).where(Timer.kind == "report", Timer.subject_id == broadcast).order_by(Timer.id.desc())
        timer = session.scalars(waiting.limit(1)).one()
    return report_broadcast(world.deployment, broadcast, timer)


def test_it_is_told_once_to_author_and_approver(world: World, sangha: int) -> None:
    broadcast = done(world, sangha)
    assert look(world, broadcast)
    assert reports(world) == ["1 is done: 12 sent. STATUS 1 says more.", "1 listo: 12 mandados. STATUS 1 dice mas."]
    with world.store.write() as session:  # as retention does after a month
        session.execute(sa.delete(Timer).where(Timer.kind == "told"))
    assert not look(world, broadcast), "a worker that died after it is followed by another"
    assert reports(world) == []


def test_what_went_wrong_is_told(world: World, sangha: int) -> None:
    broadcast = done(world, sangha)
    wrong = [each.id for each in rows(world, broadcast)][:3]
    change(world, Outbound, Outbound.id.in_(wrong[:2]), state="failed")
    change(world, Outbound, Outbound.id == wrong[2], state="unknown", checks=2)
    assert look(world, broadcast)
    assert reports(world)[0] == "1 is done: 9 sent, 2 could not be reached, 1 not confirmed. STATUS 1 says more."


@pytest.mark.parametrize(("state", "check"), [("accepted", False), ("sent", False), ("unknown", True)])
def test_it_waits_for_receipts_ten_minutes_at_most(world: World, sangha: int, state: str, check: bool) -> None:
    broadcast = done(world, sangha, state)
    if check:
        change(world, Outbound, Outbound.broadcast_id == broadcast, check_at=world.clock.now(), checks=1)
    assert not look(world, broadcast)
    world.clock.advance(timedelta(minutes=9, seconds=59))
    assert not look(world, broadcast)
    world.clock.advance(timedelta(seconds=1))
    assert look(world, broadcast)


def test_it_looks_again_under_one_timer_each_time(world: World, sangha: int) -> None:
    broadcast = done(world, sangha, state="sending")
    with world.store.read() as session:
        first = session.scalars(sa.select(Timer.id).where(Timer.kind == "report")).one()
    for _ in range(2):  # the same timer twice: a worker died in between
        assert not report_broadcast(world.deployment, broadcast, first)
    with world.store.read() as session:
        again = session.scalars(sa.select(Timer.due_at).where(Timer.kind == "report", Timer.id != first)).all()
    assert list(again) == [world.clock.now() + timedelta(minutes=1)]


def test_what_takes_hours_is_not_looked_at_every_minute(world: World, sangha: int) -> None:
    broadcast = done(world, sangha, state="sending")
    world.clock.advance(timedelta(hours=9))
    assert not look(world, broadcast)
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.max(Timer.due_at)).where(Timer.kind == "report")) == world.clock.now() + timedelta(
            minutes=15
        )


@pytest.mark.parametrize(
    "values", [{"kind": "result"}, {"kind": "check_in"}, {"state": "stopped"}, {"author_id": None, "approver_id": None}]
)
def test_what_is_not_reported(world: World, sangha: int, values: dict[str, Any]) -> None:
    broadcast = done(world, sangha, **values)
    look(world, broadcast)
    assert reports(world) == []


def test_a_handful_is_reported_only_when_somebody_missed_it(world: World) -> None:
    collective = world.collective()
    world.member(collective, AUTHOR, roles=["organizer"])
    world.member(collective, OTHER, roles=["organizer"])
    fine, wrong = done(world, collective), done(world, collective)
    change(world, Outbound, Outbound.id == rows(world, wrong)[0].id, state="undelivered")
    assert not look(world, fine) and look(world, wrong)


def test_quiet_hours_hold_it(world: World, sangha: int) -> None:
    broadcast = done(world, sangha)
    change(world, Collective, Collective.id == sangha, quiet_from=8, quiet_until=20)
    assert look(world, broadcast) and reports(world) == []
    assert {(each.state, each.reason) for each in rows(world) if each.kind == "report"} == {("held", "quiet_hours")}


# --- tell_organizers ------------------------------------------------------------------------------------------------------------


def tell(world: World, collective: int, key: str = "something", **named: Any) -> int:
    with world.store.write() as session:
        return tell_organizers(session, world.clock.now(), collective, lambda language: f"news in {language}", key=key, **named)


def told(world: World) -> list[int | None]:
    return [each.membership_id for each in rows(world) if each.kind == "report"]


def test_each_organizer_is_told_in_her_language_once(world: World, sangha: int) -> None:
    assert tell(world, sangha) == 3
    assert tell(world, sangha) == 0, "the same thing is told once"
    assert tell(world, sangha, "another thing") == 3
    assert sorted(set(reports(world))) == ["news in en", "news in es"]


def test_only_those_named(world: World, sangha: int) -> None:
    assert tell(world, sangha, only={2, 5}) == 1 and told(world) == [2], "a member who is no organizer is not written to"


def test_never_who_left_stopped_or_lost_her_number(world: World, sangha: int) -> None:
    change(world, Membership, Membership.id == 1, state="left")
    change(world, Phone, Phone.id == phone_of(world, 2), detached_at=world.clock.now())
    with world.store.write() as session:
        session.add(PhoneLine(phone_id=phone_of(world, 3), line_id=1, opted_out_at=world.clock.now(), opted_out_by="carrier"))
    assert tell(world, sangha) == 0 and told(world) == []


def test_a_stop_after_it_was_written_counts(world: World, sangha: int) -> None:
    tell(world, sangha)
    world.text(THIRD, "STOP")
    assert len(reports(world)) == 2


def test_two_organizers_on_one_phone_get_one(world: World, sangha: int) -> None:
    sister = world.member(sangha, AUTHOR, name="Lila", roles=["organizer"])
    with world.store.write() as session:
        person = session.scalars(sa.select(Person.id).join(Membership).where(Membership.id == sister)).one()
        session.execute(sa.update(Phone).where(Phone.id == phone_of(world, 1)).values(current_person_id=person))
    assert tell(world, sangha) == 3 and sister in told(world) and 1 not in told(world), "whoever holds it"


def test_a_transaction_that_fails_has_told_nobody(world: World, sangha: int) -> None:
    with pytest.raises(RuntimeError), world.store.write() as session:
        tell_organizers(session, world.clock.now(), sangha, str, key="something")
        raise RuntimeError
    assert tell(world, sangha) == 3
