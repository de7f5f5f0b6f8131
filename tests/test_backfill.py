"""Texts that no webhook brought: read from the carrier's list after an outage, once, and answered only where it does no harm."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

import bot.inbound.receive
import bot.inbound.webhooks
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.carrier_list import ListUnread
from bot.delivery.plan import plan_broadcast
from bot.inbound import backfill
from bot.inbound.backfill import TIMER, ReadBack, read_missed
from bot.inbound.message import InboundMessage
from bot.inbound.receive import Reception
from models import Ballot, Collective, DatabaseBusy, Inbound, Line, Membership, Note, Outbound, PhoneLine, Poll, Timer
from tests.delivery import ScriptedCarrier, change, pump_all, rows, send_broadcast
from tests.lists import LINE, ScriptedList
from tests.world import World

ASHA, MIGUEL, NORA = "+15551000001", "+15551000002", "+15551000003"


@pytest.fixture
def listing(world: World) -> ScriptedList:
    """The list of a line whose first reading is done."""
    world.collective()
    change(world, Line, mps=500.0)
    listing = ScriptedList(world)
    assert read(world, listing) == ReadBack(0, 1, None)
    return listing


def reception(world: World) -> Reception:
    found: Reception = world.app.extensions["chorus.reception"]
    return found


def no_pool(service: str) -> list[str]:
    raise AssertionError(f"{service} is no service of this test")


def read(world: World, listing: ScriptedList, pool=no_pool) -> ReadBack:  # type: ignore[no-untyped-def]
    return read_missed(reception(world), listing, pool, threading.Event())


def after(world: World, listing: ScriptedList, **span: float) -> ReadBack:
    world.clock.advance(timedelta(**span))
    return read(world, listing)


def inbound(world: World) -> list[Inbound]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(Inbound).order_by(Inbound.id)))


def sent(world: World) -> list[tuple[str, str]]:
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 30.0)
    return [(text.to, text.body) for text in carrier.taken]


def members(world: World) -> list[str]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(Membership.state)))


def collective_of(world: World) -> int:
    with world.store.read() as session:
        return session.scalars(sa.select(Collective.id)).one()


def stopped(world: World) -> list[bool]:
    with world.store.read() as session:
        return [moment is not None for moment in session.scalars(sa.select(PhoneLine.opted_out_at).order_by(PhoneLine.phone_id))]


# --- what is read ----------------------------------------


def test_i1_a_message_whose_webhook_died_is_taken_in_once(world: World, listing: ScriptedList) -> None:
    heard = listing.hear(ASHA, "JOIN SANGHA")
    assert after(world, listing, minutes=2).taken == 1
    assert [(each.handled_as, each.sent_at, each.body) for each in inbound(world)] == [("JOIN", heard.created_at, "JOIN SANGHA")]
    assert members(world) == ["active"]
    assert [(to, body[:17]) for to, body in sent(world)] == [(ASHA, "Welcome to Sangha")], "what she would have read at once"
    for _ in range(3):
        assert after(world, listing, minutes=2).taken == 0
    assert world.text(ASHA, "JOIN SANGHA", MessageSid=heard.sid).texts == [], "the webhook comes after all: no second effect"
    assert (members(world), sent(world)) == (["active"], [])


def test_a_message_whose_webhook_came_is_left_alone(world: World, listing: ScriptedList) -> None:
    heard = listing.hear(ASHA, "JOIN SANGHA")
    assert "Welcome" in world.text(ASHA, "JOIN SANGHA", MessageSid=heard.sid).text
    assert after(world, listing, minutes=2).taken == 0
    assert (len(inbound(world)), sent(world)) == (1, [])


def test_a_message_still_on_its_way_is_left_to_its_webhook(world: World, listing: ScriptedList) -> None:
    listing.hear(ASHA, "JOIN SANGHA")
    assert after(world, listing, seconds=50).taken == 0
    assert after(world, listing, seconds=20).taken == 1


def test_the_webhook_comes_at_the_same_moment(world: World, listing: ScriptedList) -> None:
    """Whoever is first has the effect; both ways of answering together would be two answers."""
    heard = [listing.hear(f"+155530000{n:02d}", "JOIN SANGHA") for n in range(12)]
    world.clock.advance(timedelta(minutes=2))
    assert world.client is not None
    start = threading.Barrier(2)
    answers: list[int] = []

    def post_webhooks() -> None:
        start.wait(30)
        answers.extend(len(world.text(each.sender, each.body, MessageSid=each.sid).texts) for each in reversed(heard))

    poster = threading.Thread(target=post_webhooks)
    poster.start()
    start.wait(30)
    read(world, listing)
    poster.join(60)
    assert members(world) == ["active"] * 12
    by_outbox = len(sent(world))
    assert sum(answers) + by_outbox == 12, "one answer each"


def test_the_first_reading_ever_begins_now(world: World) -> None:
    world.collective()
    listing = ScriptedList(world)
    listing.hear(ASHA, "JOIN SANGHA", at=world.clock.now() - timedelta(days=3))
    listing.hear(ASHA, "JOIN SANGHA", at=world.clock.now() - timedelta(minutes=2))
    read(world, listing)
    assert after(world, listing, minutes=3).taken == 1, "five minutes back, not to the beginning of time"
    assert len(inbound(world)) == 1


def test_a_list_that_can_not_be_read_moves_no_mark(world: World, listing: ScriptedList) -> None:
    listing.hear(ASHA, "JOIN SANGHA")
    listing.unread = "HTTP 503"
    assert after(world, listing, hours=3) == ReadBack(0, 0, "HTTP 503")
    listing.unread = None
    assert after(world, listing, hours=3).taken == 1


def test_one_line_that_can_not_be_read_does_not_stop_the_others(world: World, listing: ScriptedList) -> None:
    service = "MG" + "0" * 32
    line = world.line(service)
    change(world, Line, Line.id == line, read_through=world.clock.now())
    listing.hear(ASHA, "JOIN SANGHA")
    world.clock.advance(timedelta(minutes=2))

    def pool(_service: str) -> list[str]:
        raise ListUnread("pool, HTTP 404")

    assert read(world, listing, pool) == ReadBack(1, 1, "pool, HTTP 404")


def test_a_messaging_service_is_read_by_its_numbers(world: World, listing: ScriptedList) -> None:
    service = "MG" + "0" * 32
    world.collective("LABDI", lines=(service,))
    change(world, Line, Line.address == service, read_through=world.clock.now())
    listing.hear(ASHA, "JOIN LABDI", to="+15550002222", service="")
    world.clock.advance(timedelta(minutes=2))
    assert read(world, listing, lambda _: ["+15550002222", "+15550003333"]).taken == 1
    assert [each.handled_as for each in inbound(world)] == ["JOIN"]


def test_i8_server_off_24_hours(world: World, listing: ScriptedList) -> None:
    """All of it comes, STOP first, marked late; who asked to stop is not answered before."""
    collective = collective_of(world)
    for number in (MIGUEL, NORA):
        world.member(collective, number, spoke_on=LINE)
    start = world.clock.now()
    listing.hear(NORA, "Is there food at the meeting?", at=start + timedelta(hours=1))
    listing.hear(ASHA, "JOIN SANGHA", at=start + timedelta(hours=2))
    listing.hear(MIGUEL, "MENU", at=start + timedelta(hours=3))
    listing.hear(MIGUEL, "stop", at=start + timedelta(hours=20))
    for n in range(40):
        listing.hear(f"+155530000{n:02d}", "JOIN SANGHA", at=start + timedelta(hours=4, minutes=n))
    assert after(world, listing, hours=24).taken == 44
    found = inbound(world)
    assert [each.handled_as for each in found[:4]] == ["STOP", "note", "JOIN", "after STOP"]
    assert all(each.sent_at is not None and each.sent_at < each.received_at for each in found)
    assert {to for to, _ in sent(world)} == {NORA, ASHA, *(f"+155530000{n:02d}" for n in range(40))}
    with world.store.read() as session:
        assert session.scalars(sa.select(Note.body)).all() == ["Is there food at the meeting?"]
    assert after(world, listing, minutes=5).taken == 0


def test_i9_what_is_older_than_the_memory_of_sids_is_ignored(world: World, listing: ScriptedList) -> None:
    start = world.clock.now()
    change(world, Line, read_through=start - timedelta(days=500))
    listing.hear(ASHA, "JOIN SANGHA", at=start - timedelta(days=396))
    listing.hear(MIGUEL, "JOIN SANGHA", at=start - timedelta(days=394))
    assert read(world, listing).taken == 1
    assert len(members(world)) == 1
    assert sent(world) == [], "nobody waits for an answer of a year ago"


# --- what still counts ----------------------------------------


def test_i5_a_late_answer_counts_for_the_question_she_was_asked(world: World, listing: ScriptedList) -> None:
    collective = collective_of(world)
    world.member(collective, ASHA, spoke_on=LINE)
    poll_asked(world, collective)
    listing.hear(ASHA, "b", at=world.clock.now() + timedelta(minutes=5))
    assert after(world, listing, hours=2).taken == 1
    assert ballots(world) == [1]


def test_i5_a_late_answer_is_never_given_to_a_later_question(world: World, listing: ScriptedList) -> None:
    collective = collective_of(world)
    world.member(collective, ASHA, spoke_on=LINE)
    listing.hear(ASHA, "b", at=world.clock.now() + timedelta(minutes=1))
    world.clock.advance(timedelta(hours=2))
    poll_asked(world, collective)
    assert after(world, listing, minutes=5).taken == 1
    assert ballots(world) == []
    assert [each.handled_as for each in inbound(world)] == ["late answer"]
    expected = "Your text of 09:01 reached us only now and was not carried out. If it still holds, send it again."
    assert sent(world) == [(ASHA, expected)]


def test_i5_a_late_text_is_no_answer_to_a_question_put_since(world: World, listing: ScriptedList) -> None:
    """She wrote, nothing came, she wrote again and was asked her name: her first text is not her name."""
    listing.hear(ASHA, "We are at the old bridge", at=world.clock.now() + timedelta(minutes=1))
    world.clock.advance(timedelta(minutes=3))
    assert "name" in world.text(ASHA, "JOIN SANGHA").text
    assert after(world, listing, minutes=2).taken == 1
    assert inbound(world)[-1].handled_as == "note"
    assert "Asha" in world.text(ASHA, "Asha").text


def poll_asked(world: World, collective: int) -> int:
    now = world.clock.now()
    with world.store.write() as session:
        poll = Poll(collective_id=collective, options=2, created_at=now)
        session.add(poll)
        session.flush()
        options = {"en": ["Park", "School"]}
        drafted = draft_broadcast(session, now, collective, "poll", {"en": "Where?"}, options=options, poll_id=poll.id)
        assert approve_broadcast(session, now, drafted, how="cli")
    plan_broadcast(world.deployment, drafted.id)
    pump_all(world, ScriptedCarrier(), 30.0)
    assert {each.state for each in rows(world, drafted.id)} == {"accepted"}
    return drafted.id


def ballots(world: World) -> list[int]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(Ballot.choice)))


@pytest.mark.parametrize(
    ("missed", "since", "ends_stopped", "state"),
    [
        ("STOP", "START", False, "active"),
        ("START", "STOP", True, "active"),
        ("LEAVE", "JOIN SANGHA", False, "active"),
        ("JOIN SANGHA", "LEAVE", False, "left"),
    ],
)
def test_the_later_of_two_wins_whichever_reaches_us_first(
    world: World, listing: ScriptedList, missed: str, since: str, ends_stopped: bool, state: str
) -> None:
    world.member(collective_of(world), ASHA, spoke_on=LINE)
    if missed == "START":
        world.text(ASHA, "STOP")
        world.clock.advance(timedelta(minutes=1))
    listing.hear(ASHA, missed, at=world.clock.now() + timedelta(minutes=1))
    world.clock.advance(timedelta(minutes=20))
    world.text(ASHA, since)
    assert after(world, listing, minutes=5).taken == 1
    assert inbound(world)[-1].handled_as == "undone since"
    assert (stopped(world), members(world)) == ([ends_stopped], [state])


def test_a_stop_holds_against_what_she_wrote_before(world: World, listing: ScriptedList) -> None:
    start = world.clock.now()
    world.member(collective_of(world), ASHA, spoke_on=LINE)
    listing.hear(ASHA, "START", at=start + timedelta(hours=1))
    listing.hear(ASHA, "STOP", at=start + timedelta(hours=2))
    after(world, listing, hours=3)
    assert [each.handled_as for each in inbound(world)] == ["STOP", "undone since"]
    assert stopped(world) == [True]


def test_a_late_text_lifts_no_stop_and_opens_no_window(world: World) -> None:
    whatsapp = "whatsapp:" + LINE
    collective = world.collective(lines=(LINE, whatsapp))
    member = world.member(collective, ASHA, spoke_on=LINE)
    listing = ScriptedList(world)
    read(world, listing)
    listing.hear("whatsapp:" + ASHA, "Hello", to=whatsapp, at=world.clock.now() + timedelta(minutes=1))
    world.clock.advance(timedelta(minutes=5))
    world.text(ASHA, "STOP")
    assert stopped(world) == [True, True], "STOP on one line silences the collective's other line, too"
    after(world, listing, hours=30)
    assert stopped(world) == [True, True]
    change(world, PhoneLine, opted_out_at=None, opted_out_by=None)
    change(world, Membership, Membership.id == member, line_id=world.line(whatsapp))
    broadcast = send_broadcast(world, collective)
    assert [each.reason for each in rows(world, broadcast)] == ["window"]


@pytest.mark.parametrize("act", ["SEND 123456", "OK 1", "ALERT Rally now", "ON"])
def test_an_organizers_act_that_came_late_is_not_done(world: World, listing: ScriptedList, act: str) -> None:
    member = world.member(collective_of(world), ASHA, roles=["organizer", "supporter"], spoke_on=LINE)
    listing.hear(ASHA, act, at=world.clock.now() + timedelta(minutes=1))
    after(world, listing, hours=2)
    assert [each.handled_as for each in inbound(world)] == ["late"]
    with world.store.read() as session:
        assert session.get_one(Membership, member).on_duty is False
    assert [body for _, body in sent(world)] == [
        "Your text of 09:01 reached us only now and was not carried out. If it still holds, send it again."
    ]


def test_a_late_hold_still_holds(world: World, listing: ScriptedList) -> None:
    collective = collective_of(world)
    world.member(collective, ASHA, roles=["organizer"], spoke_on=LINE)
    broadcast = send_broadcast(world, collective)
    listing.hear(ASHA, "HOLD", at=world.clock.now() + timedelta(minutes=1))
    after(world, listing, hours=1)
    assert [each.handled_as for each in inbound(world)] == ["HOLD"]
    assert {each.state for each in rows(world, broadcast)} == {"held"}


# --- whether it is answered ----------------------------------------


def test_a_late_answer_keeps_quiet_hours(world: World, listing: ScriptedList) -> None:
    world.member(collective_of(world), ASHA, spoke_on=LINE)
    change(world, Collective, quiet_from=21, quiet_until=8)
    listing.hear(ASHA, "MENU", at=world.clock.now() + timedelta(minutes=5))
    after(world, listing, hours=14)  # 23:00
    assert sent(world) == []
    assert [(each.state, each.reason) for each in rows(world)] == [("held", "quiet_hours")]


def test_an_answer_within_ten_minutes_belongs_to_her_text(world: World, listing: ScriptedList) -> None:
    world.member(collective_of(world), ASHA, spoke_on=LINE)
    change(world, Collective, quiet_from=8, quiet_until=21)
    listing.hear(ASHA, "MENU")
    after(world, listing, minutes=8)
    assert len(sent(world)) == 1


SAFE = [
    # her zone, the collective's quiet hours, hours after 09:01 UTC, answered
    ("UTC", None, 5, True),
    ("UTC", None, 12.5, False),  # 21:31 there
    ("Asia/Kolkata", None, 5, True),  # 19:31
    ("Asia/Kolkata", None, 7, False),  # 21:31
    ("UTC", (13, 15), 5, False),  # the collective rests at midday
    (None, None, 5, True),  # she never said: by her number in India, and the collective is in UTC
    (None, None, 6.7, False),  # 15:43 in UTC, 21:13 in India
]


@pytest.mark.parametrize(("zone", "quiet", "hours", "answered"), SAFE)
def test_late_words_of_care_are_answered_in_safe_hours_only(
    world: World,
    listing: ScriptedList,
    zone: str | None,
    quiet: tuple[int, int] | None,
    hours: float,
    answered: bool,
) -> None:
    collective = collective_of(world)
    number = ASHA if zone is not None else "+919812345678"
    world.member(collective, number, timezone=zone, spoke_on=LINE)
    if quiet is not None:
        change(world, Collective, quiet_from=quiet[0], quiet_until=quiet[1])
    world.text(number, "CHECKIN")
    listing.hear(number, "5", at=world.clock.now() + timedelta(minutes=1))
    after(world, listing, hours=hours)
    assert inbound(world)[-1].handled_as == "answer", "what she said counts, whenever it reaches us"
    assert bool(sent(world)) is answered


def test_a_late_sos_reaches_helpers_at_any_hour_and_says_when_she_called(world: World, listing: ScriptedList) -> None:
    collective = collective_of(world)
    world.member(collective, ASHA, timezone="UTC", spoke_on=LINE)
    world.member(collective, MIGUEL, roles=["supporter"], timezone="UTC", spoke_on=LINE)
    change(world, Collective, quiet_from=21, quiet_until=8)
    listing.hear(ASHA, "SOS", at=world.clock.now() + timedelta(minutes=1))
    after(world, listing, hours=14)
    ((to, body),) = sent(world)
    assert to == MIGUEL and "asked for help at 09:01" in body and "NOW" not in body


def test_nobody_unknown_is_answered_at_night(world: World, listing: ScriptedList) -> None:
    listing.hear(ASHA, "hello?", at=world.clock.now() + timedelta(minutes=1))
    after(world, listing, hours=14)
    assert (inbound(world)[0].handled_as, sent(world)) == ("stranger", [])


def test_a_late_stop_by_our_own_word_is_confirmed_once(world: World) -> None:
    whatsapp = "whatsapp:" + LINE
    world.member(world.collective(lines=(whatsapp,)), ASHA, timezone="UTC", spoke_on=whatsapp)
    listing = ScriptedList(world)
    read(world, listing)
    listing.hear("whatsapp:" + ASHA, "STOP", to=whatsapp, at=world.clock.now() + timedelta(minutes=1))
    after(world, listing, hours=1)
    assert len(sent(world)) == 1 and stopped(world) == [True]


def test_a_flow_that_breaks_on_a_late_text_loses_nothing(world: World, listing: ScriptedList, monkeypatch: pytest.MonkeyPatch) -> None:
    world.member(collective_of(world), ASHA, spoke_on=LINE)

    def breaks(*_: object) -> None:
        raise RuntimeError("a flow broke")

    monkeypatch.setattr(bot.inbound.receive, "decide", breaks)
    listing.hear(ASHA, "When do we meet?")
    assert after(world, listing, minutes=2).taken == 1
    assert [each.handled_as for each in inbound(world)] == ["failed"]
    with world.store.read() as session:
        assert session.scalars(sa.select(Note.kind)).all() == ["failed"]
    assert after(world, listing, minutes=2).taken == 0


def test_a_text_that_breaks_us_keeps_no_other_out(world: World, listing: ScriptedList, monkeypatch: pytest.MonkeyPatch) -> None:
    poison = listing.hear(ASHA, "JOIN SANGHA")
    listing.hear(MIGUEL, "JOIN SANGHA")
    real = backfill.receive_late

    def breaks(reception: Reception, message: InboundMessage) -> bool:
        if message.sid == poison.sid:
            raise ZeroDivisionError
        return real(reception, message)

    monkeypatch.setattr(backfill, "receive_late", breaks)
    assert after(world, listing, minutes=2).taken == 1
    assert len(members(world)) == 1


# --- the database was away ----------------------------------------


def test_i6_after_an_outage_of_the_database_a_read_is_asked_for(
    world: World, listing: ScriptedList, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = listing.hear(ASHA, "JOIN SANGHA")
    real = bot.inbound.webhooks.receive

    def away(*_: object) -> str:
        raise DatabaseBusy("away")

    monkeypatch.setattr(bot.inbound.webhooks, "receive", away)
    assert world.text(ASHA, "JOIN SANGHA", MessageSid=refused.sid).status == 503
    monkeypatch.setattr(bot.inbound.webhooks, "receive", real)
    assert timers(world) == 0
    assert world.text(MIGUEL, "JOIN SANGHA").status == 200
    assert timers(world) == 1, "a worker is asked to read the list"
    assert world.text(MIGUEL, "Miguel").status == 200
    assert timers(world) == 1, "once"
    assert after(world, listing, minutes=2).taken == 1
    assert members(world) == ["active", "active"]


def timers(world: World) -> int:
    with world.store.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(Timer).where(Timer.kind == TIMER)) or 0


# --- a lost answer in a webhook's response ----------------------------------------


def test_what_is_private_is_never_worth_repeating(world: World) -> None:
    """The answer's row says until when it may go again by itself: words of care never."""
    world.member(world.collective(), ASHA, spoke_on=LINE)
    world.text(ASHA, "MENU")
    world.text(ASHA, "CHECKIN")
    world.text(ASHA, "5")
    world.text(ASHA, "SOS")
    with world.store.read() as session:
        lasts = [row.expires_at - row.created_at for row in session.execute(sa.select(Outbound.expires_at, Outbound.created_at))]
    assert lasts == [timedelta(hours=1), timedelta(0), timedelta(0), timedelta(0)]
