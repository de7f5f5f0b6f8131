"""Claiming: the next messages of a leased line, the most urgent lane first, then fairly by position, then as they came."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.leases import LEASE_SECONDS, LeasedLine
from bot.delivery.lists import as_list, in_list, in_states
from models import Outbound, Store
from models.clock import real_seconds
from models.messages import CLAIMED, QUEUED

_o: Any = Outbound.__table__


@dataclass(order=True, slots=True)
class Claimed:
    """A row that is ours to mark; compares by urgency. ``tries`` counts how often its phone was busy."""

    lane: int
    position: int
    id: int
    segments: int = field(compare=False)
    tries: int = field(default=0, compare=False)


_PICK = (
    sa.select(_o.c.id)
    .where(_o.c.line_id == sa.bindparam("line"), in_states(_o.c.state, QUEUED))
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
    .returning(_o.c.lane, _o.c.position, _o.c.id, _o.c.segments)
)


@cache
def _unclaim(sqlite: bool) -> sa.Update:
    ours = (in_list(_o.c.id, "ids", sqlite=sqlite), _o.c.state == CLAIMED, _o.c.fence == sa.bindparam("of_fence"))
    return sa.update(_o).where(*ours).values(state=QUEUED, lease_until=None)


def claim_rows(store: Store, session: Session, line: LeasedLine, segments: int, most: int) -> tuple[list[Claimed], bool]:
    """(the next messages worth at most ``segments`` segments and ``most`` rows, but one at least; whether the line has no more).

    The caller renews the lease in the same transaction: that is what makes an old fence's claim fail.
    """
    values = {"line": line.id, "most": most, "until": real_seconds() + LEASE_SECONDS, "of_fence": line.fence}
    rows = sorted(Claimed(*row) for row in session.connection().execute(_CLAIM, values))
    is_dry = len(rows) < most
    taken = 0
    for number, row in enumerate(rows):
        taken += row.segments
        if taken > segments and number > 0:
            unclaim_rows(store, session, line, rows[number:])
            return rows[:number], False
    return rows, is_dry


def unclaim_rows(store: Store, session: Session, line: LeasedLine, rows: Iterable[Claimed]) -> None:
    """Queue again what was claimed and not marked."""
    ids = [row.id for row in rows]
    if ids:
        session.connection().execute(_unclaim(store.is_sqlite), {"ids": as_list(store, ids), "of_fence": line.fence})
