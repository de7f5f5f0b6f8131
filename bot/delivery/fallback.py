"""By SMS instead of WhatsApp, where she said so: others can read an SMS more easily, so it is never done for words between two people,
for care or for codes, and never without her yes (``memberships.sms_fallback``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.lists import as_list, in_list, in_states
from bot.delivery.wording import choose
from models import BroadcastText, Collective, CollectiveLine, Line, Membership, Outbound, PhoneLine, Store
from models.messages import HELD, QUEUED

# What an organizer sends to many, and what organizers are told.
MAY_GO_BY_SMS = ("notice", "alert", "poll", "result", "report")

_o: Any = Outbound.__table__
_cl: Any = CollectiveLine.__table__
_l: Any = Line.__table__
_m: Any = Membership.__table__
_pl: Any = PhoneLine.__table__


def sms_line(of: Any, collective_id: Any) -> Any:
    """The collective's first two-way SMS line on which she has not stopped us, as SQL; null when there is none, or she did not allow it.

    ``of``: a table or subquery with phone_id, line_id and membership_id, in the FROM of the statement that this stands in.
    """
    stopped = sa.exists().where(
        _pl.c.phone_id == of.c.phone_id,
        _pl.c.line_id == _l.c.id,
        sa.or_(_pl.c.opted_out_at.is_not(None), _pl.c.refused_code.is_not(None)),
    )
    allows = sa.exists().where(_m.c.id == of.c.membership_id, _m.c.sms_fallback, _m.c.state == "active")
    return (
        sa.select(_l.c.id)
        .select_from(_cl.join(_l, _l.c.id == _cl.c.line_id))
        .where(
            _cl.c.collective_id == collective_id,
            _l.c.channel == "sms",
            _l.c.two_way,
            _l.c.id != of.c.line_id,
            allows.correlate(of),
            sa.not_(stopped.correlate(of, _l)),
        )
        .order_by(_cl.c.position, _l.c.id)
        .limit(1)
        .correlate(of)
        .scalar_subquery()
    )


_sms_line = sa.case((in_states(_o.c.kind, *MAY_GO_BY_SMS), sms_line(_o, _o.c.collective_id)), else_=sa.null())
_FIND = {
    is_sqlite: sa.select(_o.c.id, _sms_line.label("line")).where(in_list(_o.c.id, "ids", sqlite=is_sqlite)) for is_sqlite in (True, False)
}
_MOVE = (
    sa.update(_o)
    .where(_o.c.id == sa.bindparam("row"), in_states(_o.c.state, HELD), _o.c.reason == "window")
    .values(
        line_id=sa.bindparam("to_line"),
        segments=sa.bindparam("counted"),
        state=QUEUED,
        reason=None,
        due_at=sa.bindparam("now", type_=_o.c.due_at.type),
    )
)


def find_sms_lines(store: Store, session: Session, ids: Iterable[int]) -> dict[int, int]:
    """For those of these outbound rows that may go by SMS: the id of the line."""
    found = session.connection().execute(_FIND[store.is_sqlite], {"ids": as_list(store, ids)})
    return {row.id: row.line for row in found if row.line is not None}


def count_sms_segments(session: Session, row: Any) -> int:
    """Segments of an outbound row (``broadcast_id``, ``collective_id``, ``language``, ``segments``) by SMS; a letter's are so."""
    if row.broadcast_id is None:
        return int(row.segments)
    texts = sa.select(BroadcastText.language, BroadcastText.segments).where(BroadcastText.broadcast_id == row.broadcast_id)
    known = {text.language: text.segments for text in session.execute(texts)}
    fallback = session.scalar(sa.select(Collective.language).where(Collective.id == row.collective_id)) or "en"
    return choose(row.language, fallback, known)[1] if known else int(row.segments)


def move_to_sms(store: Store, session: Session, rows: Iterable[Any]) -> set[int]:
    """Let those of these rows, held for WhatsApp's window, go by SMS whose readers allow it; returns their ids. Ring after the commit."""
    rows = list(rows)
    lines = find_sms_lines(store, session, [row.id for row in rows])
    counted: dict[tuple[int | None, str], int] = {}
    moves = []
    for row in rows:
        if row.id not in lines:
            continue
        key = (row.broadcast_id, row.language)
        if row.broadcast_id is None or key not in counted:
            counted[key] = count_sms_segments(session, row)
        moves.append({"row": row.id, "to_line": lines[row.id], "counted": counted[key], "now": store.clock.now()})
    if moves:
        session.connection().execute(_MOVE, moves)
    return set(lines)
