"""What an error code teaches about a phone, a line or a template, beyond the message that met it."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bot.delivery.alarms import tell_of_line
from bot.delivery.audience import WINDOW
from bot.delivery.errors import MAY_BE_HER_COUNTRY, REST, Reaction, reaction_to
from bot.delivery.lists import in_states
from models import Broadcast, Line, Outbound, Phone, PhoneLine, Store
from models.broadcasts import SENDING
from models.messages import ACCEPTED

log = logging.getLogger(__name__)

# A line that took something within this time is not set up wrongly.
WORKED_LATELY = timedelta(hours=1)
# Replies and pages leave soon after they were written: more of the newest rows need not be looked at.
_NEWEST = 200

_l: Any = Line.__table__
_o: Any = Outbound.__table__
_b: Any = Broadcast.__table__
_pl: Any = PhoneLine.__table__
_ph: Any = Phone.__table__
_HOLD_LINE = sa.update(_l).where(_l.c.id == sa.bindparam("line")).values(held_until=sa.bindparam("until"), held_code=sa.bindparam("code"))
# Only what we sent after her last text can tell that her window is closed.
_CLOSE_WINDOW = (
    sa.update(_pl)
    .where(
        _pl.c.phone_id == sa.bindparam("phone"),
        _pl.c.line_id == sa.bindparam("line"),
        _pl.c.last_inbound_at > sa.bindparam("over"),
        _pl.c.last_inbound_at < sa.bindparam("sent"),
    )
    .values(last_inbound_at=sa.bindparam("over"))
)

_since = sa.bindparam("since", type_=_o.c.accepted_at.type)
_lately = (_o.c.line_id == sa.bindparam("line"), _o.c.accepted_at > _since)
_newest = sa.select(_o.c.line_id, _o.c.accepted_at).order_by(_o.c.id.desc()).limit(_NEWEST).subquery()
# By three small indexes: what the carrier still has, what of a broadcast it took, what was written last.
_TOOK = sa.select(
    sa.or_(
        sa.exists().where(*_lately, in_states(_o.c.state, ACCEPTED)),
        sa.exists(sa.select(_o.c.id).select_from(_b.join(_o, _o.c.broadcast_id == _b.c.id)).where(_b.c.state == SENDING, *_lately)),
        sa.exists().where(_newest.c.line_id == sa.bindparam("line"), _newest.c.accepted_at > _since),
    )
)


@cache
def _know(is_sqlite: bool) -> Any:
    names = ("phone_id", "line_id", "opted_out_at", "opted_out_by", "refused_code")
    # From the phone's own row: it may be gone since (FORGET), and one that is gone must not stop the line's other outcomes.
    known = sa.select(_ph.c.id, *(sa.bindparam(name, type_=_pl.c[name].type) for name in names[1:])).where(
        _ph.c.id == sa.bindparam("phone")
    )
    insert: Any = (sqlite if is_sqlite else postgresql).insert(_pl).from_select(names, known.with_for_update(read=True, key_share=True))
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=["phone_id", "line_id"],
        set_={
            "opted_out_at": sa.func.coalesce(_pl.c.opted_out_at, new.opted_out_at),
            "opted_out_by": sa.func.coalesce(_pl.c.opted_out_by, new.opted_out_by),
            "refused_code": sa.func.coalesce(new.refused_code, _pl.c.refused_code),
        },
    )


def learn_from(store: Store, session: Session, now: datetime, code: int, phone_id: int | None, line_id: int) -> Reaction:
    """Write down what an error code says about a phone or a line (not about the message), and return the reaction.

    A line that is set up wrongly rests, and its collectives' organizers are told once a day; unless the code may be about her country
    alone, and the line took other messages within the hour.
    """
    reaction = reaction_to(code)
    connection = session.connection()
    if reaction in (Reaction.OPT_OUT, Reaction.REFUSE, Reaction.ELSEWHERE) and phone_id is not None:
        opted_out = reaction is Reaction.OPT_OUT
        row: dict[str, Any] = {"phone": phone_id, "line_id": line_id, "opted_out_at": now if opted_out else None}
        row |= {"opted_out_by": str(code) if opted_out else None, "refused_code": None if opted_out else code}
        connection.execute(_know(store.is_sqlite), row)
    elif code in MAY_BE_HER_COUNTRY and connection.execute(_TOOK, {"line": line_id, "since": now - WORKED_LATELY}).scalar_one():
        log.warning("line %d: error %d of one message, while it takes others", line_id, code)
    elif reaction in REST:
        connection.execute(_HOLD_LINE, {"line": line_id, "until": now + REST[reaction], "code": code})
        log.error("line %d rests for %d minutes: error %d, %s", line_id, REST[reaction].seconds // 60, code, reaction.value)
        if reaction is Reaction.HOLD_LINE:
            tell_of_line(session, now, line_id, code)
    return reaction


def close_window(session: Session, now: datetime, phone_id: int, line_id: int, sent_at: datetime) -> None:
    """WhatsApp says that her 24 hours are over: believe it, or what waits for her next text would go, and be refused, every minute."""
    values = {"phone": phone_id, "line": line_id, "over": now - WINDOW, "sent": sent_at}
    session.connection().execute(_CLOSE_WINDOW, values)
