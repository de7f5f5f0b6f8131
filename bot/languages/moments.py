"""The day and hour inside a longer text: "Rally today 10am Gandhi Chowk". Only what can be one moment alone; else nothing is guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bot.languages.days import Day, parse_day

_WORD = re.compile(r"\S+")
# "Sat 28 Nov at 10 in the morning" is eight; whoever needs more is not read.
_MOST_WORDS = 9
# Of a text: a longer one tells the hour at its beginning, or has too many to tell.
_MOST_READ = 60


def find_moment(text: str, now: datetime) -> datetime | None:
    """The UTC moment that a text names by day and hour, seen from ``now``, an aware time in the writer's zone.

    None when it names none, or several; when day and hour do not stand together; when summer time skips it.
    """
    days = _days(text, now)
    if len({day.date for day in days}) != 1:
        return None
    found = {moment for day in days if (moment := _moment(day, now)) is not None}
    return found.pop() if len(found) == 1 else None


def _days(text: str, now: datetime) -> set[Day]:
    """The days that the longest readable stretches of words name; a day without an hour counts, so that "Sunday or Monday 10am" is two."""
    spans = [match.span() for match in _WORD.finditer(text)][:_MOST_READ]
    days: set[Day] = set()
    taken = 0  # stretches inside a longer one say less than it does
    for first in range(len(spans)):
        for last in range(min(first + _MOST_WORDS, len(spans)), max(first, taken), -1):
            day = parse_day(text[spans[first][0] : spans[last - 1][1]].strip(".,;:!?()"), now)
            if day is not None:
                days.add(day)
                taken = last
                break
    return days


def _moment(day: Day, now: datetime) -> datetime | None:
    if day.time is None:
        return None
    wall = datetime.combine(day.date, day.time, tzinfo=now.tzinfo)
    moment = wall.astimezone(UTC)
    is_there = moment.astimezone(now.tzinfo).replace(tzinfo=None) == wall.replace(tzinfo=None)
    return moment if is_there and moment > now else None
