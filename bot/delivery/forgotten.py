"""What FORGET leaves of an outbound row, and the rows that it could not see: planned, or put back, while she was being forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.lists import as_list, in_list, in_states
from models import Outbound, Phone, Store
from models.messages import CLAIMED, HELD, QUEUED, STOPPED

REASON = "forgotten"
# A state, a time, a line, a collective: how many there were. No words, nobody, and not the carrier's name for it.
EMPTIED: dict[str, Any] = {
    "body": None,
    "phone_id": None,
    "person_id": None,
    "membership_id": None,
    "about_membership_id": None,
    "sid": None,
    "asked_at": None,
}

_o: Any = Outbound.__table__
_ph: Any = Phone.__table__
_now = sa.bindparam("now", type_=_o.c.done_at.type)
_over = {"state": STOPPED, "reason": REASON, "done_at": _now, "lease_until": None}
_WITHOUT_PHONE = sa.update(_o).where(in_states(_o.c.state, QUEUED, HELD), _o.c.phone_id.is_(None)).values(EMPTIED | _over)


@cache
def _lost(sqlite: bool) -> sa.Update:
    gone = ~sa.exists().where(_ph.c.id == _o.c.phone_id)
    return sa.update(_o).where(in_list(_o.c.id, "ids", sqlite=sqlite), in_states(_o.c.state, CLAIMED), gone).values(EMPTIED | _over)


def stop_rows_without_phone(session: Session, now: datetime) -> int:
    """For the sweep: nobody is there to send these to; they would be claimed and put back for ever. Returns how many."""
    return int(session.connection().execute(_WITHOUT_PHONE, {"now": now}).rowcount)


def forget_lost_rows(store: Store, session: Session, ids: Sequence[int], now: datetime) -> int:
    """Those of these claimed rows whose phone is gone end here, emptied. Returns how many."""
    return int(session.connection().execute(_lost(store.is_sqlite), {"ids": as_list(store, ids), "now": now}).rowcount)
