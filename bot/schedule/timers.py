"""The table of timers: claimed in the database by whichever worker comes first, each occurrence done once.

A claim is a lease in real seconds, so that a worker that dies holds nothing up; five tries, then the timer is parked and told in the log.
What failed for want of the database is tried for as long as it takes.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bot.delivery.due import cancel_timers, set_timer
from models import Store, Timer
from models.clock import real_seconds

__all__ = ["DueTimer", "cancel_timers", "claim_due", "find_unanswered", "finish", "give_back", "put_off", "put_off_uncounted", "set_timer"]

log = logging.getLogger(__name__)

LEASE_SECONDS = 120.0
TRIES = 5
# After a failure: seconds times the number of tries so far.
PUT_OFF_SECONDS = 15.0
# After the database's own trouble, which may last: a tenth of how late it is by now, at most so much, as often as it takes.
LONGEST_PUT_OFF_SECONDS = 300.0


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
_of_known_kind = _t.c.kind.in_(sa.bindparam("kinds", expanding=True))


def _claim(*also: Any) -> sa.Update:
    due = (_t.c.done_at.is_(None), _t.c.due_at <= sa.bindparam("now"), _t.c.lease_until < sa.bindparam("real"), _t.c.attempts < TRIES)
    pick = (
        sa.select(_t.c.id)
        .where(*due, *also)
        .order_by(_t.c.due_at, _t.c.id)
        .limit(sa.bindparam("most"))
        .with_for_update(skip_locked=True, key_share=True)
        .cte("picked")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return (
        sa.update(_t)
        .where(_t.c.id.in_(sa.select(pick.c.id)))
        .values(lease_until=sa.bindparam("until"), attempts=_t.c.attempts + 1)
        .returning(_t.c.id, _t.c.kind, _t.c.subject_id, _t.c.key, _t.c.due_at, _t.c.attempts)
    )


_CLAIM, _CLAIM_KNOWN = _claim(), _claim(_of_known_kind)
_UNANSWERED = (
    sa.select(_t.c.kind)
    .where(_t.c.done_at.is_(None), _t.c.due_at <= sa.bindparam("before", type_=_t.c.due_at.type), ~_of_known_kind)
    .distinct()
)
_FINISH = sa.update(_t).where(_t.c.id == sa.bindparam("timer"), _t.c.done_at.is_(None)).values(done_at=sa.bindparam("now"))
_PUT_OFF = sa.update(_t).where(_t.c.id == sa.bindparam("timer"), _t.c.done_at.is_(None)).values(lease_until=sa.bindparam("until"))


# Only the claim that was ours: after its lease somebody else may have claimed it.
_GIVE_BACK = (
    sa.update(_t)
    .where(_t.c.id == sa.bindparam("timer"), _t.c.done_at.is_(None), _t.c.attempts == sa.bindparam("of_attempt"))
    .values(lease_until=sa.bindparam("until"), attempts=_t.c.attempts - 1)
)


def claim_due(store: Store, now: datetime, limit: int = 20, kinds: Collection[str] | None = None) -> list[DueTimer]:
    """Lease up to ``limit`` due timers, the oldest first. Two workers never hold the same one.

    ``kinds``: only these. While two versions run side by side, the older one must not wear out what only the newer one can answer.
    """
    real = real_seconds()
    values: dict[str, Any] = {"now": now, "real": real, "until": real + LEASE_SECONDS, "most": limit}
    with store.write() as session:
        if kinds is None:
            rows = session.connection().execute(_CLAIM, values).all()
        else:
            rows = session.connection().execute(_CLAIM_KNOWN, values | {"kinds": sorted(kinds)}).all()
    return sorted((DueTimer(*row) for row in rows), key=lambda timer: (timer.due_at, timer.id))


def find_unanswered(store: Store, before: datetime, kinds: Collection[str]) -> list[str]:
    """Kinds of timers that have been due since ``before`` and that nobody with these ``kinds`` answers."""
    with store.read() as session:
        return list(session.connection().execute(_UNANSWERED, {"before": before, "kinds": sorted(kinds)}).scalars())


def finish(store: Store, timer: DueTimer) -> None:
    """This occurrence is done, for ever."""
    with store.write() as session:
        session.connection().execute(_FINISH, {"timer": timer.id, "now": store.clock.now()})


def give_back(store: Store, timers: Sequence[DueTimer]) -> None:
    """The database went away under these, or before their turn came: they are due again at once, and the try does not count."""
    with store.write() as session:
        session.connection().execute(_GIVE_BACK, [{"timer": timer.id, "of_attempt": timer.attempt, "until": 0.0} for timer in timers])


def put_off_uncounted(store: Store, timer: DueTimer) -> None:
    """The database failed under it, and answers again: try later, and the try does not count. A broadcast must not be lost over that."""
    late = (store.clock.now() - timer.due_at).total_seconds()
    until = real_seconds() + min(PUT_OFF_SECONDS + late / 10, LONGEST_PUT_OFF_SECONDS)
    with store.write() as session:
        session.connection().execute(_GIVE_BACK, {"timer": timer.id, "of_attempt": timer.attempt, "until": until})


def put_off(store: Store, timer: DueTimer) -> None:
    """It failed: try again a little later; after the fifth try it stays parked (not done, never claimed) for a person to see."""
    with store.write() as session:
        session.connection().execute(_PUT_OFF, {"timer": timer.id, "until": real_seconds() + PUT_OFF_SECONDS * timer.attempt})
    if timer.attempt >= TRIES:
        log.error("timer %d of kind %s is parked after %d tries", timer.id, timer.kind, timer.attempt)
