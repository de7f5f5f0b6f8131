"""Marking: the last look before a message leaves. What this transaction does not allow is not sent.

It locks the row and its phone first, and only then reads what is allowed: on PostgreSQL that second statement sees every STOP that
committed before, and a STOP still being written holds the phone's row, so its messages are skipped until it is through. No row is marked
after a STOP commits. (SQLite has one writer at a time, which is the same.)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.audience import WINDOW
from bot.delivery.claims import Claimed
from bot.delivery.forgotten import forget_lost_rows
from bot.delivery.kinds import AFTER_OPT_OUT, BETWEEN_PEOPLE
from bot.delivery.leases import LeasedLine, LeaseLost
from bot.delivery.lists import as_list, in_list, in_states
from bot.delivery.outbox import ANSWER_SECONDS
from bot.delivery.quiet import next_allowed
from bot.delivery.texts import Texts
from models import Broadcast, Collective, Line, Membership, Outbound, Person, Phone, PhoneLine, SealBroken, Store
from models import broadcasts as broadcast_states
from models.clock import real_seconds
from models.messages import ATTEMPTING, CLAIMED, EXPIRED, FAILED, HELD, STOPPED, SUPPRESSED

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Marked:
    """A message that must leave now: it stands as ``attempting``. ``marked_at`` is in epoch seconds."""

    id: int
    attempt: int
    phone_id: int
    line: LeasedLine
    to: str
    body: str
    segments: int
    marked_at: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a claimed row does not leave now: its new state, the reason, and when to look again (held ones)."""

    state: str
    reason: str
    due_at: datetime | None = None


_o: Any = Outbound.__table__
_ph: Any = Phone.__table__
_pl: Any = PhoneLine.__table__
_m: Any = Membership.__table__
_p: Any = Person.__table__
_c: Any = Collective.__table__
_b: Any = Broadcast.__table__
_l: Any = Line.__table__


_other: Any = Outbound.__table__.alias("other")
# An asking message leaves flight when it is answered, or after a day.
IN_FLIGHT = timedelta(hours=24)
# When to look again whether she holds her shared phone.
LOOK_AGAIN = timedelta(hours=1)


def _asking_since() -> Any:
    """Since when another question to the same person is in flight; null for what asks nothing, and for alerts, which never wait."""
    same = sa.and_(_other.c.person_id == _o.c.person_id, _other.c.id != _o.c.id, _other.c.kind != "alert", _other.c.answered_at.is_(None))
    flying = sa.select(sa.func.max(_other.c.asked_at)).where(same, _other.c.asked_at > sa.bindparam("since", type_=_o.c.asked_at.type))
    leaving = sa.select(sa.func.max(_other.c.attempted_at)).where(same, _other.c.asks.is_not(None), in_states(_other.c.state, ATTEMPTING))
    waits = sa.and_(_o.c.asks.is_not(None), _o.c.kind != "alert")
    return sa.case((waits, sa.func.coalesce(flying.scalar_subquery(), leaving.scalar_subquery())), else_=sa.null())


def _raw(column: Any, name: str) -> Any:
    """A sealed column as it is stored: opened one by one, so that one broken value does not stop the line."""
    return sa.type_coerce(column, sa.LargeBinary).label(name)


# Two kinds of lock in one statement, which the query builder can not say. FOR SHARE on the phone: many sends at once, but no STOP between.
_LOCK = sa.text(
    "SELECT outbound.id FROM outbound JOIN phones ON phones.id = outbound.phone_id"
    " WHERE outbound.id = ANY(CAST(:ids AS bigint[])) AND outbound.state = 'claimed' AND outbound.fence = :of_fence ORDER BY outbound.id"
    " FOR NO KEY UPDATE OF outbound SKIP LOCKED FOR SHARE OF phones SKIP LOCKED"
)


@cache
def _look(sqlite: bool) -> sa.Select[Any]:
    joined = (
        _o.join(_ph, _ph.c.id == _o.c.phone_id)
        .join(_l, _l.c.id == _o.c.line_id)
        .outerjoin(_pl, sa.and_(_pl.c.phone_id == _o.c.phone_id, _pl.c.line_id == _o.c.line_id))
        .outerjoin(_m, _m.c.id == _o.c.membership_id)
        .outerjoin(_p, _p.c.id == _o.c.person_id)
        .outerjoin(_c, _c.c.id == _o.c.collective_id)
        .outerjoin(_b, _b.c.id == _o.c.broadcast_id)
    )
    return (
        sa.select(
            _o.c.id, _o.c.attempt, _o.c.kind, _o.c.language, _raw(_o.c.body, "body"), _o.c.broadcast_id, _o.c.unprompted, _o.c.segments,
            _o.c.expires_at, _o.c.phone_id, _o.c.person_id, _o.c.membership_id, _o.c.asks, _asking_since().label("asking_since"),
            _raw(_ph.c.number, "number"), _ph.c.detached_at, _ph.c.current_person_id,
            _pl.c.opted_out_at, _pl.c.refused_code, _pl.c.last_inbound_at,
            _m.c.state.label("membership"), _m.c.paused_until, sa.func.coalesce(_p.c.timezone, _c.c.timezone).label("zone"),
            _c.c.quiet_from, _c.c.quiet_until, _b.c.state.label("broadcast"), _l.c.fence.label("line_fence"),
        )
        .select_from(joined)
        .where(in_list(_o.c.id, "ids", sqlite=sqlite), _o.c.state == CLAIMED, _o.c.fence == sa.bindparam("of_fence"))
    )  # fmt: skip


