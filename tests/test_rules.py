"""The rules of the last look: her own quiet hours, care in the night, early texts, what comes too late. In the fan-out and at the send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from bot.delivery.broadcasts import approve_broadcast, broadcast_status, draft_broadcast, refuse_reason
from bot.delivery.kinds import AFTER_THE_START, ASKING_LANES, ASKS, CARE, LANES
from bot.delivery.plan import plan_broadcast
from bot.delivery.previews import preview_broadcast
from bot.delivery.sweep import sweep
from models import Alert, Broadcast, Consent, Membership, Outbound, Person, Phone
from tests.delivery import ScriptedCarrier, change, phone_of, pump_all, put_letter, row, rows, send_broadcast
from tests.world import World

NEW_YORK, NOWHERE, PARIS = "+1212555", "+1555100", "+3361234"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def person_of(world: World, member: int) -> int:
    with world.store.read() as session:
        return session.scalars(sa.select(Membership.person_id).where(Membership.id == member)).one()


def sleep_from(world: World, member: int, begins: int, ends: int) -> None:
    """Her own quiet hours."""
    change(world, Person, Person.id == person_of(world, member), quiet_from=begins, quiet_until=ends)


def draft(world: World, collective: int, kind: str = "notice", **values: object) -> int:
    with world.store.write() as session:
        drafted = draft_broadcast(session, world.clock.now(), collective, kind, {} if kind == "check_in" else {"en": "Rally today"})
        for name, value in values.items():
            setattr(drafted, name, value)
        return drafted.id


def leave_now(world: World, broadcast: int) -> None:
    with world.store.write() as session:
        assert approve_broadcast(session, world.clock.now(), session.get_one(Broadcast, broadcast), how="cli")
    plan_broadcast(world.deployment, broadcast)


def held(world: World, broadcast: int) -> dict[int, tuple[str, str | None, datetime | None]]:
    """State, reason and, for those held, the moment, by membership."""
    return {
        each.membership_id or 0: (each.state, each.reason, each.due_at if each.state == "held" else None) for each in rows(world, broadcast)
    }


# --- her own hours -------------------------------------------------------------------------------------------------------


def test_her_own_hours_come_on_top_of_the_groups(world: World) -> None:
    """09:00 UTC; the group is quiet from 21 to 8."""
    collective = world.collective(quiet_from=21, quiet_until=8)
    plain, late, east = (world.member(collective, f"+1555100000{n}", timezone=zone) for n, zone in enumerate((None, None, "Asia/Kolkata")))
    sleep_from(world, late, 6, 11)
    sleep_from(world, east, 14, 15)
    number = send_broadcast(world, collective)
    assert held(world, number) == {
        plain: ("queued", None, None),
        late: ("held", "quiet_hours", utc("2026-04-12T11:00")),
        east: ("held", "quiet_hours", utc("2026-04-12T09:30")),
    }
    with world.store.read() as session:
        preview = preview_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
    assert (preview.recipients, preview.held) == (3, {"quiet_hours": 2})


def test_both_must_allow_it(world: World) -> None:
    """The group's night ends at 8, hers begins at 7 and ends at 10: she hears at 10 and never between."""
    collective = world.collective(quiet_from=21, quiet_until=8)
    member = world.member(collective, "+15551000001")
    sleep_from(world, member, 7, 10)
    world.clock.freeze(utc("2026-04-12T05:00"))
    number = send_broadcast(world, collective)
    assert held(world, number) == {member: ("held", "quiet_hours", utc("2026-04-12T10:00"))}
    carrier = ScriptedCarrier()
    for hour in (8, 9):
        world.clock.freeze(utc(f"2026-04-12T{hour:02}:30"))
        sweep(world.store)
        pump_all(world, carrier)
    assert carrier.taken == []
    world.clock.freeze(utc("2026-04-12T10:00"))
    sweep(world.store)
    pump_all(world, carrier)
    assert len(carrier.taken) == 1


def test_hours_chosen_after_the_fan_out_count_at_the_send(world: World) -> None:
    collective = world.collective()
    member, other = world.member(collective, "+15551000001"), world.member(collective, "+15551000002")
    number = send_broadcast(world, collective)
    assert set(held(world, number).values()) == {("queued", None, None)}
    sleep_from(world, member, 6, 12)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert held(world, number) == {member: ("held", "quiet_hours", utc("2026-04-12T12:00")), other: ("accepted", None, None)}


