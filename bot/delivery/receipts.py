"""Receipts: what the carrier says became of a message. Two or three come for each, so this is the cheapest path of all: one statement.

A state only ever climbs (docs/delivery.md), whatever the order of the receipts and of our own answer; an error code, once there, stays.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import sqlalchemy as sa

from bot.delivery.lists import in_states
from bot.delivery.outcomes import asks_somebody, forgotten, learn_from
from bot.delivery.tokens import read_token
from models import Outbound, Store
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

_o: Any = Outbound.__table__
_now = sa.bindparam("now", type_=_o.c.accepted_at.type)
_code = sa.bindparam("code", type_=sa.Integer)


@cache
def _statement(state: str) -> sa.Update:
    """The one statement, for one of our states."""
    lower = [known for known, rank in RANKS.items() if rank < RANKS[state]]
    climbs: Any = in_states(_o.c.state, *lower)
    values: dict[str, Any] = {
        "sid": sa.case((forgotten, sa.null()), else_=sa.func.coalesce(_o.c.sid, sa.bindparam("of_sid", type_=sa.String))),
        "error_code": sa.func.coalesce(_o.c.error_code, _code),
        "accepted_at": sa.func.coalesce(_o.c.accepted_at, _now),
        "lease_until": None,
    }
    if state in (UNDELIVERED, FAILED):
        # An earlier attempt that failed says nothing about the present one.
        climbs = sa.and_(climbs, _o.c.attempt == sa.bindparam("of_attempt"))
    else:
        values["asked_at"] = sa.case((asks_somebody, sa.func.coalesce(_o.c.asked_at, _now)), else_=_o.c.asked_at)
    if state in _OVER:
        values["done_at"] = sa.func.coalesce(_o.c.done_at, _now)
    values["state"] = sa.case((climbs, state), else_=_o.c.state)
    return (
        sa.update(_o)
        .where(_o.c.id == sa.bindparam("row"), _o.c.attempt >= sa.bindparam("of_attempt"))
        .values(**values)
        .returning(_o.c.phone_id, _o.c.line_id)
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
        values = {"row": row, "of_attempt": attempt, "now": now, "code": error_code, "of_sid": sid}
        found = session.connection().execute(_statement(state), values).first()
        if found is not None and error_code is not None:
            learn_from(store, session, now, error_code, found.phone_id, found.line_id)
    return found is not None
