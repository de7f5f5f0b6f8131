"""Receipts: what the carrier says became of a message. Two or three come for each, so this is the cheapest path of all: one statement.

A state only ever climbs (docs/delivery.md), whatever the order of the receipts and of our own answer; an error code, once there, stays.
"""

from __future__ import annotations

import logging
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.crashpoints import crashpoint
from bot.delivery.alarms import watch_filtering
from bot.delivery.errors import Reaction, reaction_to
from bot.delivery.failures import Failure, Settled, settle_failures
from bot.delivery.lists import in_states
from bot.delivery.outcomes import asks_somebody, forgotten, tried_again
from bot.delivery.tokens import read_token
from models import Outbound, Prepared, Store
from models.messages import ACCEPTED, DELIVERED, FAILED, RANKS, SENT, UNDELIVERED

log = logging.getLogger(__name__)

# Twilio's words for our states. "sent" may be the last one ever; "read" comes from WhatsApp and RCS.
_STATES = {
    "accepted": ACCEPTED,
    "scheduled": ACCEPTED,
    "queued": ACCEPTED,
    "sending": ACCEPTED,
    "sent": SENT,
    "delivered": DELIVERED,
    "partially_delivered": DELIVERED,
    "read": DELIVERED,
    "undelivered": UNDELIVERED,
    "failed": FAILED,
    "canceled": FAILED,
}
_OVER = (DELIVERED, UNDELIVERED, FAILED)
_FAILING = (UNDELIVERED, FAILED)

_o: Any = Outbound.__table__
_now = sa.bindparam("now", type_=_o.c.accepted_at.type)
_code = sa.bindparam("code", type_=sa.Integer)
_sid = sa.bindparam("of_sid", type_=sa.String)


@cache
def _statement(state: str) -> Prepared:
    """The one statement, for one of our states."""
    lower = [known for known, rank in RANKS.items() if rank < RANKS[state]]
    # What became of an earlier attempt says nothing of the present one, unless it arrived: then she has it.
    of_this = sa.and_(_o.c.attempt == sa.bindparam("of_attempt"), sa.not_(tried_again))
    climbs: Any = in_states(_o.c.state, *lower)
    if state != DELIVERED:
        climbs = sa.and_(climbs, of_this)
    values: dict[str, Any] = {
        "sid": sa.case((forgotten, sa.null()), (of_this, sa.func.coalesce(_o.c.sid, _sid)), else_=_o.c.sid),
        "error_code": sa.case((of_this, sa.func.coalesce(_o.c.error_code, _code)), else_=_o.c.error_code),
        "accepted_at": sa.case((sa.or_(of_this, climbs), sa.func.coalesce(_o.c.accepted_at, _now)), else_=_o.c.accepted_at),
        "lease_until": sa.case((sa.or_(of_this, climbs), sa.null()), else_=_o.c.lease_until),
    }
    if state not in _FAILING:
        asked = sa.and_(asks_somebody, sa.or_(of_this, climbs))
        values["asked_at"] = sa.case((asked, sa.func.coalesce(_o.c.asked_at, _now)), else_=_o.c.asked_at)
    if state in _OVER:
        values["done_at"] = sa.case((climbs, sa.func.coalesce(_o.c.done_at, _now)), else_=_o.c.done_at)
    if state == DELIVERED:
        values["reason"] = sa.case((climbs, sa.null()), else_=_o.c.reason)
    values["state"] = sa.case((climbs, state), else_=_o.c.state)
    return Prepared(
        sa.update(_o).where(_o.c.id == sa.bindparam("row"), _o.c.attempt >= sa.bindparam("of_attempt")).values(**values).returning(_o.c.id)
    )


def apply_receipt(store: Store, token: str, status: str, error_code: int | None, sid: str | None) -> bool:
    """Take one status callback. ``status`` in Twilio's words; False when we did not make the token or the row is gone.

    A failing code also changes what may be sent to this phone or by this line, in the same transaction.
    """
    named = read_token(store, token)
    state = _STATES.get(status)
    if named is None:
        return False
    if state is None:
        log.info("a receipt says %s, which means nothing here", status if status.isalpha() else "something")
        return True
    row, attempt = named
    now = store.clock.now()
    with store.write() as session:
        found, filtered = _climb(store, session, now, row, attempt, state, error_code, sid)
        crashpoint("receipt.before_commit")
    crashpoint("receipt.after_commit")
    if filtered is not None and filtered.broadcast_id is not None:
        watch_filtering(store, filtered.broadcast_id, filtered.line_id)
    return found


def apply_listed(
    store: Store, session: Session, now: datetime, row: int, attempt: int, status: str, error_code: int | None, sid: str
) -> bool:
    """The same for a status read in the carrier's list, inside the caller's transaction: that it is listed means accepted at least."""
    return _climb(store, session, now, row, attempt, _STATES.get(status, ACCEPTED), error_code, sid)[0]


def _climb(
    store: Store, session: Session, now: datetime, row: int, attempt: int, state: str, error_code: int | None, sid: str | None
) -> tuple[bool, Settled | None]:
    """(whether there is such a row; the failure, when it is news that carriers took it for spam)"""
    filtered = None
    if error_code is not None and state in _FAILING:
        for settled in settle_failures(store, session, now, [Failure(row, attempt, error_code, state, taken=True)]):
            if settled.fate is not None:
                return True, None
            filtered = settled if reaction_to(error_code) is Reaction.FILTERED else None
    values = {"row": row, "of_attempt": attempt, "now": now, "code": error_code, "of_sid": sid}
    return _statement(state).first(session, values) is not None, filtered