def test_an_answer_to_her_own_text_comes_at_any_hour(world: World) -> None:
    member = world.member(world.collective(), "+15551000001")
    sleep_from(world, member, 6, 12)
    asked, unasked = put_letter(world, member), put_letter(world, member, unprompted=True)
    pump_all(world, ScriptedCarrier())
    assert (row(world, asked).state, row(world, unasked).state) == ("accepted", "held")


def test_the_rarest_hours_are_left_to_the_last_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.delivery import audience

    monkeypatch.setattr(audience, "MOST_HOURS", 1)
    collective = world.collective()
    members = [world.member(collective, f"+1555100000{n}") for n in range(3)]
    for number, member in enumerate(members):
        sleep_from(world, member, 6 + number, 12)
    number = send_broadcast(world, collective)
    assert sorted(state for state, _, _ in held(world, number).values()) == ["held", "queued", "queued"]
    pump_all(world, ScriptedCarrier())
    assert set(held(world, number).values()) == {("held", "quiet_hours", utc("2026-04-12T12:00"))}


# --- care where her zone is not known ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "zone", "until"),
    [
        (NEW_YORK, None, "2026-04-12T12:00"),  # 09:00 UTC is 05:00 in New York
        (NEW_YORK, "Europe/Berlin", None),  # she said where she is
        (NOWHERE, None, None),  # a number without a place: the group's own zone
    ],
)
@pytest.mark.parametrize("kind", sorted(CARE))
def test_care_waits_until_it_is_day_wherever_she_may_be(world: World, kind: str, number: str, zone: str | None, until: str | None) -> None:
    collective = world.collective(quiet_from=21, quiet_until=8)
    member = world.member(collective, number + "0001", timezone=zone)
    letter = put_letter(world, member, kind=kind, unprompted=True)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    found = row(world, letter)
    if until is None:
        assert (found.state, len(carrier.taken)) == ("accepted", 1)
    else:
        assert (found.state, found.reason, found.due_at, carrier.taken) == ("held", "quiet_hours", utc(until), [])


def test_what_is_no_care_goes_by_the_groups_zone(world: World) -> None:
    collective = world.collective(quiet_from=21, quiet_until=8)
    member = world.member(collective, NEW_YORK + "0001")
    world.member(collective, NOWHERE + "0002")
    assert {each.state for each in rows(world, send_broadcast(world, collective))} == {"queued"}
    pump_all(world, ScriptedCarrier())
    assert {each.state for each in rows(world)} == {"accepted"}
    night = put_letter(world, member, kind="page", unprompted=False)  # a supporter who is ON, a call for help
    pump_all(world, ScriptedCarrier())
    assert row(world, night).state == "accepted"


def test_a_group_that_chose_no_quiet_hours_chose_it_for_care_too(world: World) -> None:
    member = world.member(world.collective(), NEW_YORK + "0001")
    letter = put_letter(world, member, kind="check_in", unprompted=True)
    pump_all(world, ScriptedCarrier())
    assert row(world, letter).state == "accepted"


def test_a_check_in_to_many_waits_for_those_whose_zone_is_unknown(world: World) -> None:
    """The fan-out opens no number; the last look does."""
    collective = world.collective(quiet_from=21, quiet_until=8)
    member, other = world.member(collective, NEW_YORK + "0001"), world.member(collective, NOWHERE + "0002")
    with world.store.write() as session:
        for each in (member, other):
            session.add(Consent(membership_id=each, kind="check_ins", text_version="x", language="en", given_at=world.clock.now()))
    number = send_broadcast(world, collective, {}, kind="check_in")
    pump_all(world, ScriptedCarrier())
    assert held(world, number) == {member: ("held", "quiet_hours", utc("2026-04-12T12:00")), other: ("accepted", None, None)}


def test_a_number_that_may_be_anywhere_is_judged_by_the_groups_zone(world: World) -> None:
    """A toll-free number has dozens of zones, and no hour suits all of them: else she would never hear."""
    member = world.member(world.collective(quiet_from=20, quiet_until=9), "+18005551212")
    letter = put_letter(world, member, kind="relay", unprompted=True)
    pump_all(world, ScriptedCarrier())
    assert row(world, letter).state == "accepted"


