"""Unknown outcomes: what the carrier's list says, and what each class does when it says nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.delivery.broadcasts import stop_broadcast
from bot.delivery.carrier_list import fold_body
from bot.delivery.gateway import Accepted, Lost, Outcome
from bot.delivery.outbox import Letter, put_answered
from bot.delivery.reconcile import LookedUp, look_up_unknown
from bot.delivery.sweep import sweep
from bot.delivery.tokens import callback_token
from bot.delivery.unconfirmed import tell_of_expired
from bot.upkeep.retention import CARE_BODY_KEPT, purge
from models import Audit, Broadcast, Collective, Membership, Outbound, Person, Phone
from models.messages import UNKNOWN
from tests.delivery import ScriptedCarrier, change, phone_of, pump_all, put_letter, row, rows, send_broadcast
from tests.lists import LINE, ScriptedList
from tests.test_receipts import receive
from tests.world import World, new_sid

ASHA, MIGUEL = "+15551000001", "+15551000002"
CARE = ("check_in", "page", "relay", "crisis", "code", "stop")


@pytest.fixture
def listing(world: World) -> ScriptedList:
    return ScriptedList(world)


@pytest.fixture
def asha(world: World) -> int:
    return world.member(world.collective(), ASHA, spoke_on=LINE)


def lost_letter(world: World, member: int, body: str = "Hello", kind: str = "report", **named: object) -> int:
    """A letter whose answer from the carrier was lost."""
    number = put_letter(world, member, body, kind, **named)
    pump_all(world, ScriptedCarrier(lambda _to, _number: Lost("broken")), 30.0)
    assert row(world, number).state == "unknown"
    return number


def lost_reply(world: World, member: int, body: str = "Thank you.", lasts: timedelta | None = timedelta(hours=1)) -> int:
    """A reply in a webhook's answer of which nothing was heard."""
    now, line = world.clock.now(), world.line()
    with world.store.write() as session:
        person, phone, collective = session.execute(
            sa.select(Person.id, Person.phone_id, Membership.collective_id).join(Membership).where(Membership.id == member)
        ).one()
        letter = Letter("reply", body, "en", line, phone, person, member, collective, unprompted=False)
        number = put_answered(session, now, letter)
    expires = None if lasts is None else now + lasts
    change(world, Outbound, Outbound.id == number, state=UNKNOWN, check_at=now + timedelta(minutes=1), expires_at=expires)
    return number


def lost_alert(world: World, collective: int, text: str = "Rally today") -> int:
    broadcast = send_broadcast(world, collective, text, kind="alert")
    pump_all(world, ScriptedCarrier(lambda _to, _number: Lost("broken")), 30.0)
    assert {each.state for each in rows(world, broadcast)} == {"unknown"}
    return broadcast


def look(world: World, listing: ScriptedList, minutes: float = 0.0) -> LookedUp:
    world.clock.advance(timedelta(minutes=minutes))
    return look_up_unknown(world.deployment, listing)


def look_twice(world: World, listing: ScriptedList) -> LookedUp:
    look(world, listing, 1)
    return look(world, listing, 9)


# --- found ----------------------------------------


@pytest.mark.parametrize(
    ("status", "state"),
    [("accepted", "accepted"), ("queued", "accepted"), ("sent", "sent"), ("delivered", "delivered"), ("undelivered", "undelivered")],
)
def test_a_listed_message_comes_home(world: World, listing: ScriptedList, asha: int, status: str, state: str) -> None:
    number = lost_letter(world, asha)
    made = listing.add(ASHA, "Hello", status=status, sent_at=None, error_code=30005 if status == "undelivered" else None)
    assert look(world, listing).total == 0, "a message is not listed at once: not before a minute is over"
    assert look(world, listing, 1) == LookedUp(found=1)
    found = row(world, number)
    assert (found.state, found.sid, found.resent) == (state, made.sid, False)
    assert found.error_code == (30005 if status == "undelivered" else None)
    assert look(world, listing, 9).total == 0, "and is not looked up again"
    assert all(each["to"] == ASHA and each["sent_after"] is None for each in listing.asked), "what is not sent yet has no date of sending"


