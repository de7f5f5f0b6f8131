"""Whom a broadcast reaches, counted in one look at the members: what the preview tells and what the estimate is made of.

At 140,000 members a look takes the database half a second, so whoever needs both asks once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.audience import find_audience
from models import Broadcast, Membership, Phone
from models.messages import EXPIRED, HELD, SUPPRESSED

# An estimate opens so many numbers to see in which countries the readers are: a few milliseconds, and the error of a mean price that
# matters to nobody.
SAMPLE = 300


@dataclass(frozen=True, slots=True)
class Readers:
    """So many members whom it reaches, or not, in the same way. ``due_at``: when they get it."""

    state: str
    reason: str | None
    language: str
    line_id: int | None
    due_at: datetime
    count: int

    @property
    def gets_it(self) -> bool:
        return self.state not in (SUPPRESSED, EXPIRED)


@dataclass(frozen=True)
class Reach:
    """What one look found. ``samples``: some sealed numbers of those who get it, by line and language."""

    language: str  # the collective's
    readers: tuple[Readers, ...]
    samples: dict[tuple[int, str], list[bytes]] = field(default_factory=dict)

    @property
    def recipients(self) -> int:
        """How many get it, at once or later."""
        return sum(each.count for each in self.readers if each.gets_it)

    def by_language(self) -> dict[str, int]:
        """How many of them read each language."""
        found: dict[str, int] = defaultdict(int)
        for each in self.readers:
            if each.gets_it:
                found[each.language] += each.count
        return dict(found)

    def later(self) -> Iterator[tuple[str, datetime, int]]:
        """(reason, when, how many) of those who get it later, the soonest first. A closed WhatsApp window has no hour."""
        found: dict[tuple[str, datetime], int] = defaultdict(int)
        for each in self.readers:
            if each.state == HELD and each.reason is not None:
                found[(each.reason, each.due_at)] += each.count
        for (reason, due_at), number in sorted(found.items(), key=lambda item: item[0][::-1]):
            yield reason, due_at, number


def read_reach(session: Session, now: datetime, broadcast: Broadcast, *, sample: bool = False) -> Reach:
    """Look at the members as if ``broadcast`` left at ``now``. It need not be kept: a form that is being written has a reach, too.

    ``sample``: with about SAMPLE sealed numbers, spread evenly over the memberships.
    """
    audience = find_audience(session, now, broadcast)
    # The two halves below read it once: named in a WITH and used twice, it is worked out one time.
    rows = audience.rows().cte("reached")
    same = (rows.c.state, rows.c.reason, rows.c.language, rows.c.line_id, rows.c.due_at)
    counted = sa.select(*same, sa.func.count().label("number"), sa.null().cast(sa.LargeBinary).label("sealed")).group_by(*same)
    query: Any = counted
    if sample:
        members = sa.select(sa.func.count()).where(Membership.collective_id == broadcast.collective_id, Membership.state == "active")
        step = max(1, (session.scalar(members) or 0) // SAMPLE)
        opened = (
            sa.select(*same, sa.literal(0), sa.type_coerce(Phone.__table__.c.number, sa.LargeBinary))
            .join_from(rows, Phone.__table__, Phone.__table__.c.id == rows.c.phone_id)
            .where(rows.c.state.not_in((SUPPRESSED, EXPIRED)), rows.c.line_id.is_not(None), rows.c.membership_id % step == 0)
        )
        query = sa.union_all(counted, opened)
    readers: list[Readers] = []
    samples: dict[tuple[int, str], list[bytes]] = defaultdict(list)
    for state, reason, language, line_id, due_at, number, sealed in session.execute(query):
        if sealed is not None:
            samples[(line_id, language)].append(sealed)
        elif number:
            readers.append(Readers(state, reason, language, line_id, due_at, number))
    return Reach(audience.collective.language, tuple(readers), dict(samples))
