"""Quiet hours: between two local hours nothing unprompted leaves. Said in local hours, kept as UTC moments, summer time included.

The collective has its hours, a member may have her own on top of them: a message leaves only when both allow it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number

# From this local hour on it is the morning of an action, for those who agreed to early texts.
MORNING = 4
NOON = 12
# Hours that leave no minute between them are looked at again after this time: somebody may have changed them.
NEVER_WITHIN = timedelta(days=3)


class Span(NamedTuple):
    """Quiet from one local hour up to another in a zone; no hours, or twice the same: never quiet."""

    zone: str | None
    quiet_from: int | None
    quiet_until: int | None


@lru_cache(maxsize=512)
def find_zone(name: str | None) -> ZoneInfo:
    """The zone of this name; UTC for none, and for a name that this machine does not know."""
    if not name:
        return ZoneInfo("UTC")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def next_allowed(now: datetime, zone: str | None, quiet_from: int | None, quiet_until: int | None) -> datetime | None:
    """None when a message may leave now, else the UTC moment when it may.

    ``quiet_from`` and ``quiet_until`` are local hours (21 and 8: from 21:00 up to 08:00); either None, or both equal: no quiet hours.
    A local hour that summer time skips means the first moment after the gap; one that comes twice means its first time.
    """
    if quiet_from is None or quiet_until is None or quiet_from == quiet_until:
        return None
    local = now.astimezone(find_zone(zone))
    hour = local.hour
    if quiet_from < quiet_until:
        quiet = quiet_from <= hour < quiet_until
        day = local.date()
    else:
        quiet = hour >= quiet_from or hour < quiet_until
        day = local.date() + timedelta(days=1) if hour >= quiet_from else local.date()
    if not quiet:
        return None
    wall = datetime(day.year, day.month, day.day, quiet_until, tzinfo=find_zone(zone))
    allowed = wall.astimezone(UTC)
    if allowed.astimezone(wall.tzinfo).replace(tzinfo=None) != wall.replace(tzinfo=None):
        # The hour is skipped: reading it with the offset before the gap (fold 0) lands after it by the gap's length; step back to its edge.
        allowed = _edge(allowed, wall)
    # Clocks set back in the night may show the quiet hour's end before now: then it is over.
    return allowed if allowed > now else None


def _edge(after: datetime, wall: datetime) -> datetime:
    """The first moment after a gap: the instant at which the zone's offset changes, at most three hours before ``after``."""
    zone = wall.tzinfo
    low, high = after - timedelta(hours=3), after
    offset = high.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high.replace(microsecond=0)


def first_allowed(now: datetime, spans: Iterable[Span]) -> datetime | None:
    """None when a message may leave now by all of ``spans``, else the first moment at which all of them allow it.

    Where they leave no such moment within three days: that end, when it must be asked again (and will not leave either).
    """
    spans = tuple(spans)
    moment = now
    while moment < now + NEVER_WITHIN:
        waits = [wait for span in spans if (wait := next_allowed(moment, *span)) is not None]
        if not waits:
            return None if moment == now else moment
        moment = max(waits)
    return now + NEVER_WITHIN


def leave_room(now: datetime, spans: Iterable[Span]) -> bool:
    """Whether these hours leave any common moment in the days to come."""
    allowed = first_allowed(now, spans)
    return allowed is None or allowed < now + NEVER_WITHIN


def before_the_morning(span: Span) -> Span:
    """What remains quiet for somebody who agreed to early texts: the night up to 4:00. Quiet hours at midday stay as they are."""
    zone, begins, ends = span
    if begins is None or ends is None or begins == ends:
        return span
    if begins > ends > MORNING or begins <= MORNING < ends:
        return Span(zone, begins, MORNING)
    return Span(zone, None, None) if MORNING < begins < ends <= NOON else span


def possible_zones(number: str) -> tuple[str, ...]:
    """The zones in which whoever has this number (E.164) may live, as its digits tell; none when they tell nothing."""
    try:
        zones = time_zones_for_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return ()
    return tuple(zone for zone in zones if zone != UNKNOWN_TIMEZONE)
