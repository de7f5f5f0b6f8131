"""Marking: the last look before a message leaves. What this transaction does not allow is not sent.

It locks the row and its phone first, and only then reads what is allowed: on PostgreSQL that second statement sees every STOP that
committed before, and a STOP still being written holds the phone's row, so its messages are skipped until it is through. No row is marked
after a STOP commits. (SQLite has one writer at a time, which is the same.)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.claims import Claimed
from bot.delivery.expiry import seconds_left
from bot.delivery.forgotten import forget_lost_rows
from bot.delivery.kinds import ASKING_LANES
from bot.delivery.leases import LeasedLine, LeaseLost
from bot.delivery.lists import as_list, in_list
from bot.delivery.money import CAPPED_LANES, Purse, next_month
from bot.delivery.outbox import ANSWER_SECONDS
from bot.delivery.prices import TEMPLATE
from bot.delivery.quiet import possible_zones
from bot.delivery.rules import IN_FLIGHT, Refusal, judge, look, needs_a_place
from bot.delivery.templates import KNOCK
from bot.delivery.texts import Texts
from models import Outbound, SealBroken, Store
from models.clock import real_seconds
from models.messages import ATTEMPTING, FAILED, HELD, SUPPRESSED

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Marked:
    """A message that must leave now: it stands as ``attempting``. ``marked_at`` is in epoch seconds.

    ``validity``: seconds after which the carrier should give it up, 1 to 36,000 (Twilio's longest), None when it never comes too late.
    ``content_sid`` and ``variables``: a WhatsApp template to send instead of ``body``. ``cost_micros``: what it will cost, in millionths.
    """

    id: int
    attempt: int
    phone_id: int
    line: LeasedLine
    to: str
    body: str
    segments: int
    marked_at: float
    content_sid: str | None = None
    variables: dict[str, str] | None = None
    validity: int | None = None
    cost_micros: int = 0
    collective_id: int | None = None


_o: Any = Outbound.__table__
# Two kinds of lock in one statement, which the query builder can not say. FOR SHARE on the phone: many sends at once, but no STOP between.
_LOCK = (
    "SELECT outbound.id FROM outbound JOIN phones ON phones.id = outbound.phone_id"
    " WHERE outbound.id = ANY(CAST(:ids AS bigint[])) AND outbound.state = 'claimed' AND outbound.fence = :of_fence ORDER BY outbound.id"
    " FOR NO KEY UPDATE OF outbound SKIP LOCKED FOR {phone} OF phones SKIP LOCKED"
)
_LOCK_SHARED = sa.text(_LOCK.format(phone="SHARE"))
# One question in flight: two pumps on two lines that would each ask her something at the same moment exclude each other here.
_LOCK_ALONE = sa.text(_LOCK.format(phone="NO KEY UPDATE"))


def _lock_rows(connection: sa.Connection, line: LeasedLine, rows: Sequence[Claimed]) -> list[int]:
    """Lock the rows that are still ours, and their phones; gives their ids. What another transaction has in hand is left out."""
    locked: list[int] = []
    for statement, asking in ((_LOCK_ALONE, True), (_LOCK_SHARED, False)):
        ids = [row.id for row in rows if (row.lane in ASKING_LANES) == asking]
        if ids:
            locked += connection.execute(statement, {"ids": ids, "of_fence": line.fence}).scalars()
    return locked


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


def mark_rows(
    store: Store, session: Session, line: LeasedLine, rows: Sequence[Claimed], texts: Texts, purse: Purse
) -> tuple[list[Marked], list[int]]:
    """Mark what may leave: (those marked, in the order of ``rows``; the ids of those whose phone was busy, to be tried again).

    The rest is written down as held, suppressed, expired, stopped or failed, with the reason. Raises LeaseLost.
    """
    connection = session.connection()
    ids: Sequence[int] = [row.id for row in rows]
    if not store.is_sqlite:
        ids = _lock_rows(connection, line, rows)
    now, real = store.clock.now(), real_seconds()
    values = {"ids": as_list(store, ids), "of_fence": line.fence, "since": now - IN_FLIGHT}
    found = {row.id: row for row in connection.execute(look(store.is_sqlite), values)}
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
        body = number = ""
        template: Any = None
        try:
            if needs_a_place(row, now) and row.number is not None:
                number = store.keyring.open(row.number, "phones.number").decode()
            refusal = judge(row, line, now, possible_zones(number) if number else ())
            if refusal is None and claimed.lane in CAPPED_LANES and purse.is_spent(session, row.collective_id, now):
                refusal = Refusal(HELD, "cap", next_month(now))
            if refusal is None and row.asks is not None and row.kind != "alert":
                if row.person_id in asked:
                    refusal = Refusal(HELD, "question", now + IN_FLIGHT)
                asked.add(row.person_id)
            if refusal is None and row.kind == KNOCK:
                template = texts.find_knock(session, row.language)
                refusal = Refusal(SUPPRESSED, "no_template") if template is None else None
            if refusal is None:
                number = number or store.keyring.open(row.number, "phones.number").decode()
                body = template.body if template is not None else texts.words_for(session, row)
        except (SealBroken, LookupError, ValueError) as error:
            log.error("outbound %d has no words or no number to go to (%s)", row.id, type(error).__name__)
            refusal = Refusal(FAILED, "unreadable")
        if refusal is not None:
            done = None if refusal.state == HELD else now
            refusals.append({"row": row.id, "to_state": refusal.state, "why": refusal.reason, "due": refusal.due_at, "done": done})
            continue
        to = f"whatsapp:{number}" if line.channel == "whatsapp" else number
        validity = seconds_left(row.expires_at, now)
        cost = purse.price(TEMPLATE if template is not None else line.channel, number, row.segments)
        purse.take(row.collective_id, row.id, row.attempt + 1, cost)
        marked.append(
            Marked(
                row.id,
                row.attempt + 1,
                row.phone_id,
                line,
                to,
                body,
                row.segments,
                real,
                content_sid=template.content_sid if template is not None else None,
                validity=validity,
                cost_micros=cost,
                collective_id=row.collective_id,
            )
        )
    if marked:
        values = {"ids": as_list(store, (mark.id for mark in marked)), "now": now, "until": real + ANSWER_SECONDS}
        connection.execute(_mark(store.is_sqlite), values)
    if refusals:
        connection.execute(_REFUSE, refusals)
    seen = set(ids)
    return marked, [row.id for row in rows if row.id not in seen]