def test_only_her_own_message_of_that_moment_is_taken(world: World, listing: ScriptedList, asha: int) -> None:
    number = lost_letter(world, asha)
    now = world.clock.now()
    listing.add(MIGUEL, "Hello")
    listing.add(ASHA, "Hello, Asha")
    listing.add(ASHA, "Hello", at=now - timedelta(minutes=2))
    listing.add(ASHA, "Hello", at=now + timedelta(minutes=6))
    listing.add(ASHA, "Hello", sender="+15550009999")
    listing.hear(LINE, "Hello", to=ASHA)
    assert look(world, listing, 1) == LookedUp(missing=1)
    assert row(world, number).state == "unknown"


def test_what_the_carrier_made_of_the_words_is_still_known(world: World, listing: ScriptedList, asha: int) -> None:
    lost_letter(world, asha, "“Rally” — today… it’s at 5 pm\u00a0!")
    listing.add(ASHA, '"Rally" - today... it\'s at 5 pm !')
    assert look(world, listing, 1).found == 1
    assert fold_body("नमस्ते, एक संदेश है।") == fold_body("नमस्ते एक संदेश है")
    assert fold_body("👍") == fold_body(" 👍 ") != fold_body("👎")
    assert fold_body("Vote A") != fold_body("Vote B")


def test_two_equal_texts_have_one_message_each(world: World, listing: ScriptedList, asha: int) -> None:
    first = lost_letter(world, asha)
    world.clock.advance(timedelta(seconds=20))
    second = lost_letter(world, asha)
    third = lost_letter(world, asha)
    later = listing.add(ASHA, "Hello")
    earlier = listing.add(ASHA, "Hello", at=world.clock.now() - timedelta(seconds=20))
    look(world, listing, 1)
    assert [row(world, number).sid for number in (first, second, third)] == [earlier.sid, later.sid, None]


def test_a_message_that_is_another_rows_is_not_taken(world: World, listing: ScriptedList, asha: int) -> None:
    made = listing.add(ASHA, "Hello")
    other = put_letter(world, asha)
    pump_all(world, ScriptedCarrier(lambda _to, _number: Accepted(made.sid)), 30.0)
    number = lost_letter(world, asha)
    assert look(world, listing, 1) == LookedUp(missing=1)
    assert (row(world, other).sid, row(world, number).sid) == (made.sid, None)


def test_the_message_of_a_reply_still_on_its_way_is_its_own(world: World, listing: ScriptedList, asha: int) -> None:
    """She got "Thank you." twice within seconds; the first never reached the carrier, the second has no receipt yet."""
    first = lost_reply(world, asha)
    world.clock.advance(timedelta(seconds=20))
    second = lost_reply(world, asha)
    change(world, Outbound, Outbound.id == second, state="attempting", check_at=None)
    listing.add(ASHA, "Thank you.")
    assert look(world, listing, 1) == LookedUp(missing=1)
    assert row(world, first).sid is None


def test_a_service_that_names_no_sender_yet_and_a_whatsapp_line(world: World, listing: ScriptedList) -> None:
    service = "MG" + "0" * 32
    collective = world.collective(lines=(service,))
    member = world.member(collective, ASHA)
    number = lost_letter(world, member, line_id=world.line(service))
    made = listing.add(ASHA, "Hello", sender="", service=service, status="accepted", sent_at=None)
    whatsapp = "whatsapp:" + LINE
    other = world.member(world.collective("LABDI", lines=(whatsapp,)), MIGUEL, spoke_on=whatsapp)
    second = lost_letter(world, other, line_id=world.line(whatsapp))
    on_whatsapp = listing.add("whatsapp:" + MIGUEL, "Hello", sender=whatsapp)
    assert look(world, listing, 1).found == 2
    assert [row(world, each).sid for each in (number, second)] == [made.sid, on_whatsapp.sid]


def test_a_receipt_that_came_first_is_never_lowered(world: World, listing: ScriptedList, asha: int) -> None:
    number = lost_letter(world, asha)
    sid = new_sid()
    receive(world, number, "delivered", sid=sid)
    listing.add(ASHA, "Hello", status="sent")
    assert look(world, listing, 1).total == 0 and not listing.asked
    assert (row(world, number).state, row(world, number).sid, row(world, number).check_at) == ("delivered", sid, None)


class Meanwhile(ScriptedList):
    """Something happens between the reading of the list and the writing."""

    def list_messages(self, **wanted: object):  # type: ignore[no-untyped-def, override]
        found = super().list_messages(**wanted)  # type: ignore[arg-type]
        self.meanwhile()
        return found


