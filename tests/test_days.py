"""Days and hours in words: read forgivingly, never guessed, and always readable again as the bot says them."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.languages import LANGUAGES
from bot.languages.days import Day, parse_day, say_day

# A Wednesday, three in the afternoon.
NOW = datetime(2026, 11, 25, 15, 0, tzinfo=ZoneInfo("Asia/Kolkata"))


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("today", (11, 25)),
        ("Tomorrow!", (11, 26)),
        ("2moro", (11, 26)),
        ("day after tomorrow", (11, 27)),
        ("friday", (11, 27)),
        ("next friday", (11, 27)),
        ("on Friday please", (11, 27)),
        ("this wednesday", (11, 25)),
        ("next wednesday", (12, 2)),
        ("28 Nov", (11, 28)),
        ("Nov 28", (11, 28)),
        ("the 28th of November", (11, 28)),
        ("28/11", (11, 28)),
        ("28-11-2026", (11, 28)),
        ("28.11.", (11, 28)),
        ("11/28", (11, 28)),
        ("3/12", (12, 3)),
        ("2026-12-01", (12, 1)),
        ("Sat 28", (11, 28)),
        ("hoy", (11, 25)),
        ("mañana", (11, 26)),
        ("pasado mañana", (11, 27)),
        ("este viernes", (11, 27)),
        ("el viernes que viene", (11, 27)),
        ("sábado 28 de noviembre", (11, 28)),
        ("primero de diciembre", (12, 1)),
        ("mar 1 dic", (12, 1)),
        ("aaj", (11, 25)),
        ("kal", (11, 26)),
        ("parso", (11, 27)),
        ("shukravar ko", (11, 27)),
        ("agle budhvar", (12, 2)),
        ("28 navambar", (11, 28)),
        ("कल", (11, 26)),
        ("परसों", (11, 27)),
        ("शुक्रवार को", (11, 27)),
        ("२८ नवंबर", (11, 28)),
        ("tomorrow morning", (11, 26)),
        ("kal subah", (11, 26)),
    ],
)
def test_days(text: str, day: tuple[int, int]) -> None:
    assert parse_day(text, NOW) == Day(date(2026, *day))


@pytest.mark.parametrize(
    ("text", "day", "hour"),
    [
        ("tomorrow 10am", (11, 26), (10, 0)),
        ("tomorrow 10:30", (11, 26), (10, 30)),
        ("tomorrow 10 30 a.m.", (11, 26), (10, 30)),
        ("Sat 28 Nov 10 AM", (11, 28), (10, 0)),
        ("10am 28 nov", (11, 28), (10, 0)),
        ("28.11 10.30", (11, 28), (10, 30)),
        ("fri @6", (11, 27), (18, 0)),
        ("friday at six o'clock", (11, 27), (18, 0)),
        ("tomorrow at half past six", (11, 26), (18, 30)),
        ("5 in the evening tomorrow", (11, 26), (17, 0)),
        ("tomorrow at 9 at night", (11, 26), (21, 0)),
        ("tomorrow noon", (11, 26), (12, 0)),
        ("tomorrow 12pm", (11, 26), (12, 0)),
        ("tomorrow 12am", (11, 26), (0, 0)),
        ("tomorrow 06:30", (11, 26), (6, 30)),
        ("tomorrow 6:30", (11, 26), (18, 30)),
        ("tomorrow 18:00 in the evening", (11, 26), (18, 0)),
        ("tonight at 8", (11, 25), (20, 0)),
        ("today at 10", (11, 25), (22, 0)),  # ten in the morning is behind us
        ("mañana a las 10", (11, 26), (10, 0)),
        ("mañana por la mañana a las 10", (11, 26), (10, 0)),
        ("viernes a las 6", (11, 27), (18, 0)),
        ("viernes a las seis y media de la tarde", (11, 27), (18, 30)),
        ("viernes 22h", (11, 27), (22, 0)),
        ("15 dic 22h30", (12, 15), (22, 30)),
        ("esta noche a las 8", (11, 25), (20, 0)),
        ("domingo al mediodía", (11, 29), (12, 0)),
        ("kal 6 baje", (11, 26), (18, 0)),
        ("kal shaam 6", (11, 26), (18, 0)),
        ("subah kal 6 baje", (11, 26), (6, 0)),
        ("kal saadhe 6 baje", (11, 26), (18, 30)),
        ("aaj raat 9 baje", (11, 25), (21, 0)),
        ("कल सुबह 10 बजे", (11, 26), (10, 0)),
        ("आज शाम ६ बजे", (11, 25), (18, 0)),
        ("शनिवार दोपहर 2 बजे", (11, 28), (14, 0)),
    ],
)
def test_days_with_an_hour(text: str, day: tuple[int, int], hour: tuple[int, int]) -> None:
    assert parse_day(text, NOW) == Day(date(2026, *day), time(*hour))


@pytest.mark.parametrize(
    "text",
    """
    |soon|asap|yesterday|ayer|10|6pm|noon|28|november|friday or saturday|friday saturday|today or tomorrow|hoy y mañana
    |wednesday|fri 28 nov|tomorrow friday saturday|31/02|31 nov|28 nov 2025|today 9am|tomorrow at 7|tomorrow 8|kal 9 baje
    |2 at night tomorrow|10-11am friday|friday 4|tomorrow 25:00|tomorrow 10am 6pm|tomorrow 13 am|28 nov am|am|not friday|every friday
    |next week|10 nov 28|in two days|tomorrow i can't|99999999999999 nov|2026-13-01|मैं नहीं आ सकती
    """.replace("\n", "").split("|"),
)
def test_what_could_be_two_days_or_none_is_asked_again(text: str) -> None:
    assert parse_day(text, NOW) is None


def test_a_date_behind_us_is_next_years() -> None:
    assert parse_day("10 nov", NOW) == Day(date(2027, 11, 10))
    assert parse_day("25 nov", NOW) == Day(date(2026, 11, 25))
    assert parse_day("29 feb", NOW) == Day(date(2028, 2, 29))


def test_today_is_hers_not_ours() -> None:
    late = datetime(2026, 11, 25, 20, 0, tzinfo=UTC)
    assert parse_day("today", late.astimezone(ZoneInfo("Asia/Kolkata"))) == Day(date(2026, 11, 26))


def test_a_naive_now_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        parse_day("today", NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "Sat 28 Nov, 10:00 am"), ("es", "sab 28 nov, 10:00"), ("hi", "शनि 28 नवं, 10:00"), ("hi-Latn", "Shani 28 Nov, 10:00")],
)
def test_said_in_words(language: str, said: str) -> None:
    assert say_day(Day(date(2026, 11, 28), time(10)), language) == said
    assert say_day(datetime(2026, 11, 28, 4, 30, tzinfo=UTC), language, ZoneInfo("Asia/Kolkata")) == said
    assert say_day(date(2026, 11, 28), language) == said.split(",")[0]


def test_a_far_day_is_said_with_its_year() -> None:
    assert say_day(date(2028, 1, 5), "en", today=NOW.date()) == "Wed 5 Jan 2028"
    assert say_day(date(2027, 11, 24), "en", today=NOW.date()) == "Wed 24 Nov"


@pytest.mark.parametrize("language", LANGUAGES)
@settings(deadline=None)  # a busy machine is not a failure
@given(
    start=st.dates(date(2024, 1, 1), date(2032, 12, 31)),
    ahead=st.integers(1, 1500),
    at=st.none() | st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    now_at=st.times(),
)
def test_every_day_said_is_a_day_heard(language: str, start: date, ahead: int, at: time | None, now_at: time) -> None:
    now = datetime.combine(start, now_at, ZoneInfo("America/Chicago"))
    day = Day(start + timedelta(ahead), at)
    assert parse_day(say_day(day, language, today=start), now) == day


@pytest.mark.parametrize("language", LANGUAGES)
@settings(deadline=None)  # a busy machine is not a failure
@given(minutes=st.integers(0, 24 * 60 - 1), waited=st.integers(0, 24 * 60 - 1))
def test_a_moment_later_today_too(language: str, minutes: int, waited: int) -> None:
    now = NOW.replace(hour=0) + timedelta(minutes=minutes)
    later = now + timedelta(minutes=waited)
    if later.date() == now.date():
        day = Day(later.date(), later.time())
        assert parse_day(say_day(day, language), now) == day


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text(max_size=60) | st.text("0123456789:/.- amphसबजेkalnov", max_size=30))
def test_no_text_breaks_it(text: str) -> None:
    parse_day(text, NOW)
