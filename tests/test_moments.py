"""The hour inside an alert's words: read only where it can be one moment, and then kept, echoed and obeyed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bot.delivery.broadcasts import approve_broadcast, refuse_reason
from bot.delivery.kinds import AFTER_THE_START
from bot.languages.moments import find_moment
from models import Alert, Broadcast
from tests.world import World

# A Sunday, 14:30 in Kolkata.
NOW = datetime(2026, 4, 12, 9, 0, tzinfo=UTC).astimezone(ZoneInfo("Asia/Kolkata"))
LINE, CHITRA = "+15550001111", "+15551000001"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Rally today 5pm Gandhi Chowk", "2026-04-12T17:00"),
        ("Rally today at 5pm. Reply YES", "2026-04-12T17:00"),
        ("Court tomorrow, 9:30am, room 5", "2026-04-13T09:30"),
        ("Eviction at 12 Oak St tomorrow 8am", "2026-04-13T08:00"),
        ("Meet on 28 Nov at 5, bring 3 friends", "2026-11-28T17:00"),
        ("Marcha hoy a las 5 de la tarde en el parque", "2026-04-12T17:00"),
        ("आज शाम 5 बजे गांधी चौक", "2026-04-12T17:00"),
        ("Aaj shaam 5 baje Gandhi Chowk", "2026-04-12T17:00"),
        ("Rally tomorrow 8am. Again: tomorrow 8am!", "2026-04-13T08:00"),
        # Nothing is guessed:
        ("Rally today 10am Gandhi Chowk", None),  # that was this morning
        ("Today: rally at Gandhi Chowk 10am", None),  # day and hour do not stand together
        ("Rally tomorrow", None),
        ("Come now!", None),
        ("Rally tomorrow 10am, meeting tomorrow 6pm", None),
        ("Monday or Tuesday 10am", None),
        ("Register by tomorrow 10am for Wednesday", None),
        ("Call 5551234 at 7 Main Street", None),
        ("", None),
    ],
)
def test_the_moment_in_a_text(text: str, moment: str | None) -> None:
    found = find_moment(text, NOW)
    assert found == (None if moment is None else datetime.fromisoformat(moment).replace(tzinfo=NOW.tzinfo))


def test_an_hour_that_summer_time_skips_is_nobodys() -> None:
    now = datetime(2026, 3, 28, 12, 0, tzinfo=ZoneInfo("Europe/Paris"))
    assert find_moment("Rally tomorrow 2:30am", now) is None
    assert find_moment("Rally tomorrow 3:30am", now) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


@given(st.text(max_size=200))
def test_any_text_names_a_moment_to_come_or_none(text: str) -> None:
    found = find_moment(text, NOW)
    assert found is None or found > NOW


# --- what an organizer's ALERT does with it ------------------------------------------------------------------------------


def newest(world: World) -> tuple[Broadcast, datetime | None]:
    with world.store.read() as session:
        broadcast = session.scalars(sa.select(Broadcast).order_by(Broadcast.id.desc())).first()
        assert broadcast is not None
        return broadcast, session.get_one(Alert, broadcast.alert_id).starts_at


@pytest.fixture
def chitra(world: World) -> str:
    collective = world.collective(lines=[LINE], timezone="Asia/Kolkata", quiet_from=21, quiet_until=8)
    world.member(collective, CHITRA, name="Chitra", roles=["organizer"], spoke_on=LINE)
    world.member(collective, "+15551000002", name="Asha")
    return CHITRA


@pytest.mark.parametrize(
    ("text", "hours", "early"),
    [("Rally today 5pm Gandhi Chowk", 2.5, False), ("Rally tomorrow 9am", 18.5, True), ("Rally at the square", None, False)],
)
def test_an_alert_ends_with_its_action(world: World, chitra: str, text: str, hours: float | None, early: bool) -> None:
    answer = world.text(chitra, f"ALERT {text}", to=LINE).text
    made, starts_at = newest(world)
    now = world.clock.now()
    assert made.early is early, "only on the morning of an action"
    if hours is None:
        assert (starts_at, made.expires_at) == (None, now + timedelta(hours=24))
        assert "Begins" not in answer
    else:
        assert starts_at == now + timedelta(hours=hours)
        assert made.expires_at == starts_at + AFTER_THE_START
        assert f"Begins {'Sun 12 Apr, 5:00 pm' if hours == 2.5 else 'Mon 13 Apr, 9:00 am'} (Asia/Kolkata)." in answer


def test_a_change_of_the_hour_is_worth_sending_until_the_new_one(world: World, chitra: str) -> None:
    world.text(chitra, "ALERT Rally today 5pm Gandhi Chowk", to=LINE)
    made, _ = newest(world)
    with world.store.write() as session:
        assert approve_broadcast(session, world.clock.now(), session.get_one(Broadcast, made.id), how="cli")
    world.clock.advance(timedelta(hours=5))  # half past seven in the evening: the first text is over
    answer = world.text(chitra, f"CHANGE {made.number} Rally today 8pm Nehru Park", to=LINE).text
    assert "Begins Sun 12 Apr, 8:00 pm (Asia/Kolkata)." in answer
    change, _ = newest(world)
    assert change.expires_at == datetime(2026, 4, 12, 14, 30, tzinfo=UTC) + AFTER_THE_START
    again = world.text(chitra, f"CHANGE {made.number} Rally is cancelled, please go home", to=LINE).text
    assert "Begins" not in again
    change, _ = newest(world)
    with world.store.read() as session:
        assert refuse_reason(session, world.clock.now(), session.get_one(Broadcast, change.id)) is None, "it is not too late to say so"
