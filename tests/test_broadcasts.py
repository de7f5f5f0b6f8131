"""The organizers' hand on a broadcast: cool-down, hold and release, one broadcast for one request, its hour, and who is written down."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from bot.conversation.actions.correcting import read_moment
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast, hold_broadcast, release_broadcast, stop_broadcast
from bot.delivery.plan import plan_broadcast
from bot.schedule.timers import claim_due, finish
from models import Audit, Broadcast, Collective, Outbound
from tests.delivery import change, rows, send_broadcast
from tests.world import World

AUTHOR, OTHER, THIRD, MEMBER = "+15550002001", "+15550002002", "+15550002003", "+15550002009"


@pytest.fixture
def sangha(world: World) -> int:
    collective = world.collective()
    for number in (AUTHOR, OTHER, THIRD):
        world.member(collective, number, roles=["organizer"])
    world.member(collective, MEMBER)
    return collective


def draft(world: World, number: str = AUTHOR, text: str = "SEND We meet at six") -> str:
    """An organizer's draft by text; its number."""
    return world.text(number, text).text.partition(":")[0]


def read(world: World, number: str) -> Broadcast:
    with world.store.read() as session:
        return session.scalars(sa.select(Broadcast).where(Broadcast.number == int(number))).one()


def let_due_timers_act(world: World) -> int:
    """What the clock of a worker does for broadcasts; how many were planned."""
    planned = 0
    for timer in claim_due(world.store, world.clock.now()):
        if timer.kind == "broadcast":
            plan_broadcast(world.deployment, timer.subject_id)
            planned += 1
        finish(world.store, timer)
    return planned


def acts(world: World) -> list[str]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(Audit.act).order_by(Audit.id)))


# --- the cool-down ---------------------------------------------------------------------------------------------------------


def test_an_approved_broadcast_cools_down_before_it_leaves(world: World, sangha: int) -> None:
    number = draft(world)
    assert "leaves in 20 seconds" in world.text(OTHER, f"OK {number}").text
    assert read(world, number).state == "scheduled"
    world.clock.advance(timedelta(seconds=19))
    assert let_due_timers_act(world) == 0 and not rows(world, read(world, number).id)
    world.clock.advance(timedelta(seconds=1))
    assert let_due_timers_act(world) == 1 and len(rows(world, read(world, number).id)) == 4


@pytest.mark.parametrize("held_by", [AUTHOR, OTHER, THIRD])
def test_any_organizer_calls_it_back_in_that_time(world: World, sangha: int, held_by: str) -> None:
    number = draft(world)
    world.text(OTHER, f"OK {number}")
    assert "is held" in world.text(held_by, f"HOLD {number}").text
    world.clock.advance(timedelta(hours=1))
    assert let_due_timers_act(world) == 0 and not rows(world, read(world, number).id)


@pytest.mark.parametrize(("how", "seconds"), [("organizer", 20), ("code", 20), ("terminal", 20), ("cli", 0), ("clock", 0)])
def test_who_waits(world: World, sangha: int, how: str, seconds: int) -> None:
    with world.store.write() as session:
        made = draft_broadcast(session, world.clock.now(), sangha, "notice", {"en": "Hello"})
        assert approve_broadcast(session, world.clock.now(), made, how=how)
        assert made.due_at == world.clock.now() + timedelta(seconds=seconds)


def test_a_collective_sets_its_own_cool_down(world: World, sangha: int) -> None:
    change(world, Collective, Collective.id == sangha, cool_down_seconds=0)
    number = draft(world)
    assert "is on its way" in world.text(OTHER, f"OK {number}").text
    assert let_due_timers_act(world) == 1


def test_a_broadcast_for_later_has_no_second_wait(world: World, sangha: int) -> None:
    number = draft(world)
    world.text(AUTHOR, "AT 18:00")
    number = str(int(number) + 1)
    assert world.text(OTHER, f"OK {number}").text == f"{number}: leaves Sun 12 Apr, 6:00 pm (UTC). HOLD {number} stops it."
    assert read(world, number).due_at == datetime(2026, 4, 12, 18, 0, tzinfo=UTC)


# --- hold and release ------------------------------------------------------------------------------------------------------


