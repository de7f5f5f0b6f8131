"""The sweep: every few seconds the database is put right without anybody's help, whatever died, whatever bell was lost.

Claims of dead pumps are queued again; what never heard of its outcome is unknown; what waited for its hour is queued; what is too late
expires; what was for somebody forgotten stops; broadcasts with nothing left to send are done. Each statement finds its rows by a small
index.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.crashpoints import crashpoint
from bot.delivery.audience import WINDOW
from bot.delivery.errors import RETRY
from bot.delivery.forgotten import stop_rows_without_phone
from bot.delivery.leases import is_anything_waiting
from bot.delivery.lists import in_states
from bot.delivery.outcomes import LOOK_UP_AFTER
from bot.delivery.poison import ORPHANED, tell_of_poison, told
from models import Broadcast, Line, Outbound, PhoneLine, Prepared, Store
from models.broadcasts import DONE, SCHEDULED, SENDING
from models.clock import real_seconds
from models.messages import ATTEMPTING, CLAIMED, EXPIRED, HELD, QUEUED, UNKNOWN

log = logging.getLogger(__name__)

# Held without an hour: only a person (an organizer; she herself, by writing) lets these go.
WITHOUT_HOUR = ("organizer", "window")
# Of one sweep: a held broadcast of 140,000 must not become one long transaction.
MOST_RELEASED = 5_000


@dataclass(frozen=True, slots=True)
class Swept:
    """How many rows each rule moved, and whether something is ready to be sent."""

    reclaimed: int
    unknown: int
    released: int
    expired: int
    broadcasts_done: int
    is_waiting: bool


_o: Any = Outbound.__table__
_b: Any = Broadcast.__table__
_l: Any = Line.__table__
_pl: Any = PhoneLine.__table__


# Two questions about a broadcast, one for each of the partial indexes.
# Who is out of reach is tried again for a day and more: the rest is done, and told, before that.
_unsettled = sa.and_(in_states(_o.c.state, HELD, CLAIMED, ATTEMPTING), sa.func.coalesce(_o.c.reason, "") != RETRY)
_run_out = sa.func.coalesce(_o.c.lease_until, 0) < sa.bindparam("real")
# A pump that still holds the line has its claims in hand, however long the carrier makes it wait.
_holder_lives = sa.exists().where(_l.c.id == _o.c.line_id, _l.c.fence == _o.c.fence, _l.c.lease_until >= sa.bindparam("real"))
_RECLAIM = sa.update(_o).where(in_states(_o.c.state, CLAIMED), _run_out, ~_holder_lives).values(ORPHANED).returning(*told)
_DOUBT = (
    sa.update(_o)
    .where(in_states(_o.c.state, ATTEMPTING), _run_out)
    .values(state=UNKNOWN, lease_until=None, check_at=sa.bindparam("check", type_=_o.c.check_at.type), checks=0)
)
_due = (
    sa.select(_o.c.id)
    .where(in_states(_o.c.state, HELD), _o.c.due_at <= sa.bindparam("now"), sa.func.coalesce(_o.c.reason, "").not_in(WITHOUT_HOUR))
    .order_by(_o.c.due_at)
    .limit(MOST_RELEASED)
)
_RELEASE = sa.update(_o).where(_o.c.id.in_(_due), in_states(_o.c.state, HELD)).values(state=QUEUED, reason=None)
# Marked while somebody released its broadcast: neither transaction saw the other, and the row still waits for a person.
_LEFT_BEHIND = (
    sa.update(_o)
    .where(
        in_states(_o.c.state, HELD),
        _o.c.reason == "organizer",
        _o.c.broadcast_id.in_(sa.select(_b.c.id).where(_b.c.state.in_((SCHEDULED, SENDING, DONE)))),
    )
    .values(state=QUEUED, reason=None, due_at=sa.bindparam("now", type_=_o.c.due_at.type))
)
_EXPIRE_HELD = (
    sa.update(_o)
    .where(in_states(_o.c.state, HELD), _o.c.expires_at <= sa.bindparam("now"))
    .values(state=EXPIRED, reason="too_late", done_at=sa.bindparam("now"))
)
# Queued ones expire when they are marked; but a line that rests marks nothing, and its broadcasts should end all the same.
_EXPIRE_QUEUED = (
    sa.update(_o)
    .where(
        in_states(_o.c.state, QUEUED),
        _o.c.expires_at <= sa.bindparam("now"),
        _o.c.line_id.in_(sa.select(_l.c.id).where(_l.c.held_until > sa.bindparam("now"))),
    )
    .values(state=EXPIRED, reason="too_late", done_at=sa.bindparam("now"))
)
_DONE = (
    sa.update(_b)
    .where(
        _b.c.state == SENDING,
        _b.c.planned_at.is_not(None),
        ~sa.exists().where(_o.c.broadcast_id == _b.c.id, in_states(_o.c.state, QUEUED)),
        ~sa.exists().where(_o.c.broadcast_id == _b.c.id, _unsettled),
    )
    .values(state=DONE, done_at=sa.bindparam("now"))
)
# Due from now on: what waited for a person must not look as if it had been late all the time (/healthz).
_NOW_DUE: dict[str, Any] = {"state": QUEUED, "reason": None, "due_at": sa.bindparam("now", type_=_o.c.due_at.type)}
_open_window = sa.exists().where(
    _pl.c.phone_id == _o.c.phone_id, _pl.c.line_id == _o.c.line_id, _pl.c.last_inbound_at > sa.bindparam("since")
)
_WINDOW = sa.update(_o).where(in_states(_o.c.state, HELD), _o.c.reason == "window", _open_window).values(_NOW_DUE)
_HER_WINDOW = Prepared(
    sa.update(_o)
    .where(
        _o.c.phone_id == sa.bindparam("phone"), _o.c.line_id == sa.bindparam("line"), in_states(_o.c.state, HELD), _o.c.reason == "window"
    )
    .values(_NOW_DUE)
)


_HER_QUESTIONS = Prepared(
    sa.update(_o).where(_o.c.phone_id == sa.bindparam("phone"), in_states(_o.c.state, HELD), _o.c.reason == "question").values(_NOW_DUE)
)


def sweep(store: Store) -> Swept:
    """Put everything right once. Cheap when there is nothing to do; any number of workers may do it at the same time."""
    now, real = store.clock.now(), real_seconds()
    with store.write() as session:
        orphans = session.connection().execute(_RECLAIM, {"real": real, "now": now}).all()
        reclaimed = len(orphans) - tell_of_poison(session, now, orphans)
        unknown = _run(session, _DOUBT, real=real, check=now + LOOK_UP_AFTER)
        expired = _run(session, _EXPIRE_HELD, now=now) + _run(session, _EXPIRE_QUEUED, now=now)
        released = _run(session, _RELEASE, now=now)
        stop_rows_without_phone(session, now)
    crashpoint("sweep.half_way")
    with store.write() as session:
        done = _run(session, _DONE, now=now)
        waiting = is_anything_waiting(session, now)
    swept = Swept(reclaimed, unknown, released, expired, done, waiting)
    if unknown or reclaimed:
        log.warning("swept: %d claims of a dead worker queued again, %d outcomes unknown", reclaimed, unknown)
    return swept


def release_window(session: Session, now: datetime, phone_id: int, line_id: int) -> int:
    """She wrote on a WhatsApp line: what waited for that may go. Returns how many; ring after the commit."""
    return _HER_WINDOW.run(session, {"phone": phone_id, "line": line_id, "now": now})


def release_questions(session: Session, now: datetime, phone_id: int) -> int:
    """She answered: the next question to this phone may go. Returns how many; ring after the commit."""
    return _HER_QUESTIONS.run(session, {"phone": phone_id, "now": now})


def release_open_windows(store: Store) -> int:
    """The same for everybody, for a minute's sweep: a message that came while the webhook was busy elsewhere is not forgotten."""
    with store.write() as session:
        return _run(session, _WINDOW, since=store.clock.now() - WINDOW, now=store.clock.now())


def release_left_behind(store: Store) -> int:
    """What is held by an organizer though its broadcast is not may go, for a minute's sweep. Returns how many; ring afterwards."""
    with store.write() as session:
        return _run(session, _LEFT_BEHIND, now=store.clock.now())


def _run(session: Session, statement: Any, **values: float | datetime) -> int:
    return int(session.connection().execute(statement, values).rowcount)
