"""Which line speaks to whom: the one she last wrote on, else her share of the collective's lines, which stays hers.

Lines of one kind share the work by their pace. Each of 128 buckets of members belongs to one line by weighted rendezvous hashing (Thaler
and Ravishankar 1998; weights: Schindelhauer and Schomaker 2005), so a line that is added or made faster takes over its share and nobody
else changes the number she knows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import CollectiveLine, Line, Membership

BUCKETS = 128

_cl: Any = CollectiveLine.__table__
_l: Any = Line.__table__
_m: Any = Membership.__table__

_LINES = (
    sa.select(_cl.c.line_id, _l.c.two_way, _l.c.channel, _l.c.country, _l.c.mps)
    .join(_l, _l.c.id == _cl.c.line_id)
    .where(_cl.c.collective_id == sa.bindparam("collective"))
    .order_by(_l.c.two_way.desc(), _cl.c.position, _cl.c.line_id)
)
_MEMBER = sa.select(_m.c.line_id, _m.c.collective_id).where(_m.c.id == sa.bindparam("member"))


class NoLine(LookupError):
    """The collective speaks through no line at all."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a collective's members who never wrote are spread over its lines. ``first``: the first two-way line, else the first one.

    ``lines``: all lines of the collective. ``buckets``: the line of each bucket of members, empty where ``first`` speaks to all.
    """

    first: int | None
    lines: tuple[int, ...] = ()
    buckets: tuple[int, ...] = ()

    def line_of(self, membership_id: int) -> int | None:
        """The line of a member who has none of her own; None when the collective has no line."""
        return self.buckets[membership_id % BUCKETS] if self.buckets else self.first

    def sql(self, membership_id: Any) -> Any:
        """The same as an SQL expression over a column of membership ids."""
        if not self.buckets:
            return sa.literal(self.first, sa.BigInteger)
        bucket = membership_id % BUCKETS
        *others, last = sorted(set(self.buckets))
        shares = [
            (bucket.in_([number for number, line in enumerate(self.buckets) if line == other]), sa.literal(other)) for other in others
        ]
        return sa.case(*shares, else_=sa.literal(last)) if shares else sa.literal(last)


def spread_members(session: Session, collective_id: int) -> Spread:
    """How this collective's lines share its members: the two-way ones of the first one's channel and country, by their pace.

    Of one country only: a member in India is not written to from Canada because a line there has time.
    """
    found = session.connection().execute(_LINES, {"collective": collective_id}).all()
    if not found:
        return Spread(None)
    first = found[0]
    alike = [row for row in found if first.two_way and (row.two_way, row.channel, row.country) == (True, first.channel, first.country)]
    buckets = share_buckets(tuple((row.line_id, row.mps) for row in alike)) if len(alike) > 1 else ()
    return Spread(first.line_id, tuple(row.line_id for row in found), buckets)


@lru_cache(maxsize=256)
def share_buckets(lines: tuple[tuple[int, float], ...]) -> tuple[int, ...]:
    """The line of each bucket, for lines given as (id, segments per second)."""
    return tuple(max(lines, key=lambda line: (_score(bucket, *line), line[0]))[0] for bucket in range(BUCKETS))


def _score(bucket: int, line_id: int, weight: float) -> float:
    digest = blake2b(f"{bucket}:{line_id}".encode(), digest_size=8).digest()
    chance = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52  # between 0 and 1, neither of them
    return -weight / math.log(chance)


def default_line(session: Session, collective_id: int) -> int | None:
    """The collective's first two-way line, else its first line; None when it has none."""
    row = session.connection().execute(_LINES, {"collective": collective_id}).first()
    return None if row is None else int(row.line_id)


def line_for(session: Session, membership_id: int) -> int:
    """The line that speaks to this member. Raises NoLine, and LookupError for a membership that does not exist."""
    row = session.connection().execute(_MEMBER, {"member": membership_id}).one_or_none()
    if row is None:
        raise LookupError(f"there is no membership {membership_id}")
    line: int | None = row.line_id
    if line is None:
        line = spread_members(session, row.collective_id).line_of(membership_id)
    if line is None:
        raise NoLine(f"collective {row.collective_id} has no line")
    return line
