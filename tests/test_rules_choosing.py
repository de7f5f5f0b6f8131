"""What a member chooses by text: her hours, early texts, SMS. What it changes, what is recorded, and what takes it back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from models import Consent, Membership, Person
from tests.delivery import rows, send_broadcast, states
from tests.world import World

SMS, WHATSAPP = "+15550001111", "whatsapp:+15550003333"
ASHA = "+15551000001"
ASKED = "When WhatsApp fails, may we send you SMS? They show on your phone, and others can read them more easily. Reply YES or NO."


def member_on(world: World, *lines: str, spoke_on: str | None = None, **values: object) -> int:
    collective = world.collective(lines=list(lines), **values)
    return world.member(collective, ASHA, name="Asha", spoke_on=spoke_on or lines[0])


def membership(world: World) -> Membership:
    with world.store.read() as session:
        return session.scalars(sa.select(Membership)).one()


def person(world: World) -> Person:
    with world.store.read() as session:
        return session.scalars(sa.select(Person)).one()


def consents(world: World) -> list[tuple[str, str, str, bool]]:
    """(kind, text version, language, whether it stands), in their order."""
    with world.store.read() as session:
        return [
            (each.kind, each.text_version, each.language, each.withdrawn_at is None)
            for each in session.scalars(sa.select(Consent).order_by(Consent.id))
        ]


# --- her hours -----------------------------------------------------------------------------------------------------------


def test_her_hours_hold_the_next_broadcast(world: World) -> None:
    member_on(world, SMS)
    world.text(ASHA, "QUIET 6-12")
    assert (person(world).quiet_from, person(world).quiet_until) == (6, 12)
    with world.store.read() as session:
        collective = session.scalars(sa.select(Membership.collective_id)).one()
    assert states(world, send_broadcast(world, collective)) == ["held"]
    world.text(ASHA, "QUIET OFF")
    assert (person(world).quiet_from, person(world).quiet_until) == (None, None)
    assert states(world, send_broadcast(world, collective, "Once more")) == ["queued"]


def test_hours_that_leave_none_for_a_group_of_hers_on_another_line(world: World) -> None:
    member_on(world, SMS)
    night = world.collective("NIGHT", lines=["+15550001112"], quiet_from=21, quiet_until=8)
    with world.store.write() as session:
        session.add(Membership(person_id=session.scalars(sa.select(Person.id)).one(), collective_id=night, joined_at=world.clock.now()))
    answer = world.text(ASHA, "QUIET 8-21")
    assert answer.text.startswith("Then no hour would be left")
    assert person(world).quiet_from is None


def test_in_the_middle_of_a_question_none_of_these_words_acts(world: World) -> None:
    """To "how are you?", "Quiet" is no answer, and no wish for quiet hours either."""
    member_on(world, SMS)
    world.text(ASHA, "CHECKIN")
    for word in ("EARLY", "QUIET 22-7"):
        assert world.text(ASHA, word).text.startswith("Please send a number from 1 to 5.")
    assert (membership(world).early_texts, person(world).quiet_from) == (False, None)


# --- early texts ---------------------------------------------------------------------------------------------------------


def test_early_is_a_consent_given_and_withdrawn(world: World) -> None:
    member_on(world, SMS)
    world.text(ASHA, "EARLY")
    assert membership(world).early_texts
    assert consents(world) == [("early", "early-1", "en", True)]
    world.text(ASHA, "EARLY")
    assert not membership(world).early_texts
    assert consents(world) == [("early", "early-1", "en", False)]
    world.text(ASHA, "EARLY OFF")
    assert not membership(world).early_texts, "off stays off"
    world.text(ASHA, "LANG ES")
    world.text(ASHA, "temprano")
    assert consents(world) == [("early", "early-1", "en", False), ("early", "early-1", "es", True)]


def test_early_holds_for_her_groups_on_this_line_only(world: World) -> None:
    member_on(world, SMS)
    other = world.collective("OTHER", lines=["+15550001112"])
    with world.store.write() as session:
        session.add(Membership(person_id=session.scalars(sa.select(Person.id)).one(), collective_id=other, joined_at=world.clock.now()))
    world.text(ASHA, "EARLY")
    with world.store.read() as session:
        assert session.scalars(sa.select(Membership.early_texts).order_by(Membership.id)).all() == [True, False]


# --- SMS where WhatsApp fails --------------------------------------------------------------------------------------------


def on_whatsapp(world: World, text: str) -> str:
    return world.text(f"whatsapp:{ASHA}", text, to=WHATSAPP).text


def test_sms_is_asked_with_a_warning_and_may_be_taken_back(world: World) -> None:
    member_on(world, WHATSAPP, SMS)
    assert "QUIET, EARLY, SMS: when and how" in on_whatsapp(world, "MENU")
    assert on_whatsapp(world, "SMS") == ASKED
    assert not membership(world).sms_fallback, "the word alone is no yes"
    assert on_whatsapp(world, "yes") == "OK. What WhatsApp can not bring comes by SMS. SMS OFF ends it."
    assert membership(world).sms_fallback
    assert consents(world) == [("sms", "sms-1", "en", True)]
    assert on_whatsapp(world, "ME").endswith("You chose: SMS")
    assert on_whatsapp(world, "SMS OFF") == "OK. No SMS where WhatsApp fails."
    assert not membership(world).sms_fallback
    assert consents(world) == [("sms", "sms-1", "en", False)]


@pytest.mark.parametrize("language", ["en", "es", "hi", "hi-Latn"])
def test_no_is_no_in_every_language(world: World, language: str) -> None:
    member_on(world, WHATSAPP, SMS, language=language)
    asked = on_whatsapp(world, "SMS")
    assert "WhatsApp" in asked
    assert (asked == ASKED) == (language == "en")
    on_whatsapp(world, {"en": "no", "es": "no", "hi": "नहीं", "hi-Latn": "nahi"}[language])
    assert not membership(world).sms_fallback
    assert consents(world) == []


def test_without_an_sms_line_nothing_is_asked(world: World) -> None:
    member_on(world, WHATSAPP)
    assert on_whatsapp(world, "SMS") == "Your group has no number for SMS. Texts come by WhatsApp only."
    assert "SMS" not in on_whatsapp(world, "MENU")


# --- what takes it back --------------------------------------------------------------------------------------------------


def choose_everything(world: World) -> None:
    member_on(world, WHATSAPP, SMS)
    for text in ("QUIET 22-7", "EARLY", "SMS", "YES"):
        on_whatsapp(world, text)
    assert (person(world).quiet_from, membership(world).early_texts, membership(world).sms_fallback) == (22, True, True)


def test_whoever_leaves_agrees_to_nothing_more(world: World) -> None:
    choose_everything(world)
    on_whatsapp(world, "LEAVE")
    assert {standing for *_, standing in consents(world)} == {False}
    on_whatsapp(world, "JOIN SANGHA")
    assert (membership(world).early_texts, membership(world).sms_fallback) == (False, False), "a JOIN asks nothing of the night"


def test_forget_leaves_nothing_of_it(world: World) -> None:
    choose_everything(world)
    on_whatsapp(world, "FORGET")
    on_whatsapp(world, "YES")
    with world.store.read() as session:
        for table in (Person, Membership, Consent):
            assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_quiet_hours_count_in_the_zone_she_named(world: World) -> None:
    """14:30 in Kolkata when it is 09:00 UTC."""
    collective = world.collective(lines=[SMS])
    world.member(collective, ASHA, timezone="Asia/Kolkata", spoke_on=SMS)
    world.text(ASHA, "QUIET 14-16")
    number = send_broadcast(world, collective)
    assert [(each.reason, each.due_at) for each in rows(world, number)] == [("quiet_hours", datetime(2026, 4, 12, 10, 30, tzinfo=UTC))]
