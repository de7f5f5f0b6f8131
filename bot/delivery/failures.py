"""What becomes of a message that a send or a receipt says did not arrive: over, later, by SMS, or not before she writes.

A message that the carrier had taken goes again only when its receipt says that it did not arrive, and never if it is care, a code or
words between people: a second copy on a watched phone is harm. It stays the same row; its next attempt has its own token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.errors import RETRY, TRY_AGAIN, Reaction, reaction_to, when_again
from bot.delivery.fallback import count_sms_segments, find_sms_lines
from bot.delivery.forgotten import REASON
from bot.delivery.lessons import close_window, learn_from
from bot.delivery.lists import as_list, in_list, in_states
from bot.delivery.prices import country_of
from bot.delivery.templates import KNOCK, distrust_template
from models import Broadcast, Line, Outbound, Phone, SealBroken, Store
from models import broadcasts as broadcast_states
from models.messages import ATTEMPTING, CLAIMED, EXPIRED, HELD, QUEUED, RANKS, STOPPED, UNKNOWN

log = logging.getLogger(__name__)

# What may be sent again after the carrier had taken it.
MAY_GO_AGAIN = frozenset({"notice", "alert", "poll", "result", "report", KNOCK})
# WhatsApp does not take it, now or ever: an SMS may bring it, where she allows that.
_BY_SMS = frozenset({Reaction.ELSEWHERE, Reaction.UNWANTED, Reaction.WINDOW, Reaction.TIER, Reaction.TOMORROW})
_WAITING = (HELD, QUEUED, CLAIMED)
_FINAL = 5  # the rank of what is over


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of one attempt. ``final``: the state if the message is over. ``taken``: the carrier had accepted it."""

    row: int
    attempt: int
    code: int
    final: str
    taken: bool


@dataclass(frozen=True, slots=True)
class Fate:
    """What the row becomes: its state, why, when it is looked at again, and the SMS line that takes it over."""

    state: str
    reason: str | None = None
    due_at: datetime | None = None
    sms_line: int | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """A failure that was news; ``fate`` None: its message is over."""

    broadcast_id: int | None
    line_id: int
    fate: Fate | None


_o: Any = Outbound.__table__
_ph: Any = Phone.__table__
_l: Any = Line.__table__
_b: Any = Broadcast.__table__


@cache
def _look(sqlite: bool) -> sa.Select[Any]:
    joined = _o.join(_l, _l.c.id == _o.c.line_id).outerjoin(_ph, _ph.c.id == _o.c.phone_id).outerjoin(_b, _b.c.id == _o.c.broadcast_id)
    query = sa.select(
        _o.c.id, _o.c.attempt, _o.c.state, _o.c.error_code, _o.c.kind, _o.c.language, _o.c.resent, _o.c.expires_at, _o.c.phone_id,
        _o.c.collective_id, _o.c.broadcast_id, _o.c.line_id, _o.c.segments, _o.c.attempted_at, _l.c.channel,
        sa.type_coerce(_ph.c.number, sa.LargeBinary).label("number"), _b.c.state.label("broadcast"),
    ).select_from(joined).where(in_list(_o.c.id, "ids", sqlite=sqlite))  # fmt: skip
    return query.order_by(_o.c.id).with_for_update(of=_o, key_share=True)


_again = sa.and_(_o.c.phone_id.is_(None), in_states(sa.bindparam("to_state", type_=sa.String), HELD, QUEUED))
_taken = sa.bindparam("taken", type_=sa.Boolean)
_waits = sa.and_(in_states(sa.bindparam("to_state", type_=sa.String), HELD, QUEUED), _taken)
_SETTLE = (
    sa.update(_o)
    .where(_o.c.id == sa.bindparam("row"), _o.c.attempt == sa.bindparam("of_attempt"), _o.c.state == sa.bindparam("was"))
    .values(
        # She was forgotten while it was on its way: then nothing goes again.
        state=sa.case((_again, sa.literal_column(f"'{STOPPED}'")), else_=sa.bindparam("to_state", type_=sa.String)),
        reason=sa.case((_again, sa.literal_column(f"'{REASON}'")), else_=sa.bindparam("why", type_=sa.String)),
        error_code=sa.bindparam("code", type_=sa.Integer),
        due_at=sa.func.coalesce(sa.bindparam("due", type_=_o.c.due_at.type), _o.c.due_at),
        done_at=sa.bindparam("done", type_=_o.c.done_at.type),
        line_id=sa.func.coalesce(sa.bindparam("to_line", type_=_o.c.line_id.type), _o.c.line_id),
        segments=sa.func.coalesce(sa.bindparam("counted", type_=_o.c.segments.type), _o.c.segments),
        resent=sa.or_(_o.c.resent, sa.bindparam("again", type_=sa.Boolean)),
        # The next attempt gets its own name from the carrier; what was never delivered was never asked.
        sid=sa.case((_waits, sa.null()), else_=_o.c.sid),
        accepted_at=sa.case((_waits, sa.null()), else_=_o.c.accepted_at),
        asked_at=sa.case((sa.and_(_waits, sa.bindparam("certain", type_=sa.Boolean)), sa.null()), else_=_o.c.asked_at),
        check_at=None,
        lease_until=None,
    )
)