# --- early texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hour", "kind", "early", "agreed", "state"),
    [
        (5, "alert", True, True, "queued"),
        (4, "alert", True, True, "queued"),
        (5, "alert", True, False, "held"),
        (5, "alert", False, True, "held"),
        (5, "notice", True, True, "held"),
        (3, "alert", True, True, "held"),
        (0, "alert", True, True, "held"),
        (22, "alert", True, True, "held"),
    ],
)
def test_early_texts_only_in_the_morning_and_to_those_who_agreed(
    world: World, hour: int, kind: str, early: bool, agreed: bool, state: str
) -> None:
    collective = world.collective(quiet_from=21, quiet_until=8)
    member = world.member(collective, "+15551000001")
    other = world.member(collective, "+15551000002")
    change(world, Membership, Membership.id == member, early_texts=agreed)
    world.clock.freeze(utc(f"2026-04-12T{hour:02}:30"))
    number = draft(world, collective, kind, early=early)
    leave_now(world, number)
    assert held(world, number)[member][0] == state
    assert held(world, number)[other][0] == "held"
    change(world, Outbound, Outbound.state == "held", state="queued")  # the last look says the same
    pump_all(world, ScriptedCarrier())
    assert held(world, number)[member][0] == ("accepted" if state == "queued" else "held")
    assert held(world, number)[other] == ("held", "quiet_hours", utc("2026-04-12T08:00") + timedelta(days=hour > 21))


def test_an_early_alert_of_the_night_leaves_at_four(world: World) -> None:
    collective = world.collective(quiet_from=21, quiet_until=8, timezone="Asia/Kolkata")
    member = world.member(collective, "+15551000001")
    change(world, Membership, early_texts=True)
    world.clock.freeze(utc("2026-04-12T20:00"))  # half past one in the night
    number = draft(world, collective, "alert", early=True)
    leave_now(world, number)
    assert held(world, number) == {member: ("held", "quiet_hours", utc("2026-04-12T22:30"))}


def test_her_own_hours_hold_early_texts_too(world: World) -> None:
    collective = world.collective(quiet_from=21, quiet_until=8)
    member = world.member(collective, "+15551000001")
    change(world, Membership, early_texts=True)
    sleep_from(world, member, 22, 6)
    world.clock.freeze(utc("2026-04-12T05:00"))
    number = draft(world, collective, "alert", early=True)
    leave_now(world, number)
    assert held(world, number) == {member: ("held", "quiet_hours", utc("2026-04-12T06:00"))}


# --- too late ------------------------------------------------------------------------------------------------------------


def call_to_action(world: World, collective: int, starts_at: datetime) -> int:
    with world.store.write() as session:
        alert = Alert(collective_id=collective, starts_at=starts_at, created_at=world.clock.now())
        session.add(alert)
        session.flush()
        made = draft_broadcast(session, world.clock.now(), collective, "alert", {"en": "Rally today"}, alert_id=alert.id)
        return made.id


def test_whoever_wakes_after_the_rally_is_told_nothing_and_counted(world: World) -> None:
    """07:00 in the group's zone, and night until 16:00 UTC where the other one lives; the rally begins at 10:00 UTC."""
    collective = world.collective(quiet_from=21, quiet_until=7)
    here, far = world.member(collective, "+15551000001"), world.member(collective, "+15551000002", timezone="America/Anchorage")
    number = call_to_action(world, collective, utc("2026-04-12T10:00"))
    with world.store.read() as session:
        preview = preview_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
    assert (preview.recipients, preview.held, preview.left_out) == (1, {}, {"too_late": 1})
    leave_now(world, number)
    assert held(world, number) == {here: ("queued", None, None), far: ("expired", "too_late", None)}
    pump_all(world, ScriptedCarrier())
    with world.store.read() as session:
        counts = broadcast_status(session, number)["counts"]
    assert (counts["accepted"], counts["expired"], counts["held"]) == (1, 1, 0)


def test_if_nobody_can_be_reached_in_time_it_is_refused(world: World) -> None:
    collective = world.collective(quiet_from=8, quiet_until=20)
    world.member(collective, "+15551000001")
    number = call_to_action(world, collective, utc("2026-04-12T10:00"))
    with world.store.read() as session:
        assert refuse_reason(session, world.clock.now(), session.get_one(Broadcast, number)) == "nobody"