def test_a_receipt_during_the_look_is_never_lowered(world: World, asha: int) -> None:
    listing, sid = Meanwhile(world), new_sid()
    number = lost_letter(world, asha)
    listing.meanwhile = lambda: receive(world, number, "delivered", sid=sid)  # type: ignore[attr-defined]
    listing.add(ASHA, "Hello", status="sent")
    assert look(world, listing, 1).total == 0
    assert (row(world, number).state, row(world, number).sid) == ("delivered", sid)


def test_she_is_forgotten_during_the_look(world: World, asha: int) -> None:
    listing = Meanwhile(world)
    number = lost_letter(world, asha)
    listing.meanwhile = lambda: change(world, Outbound, Outbound.id == number, phone_id=None, body=None)  # type: ignore[attr-defined]
    listing.add(ASHA, "Hello", status="sent")
    look(world, listing, 1)
    assert (row(world, number).state, row(world, number).sid) == ("sent", None), "nothing that leads to her comes back"
    change(world, Outbound, Outbound.id == number, state="unknown", check_at=world.clock.now())
    assert look(world, listing, 1).total == 0
    assert row(world, number).check_at is None


def test_two_workers_do_not_look_at_the_same_row(world: World, asha: int) -> None:
    listing = Meanwhile(world)
    lost_letter(world, asha)
    other = ScriptedList(world)
    listing.meanwhile = lambda: look_up_unknown(world.deployment, other)  # type: ignore[attr-defined]
    listing.add(ASHA, "Hello")
    assert look(world, listing, 1).found == 1
    assert not other.asked


# --- not found ----------------------------------------


@pytest.mark.parametrize("kind", CARE)
def test_care_is_never_sent_again_by_itself(world: World, listing: ScriptedList, asha: int, kind: str) -> None:
    number = lost_letter(world, asha, kind=kind, unprompted=False)
    look(world, listing, 1)
    assert (row(world, number).checks, row(world, number).check_at) == (1, row(world, number).attempted_at + timedelta(minutes=10))
    assert look(world, listing, 9) == LookedUp(missing=1)
    for _ in range(3):
        look(world, listing, 600)
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 30.0)
    found = row(world, number)
    assert (found.state, found.checks, found.check_at, found.resent, carrier.taken) == ("unknown", 2, None, False, [])


def test_an_urgent_alert_goes_again_once(world: World, listing: ScriptedList, asha: int) -> None:
    collective = rows_collective(world, asha)
    broadcast = lost_alert(world, collective)
    assert look(world, listing, 1) == LookedUp(missing=1), "the list may lag: not after the first look"
    assert look(world, listing, 9) == LookedUp(resent=1)
    carrier = ScriptedCarrier(lambda _to, _number: Lost("broken"))
    assert pump_all(world, carrier, 30.0) == 1
    found = rows(world, broadcast)[0]
    assert (found.state, found.resent, found.attempt) == ("unknown", True, 2)
    assert carrier.taken[0].callback.endswith(callback_token(world.store, found.id, 2)), "a receipt says which attempt it is for"
    look_twice(world, listing)
    assert pump_all(world, carrier, 30.0) == 0, "never a second time"
    assert row(world, found.id).check_at is None
    with world.store.read() as session:
        assert session.scalars(sa.select(Audit.act).where(Audit.act == "unconfirmed sent again")).all() == ["unconfirmed sent again"]


def rows_collective(world: World, member: int) -> int:
    with world.store.read() as session:
        return session.scalars(sa.select(Membership.collective_id).where(Membership.id == member)).one()


def test_a_late_receipt_of_the_first_attempt_stops_the_second(world: World, listing: ScriptedList, asha: int) -> None:
    broadcast = lost_alert(world, rows_collective(world, asha))
    look_twice(world, listing)
    number = rows(world, broadcast)[0].id
    assert receive(world, number, "delivered", attempt=1, sid=new_sid())
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier, 30.0) == 0
    assert row(world, number).state == "delivered"


def test_an_alert_whose_first_copy_was_refused_by_receipt_is_not_confused(world: World, listing: ScriptedList, asha: int) -> None:
    broadcast = lost_alert(world, rows_collective(world, asha))
    look_twice(world, listing)
    number = rows(world, broadcast)[0].id
    pump_all(world, ScriptedCarrier(), 30.0)
    receive(world, number, "undelivered", 30003, attempt=1, sid=new_sid())
    assert row(world, number).state == "accepted", "an earlier attempt that failed says nothing about the present one"


