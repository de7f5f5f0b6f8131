"""What organizers are told when carriers do not take their texts; the hold of a broadcast that is filtered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from bot.delivery import alarms
from bot.delivery.broadcasts import record_act, release_broadcast
from bot.delivery.errors import MAY_BE_HER_COUNTRY
from bot.delivery.gateway import Refused
from bot.delivery.receipts import apply_receipt
from bot.delivery.tokens import callback_token
from bot.delivery.trouble_words import tell_filtered, tell_first_failed, tell_line_trouble
from bot.languages import LANGUAGES
from bot.languages.segments import count_segments
from models import Audit, Broadcast, Line, Outbound, PhoneLine
from tests.delivery import ScriptedCarrier, change, line_row, phone_of, pump_all, put_letter, row, rows, send_broadcast
from tests.world import World

LINE, OTHER, WHATSAPP = "+15550001111", "+15550001112", "whatsapp:+15550003333"
ORGANIZER = "+15551000009"
FAR_OFF = datetime(2030, 1, 1, tzinfo=UTC)


def receive(world: World, number: int, status: str, code: int | None = None) -> None:
    assert apply_receipt(world.store, callback_token(world.store, number, 1), status, code, None)


def reports(world: World) -> list[Outbound]:
    return [each for each in rows(world) if each.kind == "report"]


def words_of(world: World, number: int) -> str:
    with world.store.read() as session:
        return session.scalars(sa.select(Outbound.body).where(Outbound.id == number)).one() or ""


def sent_notice(world: World, collective: int) -> int:
    world.member(collective, "+15551000001")
    broadcast = send_broadcast(world, collective)
    pump_all(world, ScriptedCarrier())
    return next(each.id for each in rows(world, broadcast) if each.state == "accepted")


# --- a line that is set up wrongly -----------------------------------------------------------------------------------------


def test_organizers_are_told_once_a_day_through_another_line(world: World) -> None:
    collective = world.collective(lines=[LINE, OTHER])
    world.member(collective, ORGANIZER, roles=["organizer"], spoke_on=LINE, language="es")
    number = sent_notice(world, collective)
    wrong = rows(world)[0].line_id if rows(world)[0].id == number else world.line(LINE)
    receive(world, number, "failed", 30034)
    receive(world, number, "failed", 30034)
    assert [(each.state, each.line_id != wrong) for each in reports(world)] == [("queued", True)]
    told = words_of(world, reports(world)[0].id)
    assert told.startswith("Sangha: ") and "Avise a quien maneja" in told and "hay que registrarlo" in told
    change(world, Outbound, Outbound.id == number, state="accepted", error_code=None)
    receive(world, number, "failed", 30034)
    assert len(reports(world)) == 1
    world.clock.advance(timedelta(days=1))
    change(world, Outbound, Outbound.id == number, state="accepted", error_code=None)
    receive(world, number, "failed", 30034)
    assert len(reports(world)) == 2, "tomorrow again"


def test_without_another_line_it_is_read_in_the_doctors_report(world: World) -> None:
    collective = world.collective()
    world.member(collective, ORGANIZER, roles=["organizer"])
    receive(world, sent_notice(world, collective), "failed", 30034)
    assert reports(world) == []
    with world.store.read() as session:
        assert session.scalars(sa.select(Line.held_code)).one() == 30034


def test_a_refusal_at_the_send_is_told_too(world: World) -> None:
    collective = world.collective(lines=[LINE, OTHER])
    organizer = world.member(collective, ORGANIZER, roles=["organizer"])
    world.member(collective, "+15551000001", spoke_on=LINE)
    send_broadcast(world, collective)
    carrier = ScriptedCarrier(lambda *_: Refused(21606))
    pump_all(world, carrier)
    assert organizer and len({each.id for each in reports(world)}) >= 1
    assert len(reports(world)) <= 2, "once for each line, however many messages met it"


def test_who_stopped_on_the_other_line_is_not_told_there(world: World) -> None:
    collective = world.collective(lines=[LINE, OTHER])
    organizer = world.member(collective, ORGANIZER, roles=["organizer"], spoke_on=LINE)
    number = sent_notice(world, collective)
    change(world, Outbound, Outbound.id == number, line_id=world.line(LINE))
    stopped = PhoneLine(phone_id=phone_of(world, organizer), line_id=world.line(OTHER), opted_out_at=world.clock.now())
    with world.store.write() as session:
        session.add(stopped)
    receive(world, number, "failed", 30034)
    assert [each.line_id for each in reports(world)] == [world.line(LINE)], "it waits with the line that she reads"


def test_a_busy_carrier_is_nobodys_alarm(world: World) -> None:
    collective = world.collective(lines=[LINE, OTHER])
    world.member(collective, ORGANIZER, roles=["organizer"])
    receive(world, sent_notice(world, collective), "failed", 30001)
    assert reports(world) == []


# --- filtering --------------------------------------------------------------------------------------------------------------


def broadcast_of(world: World, people: int) -> tuple[int, list[int]]:
    """(a broadcast, the ids of its rows): all sent, but one, which is still to go."""
    world.line(LINE, mps=100.0)
    collective = world.collective()
    world.member(collective, ORGANIZER, roles=["organizer"])
    for n in range(people):
        world.member(collective, f"+15551000{n + 100}")
    broadcast = send_broadcast(world, collective)
    pump_all(world, ScriptedCarrier())
    ids = [each.id for each in rows(world, broadcast)]
    change(world, Outbound, Outbound.id == ids[0], state="queued", attempt=0, sid=None, accepted_at=None)
    return broadcast, ids[1:]


def state_of(world: World, broadcast: int) -> tuple[str, str | None, int | None]:
    with world.store.read() as session:
        found = session.get_one(Broadcast, broadcast)
        return found.state, found.hold_reason, found.hold_code


def test_a_broadcast_that_is_filtered_is_held_at_the_fifth(world: World) -> None:
    broadcast, ids = broadcast_of(world, 12)
    for number in ids[:4]:
        receive(world, number, "undelivered", 30007)
        assert state_of(world, broadcast)[0] == "sending"
    receive(world, ids[4], "undelivered", 30007)
    assert state_of(world, broadcast) == ("held", "filtered", 30007)
    assert [(each.state, each.reason) for each in rows(world, broadcast)][0] == ("held", "organizer")
    with world.store.read() as session:
        assert session.scalars(sa.select(Audit.act)).all()[-1].startswith("held: filtered")
    (report,) = reports(world)
    assert "OK" in words_of(world, report.id) and "spam" in words_of(world, report.id)
    receive(world, ids[5], "undelivered", 30007)
    assert len(reports(world)) == 1


def test_five_among_many_are_nothing_unusual(world: World) -> None:
    broadcast, ids = broadcast_of(world, 110)
    for number in ids[:100]:
        receive(world, number, "delivered")
    for number in ids[100:105]:
        receive(world, number, "undelivered", 30007)
    assert state_of(world, broadcast)[0] == "sending", "5 of 105 are under 5 percent"
    receive(world, ids[105], "undelivered", 30007)
    assert state_of(world, broadcast)[0] == "held"


def test_what_ended_long_ago_does_not_count(world: World) -> None:
    broadcast, ids = broadcast_of(world, 8)
    for number in ids[:4]:
        receive(world, number, "undelivered", 30007)
    world.clock.advance(timedelta(minutes=16))
    receive(world, ids[4], "undelivered", 30007)
    assert state_of(world, broadcast)[0] == "sending"


def test_who_lets_it_go_all_the_same_is_not_overruled_by_what_came_before(world: World) -> None:
    broadcast, ids = broadcast_of(world, 12)
    for number in ids[:5]:
        receive(world, number, "undelivered", 30007)
    world.clock.advance(timedelta(minutes=2))
    with world.store.write() as session:
        found = session.get_one(Broadcast, broadcast)
        assert release_broadcast(session, world.clock.now(), found)
        record_act(session, world.clock.now(), found, "released")
    for number in ids[5:9]:
        world.clock.advance(timedelta(seconds=1))
        receive(world, number, "undelivered", 30007)
        assert state_of(world, broadcast)[0] == "sending"
    world.clock.advance(timedelta(seconds=1))
    receive(world, ids[9], "undelivered", 30007)
    assert state_of(world, broadcast)[0] == "held", "five new ones"
    assert len(reports(world)) == 2


def test_a_big_broadcast_is_not_counted_at_every_receipt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broadcast, ids = broadcast_of(world, 8)
    monkeypatch.setattr(alarms, "_COUNTED_AT_ONCE", 3)
    monkeypatch.setattr(alarms, "_ROWS_A_SECOND", 0.01)
    monkeypatch.setattr(alarms, "_LONGEST_PAUSE", 3600.0)
    monkeypatch.setattr(alarms, "_not_before", {})
    for number in ids[:6]:
        receive(world, number, "undelivered", 30007)
    assert state_of(world, broadcast)[0] == "sending", "counted at the first; the next count is an hour away"
    alarms._not_before.clear()
    receive(world, ids[6], "undelivered", 30007)
    assert state_of(world, broadcast)[0] == "held"


# --- the words --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_the_texts_to_organizers_are_short(language: str) -> None:
    most = 2 if language == "hi" else 1
    for code in (30034, 20003, 21606):
        told = tell_line_trouble(language, "Sangha", WHATSAPP, code)
        assert "+15550003333" in told and "whatsapp:" not in told
        assert count_segments(told).segments <= most, told
        assert "flask" not in told and "flask" not in tell_first_failed(language, "Sangha", 47, code)
        assert count_segments(tell_first_failed(language, "Sangha", 47, code)).segments <= (3 if language == "hi" else 2)
    assert count_segments(tell_filtered(language, "Sangha", 47)).segments <= most


@pytest.mark.parametrize("code", sorted(MAY_BE_HER_COUNTRY))
@pytest.mark.parametrize("took", ["now", "in its broadcast", "by itself", "long ago"])
def test_one_member_abroad_does_not_stop_a_line_that_takes_others(world: World, code: int, took: str) -> None:
    """The line's own number "can not send there": the line's fault only if it takes nothing."""
    collective = world.collective(lines=[LINE])
    members = [world.member(collective, f"+1555100001{n}") for n in range(3)]
    abroad = world.member(collective, "+919820000001")
    if took == "by itself":
        others = [put_letter(world, members[0])]
    else:
        broadcast = send_broadcast(world, collective)
        others = [each.id for each in rows(world, broadcast) if each.membership_id != abroad]
        change(world, Outbound, Outbound.broadcast_id == broadcast, state="held", reason="quiet_hours", due_at=FAR_OFF)
    late = put_letter(world, abroad)
    before = world.clock.now() - timedelta(hours=2 if took == "long ago" else 0)
    state = "accepted" if took == "now" else "delivered"
    change(world, Outbound, Outbound.id.in_(others), state=state, attempt=1, accepted_at=before, attempted_at=before)
    pump_all(world, ScriptedCarrier(lambda _to, _sent: Refused(code)), 2.0)
    assert (row(world, late).state, row(world, late).reason) == ("held", "line")
    assert (line_row(world).held_code == code) == (took == "long ago")
