"""Corrections: whom they reach, what they stop, that they are no hole; and sending again what nobody can tell the fate of."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.delivery.broadcasts import approve_broadcast, draft_broadcast, hold_broadcast, stop_broadcast
from bot.delivery.corrections import count_unknown, draft_correction, resend_unknown, why_not_correct
from bot.delivery.plan import plan_broadcast
from bot.delivery.receipts import apply_receipt
from bot.delivery.sweep import sweep
from bot.delivery.tokens import callback_token
from models import Alert, Broadcast, Group, GroupMember, Membership, Outbound, Person, Phone
from tests.conftest import START
from tests.delivery import ScriptedCarrier, change, phone_of, pump_all, row, rows, send_broadcast
from tests.test_broadcasts import AUTHOR, MEMBER, OTHER, THIRD, acts, leaving, let_due_timers_act, read
from tests.world import World, new_sid


@pytest.fixture
def sangha(world: World) -> int:
    collective = world.collective()
    for number in (AUTHOR, OTHER, THIRD):
        world.member(collective, number, roles=["organizer"])
    world.member(collective, MEMBER)
    return collective


def correct(world: World, broadcast_id: int, text: str = "We meet at seven") -> int:
    """Correct it from the command line's side; the correction's id, planned."""
    with world.store.write() as session:
        old = session.get_one(Broadcast, broadcast_id)
        made = draft_correction(session, world.clock.now(), old, {"en": text})
        assert approve_broadcast(session, world.clock.now(), made, how="cli")
    plan_broadcast(world.deployment, made.id)
    return made.id


def set_state(world: World, broadcast_id: int, member: int, state: str, reason: str | None = None) -> None:
    of_hers = (Outbound.broadcast_id == broadcast_id, Outbound.membership_id == member)
    change(world, Outbound, *of_hers, state=state, reason=reason)


# --- whom it reaches ---------------------------------------------------------------------------------------------------------


def test_it_goes_to_whoever_got_may_have_got_or_would_have_got_it(world: World, sangha: int) -> None:
    members = {state: world.member(sangha, f"+1555100{n:04d}") for n, state in enumerate(("delivered", "unknown", "failed", "queued"))}
    paused, quit_since = world.member(sangha, "+15551010001"), world.member(sangha, "+15551010002")
    change(world, Membership, Membership.id == paused, paused_until=world.clock.now() + timedelta(hours=1))
    old = send_broadcast(world, sangha)
    for state, member in members.items():
        set_state(world, old, member, state)
    set_state(world, old, quit_since, "delivered")
    change(world, Membership, Membership.id == quit_since, state="left")
    newcomer = world.member(sangha, "+15551010003")
    world.clock.advance(timedelta(hours=2))
    reached = {each.membership_id: each.state for each in rows(world, correct(world, old))}
    assert set(members.values()) < set(reached)
    assert reached[paused] == "queued", "her pause is over: she would have got it"
    assert quit_since not in reached and newcomer not in reached


def test_what_was_unsent_of_it_stops(world: World, sangha: int) -> None:
    old = send_broadcast(world, sangha)
    first = rows(world, old)[0]
    change(world, Outbound, Outbound.id == first.id, state="delivered")
    correct(world, old)
    assert {(each.state, each.reason) for each in rows(world, old) if each.id != first.id} == {("stopped", "corrected")}
    assert row(world, first.id).state == "delivered"
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert set(carrier.bodies) == {"Sangha: Change: We meet at seven"} and len(carrier.bodies) == 4


def test_it_reaches_those_whom_the_fan_out_had_not_come_to(world: World, sangha: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.store.write() as session:
        made = draft_broadcast(session, world.clock.now(), sangha, "notice", {"en": "We meet at six"})
        approve_broadcast(session, world.clock.now(), made, how="cli")
        old = made.id
    half_way(world, old, planned=2)
    newest = correct(world, correct(world, old), "We meet at eight")
    assert len(rows(world, newest)) == 4, "through a chain of corrections, too"


def half_way(world: World, broadcast_id: int, planned: int) -> None:
    """As if the fan-out had been held after so many members."""
    plan_broadcast(world.deployment, broadcast_id)
    keep = [each.id for each in rows(world, broadcast_id)][:planned]
    last = rows(world, broadcast_id)[planned - 1].membership_id
    with world.store.write() as session:
        session.execute(sa.delete(Outbound).where(Outbound.broadcast_id == broadcast_id, Outbound.id.not_in(keep)))
        values = {"planned_at": None, "planned_through": last, "total": planned}
        session.execute(sa.update(Broadcast).where(Broadcast.id == broadcast_id).values(**values))


def test_of_a_dropped_one_only_those_hear_who_may_have_read_it(world: World, sangha: int) -> None:
    old = send_broadcast(world, sangha)
    half_way(world, old, planned=2)
    reader = rows(world, old)[0].membership_id
    set_state(world, old, reader, "sent")  # type: ignore[arg-type]
    with world.store.write() as session:
        stop_broadcast(session, world.clock.now(), session.get_one(Broadcast, old))
    assert [each.membership_id for each in rows(world, correct(world, old))] == [reader]


def test_a_group_s_correction_stays_in_the_group(world: World, sangha: int) -> None:
    """Two sisters share a phone; only one of them drives, and the other one holds the phone by now."""
    driver = world.member(sangha, "+15551020001", name="Maya")
    sister = world.member(sangha, "+15551020001", name="Lila")
    former = world.member(sangha, "+15551020002")
    with world.store.write() as session:
        group = Group(collective_id=sangha, name="drivers")
        session.add(group)
        session.flush()
        session.add_all(GroupMember(group_id=group.id, membership_id=each) for each in (driver, former))
    old = send_broadcast(world, sangha, group_id=group.id)
    with world.store.write() as session:
        session.execute(sa.delete(GroupMember).where(GroupMember.membership_id == former))
        holder = session.scalars(sa.select(Membership.person_id).where(Membership.id == sister)).one()
        session.execute(sa.update(Phone).where(Phone.id == phone_of(world, sister)).values(current_person_id=holder))
    assert {each.membership_id for each in rows(world, correct(world, old))} == {driver, former}, "who read it, and nobody beside her"


def test_sisters_on_one_phone_get_one_correction(world: World, sangha: int) -> None:
    world.member(sangha, "+15551020001", name="Maya")
    sister = world.member(sangha, "+15551020001", name="Lila")
    old = send_broadcast(world, sangha)
    with world.store.write() as session:
        session.execute(
            sa.update(Phone)
            .where(Phone.id == phone_of(world, sister))
            .values(
                current_person_id=sa.select(Person.id).where(Person.name.is_not(None)).order_by(Person.id.desc()).limit(1).scalar_subquery()
            )
        )
    reached = rows(world, correct(world, old))
    assert len(reached) == len({each.phone_id for each in reached}) == 5


# --- it is no hole -----------------------------------------------------------------------------------------------------------


def test_one_text_holds_and_reaches_nobody(world: World, sangha: int) -> None:
    number = leaving(world)
    world.text(THIRD, f"CHANGE {number} Come to the police station")
    let_due_timers_act(world)
    assert read(world, number).state == "held"
    assert {each.broadcast_id for each in rows(world) if each.broadcast_id is not None} == {read(world, number).id}
    assert "is yours" in world.text(THIRD, "OK 2").text, "nor does a second one from the same phone"
    assert world.text(MEMBER, f"CHANGE {number} We meet at nine").text == "Passed on. Thank you."


def test_it_leaves_without_a_cool_down(world: World, sangha: int) -> None:
    number = leaving(world)
    world.text(AUTHOR, f"CHANGE {number} We meet at seven")
    assert "2 is on its way" in world.text(OTHER, "OK 2").text
    assert let_due_timers_act(world) == 1 and len(rows(world, read(world, "2").id)) == 4
    assert acts(world)[-2:] == [f"change of {number} drafted", "approved by organizer"]


def test_a_second_change_makes_the_first_one_out_of_date(world: World, sangha: int) -> None:
    number = leaving(world)
    world.text(AUTHOR, f"CHANGE {number} We meet at seven")
    world.text(THIRD, f"CHANGE {number} We meet at eight")
    assert world.text(OTHER, "OK 2").text == "There is no draft 2 to send."
    assert "3 is on its way" in world.text(OTHER, "OK 3").text


def test_what_can_not_be_corrected(world: World, sangha: int) -> None:
    with world.store.write() as session:
        now = world.clock.now()
        drafted = draft_broadcast(session, now, sangha, "notice", {"en": "Hello"})
        check_in = draft_broadcast(session, now, sangha, "check_in", {})
        approve_broadcast(session, now, check_in, how="cli")
        assert why_not_correct(session, drafted) == "a_draft"
        assert why_not_correct(session, check_in) == "no_words_of_ours"
        with pytest.raises(ValueError, match="no_words_of_ours"):
            draft_correction(session, now, check_in, {"en": "How are you?"})
    old = send_broadcast(world, sangha)
    correct(world, old)
    with world.store.read() as session:
        assert why_not_correct(session, session.get_one(Broadcast, old)) == "corrected"


def test_a_scheduled_one_is_corrected_for_the_same_hour(world: World, sangha: int) -> None:
    with world.store.write() as session:
        now = world.clock.now()
        old = draft_broadcast(session, now, sangha, "notice", {"en": "We meet at six"})
        approve_broadcast(session, now, old, how="cli", at=now + timedelta(hours=5))
        made = draft_correction(session, now, old, {"en": "We meet at seven"})
        approve_broadcast(session, now, made, how="organizer")
        assert made.due_at == now + timedelta(hours=5)
    world.clock.advance(timedelta(hours=5))
    assert let_due_timers_act(world) == 1, "the old one has no moment any more"
    assert len(rows(world, made.id)) == 4 and not rows(world, old.id)


# --- alerts ------------------------------------------------------------------------------------------------------------------


def test_answers_carry_over_to_the_corrected_alert(world: World, sangha: int) -> None:
    with world.store.write() as session:
        alert = Alert(collective_id=sangha, created_at=world.clock.now())
        session.add(alert)
        session.flush()
    old = send_broadcast(world, sangha, "Rally 5pm", kind="alert", alert_id=alert.id)
    pump_all(world, ScriptedCarrier())
    assert "Coming so far: 1" in world.text(MEMBER, "yes").text
    newest = correct(world, old, "Rally 6pm")
    assert "Coming so far: 2" in world.text(AUTHOR, "yes").text, "she has only read the old words; it is the same action"
    pump_all(world, ScriptedCarrier())
    told = world.text(OTHER, "yes").text
    assert "Coming so far: 3" in told, f"two texts of one action are no riddle: {told}"
    assert "thank you" in world.text(MEMBER, "no").text.casefold()
    with world.store.read() as session:
        number = session.get_one(Broadcast, newest).number
    assert world.text(AUTHOR, "STATUS").text.startswith(f"Action {number}: yes 2, maybe 0, no 1.")


# --- unknown outcomes ---------------------------------------------------------------------------------------------------------


def lose(world: World, broadcast_id: int, *, kind: str = "notice", **values: object) -> int:
    """One row of it is unknown, its look-ups over; returns its id."""
    number = rows(world, broadcast_id)[0].id
    change(world, Outbound, Outbound.broadcast_id == broadcast_id, state="delivered")
    lost = {"state": "unknown", "attempt": 1, "checks": 2, "check_at": None}
    change(world, Outbound, Outbound.id == number, **(lost | values))
    change(world, Broadcast, Broadcast.id == broadcast_id, state="done", done_at=world.clock.now(), kind=kind)
    return number


def resend(world: World, broadcast_id: int) -> int:
    with world.store.write() as session:
        return resend_unknown(session, world.clock.now(), session.get_one(Broadcast, broadcast_id))


def test_what_is_unknown_goes_again_once(world: World, sangha: int) -> None:
    broadcast = send_broadcast(world, sangha)
    number = lose(world, broadcast)
    assert resend(world, broadcast) == 1
    found = row(world, number)
    assert (found.state, found.resent, found.checks) == ("queued", True, 0)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert len(carrier.taken) == 1 and row(world, number).attempt == 2
    change(world, Outbound, Outbound.id == number, state="unknown", checks=2, check_at=None)
    assert resend(world, broadcast) == 0, "not a third time"


@pytest.mark.parametrize(
    "values",
    [{"checks": 1}, {"checks": 0}, {"check_at": START}, {"resent": True}, {"phone_id": None}, {"state": "delivered"}],
    ids=["looked up once", "never looked up", "to be looked up", "sent again before", "forgotten", "known"],
)
def test_what_does_not_go_again(world: World, sangha: int, values: dict[str, object]) -> None:
    broadcast = send_broadcast(world, sangha)
    lose(world, broadcast, **values)
    assert resend(world, broadcast) == 0


def test_what_is_looked_up_now_is_counted_apart(world: World, sangha: int) -> None:
    broadcast = send_broadcast(world, sangha)
    lose(world, broadcast, checks=1, check_at=world.clock.now())
    assert resend(world, broadcast) == 0
    with world.store.read() as session:
        assert count_unknown(session, broadcast) == (1, 1)
        number = session.get_one(Broadcast, broadcast).number
    assert world.text(AUTHOR, f"RESEND {number}").text.startswith(f"{number}: we still look up 1")


def test_care_is_never_sent_again(world: World, sangha: int) -> None:
    broadcast = send_broadcast(world, sangha)
    lose(world, broadcast, kind="check_in")
    assert resend(world, broadcast) == 0


def test_what_is_over_is_not_sent_again(world: World, sangha: int) -> None:
    broadcast = send_broadcast(world, sangha)
    lose(world, broadcast)
    world.clock.advance(timedelta(days=4))
    assert resend(world, broadcast) == 0
    change(world, Broadcast, Broadcast.id == broadcast, state="stopped", expires_at=None)
    assert resend(world, broadcast) == 0, "and what was stopped stays stopped"


def test_an_organizer_sends_again_by_text(world: World, sangha: int) -> None:
    broadcast = send_broadcast(world, sangha)
    lose(world, broadcast)
    assert world.text(THIRD, "RESEND 1").text == "1: not confirmed, sent once more: 1."
    assert acts(world)[-1] == "unconfirmed sent again"
    assert world.text(MEMBER, "RESEND 1").text == "Passed on. Thank you."


def test_a_hold_counts_for_what_goes_again(world: World, sangha: int) -> None:
    broadcast = send_broadcast(world, sangha)
    lose(world, broadcast)
    resend(world, broadcast)
    with world.store.write() as session:
        assert hold_broadcast(session, world.clock.now(), session.get_one(Broadcast, broadcast)), "it is on its way once more"
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 1.0)
    assert not carrier.taken


# --- what is done may come back, and must not bring the old words ------------------------------------------------------------


def sent_and_done(world: World, sangha: int) -> int:
    old = send_broadcast(world, sangha, "We meet at six")
    pump_all(world, ScriptedCarrier())
    sweep(world.store)
    assert read(world, number_of(world, old)).state == "done"
    return old


def number_of(world: World, broadcast_id: int) -> str:
    with world.store.read() as session:
        return str(session.get_one(Broadcast, broadcast_id).number)


def phone_was_off(world: World, outbound: int) -> None:
    """The receipt comes late: it did not arrive, and is tried again in an hour."""
    assert apply_receipt(world.store, callback_token(world.store, outbound, 1), "undelivered", 30003, new_sid())


def bodies_an_hour_later(world: World) -> list[str]:
    world.clock.advance(timedelta(hours=1, minutes=1))
    sweep(world.store)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    return carrier.bodies


def test_a_late_receipt_brings_no_old_words_back(world: World, sangha: int) -> None:
    old = sent_and_done(world, sangha)
    done_at = read(world, number_of(world, old)).done_at
    correct(world, old)
    stopped = read(world, number_of(world, old))
    assert (stopped.state, stopped.done_at) == ("stopped", done_at)
    pump_all(world, ScriptedCarrier())
    phone_was_off(world, rows(world, old)[0].id)
    assert not any("six" in body for body in bodies_an_hour_later(world))


def test_what_waits_for_another_try_is_corrected_instead(world: World, sangha: int) -> None:
    old = sent_and_done(world, sangha)
    first = rows(world, old)[0]
    phone_was_off(world, first.id)
    new = correct(world, old)
    assert (row(world, first.id).state, row(world, first.id).reason) == ("stopped", "corrected")
    assert first.membership_id in {each.membership_id for each in rows(world, new)}


def test_old_words_are_not_sent_again_by_resend(world: World, sangha: int) -> None:
    old = sent_and_done(world, sangha)
    change(world, Outbound, Outbound.id == rows(world, old)[0].id, state="unknown", checks=2, check_at=None, sid=None)
    correct(world, old)
    pump_all(world, ScriptedCarrier())
    assert world.text(AUTHOR, f"RESEND {number_of(world, old)}").text == "Nothing of 1 can be sent again."
    assert bodies_an_hour_later(world) == []


def test_a_corrected_text_does_not_go_by_sms_either(world: World) -> None:
    """WhatsApp's receipt comes late: its window was closed. She allows SMS."""
    whatsapp = "whatsapp:+15550003333"
    collective = world.collective(lines=[whatsapp, "+15550001111"])
    member = world.member(collective, MEMBER, spoke_on=whatsapp)
    change(world, Membership, Membership.id == member, sms_fallback=True)
    old = sent_and_done(world, collective)
    correct(world, old)
    apply_receipt(world.store, callback_token(world.store, rows(world, old)[0].id, 1), "undelivered", 63016, new_sid())
    assert not any("six" in body for body in bodies_an_hour_later(world))


