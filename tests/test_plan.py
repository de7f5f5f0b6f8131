"""Fan-out: each phone one row, on the right line, in her language, held or left out for the right reason; and the hours of quiet."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bot.delivery import plan
from bot.delivery.broadcasts import (
    add_text,
    approve_broadcast,
    draft_broadcast,
    hold_broadcast,
    release_broadcast,
    stop_broadcast,
)
from bot.delivery.plan import plan_broadcast
from bot.delivery.previews import preview_broadcast
from bot.delivery.quiet import find_zone, next_allowed
from bot.delivery.routes import NoLine, default_line, line_for
from bot.delivery.wording import choose, render
from models import Broadcast, Group, GroupMember, Membership, Outbound, Phone, PhoneLine
from tests.delivery import add_many_members, change, phone_of, put_letter, row, rows, send_broadcast
from tests.world import World

LINE, SECOND, WHATSAPP = "+15550001111", "+15550001112", "whatsapp:+15550003333"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- quiet hours -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "zone", "hours", "allowed"),
    [
        ("2026-04-12T12:00", "UTC", (21, 8), None),
        ("2026-04-12T21:00", "UTC", (21, 8), "2026-04-13T08:00"),
        ("2026-04-12T20:59:59", "UTC", (21, 8), None),
        ("2026-04-12T07:59", "UTC", (21, 8), "2026-04-12T08:00"),
        ("2026-04-12T08:00", "UTC", (21, 8), None),
        ("2026-04-12T13:30", "UTC", (12, 15), "2026-04-12T15:00"),
        ("2026-04-12T18:00", "Asia/Kolkata", (21, 8), "2026-04-13T02:30"),
        ("2026-04-12T23:00", "UTC", (None, None), None),
        ("2026-04-12T23:00", "UTC", (8, 8), None),
        ("2026-04-12T23:00", "No/Such_Zone", (21, 8), "2026-04-13T08:00"),
        # New York goes to summer time at 2026-03-08 07:00 UTC and back at 2026-11-01 06:00 UTC.
        ("2026-03-08T04:00", "America/New_York", (21, 8), "2026-03-08T12:00"),
        ("2026-11-01T04:00", "America/New_York", (21, 8), "2026-11-01T13:00"),
        ("2026-03-08T04:00", "America/New_York", (21, 2), "2026-03-08T07:00"),
        ("2026-11-01T05:30", "America/New_York", (21, 1), None),
        ("2026-11-01T06:30", "America/New_York", (21, 2), "2026-11-01T07:00"),
    ],
)
def test_the_next_allowed_moment(now: str, zone: str, hours: tuple[int | None, int | None], allowed: str | None) -> None:
    assert next_allowed(utc(now), zone, *hours) == (None if allowed is None else utc(allowed))


@given(
    st.integers(int(utc("2025-01-01").timestamp()), int(utc("2028-01-01").timestamp())).map(
        lambda second: datetime.fromtimestamp(second, UTC)
    ),
    st.sampled_from(
        ["UTC", "Europe/Paris", "America/New_York", "Africa/Casablanca", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata"]
    ),
    st.integers(0, 23),
    st.integers(0, 23),
)
def test_what_is_held_leaves_at_the_first_allowed_moment(now: datetime, zone: str, quiet_from: int, quiet_until: int) -> None:
    allowed = next_allowed(now, zone, quiet_from, quiet_until)

    def is_quiet(moment: datetime) -> bool:
        hour = moment.astimezone(find_zone(zone)).hour
        return quiet_from <= hour < quiet_until if quiet_from <= quiet_until else hour >= quiet_from or hour < quiet_until

    if allowed is None:
        assert not is_quiet(now)
    else:
        assert is_quiet(now) and now < allowed <= now + timedelta(hours=26)
        assert not is_quiet(allowed)
        assert is_quiet(allowed - timedelta(seconds=1)), "not a second later than need be"


# --- who gets it, and where ------------------------------------------------------------------------------------------------


def test_each_phone_gets_one_row(world: World) -> None:
    collective = world.collective()
    one, other = world.member(collective, "+15551000001"), world.member(collective, "+15551000002")
    world.member(world.collective("OTHER"), "+15551000003")
    number = send_broadcast(world, collective)
    found = rows(world, number)
    assert [(each.membership_id, each.state, each.position) for each in found] == [(one, "queued", 0), (other, "queued", 1)]
    with world.store.read() as session:
        assert session.scalars(sa.select(Outbound.body)).all() == [None, None], "no words, no sealed column"
    assert plan_broadcast(world.deployment, number) == 0


def test_two_people_on_one_phone_get_it_once_the_one_who_holds_it(world: World) -> None:
    collective = world.collective()
    first = world.member(collective, "+15551000001", name="Asha")
    second = world.member(collective, "+15551000001", name="Bela")
    assert [each.membership_id for each in rows(world, send_broadcast(world, collective))] == [first]
    with world.store.read() as session:
        holder = session.get_one(Membership, second).person_id
    change(world, Phone, current_person_id=holder)
    assert [each.membership_id for each in rows(world, send_broadcast(world, collective))] == [second]
    change(world, Phone, current_person_id=None)
    assert [each.membership_id for each in rows(world, send_broadcast(world, collective))] == [first]
    change(world, Membership, Membership.id == first, state="left")
    assert [each.membership_id for each in rows(world, send_broadcast(world, collective))] == [second]


def test_the_holder_who_is_not_in_the_group_leaves_it_to_her_sister(world: World) -> None:
    collective = world.collective()
    world.member(collective, "+15551000001", name="Asha")
    second = world.member(collective, "+15551000001", name="Bela")
    with world.store.write() as session:
        group = Group(collective_id=collective, name="drivers")
        session.add(group)
        session.flush()
        session.add(GroupMember(group_id=group.id, membership_id=second))
    assert [each.membership_id for each in rows(world, send_broadcast(world, collective, group_id=group.id))] == [second]


def test_why_somebody_is_left_out(world: World) -> None:
    collective = world.collective()
    members = {
        reason: world.member(collective, f"+155510000{n:02d}")
        for n, reason in enumerate(["detached", "opted_out", "refused", "paused", "left", "fine"], 1)
    }
    now = world.clock.now()
    line = world.line()
    change(world, Phone, Phone.id == phone_of(world, members["detached"]), detached_at=now)
    with world.store.write() as session:
        session.add(PhoneLine(phone_id=phone_of(world, members["opted_out"]), line_id=line, opted_out_at=now, opted_out_by="carrier"))
        session.add(PhoneLine(phone_id=phone_of(world, members["refused"]), line_id=line, refused_code=21211))
    change(world, Membership, Membership.id == members["paused"], paused_until=now + timedelta(days=1))
    change(world, Membership, Membership.id == members["left"], state="left")
    found = {each.membership_id: (each.state, each.reason) for each in rows(world, send_broadcast(world, collective))}
    expected = {members[reason]: ("suppressed", reason) for reason in ("detached", "opted_out", "refused", "paused")}
    assert found == expected | {members["fine"]: ("queued", None)}


def test_an_opt_out_counts_for_its_line_only(world: World) -> None:
    collective = world.collective(lines=[LINE, SECOND])
    phone, line = phone_of(world, world.member(collective, "+15551000001", spoke_on=SECOND)), world.line(LINE)
    with world.store.write() as session:
        session.add(PhoneLine(phone_id=phone, line_id=line, opted_out_at=world.clock.now(), opted_out_by="word"))
    assert [each.state for each in rows(world, send_broadcast(world, collective))] == ["queued"]


def test_the_line_she_last_wrote_on_else_the_first_that_can_hear(world: World) -> None:
    world.line("+15559990000", two_way=False)
    world.line(SECOND, country="CA")  # lines of one kind and country share the work: tests/test_rules_lines.py
    collective = world.collective(lines=["+15559990000", LINE, SECOND])
    quiet, spoke = world.member(collective, "+15551000001"), world.member(collective, "+15551000002", spoke_on=SECOND)
    found = {each.membership_id: each.line_id for each in rows(world, send_broadcast(world, collective))}
    assert found == {quiet: world.line(LINE), spoke: world.line(SECOND)}
    with world.store.read() as session:
        assert {member: line_for(session, member) for member in found} == found
        assert default_line(session, collective) == world.line(LINE)


def test_a_collective_without_a_line(world: World) -> None:
    collective = world.collective(lines=[])
    member = world.member(collective, "+15551000001")
    assert rows(world, send_broadcast(world, collective)) == []
    with world.store.read() as session, pytest.raises(NoLine):
        line_for(session, member)


def test_a_question_does_not_go_where_no_answer_can_come_from(world: World) -> None:
    world.line("+15559990000", two_way=False)
    collective = world.collective(lines=["+15559990000"])
    world.member(collective, "+15551000001")
    assert [each.reason for each in rows(world, send_broadcast(world, collective, kind="alert"))] == ["one_way"]
    assert [each.state for each in rows(world, send_broadcast(world, collective))] == ["queued"]


def test_her_language_and_what_it_costs(world: World) -> None:
    collective = world.collective(language="es")
    languages = [None, "en", "hi", "hi-Latn"]
    for number, language in enumerate(languages):
        world.member(collective, f"+155510000{number:02d}", language=language)
    long = "नमस्ते " * 30
    found = rows(world, send_broadcast(world, collective, {"en": "Hello", "es": "Hola", "hi": long}))
    assert [each.language for each in found] == ["es", "en", "hi", "hi-Latn"]
    assert [each.segments for each in found] == [1, 1, 4, 1]


def test_what_an_asking_message_opens(world: World) -> None:
    collective = world.collective()
    world.member(collective, "+15551000001")
    assert [each.asks for each in rows(world, send_broadcast(world, collective, kind="alert"))] == ["action_alert"]
    assert [each.asks for each in rows(world, send_broadcast(world, collective, {}, kind="check_in"))] == ["check_in"]
    assert [each.asks for each in rows(world, send_broadcast(world, collective))] == [None]


# --- held ------------------------------------------------------------------------------------------------------------------


def test_quiet_hours_hold_to_the_exact_moment_in_her_own_zone(world: World) -> None:
    # 09:00 UTC: 14:30 in Kolkata, 02:00 in Los Angeles, 21:00 in Auckland.
    collective = world.collective(quiet_from=21, quiet_until=8, timezone="Asia/Kolkata")
    for number, zone in enumerate([None, "America/Los_Angeles", "Pacific/Auckland", "Rubbish/Zone"]):
        world.member(collective, f"+155510000{number:02d}", timezone=zone)
    found = rows(world, send_broadcast(world, collective))
    assert [(each.state, each.reason, each.due_at) for each in found] == [
        ("queued", None, world.clock.now()),
        ("held", "quiet_hours", utc("2026-04-12T15:00")),
        ("held", "quiet_hours", utc("2026-04-12T20:00")),
        ("queued", None, world.clock.now()),
    ]


def test_whatsapp_outside_the_window_waits(world: World) -> None:
    world.line(WHATSAPP)
    collective = world.collective(lines=[WHATSAPP])
    world.member(collective, "+15551000001", spoke_on=WHATSAPP)
    stale = world.member(collective, "+15551000002", spoke_on=WHATSAPP)
    world.member(collective, "+15551000003")
    change(world, PhoneLine, PhoneLine.phone_id == phone_of(world, stale), last_inbound_at=world.clock.now() - timedelta(hours=25))
    assert [(each.state, each.reason) for each in rows(world, send_broadcast(world, collective))] == [
        ("queued", None),
        ("held", "window"),
        ("held", "window"),
    ]


# --- chunks ----------------------------------------------------------------------------------------------------------------


def test_a_planner_that_dies_is_taken_up_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    collective = world.collective()
    add_many_members(world, collective, 25)
    monkeypatch.setattr(plan, "CHUNK", 10)
    now = world.clock.now()
    with world.store.write() as session:
        drafted = draft_broadcast(session, now, collective, "notice", {"en": "Rally"})
        approve_broadcast(session, now, drafted, how="cli")

    def die(_deployment: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "ring", die)
    with pytest.raises(KeyboardInterrupt):
        plan_broadcast(world.deployment, drafted.id)
    assert len(rows(world, drafted.id)) == 10, "the first chunk was committed before the planner died"
    monkeypatch.setattr(plan, "ring", lambda _deployment: True)
    assert plan_broadcast(world.deployment, drafted.id) == 15
    found = rows(world, drafted.id)
    assert len({each.phone_id for each in found}) == 25
    assert sorted(each.position for each in found) == list(range(25))


def test_planners_that_meet_plan_everybody_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    collective = world.collective()
    add_many_members(world, collective, 60)
    monkeypatch.setattr(plan, "CHUNK", 5)
    monkeypatch.setattr(plan, "ring", lambda _deployment: True)
    now = world.clock.now()
    with world.store.write() as session:
        drafted = draft_broadcast(session, now, collective, "notice", {"en": "Rally"})
        approve_broadcast(session, now, drafted, how="cli")
    added: list[int] = []
    together = threading.Barrier(4)

    def plan_it() -> None:
        together.wait()
        added.append(plan_broadcast(world.deployment, drafted.id))

    threads = [threading.Thread(target=plan_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = rows(world, drafted.id)
    assert (sum(added), len(found), len({each.phone_id for each in found})) == (60, 60, 60)
    with world.store.read() as session:
        broadcast = session.get_one(Broadcast, drafted.id)
        assert (broadcast.total, broadcast.planned_at) == (60, world.clock.now())


def test_a_stop_half_way_ends_the_planning(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    collective = world.collective()
    add_many_members(world, collective, 30)
    monkeypatch.setattr(plan, "CHUNK", 10)

    def stop(_deployment: object) -> bool:
        with world.store.write() as session:
            stop_broadcast(session, world.clock.now(), session.scalars(sa.select(Broadcast)).one())
        return True

    monkeypatch.setattr(plan, "ring", stop)
    number = send_broadcast(world, collective)
    assert [each.state for each in rows(world, number)] == ["stopped"] * 10


def test_a_hold_half_way_and_its_release(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    collective = world.collective()
    add_many_members(world, collective, 20)
    monkeypatch.setattr(plan, "CHUNK", 10)

    def hold(_deployment: object) -> bool:
        with world.store.write() as session:
            hold_broadcast(session, world.clock.now(), session.scalars(sa.select(Broadcast)).one())
        return True

    monkeypatch.setattr(plan, "ring", hold)
    number = send_broadcast(world, collective)
    assert {(each.state, each.reason) for each in rows(world, number)} == {("held", "organizer")}
    with world.store.write() as session:
        assert release_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
    monkeypatch.setattr(plan, "ring", lambda _deployment: True)
    assert plan_broadcast(world.deployment, number) == 10
    assert [each.state for each in rows(world, number)] == ["queued"] * 20


def test_planning_what_does_not_exist(world: World) -> None:
    with pytest.raises(LookupError):
        plan_broadcast(world.deployment, 4711)


# --- preview and words -----------------------------------------------------------------------------------------------------


def test_the_preview_says_what_will_happen(world: World) -> None:
    collective = world.collective(quiet_from=21, quiet_until=8)
    for number, (language, zone) in enumerate([("en", None), ("es", None), ("hi", None), ("hi", "Pacific/Auckland"), ("hi-Latn", None)]):
        world.member(collective, f"+155510000{number:02d}", language=language, timezone=zone)
    paused = world.member(collective, "+15551000099")
    change(world, Membership, Membership.id == paused, paused_until=world.clock.now() + timedelta(days=1))
    with world.store.write() as session:
        drafted = draft_broadcast(session, world.clock.now(), collective, "notice", {"en": "Rally today", "es": "Marcha hoy"})
        preview = preview_broadcast(session, world.clock.now(), drafted)
        assert (preview.recipients, preview.encoding, preview.segments) == (5, "GSM-7", 1)
        assert preview.by_language == {"en": 1, "es": 1, "hi": 2, "hi-Latn": 1}
        assert preview.fallback == {"hi": 2, "hi-Latn": 1}
        assert (preview.held, preview.left_out) == ({"quiet_hours": 1}, {"paused": 1})
        add_text(session, drafted, "hi", "आज रैली " * 20)
        preview = preview_broadcast(session, world.clock.now(), drafted)
        assert (preview.encoding, preview.fallback) == ("UCS-2", {"hi-Latn": 1})
        assert preview.segments > 1
    number = drafted.id
    assert rows(world, number) == [], "a preview plans nothing"


@pytest.mark.parametrize(
    ("language", "fallback", "known", "reads"),
    [
        ("es", "en", ("en", "es"), "es"),
        ("hi", "es", ("en", "es"), "es"),
        ("hi", "es", ("en",), "en"),
        ("hi", "en", ("es",), "es"),
        ("hi-Latn", "hi", ("hi", "en"), "en"),
        ("hi-Latn", "hi", ("hi", "es"), "es"),
        ("hi-Latn", "hi", ("hi",), "hi"),
    ],
)
def test_which_text_a_reader_gets(language: str, fallback: str, known: tuple[str, ...], reads: str) -> None:
    assert choose(language, fallback, dict.fromkeys(known, "text"))[0] == reads


def test_every_text_names_its_sender() -> None:
    for kind in ("notice", "result", "alert", "poll", "check_in"):
        assert render(kind, "en", "Sangha", "Where?", ["Park", "School"] if kind == "poll" else None).startswith("Sangha: ")
    with pytest.raises(ValueError, match="no words"):
        render("reply", "en", "Sangha", "Where?")


def test_a_letter_waits_for_its_hour(world: World) -> None:
    member = world.member(world.collective(), "+15551000001")
    due = world.clock.now() + timedelta(hours=2)
    waiting = row(world, put_letter(world, member, due_at=due))
    assert (waiting.state, waiting.due_at) == ("held", due)