def test_what_chorus_held_one_organizer_lets_go(world: World, sangha: int) -> None:
    number = leaving(world)
    with world.store.write() as session:
        made = session.scalars(sa.select(Broadcast)).one()
        assert hold_broadcast(session, world.clock.now(), made, reason="filtered", code=30007)
        assert not hold_broadcast(session, world.clock.now(), made, reason="cap"), "held once"
        assert (made.state, made.hold_reason, made.hold_code, made.holder_id) == ("held", "filtered", 30007, None)
    assert {row.reason for row in rows(world, made.id)} == {"organizer"}
    assert "Held: carriers take it for spam. OK 1 lets it go." in world.text(OTHER, "STATUS").text
    assert "is on its way" in world.text(AUTHOR, f"OK {number}").text, "its author too"
    made = read(world, number)
    assert (made.state, made.hold_reason, made.hold_code) == ("sending", None, None)
    assert {row.state for row in rows(world, made.id)} == {"queued"}
    assert "held: filtered 30007" in acts(world) and acts(world)[-1] == "released"


def test_an_organizer_s_hold_on_top_takes_another(world: World, sangha: int) -> None:
    number = leaving(world)
    with world.store.write() as session:
        hold_broadcast(session, world.clock.now(), session.scalars(sa.select(Broadcast)).one(), reason="filtered", code=30007)
    assert "is held" in world.text(THIRD, f"HOLD {number}").text
    assert read(world, number).hold_reason == "organizer"
    assert "is held. Another" in world.text(AUTHOR, f"OK {number}").text
    assert "You hold" in world.text(THIRD, f"OK {number}").text
    assert "is on its way" in world.text(OTHER, f"OK {number}").text


def test_what_the_command_line_held_takes_another_than_its_author(world: World, sangha: int) -> None:
    number = leaving(world)
    with world.store.write() as session:
        hold_broadcast(session, world.clock.now(), session.scalars(sa.select(Broadcast)).one())
    assert "Another organizer" in world.text(AUTHOR, f"OK {number}").text
    assert "is on its way" in world.text(THIRD, f"OK {number}").text


def leaving(world: World) -> str:
    """A broadcast of AUTHOR, approved by OTHER and planned; its number."""
    number = draft(world)
    world.text(OTHER, f"OK {number}")
    world.clock.advance(timedelta(seconds=20))
    let_due_timers_act(world)
    return number


def test_a_release_takes_the_holder_off(world: World, sangha: int) -> None:
    number = leaving(world)
    world.text(THIRD, f"HOLD {number}")
    with world.store.write() as session:
        assert release_broadcast(session, world.clock.now(), session.scalars(sa.select(Broadcast)).one())
    assert read(world, number).holder_id is None


# --- for good --------------------------------------------------------------------------------------------------------------


def test_a_drop_half_way_says_what_had_left(world: World, sangha: int) -> None:
    number = leaving(world)
    some = rows(world, read(world, number).id)[0].id
    change(world, Outbound, Outbound.id == some, state="delivered")
    assert world.text(THIRD, f"DROP {number}").text == f"{number} is dropped. Sent before: 1. Not sent: 3."
    assert acts(world)[-1] == "dropped"
    assert sorted(row.state for row in rows(world, read(world, number).id)) == ["delivered", "stopped", "stopped", "stopped"]
    assert {row.membership_id for row in rows(world) if row.kind == "report"} == {1, 2}, "its author and its approver"
    assert world.text(THIRD, f"DROP {number}").text == f"Nothing of {number} is left to drop."


def test_a_drop_needs_its_number_and_the_role(world: World, sangha: int) -> None:
    number = leaving(world)
    assert world.text(MEMBER, f"DROP {number}").text == "Passed on. Thank you."
    assert world.text(AUTHOR, "DROP it there").text == "Passed on. Thank you."
    assert read(world, number).state == "sending"