@pytest.mark.parametrize("reason", ["expired", "stopped", "corrected"])
def test_an_alert_that_nobody_wants_any_more_is_not_repeated(world: World, listing: ScriptedList, asha: int, reason: str) -> None:
    collective = rows_collective(world, asha)
    broadcast = lost_alert(world, collective)
    if reason == "expired":
        change(world, Outbound, Outbound.broadcast_id == broadcast, expires_at=world.clock.now() + timedelta(minutes=5))
    elif reason == "stopped":
        with world.store.write() as session:
            stop_broadcast(session, world.clock.now(), session.get_one(Broadcast, broadcast))
    else:
        correction = send_broadcast(world, collective, "Change: at 6")
        change(world, Broadcast, Broadcast.id == correction, corrects_id=broadcast)
        pump_all(world, ScriptedCarrier(), 30.0)
    assert look_twice(world, listing) == LookedUp(missing=1)
    assert [each.state for each in rows(world, broadcast)] == ["unknown"]


def test_a_lost_reply_in_a_webhooks_answer_goes_again_once(world: World, listing: ScriptedList, asha: int) -> None:
    number = lost_reply(world, asha)
    assert look_twice(world, listing) == LookedUp(resent=1)
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier, 30.0) == 1
    assert (carrier.bodies, row(world, number).attempt, row(world, number).state) == (["Thank you."], 2, "accepted")


def test_a_reply_that_came_late_does_not_wake_her(world: World, listing: ScriptedList, asha: int) -> None:
    change(world, Collective, quiet_from=9, quiet_until=20)
    number = lost_reply(world, asha)
    assert look_twice(world, listing).resent == 1
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 30.0)
    assert (row(world, number).state in ("held", "expired"), carrier.taken) == (True, []), "in the morning it is no answer any more"


def test_a_reply_that_is_over_or_of_care_or_to_a_stranger_is_not_repeated(world: World, listing: ScriptedList, asha: int) -> None:
    over = lost_reply(world, asha, "You joined.", timedelta(minutes=5))
    care = lost_reply(world, asha, "A peer will write to you.", timedelta(0))
    unsaid = lost_reply(world, asha, "Nobody said.", None)
    stranger = lost_reply(world, asha, "This is the number of a group.")
    change(world, Outbound, Outbound.id == stranger, membership_id=None)
    by_request = lost_letter(world, asha, "From the pump", "reply", expires_at=world.clock.now() + timedelta(hours=1))
    assert look_twice(world, listing) == LookedUp(missing=5)
    assert {row(world, number).state for number in (over, care, unsaid, stranger, by_request)} == {"unknown"}


def test_a_held_answer_to_a_stop_is_not_said_twice(world: World, listing: ScriptedList, asha: int) -> None:
    """The confirmation of an opt-out is one text, and a reply to someone who stopped us since is none."""
    number = lost_reply(world, asha)
    world.text(ASHA, "STOP")
    assert look_twice(world, listing).resent == 1
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 30.0)
    assert (row(world, number).state, carrier.taken) == ("suppressed", [])


# --- a list that can not be believed ----------------------------------------


def test_a_list_that_can_not_be_read_settles_nothing(world: World, listing: ScriptedList, asha: int) -> None:
    broadcast = lost_alert(world, rows_collective(world, asha))
    listing.unread = "HTTP 401"
    for _ in range(5):
        found = look(world, listing, 10)
        assert (found.total, found.unread) == (0, "HTTP 401")
    assert [(each.state, each.checks) for each in rows(world, broadcast)] == [("unknown", 0)]
    listing.unread = None
    assert look(world, listing, 3) == LookedUp(missing=1), "what was never seen is looked at twice all the same"
    assert look(world, listing, 3) == LookedUp(resent=1)


def test_a_list_with_blacked_out_words_proves_nothing(world: World, listing: ScriptedList, asha: int) -> None:
    broadcast = lost_alert(world, rows_collective(world, asha))
    listing.add(ASHA, "", status="delivered")
    for number in range(30):
        listing.add(f"+155530000{number:02d}", "Hello", at=world.clock.now() + timedelta(minutes=1))
    assert look_twice(world, listing) == LookedUp(missing=1)
    assert [each.state for each in rows(world, broadcast)] == ["unknown"]