@cache
def _mark(sqlite: bool) -> sa.Update:
    values = {"state": ATTEMPTING, "attempt": _o.c.attempt + 1, "attempted_at": sa.bindparam("now"), "lease_until": sa.bindparam("until")}
    return sa.update(_o).where(in_list(_o.c.id, "ids", sqlite=sqlite)).values(**values, reason=None, error_code=None)


_REFUSE = (
    sa.update(_o)
    .where(_o.c.id == sa.bindparam("row"))
    .values(
        state=sa.bindparam("to_state"),
        reason=sa.bindparam("why"),
        due_at=sa.func.coalesce(sa.bindparam("due", type_=_o.c.due_at.type), _o.c.due_at),
        done_at=sa.bindparam("done", type_=_o.c.done_at.type),
        lease_until=None,
    )
)


def mark_rows(store: Store, session: Session, line: LeasedLine, rows: Sequence[Claimed], texts: Texts) -> tuple[list[Marked], list[int]]:
    """Mark what may leave: (those marked, in the order of ``rows``; the ids of those whose phone was busy, to be tried again).

    The rest is written down as held, suppressed, expired, stopped or failed, with the reason. Raises LeaseLost.
    """
    connection = session.connection()
    ids: Sequence[int] = [row.id for row in rows]
    if not store.is_sqlite:
        ids = connection.execute(_LOCK, {"ids": ids, "of_fence": line.fence}).scalars().all()
    now, real = store.clock.now(), real_seconds()
    values = {"ids": as_list(store, ids), "of_fence": line.fence, "since": now - IN_FLIGHT}
    found = {row.id: row for row in connection.execute(_look(store.is_sqlite), values)}
    if len(found) < len(rows):
        forget_lost_rows(store, session, [row.id for row in rows if row.id not in found], now)
    marked, refusals = [], []
    asked: set[int] = set()  # people who get a question in this very batch
    for claimed in rows:
        row = found.get(claimed.id)
        if row is None:
            continue
        if row.line_fence != line.fence:
            raise LeaseLost(line)
        refusal = judge(row, line, now)
        if refusal is None and row.asks is not None and row.kind != "alert":
            if row.person_id in asked:
                refusal = Refusal(HELD, "question", now + IN_FLIGHT)
            asked.add(row.person_id)
        body = number = ""
        if refusal is None:
            try:
                number = store.keyring.open(row.number, "phones.number").decode()
                body = texts.words_for(session, row)
            except (SealBroken, LookupError, ValueError) as error:
                log.error("outbound %d has no words or no number to go to (%s)", row.id, type(error).__name__)
                refusal = Refusal(FAILED, "unreadable")
        if refusal is not None:
            done = None if refusal.state == HELD else now
            refusals.append({"row": row.id, "to_state": refusal.state, "why": refusal.reason, "due": refusal.due_at, "done": done})
            continue
        to = f"whatsapp:{number}" if line.channel == "whatsapp" else number
        marked.append(Marked(row.id, row.attempt + 1, row.phone_id, line, to, body, row.segments, real))
    if marked:
        values = {"ids": as_list(store, (mark.id for mark in marked)), "now": now, "until": real + ANSWER_SECONDS}
        connection.execute(_mark(store.is_sqlite), values)
    if refusals:
        connection.execute(_REFUSE, refusals)
    seen = set(ids)
    return marked, [row.id for row in rows if row.id not in seen]


def judge(row: Any, line: LeasedLine, now: datetime) -> Refusal | None:
    """Whether this message may leave at ``now``: None, or why not. ``row`` is one of ``_look``."""
    if row.expires_at is not None and row.expires_at <= now:
        return Refusal(EXPIRED, "too_late")
    if row.broadcast == broadcast_states.STOPPED:
        return Refusal(STOPPED, "stopped")
    if row.broadcast == broadcast_states.HELD:
        return Refusal(HELD, "organizer")
    if row.detached_at is not None or row.number is None:
        return Refusal(SUPPRESSED, "detached")
    if row.opted_out_at is not None and row.kind not in AFTER_OPT_OUT:
        return Refusal(SUPPRESSED, "opted_out")
    if row.refused_code is not None:
        return Refusal(SUPPRESSED, "refused")
    # Urgent or not: whoever left hears no more of what goes on there. An answer to her own text is still an answer.
    if row.membership_id is not None and row.membership != "active" and (row.unprompted or row.kind != "reply"):
        return Refusal(SUPPRESSED, "left")
    if row.kind in BETWEEN_PEOPLE and row.current_person_id != row.person_id:
        return Refusal(HELD, "other_person", now + LOOK_AGAIN)
    if row.unprompted:
        if row.paused_until is not None and row.paused_until > now:
            return Refusal(SUPPRESSED, "paused")
        if row.asking_since is not None:
            return Refusal(HELD, "question", row.asking_since + IN_FLIGHT)
        allowed = next_allowed(now, row.zone, row.quiet_from, row.quiet_until)
        if allowed is not None:
            return Refusal(HELD, "quiet_hours", allowed)
    if line.channel == "whatsapp" and (row.last_inbound_at is None or row.last_inbound_at <= now - WINDOW):
        return Refusal(HELD, "window")
    return None
