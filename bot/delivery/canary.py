"""The canary: a line without fresh proof of delivery sends five messages of a broadcast first and waits to hear of them.

A line that is set up wrongly (an unregistered campaign, 30034) takes every message and delivers none: five lost are better than 140,000.
What it knows stands in the database, so that a worker killed in the middle is followed by one that counts the same five.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.errors import Reaction, reaction_to
from bot.delivery.leases import LeasedLine
from bot.delivery.lists import as_list, in_list, in_states
from models import Broadcast, Line, Outbound, Store
from models.broadcasts import SENDING
from models.messages import ACCEPTED, ATTEMPTING, DELIVERED, FAILED, LANE_POLL, QUEUED, SENT, UNDELIVERED, UNKNOWN

log = logging.getLogger(__name__)

# So many go first, when more than so many of them are about to leave.
CANARIES, WORTH_IT = 5, 20
# Proof of delivery is good for a day; without bad news for so long after the last one was taken, the rest goes all the same: some
# carriers never say "delivered".
PROOF_LASTS, SILENCE = timedelta(hours=24), timedelta(seconds=10)
# More than a few in the way of five are those that a wrong set-up ended.
_MOST_READ = 50

_o: Any = Outbound.__table__
_b: Any = Broadcast.__table__
_l: Any = Line.__table__
_gone = in_states(_o.c.state, ATTEMPTING, ACCEPTED, SENT, DELIVERED, UNDELIVERED, FAILED, UNKNOWN)
_cells = (_o.c.id, _o.c.state, _o.c.error_code, sa.func.coalesce(_o.c.accepted_at, _o.c.attempted_at).label("taken_at"))
_left = (
    sa.select(*_cells)
    .select_from(_b.join(_o, _o.c.broadcast_id == _b.c.id))
    .where(
        _b.c.state == SENDING,
        _o.c.line_id == sa.bindparam("line"),
        _o.c.lane >= LANE_POLL,
        _o.c.attempted_at >= sa.bindparam("since", type_=_o.c.attempted_at.type),
        _gone,
    )
    .limit(_MOST_READ)
)
# In the middle of a broadcast five old ones are found at once; only at its beginning is there none to find.
_OLD = _left.where(_o.c.accepted_at <= sa.bindparam("before", type_=_o.c.accepted_at.type))
_waiting = sa.select(sa.literal(1)).where(_o.c.line_id == sa.bindparam("line"), in_states(_o.c.state, QUEUED), _o.c.lane >= LANE_POLL)
_WAITING = sa.select(sa.func.count()).select_from(_waiting.limit(WORTH_IT + 1).subquery())
_PROVEN = sa.update(_l).where(_l.c.id == sa.bindparam("line")).values(proven_at=sa.bindparam("now"))


@cache
def _these(sqlite: bool) -> sa.Select[Any]:
    return sa.select(*_cells).where(in_list(_o.c.id, "ids", sqlite=sqlite), _gone)


def needs_canary(line: LeasedLine, now: datetime) -> bool:
    """Whether nothing proves that this line delivers: no delivery known for a day, or none since its last hold."""
    if line.proven_at is None or line.proven_at < now - PROOF_LASTS:
        return True
    return line.held_until is not None and line.proven_at < line.held_until


class Canary:
    """The canaries of one line in the hands of a pump."""

    def __init__(self, store: Store, line: LeasedLine) -> None:
        self._store, self._line = store, line
        self._ids: list[int] | None = None  # None: nobody looked yet what left before
        self.is_over = False

    def room(self, session: Session, now: datetime, in_hand: int) -> int | None:
        """How many more rows of polls and broadcasts may be claimed; None: as many as one likes.

        ``in_hand``: those claimed and not marked. Writes ``proven_at`` when one was delivered.
        """
        if self.is_over:
            return None
        waiting = session.connection().execute(_WAITING, {"line": self._line.id}).scalar_one()
        if waiting + in_hand == 0:
            return None
        gone = self._look(session, now)
        if self.is_over or waiting + in_hand + len(gone) <= WORTH_IT:
            return None
        return max(0, CANARIES - len(gone) - in_hand)

    def left(self, ids: Iterable[int]) -> None:
        """These rows of polls and broadcasts were marked."""
        if self._ids is not None:
            self._ids += ids

    def _look(self, session: Session, now: datetime) -> list[Any]:
        """The canaries that left, as they stand; finds out whether it is over."""
        if self._ids is None:
            gone = self._find(session, now)
        else:
            values = {"ids": as_list(self._store, self._ids)}
            gone = _leave_out_misled(session.connection().execute(_these(self._store.is_sqlite), values).all())
        self._ids = [row.id for row in gone]
        if any(row.state == DELIVERED for row in gone):
            session.connection().execute(_PROVEN, {"line": self._line.id, "now": now})
            self._end("a canary was delivered")
        elif len(gone) >= CANARIES and all(row.state != ATTEMPTING and row.taken_at <= now - SILENCE for row in gone):
            self._end("no bad news of the canaries")
        return gone

    def _find(self, session: Session, now: datetime) -> list[Any]:
        line = self._line
        values = {"line": line.id, "since": line.held_until or now - PROOF_LASTS, "before": now - SILENCE}
        old = _leave_out_misled(session.connection().execute(_OLD, values).all())
        if len(old) >= CANARIES:
            return old
        del values["before"]
        return _leave_out_misled(session.connection().execute(_left, values).all())

    def _end(self, why: str) -> None:
        self.is_over = True
        log.info("line %d: %s, the rest may go", self._line.id, why)


def _leave_out_misled(rows: Sequence[Any]) -> list[Any]:
    """Without those that a wrong set-up ended: whoever corrects it sends five more."""
    return [row for row in rows if row.error_code is None or reaction_to(row.error_code) is not Reaction.HOLD_LINE]
