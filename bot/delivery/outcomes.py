"""Writing down what came back from the sends: many rows in one transaction, one writer.

A receipt may have overtaken the answer, so nothing here lowers a state. A lost answer becomes ``unknown``, never ``queued``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from bot.delivery.errors import REST, TRY_AGAIN, Reaction, reaction_to
from bot.delivery.forgotten import REASON
from bot.delivery.gateway import Accepted, Lost, Outcome, Refused
from bot.delivery.lists import in_states
from bot.delivery.marks import Marked
from models import Line, Outbound, Phone, PhoneLine, Store
from models.messages import ACCEPTED, ATTEMPTING, FAILED, HELD, QUEUED, STOPPED, UNKNOWN

log = logging.getLogger(__name__)

# A message that meets the same trouble this often is over: it must not come back for ever.
MOST_TRIES = 12


@dataclass(frozen=True, slots=True)
class Sent:
    """One mark and what became of it; ``outcome`` None: its two seconds were over before the request began."""

    mark: Marked
    outcome: Outcome | None


_o: Any = Outbound.__table__
_l: Any = Line.__table__
_pl: Any = PhoneLine.__table__
_ph: Any = Phone.__table__
# She was forgotten while it was on its way: nothing that leads to her comes back with the carrier's answer.
forgotten = _o.c.phone_id.is_(None)
asks_somebody = sa.and_(_o.c.asks.is_not(None), sa.not_(forgotten))
_in_doubt = in_states(_o.c.state, ATTEMPTING, UNKNOWN)


@cache
def _accept(is_sqlite: bool) -> sa.Update:
    """All accepted rows at once: the parameter ``rows`` is a list of (id, attempt, sid)."""
    if is_sqlite:
        each = sa.func.json_each(sa.bindparam("rows", type_=sa.String)).table_valued("value", name="each")
        cells = [sa.func.json_extract(each.c.value, f"$[{n}]") for n in range(3)]
        came = sa.select(cells[0].label("id"), cells[1].label("attempt"), cells[2].label("sid")).subquery("came")
    else:
        arrays = [
            sa.bindparam("ids", type_=ARRAY(sa.BigInteger)),
            sa.bindparam("attempts", type_=ARRAY(sa.Integer)),
            sa.bindparam("sids", type_=ARRAY(sa.String)),
        ]
        came = sa.func.unnest(*arrays).table_valued("id", "attempt", "sid").render_derived(name="came")  # type: ignore[assignment]
    now = sa.bindparam("now", type_=_o.c.accepted_at.type)
    return (
        sa.update(_o)
        .where(_o.c.id == came.c.id, _o.c.attempt == came.c.attempt)
        .values(
            state=sa.case((_in_doubt, ACCEPTED), else_=_o.c.state),
            sid=sa.case((forgotten, sa.null()), else_=sa.func.coalesce(_o.c.sid, came.c.sid)),
            accepted_at=sa.func.coalesce(_o.c.accepted_at, now),
            asked_at=sa.case((asks_somebody, sa.func.coalesce(_o.c.asked_at, now)), else_=_o.c.asked_at),
            lease_until=None,
        )
    )


_again = sa.and_(forgotten, in_states(sa.bindparam("to_state", type_=sa.String), HELD, QUEUED))
_SETTLE = (
    sa.update(_o)
    .where(_o.c.id == sa.bindparam("row"), _o.c.attempt == sa.bindparam("of_attempt"), _in_doubt)
    .values(
        state=sa.case((_again, sa.literal_column(f"'{STOPPED}'")), else_=sa.bindparam("to_state", type_=sa.String)),
        reason=sa.case((_again, sa.literal_column(f"'{REASON}'")), else_=sa.bindparam("why", type_=sa.String)),
        error_code=sa.func.coalesce(sa.bindparam("code", type_=sa.Integer), _o.c.error_code),
        due_at=sa.func.coalesce(sa.bindparam("due", type_=_o.c.due_at.type), _o.c.due_at),
        done_at=sa.bindparam("done", type_=_o.c.done_at.type),
        lease_until=None,
    )
)
_HOLD_LINE = sa.update(_l).where(_l.c.id == sa.bindparam("line")).values(held_until=sa.bindparam("until"), held_code=sa.bindparam("code"))


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
    """Write down what an error code says about a phone or a line (not about the message), and return the reaction."""
    reaction = reaction_to(code)
    connection = session.connection()
    if reaction in (Reaction.OPT_OUT, Reaction.REFUSE) and phone_id is not None:
        opted_out = reaction is Reaction.OPT_OUT
        row: dict[str, Any] = {
            "phone": phone_id,
            "line_id": line_id,
            "opted_out_at": now if opted_out else None,
        }
        row |= {"opted_out_by": str(code) if opted_out else None, "refused_code": None if opted_out else code}
        connection.execute(_know(store.is_sqlite), row)
    elif reaction in REST:
        connection.execute(_HOLD_LINE, {"line": line_id, "until": now + REST[reaction], "code": code})
        log.error("line %d rests for %d minutes: error %d, %s", line_id, REST[reaction].seconds // 60, code, reaction.value)
    return reaction


def write_outcomes(store: Store, session: Session, results: Sequence[Sent]) -> None:
    """Settle these sends."""
    now = store.clock.now()
    accepted = [(sent.mark.id, sent.mark.attempt, sent.outcome.sid) for sent in results if isinstance(sent.outcome, Accepted)]
    if accepted:
        _write_accepted(store, session, now, accepted)
    settled = []
    taught: set[tuple[int, int, int]] = set()
    for sent in results:
        if isinstance(sent.outcome, Accepted):
            continue
        settled.append(_settle(sent, now))
        if isinstance(sent.outcome, Refused):
            lesson = (sent.outcome.code, sent.mark.phone_id, sent.mark.line.id)
            if lesson not in taught:
                taught.add(lesson)
                learn_from(store, session, now, *lesson)
    if settled:
        session.connection().execute(_SETTLE, settled)


def _write_accepted(store: Store, session: Session, now: datetime, rows: Iterable[tuple[int, int, str]]) -> None:
    rows = sorted(rows)  # one order for everybody who takes several rows
    if store.is_sqlite:
        values: dict[str, Any] = {"rows": json.dumps(rows)}
    else:
        ids, attempts, sids = zip(*rows, strict=True)
        values = {"ids": list(ids), "attempts": list(attempts), "sids": list(sids)}
    session.connection().execute(_accept(store.is_sqlite), values | {"now": now})


def _settle(sent: Sent, now: datetime) -> dict[str, Any]:
    """The row's values for every outcome but acceptance."""
    mark, outcome = sent.mark, sent.outcome
    row: dict[str, Any] = {"row": mark.id, "of_attempt": mark.attempt, "why": None, "code": None, "due": None, "done": None}
    if isinstance(outcome, Lost):
        log.warning("outbound %d attempt %d: the answer was lost (%s)", mark.id, mark.attempt, outcome.why)
        return row | {"to_state": UNKNOWN}
    if not isinstance(outcome, Refused):  # throttled, or not begun in time: nothing was processed
        return row | {"to_state": QUEUED}
    reaction = reaction_to(outcome.code)
    log.info("outbound %d attempt %d: error %d", mark.id, mark.attempt, outcome.code)
    row["code"] = outcome.code
    if reaction is Reaction.SLOW:
        return row | {"to_state": QUEUED}
    if reaction is Reaction.WINDOW:
        return row | {"to_state": HELD, "why": "window"}
    if reaction in TRY_AGAIN and mark.attempt < MOST_TRIES:
        return row | {"to_state": HELD, "why": "line", "due": now + TRY_AGAIN[reaction] * min(2 ** (mark.attempt - 1), 24)}
    return row | {"to_state": FAILED, "done": now}