def test_a_stop_keeps_why_something_waited(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    change(world, Outbound, Outbound.broadcast_id == number, state="held", reason="window")
    with world.store.write() as session:
        stop_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
    assert {(row.state, row.reason) for row in rows(world, number)} == {("stopped", "window")}


# --- one request, one broadcast (O15) --------------------------------------------------------------------------------------


def test_the_same_key_is_the_same_broadcast(world: World, sangha: int) -> None:
    elsewhere = world.collective("TENANTS")
    with world.store.write() as session:
        now = world.clock.now()
        first = draft_broadcast(session, now, sangha, "notice", {"en": "Hello"}, request_key="form 1")
        again = draft_broadcast(session, now, sangha, "notice", {"en": "Other words"}, request_key="form 1")
        other = draft_broadcast(session, now, sangha, "notice", {"en": "Hello"}, request_key="form 2")
        theirs = draft_broadcast(session, now, elsewhere, "notice", {"en": "Hello"}, request_key="form 1")
        assert again is first and len({first.id, other.id, theirs.id}) == 3
        assert (first.number, other.number) == (1, 2), "asking again costs no number"


def test_o15_two_submits_at_once_make_one_broadcast(world: World, sangha: int) -> None:
    gate, made = threading.Barrier(4), []

    def submit() -> None:
        gate.wait(10)
        with world.store.write() as session:
            drafted = draft_broadcast(session, world.clock.now(), sangha, "notice", {"en": "Hello"}, request_key="double click")
            approve_broadcast(session, world.clock.now(), drafted, how="cli")
            made.append(drafted.id)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 4 and len(set(made)) == 1
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Broadcast)) == 1


# --- its hour ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("18:00", "2026-04-12T18:00"),
        ("today 6pm", "2026-04-12T18:00"),
        ("06:30", "2026-04-13T06:30"),
        ("tomorrow 9am", "2026-04-13T09:00"),
        ("a las 6", "2026-04-12T18:00"),
        ("kal subah 9 baje", "2026-04-13T09:00"),
        ("tomorrow", None),
        ("the station", None),
        ("28 Nov 9am", None),  # farther than anybody plans by text
    ],
)
def test_the_hour_an_organizer_names(said: str, moment: str | None) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    expected = None if moment is None else datetime.fromisoformat(moment).replace(tzinfo=zone).astimezone(UTC)
    assert read_moment(said, datetime(2026, 4, 12, 14, 30, tzinfo=zone)) == expected


def test_an_hour_that_summer_time_skips_is_nobody_s() -> None:
    assert read_moment("tomorrow 02:30", datetime(2027, 3, 13, 12, 0, tzinfo=ZoneInfo("America/Chicago"))) is None


def test_an_alert_for_tomorrow_is_still_worth_sending_then(world: World, sangha: int) -> None:
    draft(world, text="ALERT Rally 10am Gandhi Chowk")
    world.text(AUTHOR, "AT tomorrow 6pm")
    world.text(OTHER, "OK 2")
    world.clock.advance(timedelta(hours=33))
    let_due_timers_act(world)
    made = read(world, "2")
    assert {row.state for row in rows(world, made.id)} == {"queued"} and made.expires_at == made.due_at + timedelta(hours=24)  # type: ignore[operator]


def test_an_ok_to_the_old_hour_finds_nothing(world: World, sangha: int) -> None:
    number = draft(world)
    world.text(AUTHOR, "AT 18:00")
    assert world.text(OTHER, f"OK {number}").text == f"There is no draft {number} to send."


# --- the preview by text ----------------------------------------------------------------------------------------------------


def test_the_preview_tells_a_cost_worth_telling(world: World, sangha: int) -> None:
    for index in range(130):
        world.member(sangha, f"+1212555{index:04d}")
    told = world.text(AUTHOR, "SEND We meet at six").text
    assert told.startswith("1: to 134 people, segments each: 1.\nCosts about 1.1") and len(told) <= 160


def test_the_preview_tells_when_the_month_s_money_is_not_enough(world: World, sangha: int) -> None:
    change(world, Collective, Collective.id == sangha, monthly_cap_micros=10)
    assert "This month's money is not enough for all." in world.text(AUTHOR, "SEND We meet at six").text


# --- what is written down ---------------------------------------------------------------------------------------------------


def test_every_act_of_power_leaves_a_trace(world: World, sangha: int) -> None:
    number = leaving(world)
    world.text(THIRD, f"HOLD {number}")
    world.text(OTHER, f"OK {number}")
    world.text(AUTHOR, f"CHANGE {number} We meet at seven")
    world.text(AUTHOR, "AT 18:00")
    world.text(THIRD, "DROP 3")
    assert acts(world) == [
        "notice drafted",
        "approved by organizer",
        "held",
        "released",
        f"change of {number} drafted",
        "hour set",
        "dropped",
    ]
    with world.store.read() as session:
        assert all(row.membership_id is not None and "six" not in row.subject for row in session.scalars(sa.select(Audit)))
