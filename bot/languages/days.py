"""Days and hours as people text them: `parse_day` reads them, `say_day` says them back in words.

A small grammar of our own, not a date library: a library answers something for almost any text, and here a wrong guess sends people
to an empty square. Whatever could be two moments is None, and the bot asks again; whatever is understood is echoed.
"""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import product
from math import prod

from bot.languages.answers import split_words
from bot.languages.calendar_words import MONTHS_SAID, PARTS, PHRASES, SYMBOLS, WEEKDAYS_SAID
from bot.languages.folding import fold
from bot.languages.numerals import NUMBER_WORDS


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar day in the zone of the one who named it, with an hour when she gave one."""

    date: dt.date  # the fields have the names of their types, hence the longer way to say these
    time: dt.time | None = None


@dataclass(frozen=True, slots=True)
class _Hour:
    """An hour as written; `exact` when it can only be a 24-hour clock ("22:00", "06:30", "18h")."""

    hour: int
    minute: int
    exact: bool


_TOKEN = re.compile(r"\d+(?:[:./-]\d+)*|@|[^\s\d.,:;/()!?\"।@-]+")
_MOST_TOKENS, _MOST_READINGS = 14, 32

_CLOCK = re.compile(r"(?:AT )?C(\d+):(\d+)(p?)(?: H| OCL)?")
_NUMBER = re.compile(r"(AT )?(?:PRE(-?\d+) )?N(\d{1,2})(?: N(\d\d))?( H(?: N(\d\d))?| OCL)?(?: POST(\d+))?")
_NOON = re.compile(r"(?:AT )?(?:N12 |C12:00p? )?NOON")

_WEEKDAY = re.compile(r"(?:(NEXT|THIS) )?W(\d)\??( NEXT)?")
_DAY_AND_MONTH = re.compile(r"N(\d{1,2}) M(\d+)(?: N(\d{4}))?|M(\d+) N(\d{1,2})(?: N(\d{4}))?|D(\d+)-(\d+)-(\d+)|R(\d)")


def parse_day(text: str, now: datetime) -> Day | None:
    """The day (and hour) a text names, seen from `now`, an aware time in her zone.

    Understood: today, tomorrow, a weekday (the next one), a date (28 Nov, Nov 28, 28/11 day first, 2026-12-01),
    with an hour if given (10am, 10:30, 22h, a las 6, shaam 6, सुबह 10 बजे, noon). A date that is past this year is meant next year.
    "6" alone is the evening and "10" the morning; 7, 8 and 9 need a word beside them.
    None for everything else: two days, a past moment, a weekday named on that same weekday.
    """
    if now.tzinfo is None:
        raise ValueError("now must be an aware time")
    alternatives = _read_symbols(text)
    if alternatives is None:
        return None
    found = {day for symbols in product(*alternatives) for day in _readings(" ".join(symbols).split(), now)}
    return found.pop() if len(found) == 1 else None


def _read_symbols(text: str) -> list[tuple[str, ...]] | None:
    """The possible symbols of each word, None when a word is unknown."""
    folded = re.sub(r"(?<![a-z])([ap])\.?\s?m\b\.?", r"\1m", fold(text).replace("'", ""))
    for phrase, word in PHRASES.items():
        folded = re.sub(rf"\b{phrase}\b", word, folded)
    tokens = _TOKEN.findall(folded.replace("2moro", "tomorrow"))
    if len(tokens) > _MOST_TOKENS:
        return None
    symbols = [_symbols_of(token) for token in tokens]
    return symbols if prod(map(len, symbols)) in range(1, _MOST_READINGS + 1) else None


def _symbols_of(token: str) -> tuple[str, ...]:
    if token in SYMBOLS:
        return SYMBOLS[token]
    if token in NUMBER_WORDS:
        return (f"N{NUMBER_WORDS[token]}",)
    if not token[0].isdecimal():
        return ()
    token = token if token.isascii() else "".join(digit if digit in ":./-" else split_words(digit)[0] for digit in token)
    if token.isdecimal():
        return (f"N{token}",) if len(token) <= 4 else ()
    clock = re.fullmatch(r"(\d{1,2})[:.](\d\d)", token)
    given = re.fullmatch(r"(\d{1,2})([./-])(\d{1,2})(?:\2(\d{4}|\d\d))?", token)
    iso = re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})", token)
    found = []
    if clock and int(clock[1]) < 24 and int(clock[2]) < 60:
        padded = "p" if clock[1].startswith("0") else ""
        found.append(f"C{int(clock[1])}:{clock[2]}{padded}")
    if given:
        day, month, year = int(given[1]), int(given[3]), int(given[4] or 0)
        if month > 12 >= day:  # can only be written month first
            day, month = month, day
        if day <= 31 and month <= 12:
            found.append(f"D{year + 2000 if given[4] and year < 100 else year}-{month}-{day}")
    if iso:
        found.append(f"D{int(iso[1])}-{int(iso[2])}-{int(iso[3])}")
    return tuple(found)


def _readings(symbols: list[str], now: datetime) -> Iterator[Day]:
    """Every way to take the symbols as a day, with or without an hour, that uses all of them."""
    parts = {symbol for symbol in symbols if symbol in PARTS}
    kept = [symbol for symbol in symbols if symbol not in PARTS]
    followers = [*kept[1:], ""][: len(kept)]
    kept = [symbol for symbol, after in zip(kept, followers, strict=True) if symbol != "AT" or re.match(r"N\d|NOON|C|PRE", after)]
    if not parts & {"AM", "PM"}:  # "tomorrow morning" is a day, "am" always belongs to an hour
        for day in _read_dates(" ".join(kept), parts, now):
            yield Day(day)
    for start in range(len(kept)):
        for end in range(start + 1, len(kept) + 1):
            alone = end == len(kept) and "W2?" not in kept
            hour = _read_hour(" ".join(kept[start:end]), bool(parts), alone)
            if hour is None:
                continue
            for day in _read_dates(" ".join([*kept[:start], "|", *kept[end:]]), parts, now):
                at = _settle_hour(hour, parts, now if day == now.date() else None)
                if at is not None:
                    yield Day(day, at)


def _read_hour(written: str, has_part: bool, alone: bool) -> _Hour | None:
    """The hour that these symbols write. A bare number is one only at the end of the text (`alone`) or with a part of the day."""
    if _NOON.fullmatch(written):
        return _Hour(12, 0, True)
    if clock := _CLOCK.fullmatch(written):
        return _Hour(int(clock[1]), int(clock[2]), bool(clock[3]) or not 1 <= int(clock[1]) <= 12)
    number = _NUMBER.fullmatch(written)
    if number is None:
        return None
    at, before, hours, spaced, mark, minutes, after = number.groups()
    hour, minute = int(hours), int(spaced or minutes or 0)
    marked = bool(at or before or mark or after)
    if hour > 23 or minute > 59 or (spaced and not has_part) or not (marked or has_part or alone):
        return None
    if before or after:
        if minute or not 1 <= hour <= 12:
            return None
        minute = int(before or after)
        if minute < 0:
            hour, minute = (hour - 1 or 12), minute + 60
    in_hours = bool(mark) and mark.strip().startswith("H")
    if hour > 12 and not (in_hours or at or has_part):
        return None
    return _Hour(hour, minute, in_hours or not 1 <= hour <= 12)


def _settle_hour(written: _Hour, parts: set[str], now: datetime | None) -> time | None:
    """The one time of day meant, None when it could be two or lies behind. `now` is given only when the day is today."""
    hours = {written.hour} if written.exact else {written.hour % 12, written.hour % 12 + 12}
    # "18:00 in the evening" and "12:30 am" go through the same gate as "6 in the evening".
    if parts and written.exact and written.hour <= 12 and written.hour not in PARTS[min(parts)]:
        hours = {written.hour % 12, written.hour % 12 + 12}
    for part in parts:
        hours &= PARTS[part]
    times = {time(hour, written.minute) for hour in hours}
    if now is not None:
        times = {at for at in times if at >= now.time().replace(second=0, microsecond=0)}
    if len(times) > 1 and not parts:
        # Waking hours: 10 to 12 before noon, 1 to 6 after; 7, 8 and 9 are as likely in the morning as in the evening.
        times = {at for at in times if 10 <= at.hour <= 18}
    return times.pop() if len(times) == 1 else None


def _read_dates(written: str, parts: set[str], now: datetime) -> Iterator[date]:
    """The dates these symbols write; "|" stands where the hour was."""
    rest = written.strip("| ")
    today = now.date()
    if rest == "THIS" and parts:
        yield today
    if weekday := _WEEKDAY.fullmatch(rest):
        ahead = (int(weekday[2]) - today.isoweekday()) % 7
        if ahead:
            yield today + timedelta(ahead)
        elif weekday[1] or weekday[3]:
            yield today + timedelta(0 if weekday[1] == "THIS" else 7)
    if numbered := re.fullmatch(r"W(\d) N(\d{1,2})", rest):
        for day in (today + timedelta(ahead) for ahead in range(31)):
            if day.day == int(numbered[2]) and day.isoweekday() == int(numbered[1]):
                yield day
    named, stripped = None, rest
    if beside := re.match(r"W(\d)\?? (?:\| )?", rest) or re.search(r"(?: \|)? W(\d)\??$", rest):
        named, stripped = int(beside[1]), rest.replace(beside[0], "", 1)
    if match := _DAY_AND_MONTH.fullmatch(stripped):
        day_found = _date_of(match, today)
        if day_found and named in (None, day_found.isoweekday()):
            yield day_found


def _date_of(match: re.Match[str], today: date) -> date | None:
    if match[10]:
        return today + timedelta(int(match[10]))
    day = int(match[1] or match[5] or match[9])
    month = int(match[2] or match[4] or match[8])
    year = int(match[3] or match[6] or match[7] or 0)
    # Without a year: this year's or the next one's; the 29th of February may be eight years away.
    for candidate in [year] if year else range(today.year, today.year + 9):
        found = _make_date(candidate, month, day)
        if found and today <= found and found.year <= today.year + 10:
            return found
    return None


def _make_date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def say_day(day_or_moment: Day | date | datetime, language: str, zone: tzinfo | None = None, *, today: date | None = None) -> str:
    """A day in words, short and plain: "Sat 28 Nov, 10:00 am", "sab 28 nov, 10:00", "शनि 28 नवं, 10:00", "Shani 28 Nov, 10:00".

    An aware moment is told in `zone` when given. The year is added when `today` is given and the day is not within a year of it.
    Hours outside English are on the 24-hour clock with two digits ("06:30"), which `parse_day` never reads as the evening.
    """
    if isinstance(day_or_moment, datetime):
        moment = day_or_moment.astimezone(zone) if zone else day_or_moment
        day: date = moment.date()
        at: time | None = moment.time()
    elif isinstance(day_or_moment, Day):
        day, at = day_or_moment.date, day_or_moment.time
    else:
        day, at = day_or_moment, None
    language = language if language in WEEKDAYS_SAID else "en"
    said = f"{WEEKDAYS_SAID[language][day.weekday()]} {day.day} {MONTHS_SAID[language][day.month - 1]}"
    if today and not 0 <= (day - today).days < 365:
        said += f" {day.year}"
    if at is None:
        return said
    if language == "en":
        return f"{said}, {at.hour % 12 or 12}:{at.minute:02} {'am' if at.hour < 12 else 'pm'}"
    return f"{said}, {at.hour:02}:{at.minute:02}"
