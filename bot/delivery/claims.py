"""Claiming: the next messages of a leased line, the most urgent lane first, then fairly by position, then as they came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.leases import LEASE_SECONDS, LeasedLine
from bot.delivery.lists import as_list, in_list, in_states
from bot.delivery.poison import SUSPECT
from models import Outbound, Store
from models.clock import real_seconds
from models.messages import CLAIMED, LANE_BROADCAST, LANE_POLL, QUEUED

_o: Any = Outbound.__table__


@dataclass(order=True, slots=True)
class Claimed:
    """A row that is ours to mark; compares by urgency.

    ``tries``: how often it stood in the way of a pump that died or broke over it. ``busy``: how often its phone was busy in our hands.
    """

    lane: int
    position: int
    id: int
    segments: int = field(compare=False)
    tries: int = field(default=0, compare=False)
    busy: int = field(default=0, compare=False)

    @property
    def is_suspect(self) -> bool:
        return self.tries >= SUSPECT

    @property
    def can_wait(self) -> bool:
        """Whether it is of the lanes that a canary or a full queue at the carrier holds back: polls and broadcasts."""
        return self.lane >= LANE_POLL


_PICK = (
    sa.select(_o.c.id)
    .where(_o.c.line_id == sa.bindparam("line"), in_states(_o.c.state, QUEUED), _o.c.lane <= sa.bindparam("highest"))
    .order_by(_o.c.lane, _o.c.position, _o.c.id)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True, key_share=True)
    .cte("picked")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_CLAIM = (
    sa.update(_o)
    .where(_o.c.id.in_(sa.select(_PICK.c.id)))
    .values(state=CLAIMED, lease_until=sa.bindparam("until"), fence=sa.bindparam("of_fence"))
    .returning(_o.c.lane, _o.c.position, _o.c.id, _o.c.segments, _o.c.tries)
)


@cache
def _unclaim(sqlite: bool) -> sa.Update:
    ours = (in_list(_o.c.id, "ids", sqlite=sqlite), _o.c.state == CLAIMED, _o.c.fence == sa.bindparam("of_fence"))
    return sa.update(_o).where(*ours).values(state=QUEUED, lease_until=None)


def claim_rows(
    store: Store, session: Session, line: LeasedLine, segments: int, most: int, *, highest: int = LANE_BROADCAST, is_alone: bool = True
) -> tuple[list[Claimed], bool]:
    """(the next messages worth at most ``segments`` segments and ``most`` rows, but one at least; whether the line has no more).

    ``highest``: the least urgent lane to claim of. ``is_alone``: nothing else is in hand, so that a suspect row may be claimed, by itself;
    when one is next and ``is_alone`` is false, nothing is claimed. The caller renews the lease in the same transaction: that is what makes
    an old fence's claim fail.
    """
    values = {"line": line.id, "highest": highest, "most": most, "until": real_seconds() + LEASE_SECONDS, "of_fence": line.fence}
    rows = sorted(Claimed(*row) for row in session.connection().execute(_CLAIM, values))
    kept = _how_many(rows, segments, is_alone)
    if kept < len(rows):
        unclaim_rows(store, session, line, rows[kept:])
        return rows[:kept], False
    return rows, len(rows) < most


def _how_many(rows: Sequence[Claimed], segments: int, is_alone: bool) -> int:
    if rows and rows[0].is_suspect:
        return 1 if is_alone else 0
    taken = 0
    for number, row in enumerate(rows):
        taken += row.segments
        if number > 0 and (taken > segments or row.is_suspect):
            return number
    return len(rows)


def unclaim_rows(store: Store, session: Session, line: LeasedLine, rows: Iterable[Claimed]) -> None:
    """Queue again what was claimed and not marked."""
    ids = [row.id for row in rows]
    if ids:
        session.connection().execute(_unclaim(store.is_sqlite), {"ids": as_list(store, ids), "of_fence": line.fence})