@pytest.mark.parametrize("word", ["HOLD", "DROP", "CHANGE"])
def test_what_is_done_is_held_dropped_or_changed_while_some_would_be_tried_again(world: World, sangha: int, word: str) -> None:
    old = sent_and_done(world, sangha)
    number = number_of(world, old)
    assert "nothing" in world.text(OTHER, f"HOLD {number}").text.lower(), "all of it has left"
    phone_was_off(world, rows(world, old)[0].id)
    said = world.text(OTHER, f"{word} {number}" + (" We meet at seven" if word == "CHANGE" else "")).text
    assert f"{number} is {'dropped' if word == 'DROP' else 'held'}" in said
    assert not any("Sangha: We meet at six" in body for body in bodies_an_hour_later(world))
    if word == "HOLD":
        assert "is on its way" in world.text(THIRD, f"OK {number}").text and read(world, number).state == "sending"
        assert bodies_an_hour_later(world) == ["Sangha: We meet at six"]
    if word == "DROP":
        assert read(world, number).state == "stopped"


def test_a_dropped_correction_does_not_stand_in_the_way_of_another(world: World, sangha: int) -> None:
    old = sent_and_done(world, sangha)
    world.text(AUTHOR, f"CHANGE {number_of(world, old)} We meet at sevn")
    world.text(OTHER, "OK 2")
    assert "2 was changed already" not in world.text(AUTHOR, "DROP 2").text
    assert "3: to 4 people" in world.text(AUTHOR, "CHANGE 1 We meet at seven").text
    world.text(OTHER, "OK 3")
    let_due_timers_act(world)
    assert set(bodies_an_hour_later(world)) >= {"Sangha: Change: We meet at seven"}
    assert "To change it again: CHANGE 3" in world.text(AUTHOR, "CHANGE 1 We meet at eight").text
