"""The table of timers: claimed in the database by whichever worker comes first, each occurrence done once.

A claim is a lease in real seconds, so that a worker that dies holds nothing up; five tries, then the timer is parked and told in the log.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bot.delivery.due import cancel_timers, set_timer
from models import Store, Timer
from models.clock import real_seconds

__all__ = ["DueTimer", "cancel_timers", "claim_due", "finish", "put_off", "set_timer"]

log = logging.getLogger(__name__)

LEASE_SECONDS = 120.0
TRIES = 5
# After a failure: seconds times the number of tries so far.
PUT_OFF_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class DueTimer:
    """One claimed occurrence. ``attempt`` counts from 1."""

    id: int
    kind: str
    subject_id: int
    key: str
    due_at: datetime
    attempt: int


_t: Any = Timer.__table__
_PICK = (
    sa.select(_t.c.id)
    .where(_t.c.done_at.is_(None), _t.c.due_at <= sa.bindparam("now"), _t.c.lease_until < sa.bindparam("real"), _t.c.attempts < TRIES)
    .order_by(_t.c.due_at, _t.c.id)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True, key_share=True)
    .cte("picked")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_CLAIM = (
    sa.update(_t)
    .where(_t.c.id.in_(sa.select(_PICK.c.id)))
    .values(lease_until=sa.bindparam("until"), attempts=_t.c.attempts + 1)
    .returning(_t.c.id, _t.c.kind, _t.c.subject_id, _t.c.key, _t.c.due_at, _t.c.attempts)
)
_FINISH = sa.update(_t).where(_t.c.id == sa.bindparam("timer"), _t.c.done_at.is_(None)).values(done_at=sa.bindparam("now"))
_PUT_OFF = sa.update(_t).where(_t.c.id == sa.bindparam("timer"), _t.c.done_at.is_(None)).values(lease_until=sa.bindparam("until"))


def claim_due(store: Store, now: datetime, limit: int = 20) -> list[DueTimer]:
    """Lease up to ``limit`` due timers, the oldest first. Two workers never hold the same one."""
    real = real_seconds()
    with store.write() as session:
        rows = session.connection().execute(_CLAIM, {"now": now, "real": real, "until": real + LEASE_SECONDS, "most": limit}).all()
    return sorted((DueTimer(*row) for row in rows), key=lambda timer: (timer.due_at, timer.id))


def finish(store: Store, timer: DueTimer) -> None:
    """This occurrence is done, for ever."""
    with store.write() as session:
        session.connection().execute(_FINISH, {"timer": timer.id, "now": store.clock.now()})


def put_off(store: Store, timer: DueTimer) -> None:
    """It failed: try again a little later; after the fifth try it stays parked (not done, never claimed) for a person to see."""
    with store.write() as session:
        session.connection().execute(_PUT_OFF, {"timer": timer.id, "until": real_seconds() + PUT_OFF_SECONDS * timer.attempt})
    if timer.attempt >= TRIES:
        log.error("timer %d of kind %s is parked after %d tries", timer.id, timer.kind, timer.attempt)