def test_held_at_the_send_past_its_end_it_expires_at_once(world: World) -> None:
    collective = world.collective()
    member = world.member(collective, "+15551000001")
    number = call_to_action(world, collective, utc("2026-04-12T10:00"))
    leave_now(world, number)
    sleep_from(world, member, 6, 12)
    pump_all(world, ScriptedCarrier())
    assert held(world, number) == {member: ("expired", "too_late", None)}


def test_o11_a_worker_that_was_down_for_six_hours_sends_no_stale_alert(world: World) -> None:
    """One alert was planned before the workers went down, one was due meanwhile; both rallies are over when they come back."""
    collective = world.collective()
    world.member(collective, "+15551000001")
    planned, due = (call_to_action(world, collective, world.clock.now() + timedelta(hours=hours)) for hours in (2, 3))
    leave_now(world, planned)
    with world.store.write() as session:
        assert approve_broadcast(session, world.clock.now(), session.get_one(Broadcast, due), how="cli")
    late = send_broadcast(world, collective)  # a notice is still news
    world.clock.advance(timedelta(hours=6))
    plan_broadcast(world.deployment, due)
    assert [each.state for each in rows(world, due)] == ["expired"]
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    sweep(world.store)
    assert [len(carrier.taken), *(each.state for each in rows(world, planned)), *(each.state for each in rows(world, late))] == [
        1,
        "expired",
        "accepted",
    ]
    with world.store.read() as session:
        assert {broadcast_status(session, number)["state"] for number in (planned, due)} == {"done"}


def test_the_carrier_is_told_how_long_it_may_try(world: World) -> None:
    collective = world.collective()
    member = world.member(collective, "+15551000001")
    leave_now(world, call_to_action(world, collective, world.clock.now() + timedelta(hours=1)))
    send_broadcast(world, collective)
    put_letter(world, member)
    told: list[int | None] = []

    class Listening(ScriptedCarrier):
        def send(self, *, validity: int | None = None, **named: object) -> object:  # type: ignore[override]
            told.append(validity)
            return super().send(**named)  # type: ignore[arg-type]

    pump_all(world, Listening())
    ends = int((timedelta(hours=1) + AFTER_THE_START).total_seconds())
    assert sorted(told, key=str) == sorted([ends, 36_000, None], key=str), "at most ten hours; a reply has no end"


# --- O10: summer time and clocks that jump -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "hours", "starts", "leaves"),
    [
        # Paris: 02:00 to 03:00 does not happen on 29 March 2026, and happens twice on 25 October.
        ("Europe/Paris", (21, 2), "2026-03-28T23:30", "2026-03-29T01:00"),
        ("Europe/Paris", (21, 3), "2026-10-24T22:30", "2026-10-25T02:00"),
        ("America/New_York", (21, 2), "2026-03-08T05:30", "2026-03-08T07:00"),
        ("America/New_York", (21, 2), "2026-11-01T04:30", "2026-11-01T07:00"),
        # Morocco leaves its summer time for Ramadan: back on 15 February 2026, forward on 22 March.
        ("Africa/Casablanca", (21, 3), "2026-02-15T00:30", "2026-02-15T03:00"),
        ("Africa/Casablanca", (21, 2), "2026-03-22T00:30", "2026-03-22T02:00"),
    ],
)
def test_o10_held_over_the_change_of_clocks_it_leaves_once_and_at_its_minute(
    world: World, zone: str, hours: tuple[int, int], starts: str, leaves: str
) -> None:
    collective = world.collective(quiet_from=hours[0], quiet_until=hours[1], timezone=zone)
    member = world.member(collective, "+15551000001")
    world.clock.freeze(utc(starts))
    number = send_broadcast(world, collective)
    assert held(world, number) == {member: ("held", "quiet_hours", utc(leaves))}
    carrier = ScriptedCarrier()
    # The clock goes on by half hours, and jumps an hour back and forth on the way.
    steps = [30, 30, -60, 30, 30, 60, -60, 30, 30, 30, 60, -60, 30, 60, 60]
    for step in steps:
        world.clock.advance(timedelta(minutes=step))
        sweep(world.store)
        if any(each.state == "queued" for each in rows(world, number)):
            pump_all(world, carrier)
        if world.clock.now() < utc(leaves) and not rows(world, number)[0].attempt:
            assert carrier.taken == [], f"it left before {leaves}"
        elif world.clock.now() >= utc(leaves):
            assert len(carrier.taken) == 1
    assert [each.state for each in rows(world, number)] == ["accepted"]


# --- what must stay true of the tables -----------------------------------------------------------------------------------


