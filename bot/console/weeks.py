"""How a collective was, week by week, as its supporters may see it: a week is counted once, when it is over, and stands so for ever.

Counted anew with every look, a week would tell on people: who asks to be forgotten takes her answer out of it, and the difference between
yesterday's numbers and today's is how she was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import CareWeek, CheckIn, Store, sqlite_or_postgres_insert

# Fewer people than this in a week would tell on somebody: such a week shows no number at all.
LEAST = 5
WEEKS, WEEK = 12, timedelta(weeks=1)


@dataclass(frozen=True)
class Week:
    """One week that is over (its Monday, on the collective's calendar). The numbers are None where they would tell on somebody."""

    begins: date
    people: int | None
    mean: float | None
    hard: float | None


def read_weeks(store: Store, collective_id: int, moment: datetime, zone: str) -> list[Week]:
    """The last weeks that are over, the oldest first. Those that nobody has looked at yet are counted, and kept as they are shown."""
    today = moment.astimezone(ZoneInfo(zone)).date()
    this_week = today - timedelta(days=today.weekday())
    mondays = [this_week - number * WEEK for number in range(WEEKS, 0, -1)]
    with store.read() as session:
        kept = _read_kept(session, collective_id, mondays[0] - WEEK)
        counted = _count_missing(session, collective_id, mondays, kept, zone)
    if counted:
        insert = sqlite_or_postgres_insert(store, CareWeek.__table__).on_conflict_do_nothing()
        with store.write() as session:
            session.execute(insert, [{"collective_id": collective_id, "begins": begins, "shown": counted[begins]} for begins in counted])
            # Who else looked at this moment may have been first.
            kept = _read_kept(session, collective_id, mondays[0] - WEEK)
    return [_show(begins, kept.get(begins)) for begins in mondays]


def _show(begins: date, shown: Mapping[str, Any] | None) -> Week:
    return Week(begins, shown["people"], shown["mean"], shown["hard"]) if shown else Week(begins, None, None, None)


def _read_kept(session: Session, collective_id: int, since: date) -> dict[date, dict[str, Any] | None]:
    query = sa.select(CareWeek.begins, CareWeek.shown).where(CareWeek.collective_id == collective_id, CareWeek.begins >= since)
    return {row.begins: row.shown for row in session.execute(query)}


def _count_missing(
    session: Session, collective_id: int, mondays: list[date], kept: Mapping[date, dict[str, Any] | None], zone: str
) -> dict[date, dict[str, Any] | None]:
    """What is to be kept of each week that is not yet, in order."""
    counted: dict[date, dict[str, Any] | None] = {}
    until = max((datetime.fromisoformat(shown["until"]) for shown in kept.values() if shown), default=None)
    for begins in mondays:
        if begins in kept:
            continue
        starts, ends = _midnight(begins, zone), _midnight(begins + WEEK, zone)
        # The collective's clocks were moved: an answer that stands in the numbers of one week is in no others.
        overlaps = until is not None and starts < until
        counted[begins] = None if overlaps else _count(session, collective_id, starts, ends)
    return counted


def _midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def _count(session: Session, collective_id: int, starts: datetime, ends: datetime) -> dict[str, Any] | None:
    """The numbers of one week, of each person her last answer. Moods are sealed one by one, and only their sums leave this function."""
    query = sa.select(CheckIn.membership_id, CheckIn.mood).where(
        CheckIn.collective_id == collective_id, CheckIn.at >= starts, CheckIn.at < ends
    )
    return sum_up({row.membership_id: row.mood for row in session.execute(query.order_by(CheckIn.at, CheckIn.id))}.values(), ends)


def sum_up(moods: Iterable[int], until: datetime) -> dict[str, Any] | None:
    """What may be shown of a week that ended at ``until``; None: nothing. Where all said the same, the mean would be everybody's answer."""
    found = list(moods)
    if len(found) < LEAST or len(set(found)) == 1:
        return None
    hard = sum(mood <= 2 for mood in found) / len(found)
    return {"people": len(found), "mean": round(sum(found) / len(found), 1), "hard": hard, "until": until.isoformat()}
