"""Quiet hours: the collective's and her own, in every zone and on every date; early texts; the zones a number leaves open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.delivery.quiet import MORNING, NEVER_WITHIN, Span, before_the_morning, find_zone, first_allowed, leave_room, possible_zones
from bot.languages.hours import LONGEST_QUIET, read_hours

ZONES = [
    "UTC", "Europe/Paris", "America/New_York", "Africa/Casablanca", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata",
    "Asia/Kathmandu", "Pacific/Apia", "America/Sao_Paulo", "Asia/Tehran",
]  # fmt: skip
QUARTER = timedelta(minutes=15)  # every offset and every change of the last years is a multiple of it


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def is_quiet(moment: datetime, span: Span) -> bool:
    zone, begins, ends = span
    if begins is None or ends is None or begins == ends:
        return False
    hour = moment.astimezone(find_zone(zone)).hour
    return begins <= hour < ends if begins < ends else hour >= begins or hour < ends


moments = st.integers(int(utc("2025-01-01").timestamp()), int(utc("2028-01-01").timestamp())).map(
    lambda second: datetime.fromtimestamp(second, UTC)
)
hours = st.one_of(st.none(), st.integers(0, 23))
spans = st.builds(Span, st.sampled_from(ZONES), hours, hours)


@settings(max_examples=400, deadline=None)
@given(moments, st.lists(spans, max_size=3))
@example(utc("2026-03-29T00:30"), [Span("Europe/Paris", 22, 2), Span("Europe/Paris", 23, 3)])  # 02:00 to 03:00 does not happen
@example(utc("2026-10-25T00:30"), [Span("Europe/Paris", 22, 2), Span("Europe/Paris", 1, 3)])  # 02:00 to 03:00 happens twice
@example(utc("2026-11-01T04:00"), [Span("America/New_York", 21, 1), Span("UTC", 0, 5)])
@example(utc("2026-03-22T01:30"), [Span("Africa/Casablanca", 21, 2), Span("Africa/Casablanca", 21, 3)])
@example(utc("2026-02-15T01:30"), [Span("Africa/Casablanca", 21, 3)])
def test_it_leaves_at_the_first_moment_that_all_allow(now: datetime, quiet: list[Span]) -> None:
    """Against every quarter of an hour of the days to come: never inside a quiet span, and not a moment later than need be."""
    allowed = first_allowed(now, quiet)
    if not any(is_quiet(now, span) for span in quiet):
        assert allowed is None
        return
    moment = datetime.fromtimestamp((now.timestamp() // 900 + 1) * 900, UTC)
    while moment < now + NEVER_WITHIN and any(is_quiet(moment, span) for span in quiet):
        moment += QUARTER
    if moment < now + NEVER_WITHIN:
        assert allowed == moment
        assert first_allowed(moment, quiet) is None, "what was let go is not held a second time"
    else:
        assert allowed == now + NEVER_WITHIN
        assert not leave_room(now, quiet)


@settings(max_examples=150, deadline=None)
@given(moments, st.sampled_from(ZONES), st.integers(0, 23), st.integers(0, 23))
def test_early_texts_leave_in_the_morning_and_never_at_midnight(now: datetime, zone: str, begins: int, ends: int) -> None:
    span = Span(zone, begins, ends)
    early = before_the_morning(span)
    moment, hour = now, now.astimezone(find_zone(zone)).hour
    if is_quiet(moment, span) and not is_quiet(moment, early):
        assert MORNING <= hour < ends, "only in the morning part, from four o'clock to the end of the quiet hours"
    if not is_quiet(moment, span):
        assert not is_quiet(moment, early), "nothing is held that the ordinary hours allow"


@pytest.mark.parametrize(
    ("hours", "early"),
    [
        ((21, 8), (21, 4)),
        ((0, 8), (0, 4)),
        ((2, 6), (2, 4)),
        ((5, 9), (None, None)),
        ((22, 3), (22, 3)),  # it ends before the morning begins
        ((12, 15), (12, 15)),  # a rest at midday is no morning
        ((4, 9), (4, 4)),
        ((None, None), (None, None)),
    ],
)
def test_what_remains_quiet_before_the_morning(hours: tuple[int | None, int | None], early: tuple[int | None, int | None]) -> None:
    assert before_the_morning(Span("UTC", *hours)) == Span("UTC", *early)


def test_hours_that_leave_nothing() -> None:
    now = utc("2026-04-12T09:00")
    assert not leave_room(now, [Span("UTC", 8, 21), Span("UTC", 21, 8)])
    assert leave_room(now, [Span("UTC", 8, 20), Span("UTC", 21, 8)])
    assert first_allowed(now, [Span("UTC", 8, 20), Span("UTC", 21, 8)]) == utc("2026-04-12T20:00")


@pytest.mark.parametrize(
    ("number", "zones"),
    [
        ("+12125551234", {"America/New_York"}),
        ("+919812345678", {"Asia/Calcutta"}),
        ("+15551000001", set()),  # no such place
        ("rubbish", set()),
    ],
)
def test_the_zones_that_a_number_leaves_open(number: str, zones: set[str]) -> None:
    assert set(possible_zones(number)) == zones


def test_a_mobile_of_a_wide_country_may_be_anywhere_in_it() -> None:
    assert {"Asia/Krasnoyarsk", "Europe/Moscow"} <= set(possible_zones("+79161234567"))


# --- her own hours, as she texts them ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("22-7", (22, 7)),
        ("22 – 7", (22, 7)),
        ("10pm-7am", (22, 7)),
        ("10 PM to 7 AM", (22, 7)),
        ("22:00-07:00", (22, 7)),
        ("22h a 7h", (22, 7)),
        ("de 22 a 7", (22, 7)),
        ("de 10 de la noche a 7 de la mañana", (22, 7)),
        ("22 se 7 tak", (22, 7)),
        ("raat 10 se subah 7 baje tak", (22, 7)),
        ("रात 10 से सुबह 7 बजे तक", (22, 7)),
        ("२२-७", (22, 7)),
        ("12am-6am", (0, 6)),
        ("raat 12 se 6", (0, 6)),
        ("12pm-3pm", (12, 15)),
        ("24-6", (0, 6)),
        ("13-5", (13, 5)),
        ("10-7", None),  # 21 hours: she means the night
        ("9-5", None),
        ("22-22", None),
        ("25-7", None),
        ("21:30-7", None),  # whole hours only, rather than one that she did not say
        ("13am-7", None),
        ("22", None),
        ("at 10 I sleep", None),
        ("", None),
    ],
)
def test_hours_as_people_write_them(text: str, hours: tuple[int, int] | None) -> None:
    assert read_hours(text) == hours


@given(st.text(max_size=30))
def test_no_text_is_read_as_hours_that_are_none(text: str) -> None:
    found: Any = read_hours(text)
    assert found is None or (all(0 <= hour <= 23 for hour in found) and 0 < (found[1] - found[0]) % 24 <= LONGEST_QUIET)