def test_every_question_that_waits_takes_a_lane_whose_phones_are_locked_alone() -> None:
    assert {LANES[kind] for kind in ASKS if kind != "alert"} == ASKING_LANES
    assert LANES["alert"] not in ASKING_LANES, "a call to an action never waits for a question, nor 140,000 phones for each other"


def test_the_reader_of_a_check_in_is_known_by_her_phone(world: World) -> None:
    """What the last look reads of the quiet hours belongs to the person, not to whoever else uses the phone."""
    collective = world.collective()
    asha = world.member(collective, "+15551000001", name="Asha")
    bela = world.member(collective, "+15551000001", name="Bela")
    assert phone_of(world, asha) == phone_of(world, bela)
    sleep_from(world, bela, 6, 12)
    letters = [put_letter(world, each, kind="notice") for each in (asha, bela)]
    pump_all(world, ScriptedCarrier())
    assert [row(world, letter).state for letter in letters] == ["accepted", "held"]


# --- what goes from one person to another ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["the worker was down", "the line rested"])
def test_an_answer_that_was_held_up_for_an_hour_does_not_come_at_night(world: World, trouble: str) -> None:
    world.clock.freeze(utc("2026-04-12 20:45"))
    collective = world.collective(quiet_from=21, quiet_until=8)
    world.member(collective, PARIS, timezone="UTC")
    world.member(collective, NEW_YORK, roles=["organizer"])
    world.text(PARIS, "NOTE can somebody call me, he is out")
    pump_all(world, ScriptedCarrier())
    world.clock.freeze(utc("2026-04-12 20:55"))
    assert "on its way" in world.text(NEW_YORK, "REPLY 1 We can talk now. Are you safe?").text
    (answer,) = [each.id for each in rows(world) if each.kind == "relay"]
    if trouble == "the line rested":
        change(world, Outbound, Outbound.id == answer, state="held", reason="line", due_at=utc("2026-04-12 21:56"))
    world.clock.freeze(utc("2026-04-12 21:56"))
    sweep(world.store)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert carrier.bodies == []
    assert (row(world, answer).state, row(world, answer).reason, row(world, answer).due_at) == (
        "held",
        "quiet_hours",
        utc("2026-04-13 08:00"),
    )


def test_an_answer_within_the_hour_comes_at_night(world: World) -> None:
    world.clock.freeze(utc("2026-04-12 22:00"))
    collective = world.collective(quiet_from=21, quiet_until=8)
    member = world.member(collective, PARIS, timezone="UTC")
    put_letter(world, member, kind="relay", unprompted=False)
    world.clock.advance(timedelta(minutes=59))
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert carrier.bodies == ["Hello"]


@pytest.mark.parametrize(("hours", "held"), [(23, False), (25, True)])
def test_a_call_for_help_is_answered_at_night_for_a_day(world: World, hours: int, held: bool) -> None:
    world.clock.freeze(utc("2026-04-12 22:00"))
    collective = world.collective(quiet_from=20, quiet_until=23)
    world.member(collective, PARIS, timezone="UTC")
    world.member(collective, NEW_YORK, roles=["supporter"])
    world.text(PARIS, "SOS")
    world.clock.advance(timedelta(hours=hours))
    world.text(NEW_YORK, "REPLY 1 Are you safe?")
    assert [each.unprompted for each in rows(world) if each.kind == "relay"] == [held]


def test_a_check_in_is_shown_only_to_the_person_it_asks(world: World) -> None:
    """Her sister holds the phone by now."""
    collective, other = world.collective(), world.collective("OTHER")
    asha = world.member(collective, PARIS, name="Asha")
    sister = world.member(other, PARIS, name="Lila")
    with world.store.write() as session:
        session.add(Consent(membership_id=asha, kind="check_ins", text_version="1", language="en", given_at=world.clock.now()))
    asked = draft(world, collective, "check_in")
    leave_now(world, asked)
    change(world, Phone, Phone.id == phone_of(world, asha), current_person_id=person_of(world, sister))
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert carrier.bodies == [] and [(each.state, each.reason) for each in rows(world, asked)] == [("held", "other_person")]
    change(world, Phone, Phone.id == phone_of(world, asha), current_person_id=person_of(world, asha))
    world.clock.advance(timedelta(hours=1))
    sweep(world.store)
    pump_all(world, carrier)
    assert len(carrier.bodies) == 1