def test_a_list_with_blacked_out_numbers_proves_nothing(world: World, listing: ScriptedList, asha: int) -> None:
    """With redaction nothing is found by her number; but the line's own messages show it."""
    broadcast = lost_alert(world, rows_collective(world, asha))
    listing.add("+1555100XXXX", "Rally today")
    assert look_twice(world, listing) == LookedUp(missing=1)
    assert [each.state for each in rows(world, broadcast)] == ["unknown"]


def test_an_empty_list_of_a_line_that_has_sent_proves_nothing(world: World, listing: ScriptedList, asha: int) -> None:
    put_letter(world, asha, "Earlier")
    pump_all(world, ScriptedCarrier(), 30.0)
    broadcast = lost_alert(world, rows_collective(world, asha))
    assert look_twice(world, listing) == LookedUp(missing=1)
    assert [each.state for each in rows(world, broadcast)] == ["unknown"]


def test_a_list_cut_short_proves_nothing(world: World, listing: ScriptedList, asha: int) -> None:
    broadcast = lost_alert(world, rows_collective(world, asha))
    for number in range(3):
        listing.add(ASHA, f"Later {number}", at=world.clock.now() + timedelta(minutes=3))
    listing.most = 2
    assert look_twice(world, listing) == LookedUp(missing=1)
    assert [each.state for each in rows(world, broadcast)] == ["unknown"]


def test_words_that_are_gone_prove_nothing(world: World, listing: ScriptedList, asha: int) -> None:
    number = lost_reply(world, asha)
    change(world, Outbound, Outbound.id == number, body=None)
    assert look_twice(world, listing) == LookedUp(missing=1)


# --- who is told ----------------------------------------


def test_organizers_are_told_once_for_how_many_it_is_not_certain(world: World, listing: ScriptedList) -> None:
    collective = world.collective()
    world.member(collective, ASHA, roles=["organizer"])
    others = [world.member(collective, f"+1555100001{n}") for n in range(3)]
    broadcast = send_broadcast(world, collective, "Rally today")

    def answer(to: str, _number: int) -> Outcome:
        return Accepted(new_sid()) if to == ASHA else Lost("broken")

    pump_all(world, ScriptedCarrier(answer), 30.0)
    listing.add("+15551000010", "Sangha: Rally today", sender=LINE)
    with world.store.read() as session:
        number = session.get_one(Broadcast, broadcast).number
    assert look_twice(world, listing).missing == 2
    reports = [each for each in rows(world) if each.kind == "report"]
    assert len(reports) == 1
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 30.0)
    expected = f"No. {number}: for 2 people we can not tell whether it arrived. To send it to them once more: RESEND {number}"
    assert [(text.to, text.body) for text in carrier.taken] == [(ASHA, expected)]
    change(world, Outbound, Outbound.membership_id == others[0], state="unknown", check_at=world.clock.now(), checks=1)
    look(world, listing, 1)
    assert len([each for each in rows(world) if each.kind == "report"]) == 1, "once a broadcast"


def test_the_writer_of_an_answer_is_told_that_it_may_not_have_arrived(world: World, listing: ScriptedList) -> None:
    collective = world.collective()
    supporter = world.member(collective, ASHA, roles=["supporter"])
    member = world.member(collective, MIGUEL, timezone="Asia/Kolkata")
    lost_letter(world, member, "Sangha: I am here", "relay", about_membership_id=supporter)
    look_twice(world, listing)
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 30.0)
    assert [text.to for text in carrier.taken] == [ASHA]
    assert "your answer of 09:00" in carrier.bodies[0] and "I am here" not in carrier.bodies[0]


@pytest.mark.parametrize("kind", ["notice", "alert"])
def test_organizers_are_told_of_an_alert_that_stays_uncertain_too(world: World, listing: ScriptedList, kind: str) -> None:
    """The list is cut short, so nothing goes again by itself: a person decides."""
    collective = world.collective()
    world.member(collective, ASHA, roles=["organizer"])
    send_broadcast(world, collective, kind=kind)
    pump_all(world, ScriptedCarrier(lambda _to, _number: Lost("broken")), 30.0)
    listing.most = 1
    listing.add(ASHA, "a text of much later", at=world.clock.now() + timedelta(minutes=9))
    listing.add(ASHA, "another one", at=world.clock.now() + timedelta(minutes=9))
    look_twice(world, listing)
    assert [each.kind for each in rows(world) if each.state == "queued"] == ["report"]


