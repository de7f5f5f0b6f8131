"""Fan-out: from one broadcast to one outbound row a phone, by INSERT ... SELECT in committed chunks.

A chunk locks the broadcast's row, looks how far the planning went, and moves on from there: a planner that dies, or two that meet, leave
every phone with exactly one row. The rows carry no words; those are rendered at the send.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bot.crashpoints import crashpoint
from bot.delivery.audience import Audience, Hours, find_audience, find_hours, m
from bot.delivery.bell import ring
from bot.delivery.kinds import ASKS, lane_of
from bot.delivery.wording import choose
from bot.deployment import Deployment
from models import Broadcast, BroadcastText, Moment, Outbound
from models.broadcasts import SCHEDULED, SENDING

log = logging.getLogger(__name__)

# Members a chunk: a transaction of a fifth of a second on SQLite. With 5,000 all of it takes half as long again (measured).
CHUNK = 20_000

_COLUMNS = (
    "broadcast_id", "membership_id", "person_id", "phone_id", "collective_id", "line_id", "kind", "lane", "position", "language",
    "state", "reason", "segments", "attempt", "unprompted", "due_at", "expires_at", "resent", "asks", "created_at",
)  # fmt: skip


class Part(NamedTuple):
    """One chunk of the collective's memberships: the first and the last id, and how many of them are active."""

    first: int
    last: int
    active: int


def plan_broadcast(deployment: Deployment, broadcast_id: int) -> int:
    """Plan what is left to plan of this broadcast and return how many rows were added; may be called again at any time.

    Rings after each chunk. A broadcast that was stopped or held meanwhile is left as it is. LookupError when there is none.
    """
    added, more = 0, True
    with deployment.store.read() as session:
        hours = find_hours(session, _find(session, broadcast_id).collective_id)
    while more:
        with deployment.store.write() as session:
            number, more = _plan_chunk(session, deployment, broadcast_id, hours)
        crashpoint("plan.between_chunks")
        added += number
        if number:
            ring(deployment)
    log.info("broadcast %d: %d rows planned", broadcast_id, added)
    return added


def _find(session: Session, broadcast_id: int, *, lock: bool = False) -> Broadcast:
    query = sa.select(Broadcast).where(Broadcast.id == broadcast_id)
    broadcast = session.scalars(query.with_for_update(key_share=True) if lock else query).one_or_none()
    if broadcast is None:
        raise LookupError(f"there is no broadcast {broadcast_id}")
    return broadcast


def _plan_chunk(session: Session, deployment: Deployment, broadcast_id: int, hours: frozenset[Hours]) -> tuple[int, bool]:
    """Plan one chunk: (rows added, whether there is more to do)."""
    now = deployment.clock.now()
    broadcast = _find(session, broadcast_id, lock=True)
    if broadcast.state not in (SCHEDULED, SENDING) or broadcast.planned_at is not None:
        return 0, False
    broadcast.state = SENDING
    chunk = (
        sa.select(m.c.id, m.c.state)
        .where(m.c.collective_id == broadcast.collective_id, m.c.id > broadcast.planned_through)
        .order_by(m.c.id)
        .limit(CHUNK)
        .subquery()
    )
    active = sa.func.count(sa.case((chunk.c.state == "active", 1)))
    first, last, count = session.execute(sa.select(sa.func.min(chunk.c.id), sa.func.max(chunk.c.id), active)).one()
    if last is None:
        broadcast.planned_at = now
        return 0, False
    part = Part(first, last, count)
    added = _insert_rows(session, find_audience(session, now, broadcast, hours), part)
    broadcast.planned_through = part.last
    broadcast.total += added
    return added, True


def _position(audience: Audience, part: Part, membership_id: Any) -> Any:
    """From 0 within its broadcast, so that two broadcasts on one line take turns.

    Counting rows exactly costs a fifth of the planning (measured); where nearly all of the collective get it, the place among its members
    is as good. A broadcast to few of them needs to be counted, or it would come in line with 140,000.
    """
    broadcast = audience.broadcast
    if broadcast.group_id is not None or audience.corrected:
        return sa.func.row_number().over(order_by=membership_id) + (broadcast.total - 1)
    return (membership_id - part.first) * part.active // (part.last - part.first + 1) + broadcast.total


def _insert_rows(session: Session, audience: Audience, part: Part) -> int:
    broadcast = audience.broadcast
    rows = audience.rows().where(m.c.id > broadcast.planned_through, m.c.id <= part.last).subquery("audience")
    values: dict[str, Any] = {
        "broadcast_id": sa.literal(broadcast.id),
        "collective_id": sa.literal(broadcast.collective_id),
        "kind": sa.literal(broadcast.kind),
        "lane": sa.literal(lane_of(broadcast.kind)),
        "position": _position(audience, part, rows.c.membership_id),
        "segments": _segments(session, audience, rows.c.language),
        "attempt": sa.literal(0),
        "unprompted": sa.true(),
        "expires_at": sa.literal(broadcast.expires_at, Moment),
        "resent": sa.false(),
        "asks": sa.literal(ASKS.get(broadcast.kind), sa.String),
        "created_at": sa.literal(audience.now, Moment),
    }
    cells: list[Any] = [values[name] if name in values else rows.c[name] for name in _COLUMNS]
    select = sa.select(*cells).where(rows.c.line_id.is_not(None))
    dialect: Any = {"sqlite": sqlite, "postgresql": postgresql}[session.get_bind().dialect.name]
    # Where a row for this phone is already there, it stays: somebody joined again with the same phone while we planned.
    # (SQLite can not tell ON CONFLICT from a join's ON without a WHERE before it; there is one.)
    statement = dialect.insert(Outbound.__table__).from_select(_COLUMNS, select).on_conflict_do_nothing()
    statement = statement.execution_options(preserve_rowcount=True)
    result: Any = session.connection().execute(statement)
    return int(result.rowcount)


def _segments(session: Session, audience: Audience, language: Any) -> Any:
    """What her text costs, by language, without opening a seal."""
    known: dict[str, int] = {
        row.language: row.segments
        for row in session.execute(
            sa.select(BroadcastText.language, BroadcastText.segments).where(BroadcastText.broadcast_id == audience.broadcast.id)
        )
    }
    if not known:
        return sa.literal(1)
    otherwise = choose("", audience.collective.language, known)[1]
    # Latin-letter Hindi has a fallback of its own, which is not always the one of everybody else.
    known.setdefault("hi-Latn", choose("hi-Latn", audience.collective.language, known)[1])
    if set(known.values()) == {otherwise}:
        return sa.literal(otherwise)
    return sa.case(known, value=language, else_=otherwise)
