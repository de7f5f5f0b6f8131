"""Quiet hours: between two local hours nothing unprompted leaves. Said in local hours, kept as UTC moments, summer time included."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


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


def held_zones(now: datetime, zones: Iterable[str | None], quiet_from: int | None, quiet_until: int | None) -> dict[str, datetime]:
    """For each of these zones in which it is quiet now: the moment when a message may leave. ``None`` among them is left out."""
    moments = {zone: next_allowed(now, zone, quiet_from, quiet_until) for zone in zones if zone}
    return {zone: moment for zone, moment in moments.items() if moment is not None}
