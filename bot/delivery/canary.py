"""The canary: a line without fresh proof of delivery sends five messages of a broadcast first and waits to hear of them.

A line that is set up wrongly (an unregistered campaign, 30034) takes every message and delivers none: five lost are better than 140,000.
What it knows stands in the database, so that a worker killed in the middle is followed by one that counts the same five.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.alarms import hold_failing
from bot.delivery.errors import Reaction, reaction_to
from bot.delivery.leases import LeasedLine
from bot.delivery.lists import as_list, in_list, in_states
from models import Broadcast, Line, Outbound, Store
from models.broadcasts import SENDING
from models.messages import ACCEPTED, ATTEMPTING, DELIVERED, FAILED, LANE_POLL, QUEUED, SENT, UNDELIVERED, UNKNOWN

log = logging.getLogger(__name__)

# So many go first, when more than so many of them are about to leave.
CANARIES, WORTH_IT = 5, 20
# When all that went were ended by something about their readers, others go in their place; after so many the rest goes as it is.
MOST_CANARIES = 25
# Proof of delivery is good for a day; without bad news for so long after the last one was taken, the rest goes all the same: some
# carriers never say "delivered".
PROOF_LASTS, SILENCE = timedelta(hours=24), timedelta(seconds=10)
# More than a few in the way of five are those that a wrong set-up ended.
_MOST_READ = 50

_o: Any = Outbound.__table__
_b: Any = Broadcast.__table__
_l: Any = Line.__table__
_gone = in_states(_o.c.state, ATTEMPTING, ACCEPTED, SENT, DELIVERED, UNDELIVERED, FAILED, UNKNOWN)
_cells = (_o.c.id, _o.c.state, _o.c.error_code, _o.c.broadcast_id, sa.func.coalesce(_o.c.accepted_at, _o.c.attempted_at).label("taken_at"))
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
# Before a broadcast is held because all its first ones failed, not one that did not fail may have been overlooked.
_TAKEN = _left.where(in_states(_o.c.state, ATTEMPTING, ACCEPTED, SENT, DELIVERED, UNKNOWN))
_waiting = sa.select(sa.literal(1)).where(_o.c.line_id == sa.bindparam("line"), in_states(_o.c.state, QUEUED), _o.c.lane >= LANE_POLL)
_WAITING = sa.select(sa.func.count()).select_from(_waiting.limit(WORTH_IT + 1).subquery())
_PROVEN = sa.update(_l).where(_l.c.id == sa.bindparam("line")).values(proven_at=sa.bindparam("now"))
# It rests no time worth the name; but whoever lets the broadcast go on sends five more, and those that failed count no more.
_DOUBTED = sa.update(_l).where(_l.c.id == sa.bindparam("line")).values(held_until=sa.bindparam("until"))
# Later than whatever was attempted till now.
_MOMENT = timedelta(microseconds=1)
_ENDED = frozenset({FAILED, UNDELIVERED})
# What says something about the reader, nothing about the line. 63032: Meta leaves some people out.
_ABOUT_HER = frozenset({Reaction.OPT_OUT, Reaction.REFUSE, Reaction.ELSEWHERE, Reaction.UNWANTED, Reaction.UNREACHABLE, Reaction.EXPIRE})
_ABOUT_HER_CODES = frozenset({63032})


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
        self._since = line.held_until
        self._ids: list[int] | None = None  # None: nobody looked yet what left before
        self.is_over = False

    def room(self, session: Session, now: datetime, in_hand: int) -> int | None:
        """How many more rows of polls and broadcasts may be claimed; None: as many as one likes.

        ``in_hand``: those claimed and not marked. Writes ``proven_at`` when one was delivered; holds their broadcast, and tells its
        organizers, when all of them failed.
        """
        if self.is_over:
            return None
        waiting = session.connection().execute(_WAITING, {"line": self._line.id}).scalar_one()
        if waiting + in_hand == 0:
            return None
        gone = self._look(session, now)
        if self.is_over or waiting + in_hand + len(gone) <= WORTH_IT:
            return None
        return max(0, self._missing(session, now, gone) - in_hand)

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
        elif len(gone) >= CANARIES and not _all_failed(gone) and all(_is_quiet(row, now) for row in gone):
            self._end("no bad news of the canaries")
        return gone

    def _missing(self, session: Session, now: datetime, gone: Sequence[Any]) -> int:
        """How many canaries there are too few.

        When all of them failed: another goes for each whose end says nothing about the line, and otherwise their broadcast is held.
        """
        if len(gone) < CANARIES or not _all_failed(gone):
            return CANARIES - len(gone)
        telling = [row for row in gone if not _is_about_her(row)]
        if len(telling) < CANARIES and len(gone) < MOST_CANARIES:
            return min(CANARIES - len(telling), MOST_CANARIES - len(gone))
        if not telling:
            self._end(f"{len(gone)} canaries say nothing about it")
            return MOST_CANARIES
        ((code, _),) = Counter(row.error_code or 0 for row in telling).most_common(1)
        for broadcast in sorted({row.broadcast_id for row in telling}):
            hold_failing(session, now, broadcast, self._line.id, code)
        self._ids, self._since = None, now + _MOMENT
        session.connection().execute(_DOUBTED, {"line": self._line.id, "until": self._since})
        return 0

    def _find(self, session: Session, now: datetime) -> list[Any]:
        line = self._line
        values = {"line": line.id, "since": self._since or now - PROOF_LASTS, "before": now - SILENCE}
        old = _leave_out_misled(session.connection().execute(_OLD, values).all())
        if len(old) >= CANARIES and not _all_failed(old):
            return old
        del values["before"]
        taken = session.connection().execute(_TAKEN, values).all()
        left = _leave_out_misled(session.connection().execute(_left, values).all())
        return list({row.id: row for row in (*left, *taken)}.values())

    def _end(self, why: str) -> None:
        self.is_over = True
        log.info("line %d: %s, the rest may go", self._line.id, why)


def _leave_out_misled(rows: Sequence[Any]) -> list[Any]:
    """Without those that a wrong set-up ended: whoever corrects it sends five more."""
    return [row for row in rows if row.error_code is None or reaction_to(row.error_code) is not Reaction.HOLD_LINE]


def _is_quiet(row: Any, now: datetime) -> bool:
    return bool(row.state != ATTEMPTING and row.taken_at <= now - SILENCE)


def _all_failed(rows: Sequence[Any]) -> bool:
    return all(row.state in _ENDED for row in rows)


def _is_about_her(row: Any) -> bool:
    """Whether its end says nothing about the line. What belongs to no broadcast (a knock) could not be held, either."""
    return row.broadcast_id is None or reaction_to(row.error_code) in _ABOUT_HER or row.error_code in _ABOUT_HER_CODES
