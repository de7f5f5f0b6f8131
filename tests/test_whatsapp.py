"""WhatsApp outside its 24 hours: what waits, the knock that calls her, SMS where she allows it, and the codes of its refusals."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.delivery import knocks as knocks_module
from bot.delivery.broadcasts import draft_broadcast
from bot.delivery.gateway import Accepted, Outcome, Refused
from bot.delivery.knocks import knock
from bot.delivery.previews import preview_broadcast
from bot.delivery.receipts import apply_receipt
from bot.delivery.sweep import release_open_windows, sweep
from bot.delivery.templates import find_template
from bot.delivery.tokens import callback_token
from models import Broadcast, Inbound, Line, Membership, Note, Outbound, Person, PhoneLine, Template
from tests.delivery import ScriptedCarrier, change, phone_of, pump_all, put_letter, row, rows, send_broadcast
from tests.world import Answer, World, new_sid

SMS, WHATSAPP = "+15550001111", "whatsapp:+15550003333"
MEMBER = "+919820000001"
ENGLISH, SPANISH = "HX" + "1" * 32, "HX" + "2" * 32


@pytest.fixture
def collective(world: World) -> int:
    """It speaks on WhatsApp first, by SMS too."""
    return world.collective(lines=[WHATSAPP, SMS])


def closed(world: World, collective: int, number: str = MEMBER, **named: Any) -> int:
    """A member who wrote on WhatsApp two days ago."""
    member = world.member(collective, number, spoke_on=WHATSAPP, **named)
    change(world, PhoneLine, PhoneLine.phone_id == phone_of(world, member), last_inbound_at=world.clock.now() - timedelta(days=2))
    return member


def approve(world: World, language: str = "en", sid: str = ENGLISH, state: str = "approved", **values: Any) -> None:
    with world.store.write() as session:
        session.add(
            Template(
                kind="knock", language=language, name=f"chorus_knock_{language}", body=f"A note is waiting. Reply 1. ({language})",
                content_sid=sid, state=state, changed_at=world.clock.now(), **values,
            )
        )  # fmt: skip


def knocks(world: World) -> list[Outbound]:
    return [each for each in rows(world) if each.kind == "knock"]


def text(world: World, body: str, number: str = MEMBER) -> Answer:
    return world.text(f"whatsapp:{number}", body, WHATSAPP)


def receive(world: World, number: int, status: str, code: int | None = None, attempt: int = 1) -> bool:
    return apply_receipt(world.store, callback_token(world.store, number, attempt), status, code, new_sid())


# --- the registry ----------------------------------------------------------------------------------------------------------


def test_the_template_in_her_language_or_the_nearest(small_world: World) -> None:
    world = small_world
    with world.store.read() as session:
        assert find_template(session, "knock", "en") is None
    approve(world, "es", SPANISH)
    approve(world, "hi", state="submitted")
    approve(world, "hi-Latn", state="paused")
    with world.store.read() as session:
        assert find_template(session, "knock", "hi").content_sid == SPANISH, "better than nothing"
        assert find_template(session, "other", "es") is None
    approve(world, "en", ENGLISH)
    with world.store.read() as session:
        assert find_template(session, "knock", "hi").content_sid == ENGLISH
        assert find_template(session, "knock", "hi-Latn").content_sid == ENGLISH
        assert find_template(session, "knock", "es").content_sid == SPANISH


# --- the knock --------------------------------------------------------------------------------------------------------------


def test_a_knock_her_answer_and_what_waited(world: World, collective: int) -> None:
    closed(world, collective, language="es")
    approve(world)
    approve(world, "es", SPANISH)
    broadcast = send_broadcast(world, collective)
    assert [(each.state, each.reason) for each in rows(world, broadcast)] == [("held", "window")]
    assert (knock(world.store).knocks, len(knocks(world))) == (1, 1)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    (sent,) = carrier.taken
    assert (sent.to, sent.sender, sent.extra["content_sid"]) == (f"whatsapp:{MEMBER}", WHATSAPP, SPANISH)
    assert rows(world, broadcast)[0].state == "held", "the note itself still waits"

    world.clock.advance(timedelta(minutes=10))
    assert text(world, "1").texts == [], "the note is the answer"
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Note)) == 0
        assert session.scalars(sa.select(Inbound.handled_as)).all() == ["knock"]
    pump_all(world, carrier)
    assert [(each.state, each.attempt) for each in rows(world, broadcast)] == [("accepted", 1)]
    assert carrier.taken[-1].body == "Sangha: Rally today" and carrier.taken[-1].extra.get("content_sid") is None


@pytest.mark.parametrize("body", ["1", " OK ", "ok", "Okay."])
def test_bare_answers_to_a_knock(world: World, collective: int, body: str) -> None:
    closed(world, collective)
    approve(world)
    send_broadcast(world, collective)
    knock(world.store)
    pump_all(world, ScriptedCarrier())
    assert text(world, body).texts == []


def test_what_is_no_bare_answer_is_heard_as_always_and_opens_the_window_too(world: World, collective: int) -> None:
    closed(world, collective)
    approve(world)
    broadcast = send_broadcast(world, collective)
    knock(world.store)
    pump_all(world, ScriptedCarrier())
    world.clock.advance(timedelta(minutes=1))
    assert "Passed on" in text(world, "Who is this, and what note do you mean?").text
    assert rows(world, broadcast)[0].state == "queued"
    # The knock is answered: this 1 is no answer to it any more.
    world.clock.advance(timedelta(minutes=1))
    assert "No question is open" in text(world, "1").text


def test_a_1_without_any_knock_is_no_answer_to_one(world: World, collective: int) -> None:
    closed(world, collective)
    assert "No question is open" in text(world, "1").text


def test_an_answer_to_a_knock_when_nothing_is_left(world: World, collective: int) -> None:
    closed(world, collective)
    approve(world)
    broadcast = send_broadcast(world, collective)
    knock(world.store)
    pump_all(world, ScriptedCarrier())
    change(world, Outbound, Outbound.broadcast_id == broadcast, state="stopped")
    assert text(world, "1").text == "Nothing is waiting any more. MENU shows what you can do."


def test_without_an_approved_template_nobody_knocks(world: World, collective: int) -> None:
    closed(world, collective)
    approve(world, state="submitted")
    send_broadcast(world, collective)
    assert (knock(world.store).knocks, knocks(world)) == (0, [])
    change(world, Template, state="approved")
    world.clock.advance(timedelta(minutes=61))
    assert knock(world.store).knocks == 1, "and who waits is not forgotten when it is approved"


def test_one_knock_a_day_for_however_many_notes_and_three_at_most(world: World, collective: int) -> None:
    member = closed(world, collective)
    closed(world, collective, "+919820000002")
    approve(world)
    for _ in range(3):
        put_letter(world, member, kind="relay", line_id=world.line(WHATSAPP), expires_at=world.clock.now() + timedelta(days=30))
    send_broadcast(world, collective)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert (knock(world.store).knocks, knock(world.store).knocks) == (2, 0)
    hers = phone_of(world, member)
    for day in range(1, 6):
        pump_all(world, carrier)
        world.clock.advance(timedelta(hours=23, minutes=59))
        put_letter(world, member, kind="relay", line_id=world.line(WHATSAPP), expires_at=world.clock.now() + timedelta(days=30))
        pump_all(world, carrier)
        knock(world.store)
        assert sum(each.phone_id == hers for each in knocks(world)) == min(day, 3), "not twice in a day"
        world.clock.advance(timedelta(minutes=1))
        knock(world.store)
    assert sum(each.phone_id == hers for each in knocks(world)) == 3
    assert {each.state for each in knocks(world)} == {"accepted"}


def test_two_workers_who_look_at_the_same_moment_knock_once(world: World, collective: int, monkeypatch: pytest.MonkeyPatch) -> None:
    member = closed(world, collective)
    approve(world)
    for _ in range(2):
        put_letter(world, member, kind="relay", line_id=world.line(WHATSAPP), expires_at=world.clock.now() + timedelta(days=30))
    pump_all(world, ScriptedCarrier())
    monkeypatch.setattr(knocks_module, "_WAITING", knocks_module._WAITING.limit(1))  # each has one of her two notes in hand
    other = threading.Thread(target=knock, args=(world.store,))
    with world.store.write() as session:
        assert knocks_module._one_round(world.store, session, world.clock.now())[2] == 1
        other.start()
        other.join(1.0)  # held up by the first, or it would find no knock yet and make its own
    other.join()
    assert len(knocks(world)) == 1


def test_her_word_lets_us_knock_again(world: World, collective: int) -> None:
    member = closed(world, collective)
    approve(world)
    line = world.line(WHATSAPP)
    for _ in range(3):
        put_letter(world, member, kind="relay", line_id=line, expires_at=world.clock.now() + timedelta(days=30))
        pump_all(world, ScriptedCarrier())
        knock(world.store)
        pump_all(world, ScriptedCarrier())
        world.clock.advance(timedelta(days=1))
    text(world, "I am here, and I read it")
    pump_all(world, ScriptedCarrier())
    world.clock.advance(timedelta(days=2))
    put_letter(world, member, kind="relay", line_id=line, expires_at=world.clock.now() + timedelta(days=30))
    pump_all(world, ScriptedCarrier())
    assert knock(world.store).knocks == 1


def test_a_knock_keeps_quiet_hours(world: World, collective: int) -> None:
    closed(world, collective, timezone="Asia/Kolkata")
    change(world, Membership.__table__.metadata.tables["collectives"], quiet_from=9, quiet_until=20)
    approve(world)
    send_broadcast(world, collective)
    knock(world.store)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert not carrier.taken
    assert [(each.state, each.reason) for each in knocks(world)] == [("held", "quiet_hours")]


def test_no_knock_to_who_wrote_meanwhile(world: World, collective: int) -> None:
    member = closed(world, collective)
    approve(world)
    send_broadcast(world, collective)
    knock(world.store)
    change(world, PhoneLine, PhoneLine.phone_id == phone_of(world, member), last_inbound_at=world.clock.now())
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert [(each.state, each.reason) for each in knocks(world)] == [("suppressed", "window_open")]
    assert not carrier.taken


@pytest.mark.parametrize("column", ["opted_out_at", "refused_code"])
def test_no_knock_to_who_stopped_us_or_is_not_there(world: World, collective: int, column: str) -> None:
    member = closed(world, collective)
    approve(world)
    broadcast = send_broadcast(world, collective)
    value: Any = world.clock.now() if column == "opted_out_at" else 63024
    change(world, PhoneLine, PhoneLine.phone_id == phone_of(world, member), **{column: value})
    assert (knock(world.store).knocks, knocks(world)) == (0, [])
    pump_all(world, ScriptedCarrier())
    assert rows(world, broadcast)[0].state == "suppressed", "and nothing waits for her word any more"


def test_nobody_is_called_for_what_an_organizer_holds(world: World, collective: int) -> None:
    closed(world, collective)
    approve(world)
    broadcast = send_broadcast(world, collective)
    change(world, Broadcast, Broadcast.id == broadcast, state="held")
    assert knock(world.store).knocks == 0
    change(world, Broadcast, Broadcast.id == broadcast, state="sending")
    assert knock(world.store).knocks == 1


def test_a_template_that_was_paused_meanwhile(world: World, collective: int) -> None:
    closed(world, collective)
    approve(world)
    send_broadcast(world, collective)
    knock(world.store)
    change(world, Template, state="paused")
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert [(each.state, each.reason) for each in knocks(world)] == [("suppressed", "no_template")]
    assert not carrier.taken


@pytest.mark.parametrize(("code", "state"), [(63041, "paused"), (63042, "disabled"), (63027, "disabled"), (21655, "disabled")])
def test_a_template_that_whatsapp_switched_off(world: World, collective: int, code: int, state: str) -> None:
    closed(world, collective)
    approve(world)
    send_broadcast(world, collective)
    knock(world.store)
    pump_all(world, ScriptedCarrier())
    receive(world, knocks(world)[0].id, "failed", code)
    assert knocks(world)[0].state == "failed"
    with world.store.read() as session:
        template = session.scalars(sa.select(Template)).one()
        assert (template.state, template.reason) == (state, f"error {code}")
        assert session.scalars(sa.select(Line.held_until).where(Line.address == WHATSAPP)).one() is None, "replies go on"


# --- codes ------------------------------------------------------------------------------------------------------------------


def reaching(world: World, collective: int) -> tuple[int, Outbound]:
    """(member, a notice that WhatsApp took: as far as we know her window is open)"""
    member = world.member(collective, MEMBER, spoke_on=WHATSAPP)
    world.clock.advance(timedelta(hours=1))
    broadcast = send_broadcast(world, collective)
    pump_all(world, ScriptedCarrier())
    (only,) = rows(world, broadcast)
    assert only.state == "accepted"
    world.clock.advance(timedelta(seconds=5))
    return member, only


def test_63016_waits_for_her_and_closes_the_window_that_we_thought_open(world: World, collective: int) -> None:
    _, sent = reaching(world, collective)
    receive(world, sent.id, "failed", 63016)
    waiting = row(world, sent.id)
    assert (waiting.state, waiting.reason, waiting.error_code, waiting.sid, waiting.resent) == ("held", "window", 63016, None, False)
    assert release_open_windows(world.store) == 0, "else it would go and be refused every minute"
    assert text(world, "hello, I am here again").status == 200
    assert row(world, sent.id).state == "queued"


def test_63016_told_late_does_not_close_a_window_that_she_opened_since(world: World, collective: int) -> None:
    member, sent = reaching(world, collective)
    text(world, "MENU")
    receive(world, sent.id, "failed", 63016)
    with world.store.read() as session:
        known = session.scalars(sa.select(PhoneLine).where(PhoneLine.phone_id == phone_of(world, member))).one()
    assert known.last_inbound_at == world.clock.now()
    assert release_open_windows(world.store) == 1


def test_63016_at_the_send(world: World, collective: int) -> None:
    world.member(collective, MEMBER, spoke_on=WHATSAPP)
    world.clock.advance(timedelta(hours=1))
    broadcast = send_broadcast(world, collective)
    pump_all(world, ScriptedCarrier(lambda *_: Refused(63016)))
    assert [(each.state, each.reason) for each in rows(world, broadcast)] == [("held", "window")]
    assert release_open_windows(world.store) == 0


@pytest.mark.parametrize("code", [63003, 63024])
def test_63024_is_never_written_to_on_whatsapp_again(world: World, collective: int, code: int) -> None:
    _, sent = reaching(world, collective)
    receive(world, sent.id, "undelivered", code)
    assert (row(world, sent.id).state, row(world, sent.id).error_code) == ("undelivered", code)
    with world.store.read() as session:
        assert session.scalars(sa.select(PhoneLine.refused_code)).all() == [code]


def test_63018_waits_for_hours_and_no_other_knock_is_tried_on_the_line(world: World, collective: int) -> None:
    closed(world, collective)
    approve(world)
    send_broadcast(world, collective)
    knock(world.store)
    pump_all(world, ScriptedCarrier())
    receive(world, knocks(world)[0].id, "failed", 63018)
    (waiting,) = knocks(world)
    assert (waiting.state, waiting.reason, waiting.due_at) == ("held", "retry", world.clock.now() + timedelta(hours=4))
    closed(world, collective, "+919820000002")
    send_broadcast(world, collective)
    assert knock(world.store).knocks == 0
    with world.store.read() as session:
        assert session.scalars(sa.select(Line.held_until).where(Line.address == WHATSAPP)).one() is None


@pytest.mark.parametrize(("number", "state"), [("+12025550123", "undelivered"), (MEMBER, "held")])
def test_63049_never_again_to_a_us_number_elsewhere_after_growing_pauses(world: World, collective: int, number: str, state: str) -> None:
    member = closed(world, collective, number)
    approve(world)
    put_letter(world, member, kind="relay", line_id=world.line(WHATSAPP), expires_at=world.clock.now() + timedelta(days=30))
    pump_all(world, ScriptedCarrier())
    knock(world.store)
    pump_all(world, ScriptedCarrier())
    receive(world, knocks(world)[0].id, "undelivered", 63049)
    assert knocks(world)[0].state == state
    if state == "held":
        assert knocks(world)[0].due_at == world.clock.now() + timedelta(hours=6)
    world.clock.advance(timedelta(days=2))
    assert knock(world.store).knocks == 0


# --- by SMS, where she allows it --------------------------------------------------------------------------------------------


def allow(world: World, member: int) -> int:
    change(world, Membership, Membership.id == member, sms_fallback=True)
    return member


def test_what_waits_goes_by_sms_where_she_allows_it(world: World, collective: int) -> None:
    allow(world, closed(world, collective))
    closed(world, collective, "+919820000002")
    approve(world)
    broadcast = send_broadcast(world, collective, {"en": "x" * 200})
    change(world, Outbound, segments=1)
    looked = knock(world.store)
    assert (looked.moved, looked.knocks) == (1, 1)
    first, second = rows(world, broadcast)
    assert (first.state, first.reason, first.line_id, first.segments) == ("queued", None, world.line(SMS), 2)
    assert (second.state, second.reason, second.line_id) == ("held", "window", world.line(WHATSAPP))
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert {(taken.to, taken.sender) for taken in carrier.taken} == {(MEMBER, SMS), ("whatsapp:+919820000002", WHATSAPP)}


@pytest.mark.parametrize("code", [63016, 63024, 63003, 63018, 63038])
@pytest.mark.parametrize("by", ["receipt", "answer"])
def test_what_whatsapp_does_not_take_goes_by_sms(world: World, collective: int, code: int, by: str) -> None:
    member = allow(world, world.member(collective, MEMBER, spoke_on=WHATSAPP))
    world.clock.advance(timedelta(hours=1))
    broadcast = send_broadcast(world, collective)

    def answer(to: str, _number: int) -> Outcome:
        return Refused(code) if by == "answer" and to.startswith("whatsapp:") else Accepted(new_sid())

    carrier = ScriptedCarrier(answer)
    pump_all(world, carrier)
    (only,) = rows(world, broadcast)
    if by == "receipt":
        receive(world, only.id, "failed", code)
        (only,) = rows(world, broadcast)
        assert (only.state, only.attempt, only.sid, only.done_at) == ("queued", 1, None, None)
    pump_all(world, carrier)
    (only,) = rows(world, broadcast)
    assert (only.state, only.attempt, only.line_id, only.resent) == ("accepted", 2, world.line(SMS), False)
    assert [taken.to for taken in carrier.taken] == [f"whatsapp:{MEMBER}", MEMBER]
    # A late receipt of the WhatsApp attempt changes nothing.
    receive(world, only.id, "failed", code, attempt=1)
    assert row(world, only.id).state == "accepted"
    assert member


@pytest.mark.parametrize("kind", ["relay", "page", "check_in", "code", "crisis", "reply"])
def test_care_codes_and_words_between_people_never_go_by_sms(world: World, collective: int, kind: str) -> None:
    member = allow(world, closed(world, collective))
    number = put_letter(world, member, kind=kind, line_id=world.line(WHATSAPP))
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert (knock(world.store).moved, row(world, number).state, row(world, number).line_id) == (0, "held", world.line(WHATSAPP))
    assert not carrier.taken


@pytest.mark.parametrize("why", ["stopped there", "refused there", "one-way", "no SMS line", "left"])
def test_no_sms_where_it_may_not_go(world: World, why: str) -> None:
    collective = world.collective(lines=[WHATSAPP] if why == "no SMS line" else [WHATSAPP, SMS])
    member = allow(world, closed(world, collective))
    broadcast = send_broadcast(world, collective)
    sms = world.line(SMS)
    with world.store.write() as session:
        if why == "stopped there":
            session.add(PhoneLine(phone_id=phone_of(world, member), line_id=sms, opted_out_at=world.clock.now(), opted_out_by="carrier"))
        elif why == "refused there":
            session.add(PhoneLine(phone_id=phone_of(world, member), line_id=sms, refused_code=30006))
        elif why == "one-way":
            session.execute(sa.update(Line).where(Line.id == sms).values(two_way=False))
        elif why == "left":
            session.execute(sa.update(Membership).where(Membership.id == member).values(state="left"))
    assert knock(world.store).moved == 0
    assert [(each.state, each.line_id) for each in rows(world, broadcast)] == [("held", world.line(WHATSAPP))]


def test_looking_again_costs_nothing_until_it_is_due(world: World, collective: int) -> None:
    closed(world, collective)
    approve(world)
    broadcast = send_broadcast(world, collective)
    knock(world.store)
    assert rows(world, broadcast)[0].due_at == world.clock.now() + timedelta(hours=24)
    assert sweep(world.store).released == 0, "only her word lets it go"
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Person)) == 1


# --- the preview ------------------------------------------------------------------------------------------------------------


def test_the_preview_says_who_waits_who_is_not_told_and_who_gets_it_by_sms(world: World, collective: int) -> None:
    allow(world, closed(world, collective))
    for n in range(2, 5):
        closed(world, collective, f"+91982000000{n}")
    world.member(collective, "+919820000009", spoke_on=WHATSAPP)
    now = world.clock.now()
    told = []
    for template in (False, True):
        if template:
            approve(world)
        with world.store.write() as session:
            made = draft_broadcast(session, now, collective, "notice", {"en": "Rally"})
            told.append(preview_broadcast(session, now, made))
    assert [(each.recipients, each.held, each.not_told, each.by_sms) for each in told] == [
        (5, {"window": 3}, 3, 1),
        (5, {"window": 3}, 0, 1),
    ]
    with world.store.write() as session:
        poll = draft_broadcast(session, now, collective, "check_in", {})
        assert preview_broadcast(session, now, poll).by_sms == 0, "care never goes by SMS instead"
