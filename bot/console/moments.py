"""A day and an hour from a form's two fields, on the collective's clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bot.console.views import say

FARTHEST = timedelta(days=366)


class NoSuchMoment(ValueError):
    """What was written is no moment to come; the text says what to do, in the page's language."""


def read_moment(day: str, hour: str, zone: str, now: datetime) -> datetime | None:
    """The UTC moment of a day (2026-12-01) and an hour (18:00) in ``zone``; None when both are empty. Raises NoSuchMoment.

    Of an hour that comes twice (the clocks are put back) it is the first; one that is skipped is nobody's hour.
    """
    if not day and not hour:
        return None
    if not day or not hour:
        raise NoSuchMoment(say("Give both the day and the hour, or leave both empty."))
    try:
        wall = datetime.combine(date.fromisoformat(day), time.fromisoformat(hour), tzinfo=ZoneInfo(zone))
        moment = wall.astimezone(UTC)
    except (ValueError, OverflowError):
        raise NoSuchMoment(say("This day or hour can not be read. Write them as 2026-12-01 and 18:00.")) from None
    if moment.astimezone(wall.tzinfo).replace(tzinfo=None) != wall.replace(tzinfo=None):
        raise NoSuchMoment(say("At {hour} on that day the clocks are put forward: this hour does not exist. Choose another.", hour=hour))
    if moment <= now:
        raise NoSuchMoment(say("This moment is past. Choose one to come."))
    if moment > now + FARTHEST:
        raise NoSuchMoment(say("This is more than a year away. Choose a nearer day."))
    return moment