@pytest.mark.parametrize(
    ("kind", "writer", "reader"),
    [("page", ["organizer"], []), ("relay", ["organizer"], ["supporter"]), ("relay", [], ["supporter"]), ("relay", [], [])],
)
def test_she_whom_it_is_about_is_never_told(world: World, listing: ScriptedList, kind: str, writer: list[str], reader: list[str]) -> None:
    """Only who answered a member is told. A text about her own call for help could be read by whoever holds her phone."""
    collective = world.collective()
    helper = world.member(collective, ASHA, roles=reader)
    member = world.member(collective, MIGUEL, roles=writer)
    lost_letter(world, helper, "No. 7 writes: he is out", kind, about_membership_id=member)
    look_twice(world, listing)
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 30.0)
    assert carrier.taken == []


def test_nothing_of_a_detached_phone_is_sent_again(world: World, listing: ScriptedList, asha: int) -> None:
    broadcast = lost_alert(world, rows_collective(world, asha))
    change(world, Phone, Phone.id == phone_of(world, asha), detached_at=world.clock.now())
    look_twice(world, listing)
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 30.0)
    assert ([each.state for each in rows(world, broadcast)], carrier.taken) == (["suppressed"], [])


def test_a_trial_accounts_prefix_is_known(world: World, listing: ScriptedList, asha: int) -> None:
    number = lost_letter(world, asha, "Sangha: we meet at six")
    listing.add(ASHA, "Sent from your Twilio trial account - Sangha: we meet at six")
    assert look(world, listing, 1).found == 1
    assert row(world, number).state == "sent"


def test_an_alert_that_reads_otherwise_in_the_list_is_not_sent_twice(world: World, listing: ScriptedList, asha: int) -> None:
    """Whatever the carrier made of it: something left for her on this line at that moment."""
    with world.store.read() as session:
        broadcast = lost_alert(world, session.get_one(Membership, asha).collective_id)
    listing.add(ASHA, "S@ngha: R@lly tod@y", sender=LINE)
    assert look_twice(world, listing).resent == 0
    assert rows(world, broadcast)[0].state == "unknown"


def test_a_text_of_another_moment_or_line_says_nothing_of_an_alert(world: World, listing: ScriptedList, asha: int) -> None:
    with world.store.read() as session:
        broadcast = lost_alert(world, session.get_one(Membership, asha).collective_id)
    listing.add(ASHA, "something else", sender="+15550009999")
    listing.add(ASHA, "something else", sender=LINE, at=world.clock.now() - timedelta(minutes=5))
    assert look_twice(world, listing).resent == 1
    assert rows(world, broadcast)[0].state == "queued"


@pytest.mark.parametrize("by", ["the sweep", "the purge"])
def test_the_writer_of_an_answer_that_waited_too_long_is_told_once(world: World, by: str) -> None:
    """A supporter's words are kept for a day: they wait no longer for their reader, and do not vanish silently."""
    collective = world.collective()
    supporter = world.member(collective, ASHA, roles=["supporter"])
    member = world.member(collective, MIGUEL)
    number = put_letter(world, member, "Sangha: I am here", "relay", about_membership_id=supporter)
    change(world, Outbound, Outbound.id == number, state="held", reason="window", due_at=world.clock.now() + timedelta(days=2))
    assert tell_of_expired(world.store) == 0
    world.clock.advance(timedelta(hours=24, seconds=1))
    sweep(world.store) if by == "the sweep" else purge(world.deployment)
    assert row(world, number).state == "expired"
    assert (tell_of_expired(world.store), tell_of_expired(world.store)) == (1, 0)
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 30.0)
    assert [text.to for text in carrier.taken] == [ASHA]
    assert "your answer of Sun 12 Apr, 9:00 am" in carrier.bodies[0] and "I am here" not in carrier.bodies[0]


def test_words_between_people_wait_as_long_as_they_are_kept(world: World, asha: int) -> None:
    later = world.clock.now() + timedelta(hours=20)
    number = put_letter(world, asha, "Sangha: I am here", "relay", due_at=later)
    assert row(world, number).expires_at == world.clock.now() + CARE_BODY_KEPT