def settle_failures(store: Store, session: Session, now: datetime, failures: Iterable[Failure]) -> list[Settled]:
    """Write down these failures and what they teach; gives those that were news.

    A failure of an earlier attempt, one told twice, and one of a message that is over already are none. The end of a message that the
    carrier had taken is left to the receipt's own statement: only its fate, if it has one, is written here.
    """
    told = {failure.row: failure for failure in failures}
    if not told:
        return []
    found = session.connection().execute(_look(store.is_sqlite), {"ids": as_list(store, sorted(told))}).all()
    rows = [row for row in found if _is_open(row, told[row.id])]
    may = [row.id for row in rows if row.channel == "whatsapp" and reaction_to(told[row.id].code) in _BY_SMS]
    sms_lines = find_sms_lines(store, session, may) if may else {}
    settled, values = [], []
    lessons: dict[tuple[int, int | None, int], None] = {}
    for row in rows:
        failure = told[row.id]
        fate = find_fate(row, failure, now, partial(_is_american, store, row))
        if row.id in sms_lines and (fate is None or fate.state == HELD):
            fate = Fate(QUEUED, sms_line=sms_lines[row.id])
        log.info("outbound %d attempt %d: error %d, %s", row.id, failure.attempt, failure.code, fate.state if fate else failure.final)
        settled.append(Settled(row.broadcast_id, row.line_id, fate))
        if fate is not None or not failure.taken:
            values.append(_values(session, row, failure, fate, now))
        _learn_of_message(session, now, row, failure.code)
        lessons[failure.code, row.phone_id, row.line_id] = None
    if values:
        session.connection().execute(_SETTLE, values)
    for code, phone_id, line_id in _without_repeats(lessons):
        learn_from(store, session, now, code, phone_id, line_id)
    return settled


def find_fate(row: Any, failure: Failure, now: datetime, is_american: Callable[[], bool]) -> Fate | None:
    """What becomes of this message; None: it is over. ``row`` is one of ``_look``."""
    reaction = reaction_to(failure.code)
    if reaction is Reaction.EXPIRE:
        return Fate(EXPIRED, "too_late")
    if reaction is Reaction.SLOW and not failure.taken:
        return Fate(QUEUED)
    if reaction is Reaction.WINDOW:
        return Fate(HELD, "window") if row.kind != KNOCK else None
    if failure.taken and row.kind not in MAY_GO_AGAIN:
        return None
    if row.broadcast == broadcast_states.STOPPED or (reaction is Reaction.UNWANTED and is_american()):
        return None
    due = when_again(failure.code, failure.attempt, resent=row.resent, now=now)
    if due is None or (row.expires_at is not None and due >= row.expires_at):
        return None
    if reaction in TRY_AGAIN:
        return Fate(HELD, "line", due)
    return Fate(HELD, "daily_limit" if reaction in (Reaction.MIDNIGHT, Reaction.TOMORROW) else RETRY, due)


def _is_open(row: Any, failure: Failure) -> bool:
    if row.attempt != failure.attempt:
        return False
    if not failure.taken:
        return row.state in (ATTEMPTING, UNKNOWN)
    # One that already waits for its next attempt has had this news; one that waits because its outcome was unknown has not.
    return RANKS.get(row.state, _FINAL) < _FINAL and not (row.state in _WAITING and row.error_code is not None)


def _values(session: Session, row: Any, failure: Failure, fate: Fate | None, now: datetime) -> dict[str, Any]:
    moved = fate is not None and fate.sms_line is not None
    waits = fate is not None and fate.state in (HELD, QUEUED)
    return {
        "row": row.id,
        "of_attempt": failure.attempt,
        "was": row.state,
        "to_state": fate.state if fate else failure.final,
        "why": fate.reason if fate else None,
        "code": failure.code,
        "due": fate.due_at if fate else None,
        "done": None if waits else now,
        "to_line": fate.sms_line if fate else None,
        "counted": count_sms_segments(session, row) if moved else None,
        # A second text to her phone, which the report counts; one that WhatsApp never let through is none.
        "again": waits and failure.taken and not moved and reaction_to(failure.code) is not Reaction.WINDOW,
        "taken": failure.taken,
        "certain": reaction_to(failure.code) is not Reaction.ONCE,
    }


def _learn_of_message(session: Session, now: datetime, row: Any, code: int) -> None:
    reaction = reaction_to(code)
    if reaction is Reaction.WINDOW and row.phone_id is not None and row.attempted_at is not None:
        close_window(session, now, row.phone_id, row.line_id, row.attempted_at)
    elif reaction is Reaction.TEMPLATE and row.kind == KNOCK:
        distrust_template(session, now, row.kind, row.language, code)


def _without_repeats(lessons: Iterable[tuple[int, int | None, int]]) -> list[tuple[int, int | None, int]]:
    """A lesson about a line is learnt once, whoever's message it was."""
    about_lines = {Reaction.HOLD_LINE, Reaction.BACK_OFF, Reaction.TOMORROW}
    kept = {(code, line_id) if reaction_to(code) in about_lines else (code, phone_id, line_id): (code, phone_id, line_id)
            for code, phone_id, line_id in lessons}  # fmt: skip
    return list(kept.values())


def _is_american(store: Store, row: Any) -> bool:
    if row.number is None:
        return False
    try:
        return country_of(store.keyring.open(row.number, "phones.number").decode()) == "US"
    except SealBroken:
        return False
