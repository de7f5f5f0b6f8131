"""Writing down what came back from the sends: many rows in one transaction, one writer.

A receipt may have overtaken the answer, so nothing here lowers a state. A lost answer becomes ``unknown``, never ``queued``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from bot.delivery.failures import Failure, settle_failures
from bot.delivery.forgotten import REASON
from bot.delivery.gateway import Accepted, Lost, Outcome, Refused
from bot.delivery.lists import in_states
from bot.delivery.marks import Marked
from bot.delivery.money import add_spending
from models import Outbound, Store
from models.messages import ACCEPTED, ATTEMPTING, CLAIMED, FAILED, HELD, QUEUED, STOPPED, UNKNOWN

log = logging.getLogger(__name__)

# A lost answer is first looked up in Twilio's list after so long: a message is not listed at once.
LOOK_UP_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Sent:
    """One mark and what became of it; ``outcome`` None: its two seconds were over before the request began."""

    mark: Marked
    outcome: Outcome | None


_o: Any = Outbound.__table__
# She was forgotten while it was on its way: nothing that leads to her comes back with the carrier's answer.
forgotten = _o.c.phone_id.is_(None)
asks_somebody = sa.and_(_o.c.asks.is_not(None), sa.not_(forgotten))
_in_doubt = in_states(_o.c.state, ATTEMPTING, UNKNOWN)
# A receipt said that this attempt failed, and the row waits for its next one: nothing more is to learn from this one but its arrival.
tried_again = sa.and_(in_states(_o.c.state, HELD, QUEUED, CLAIMED), _o.c.error_code.is_not(None))


@cache
def _accept(is_sqlite: bool) -> sa.Update:
    """All accepted rows at once: the parameter ``rows`` is a list of (id, attempt, sid, cost)."""
    if is_sqlite:
        each = sa.func.json_each(sa.bindparam("rows", type_=sa.String)).table_valued("value", name="each")
        cells = [sa.func.json_extract(each.c.value, f"$[{n}]") for n in range(4)]
        came = sa.select(*(cell.label(name) for cell, name in zip(cells, ("id", "attempt", "sid", "cost"), strict=True))).subquery("came")
    else:
        arrays = [
            sa.bindparam("ids", type_=ARRAY(sa.BigInteger)),
            sa.bindparam("attempts", type_=ARRAY(sa.Integer)),
            sa.bindparam("sids", type_=ARRAY(sa.String)),
            sa.bindparam("costs", type_=ARRAY(sa.BigInteger)),
        ]
        came = sa.func.unnest(*arrays).table_valued("id", "attempt", "sid", "cost").render_derived(name="came")  # type: ignore[assignment]
    now = sa.bindparam("now", type_=_o.c.accepted_at.type)
    return (
        sa.update(_o)
        .where(_o.c.id == came.c.id, _o.c.attempt == came.c.attempt)
        .values(
            state=sa.case((_in_doubt, ACCEPTED), else_=_o.c.state),
            sid=sa.case((forgotten, sa.null()), (tried_again, _o.c.sid), else_=sa.func.coalesce(_o.c.sid, came.c.sid)),
            accepted_at=sa.case((tried_again, _o.c.accepted_at), else_=sa.func.coalesce(_o.c.accepted_at, now)),
            asked_at=sa.case((sa.and_(asks_somebody, sa.not_(tried_again)), sa.func.coalesce(_o.c.asked_at, now)), else_=_o.c.asked_at),
            # A second attempt costs a second time.
            cost_micros=sa.func.coalesce(_o.c.cost_micros, 0) + came.c.cost,
            lease_until=None,
        )
    )


_again = sa.and_(forgotten, in_states(sa.bindparam("to_state", type_=sa.String), QUEUED))
_SETTLE = (
    sa.update(_o)
    .where(_o.c.id == sa.bindparam("row"), _o.c.attempt == sa.bindparam("of_attempt"), _in_doubt)
    .values(
        state=sa.case((_again, sa.literal_column(f"'{STOPPED}'")), else_=sa.bindparam("to_state", type_=sa.String)),
        reason=sa.case((_again, sa.literal_column(f"'{REASON}'")), else_=sa.null()),
        done_at=sa.case((_again, sa.bindparam("now", type_=_o.c.done_at.type)), else_=_o.c.done_at),
        check_at=sa.bindparam("check", type_=_o.c.check_at.type),
        checks=0,
        lease_until=None,
    )
)


def write_outcomes(store: Store, session: Session, results: Sequence[Sent]) -> None:
    """Settle these sends."""
    now = store.clock.now()
    accepted = [(sent.mark, sent.outcome.sid) for sent in results if isinstance(sent.outcome, Accepted)]
    if accepted:
        _write_accepted(store, session, now, accepted)
    settled = [_settle(sent, now) for sent in results if not isinstance(sent.outcome, Accepted | Refused)]
    if settled:
        session.connection().execute(_SETTLE, settled)
    refused = [(sent.mark, sent.outcome.code) for sent in results if isinstance(sent.outcome, Refused)]
    settle_failures(store, session, now, (Failure(mark.id, mark.attempt, code, FAILED, taken=False) for mark, code in refused))
    add_spending(session, store, now, _spent(mark for mark, _ in accepted))


def _spent(marks: Iterable[Marked]) -> dict[int, tuple[int, int, int]]:
    """(micros, segments, messages) by collective."""
    amounts: dict[int, tuple[int, int, int]] = {}
    for mark in marks:
        if mark.collective_id is not None:
            micros, segments, messages = amounts.get(mark.collective_id, (0, 0, 0))
            amounts[mark.collective_id] = (micros + mark.cost_micros, segments + mark.segments, messages + 1)
    return amounts


def _write_accepted(store: Store, session: Session, now: datetime, accepted: Iterable[tuple[Marked, str]]) -> None:
    # One order for everybody who takes several rows.
    rows = sorted((mark.id, mark.attempt, sid, mark.cost_micros) for mark, sid in accepted)
    if store.is_sqlite:
        values: dict[str, Any] = {"rows": json.dumps(rows)}
    else:
        ids, attempts, sids, costs = zip(*rows, strict=True)
        values = {"ids": list(ids), "attempts": list(attempts), "sids": list(sids), "costs": list(costs)}
    session.connection().execute(_accept(store.is_sqlite), values | {"now": now})


def _settle(sent: Sent, now: datetime) -> dict[str, Any]:
    """The row's values when Twilio said neither yes nor no."""
    mark, outcome = sent.mark, sent.outcome
    row: dict[str, Any] = {"row": mark.id, "of_attempt": mark.attempt, "now": now, "check": None}
    if isinstance(outcome, Lost):
        log.warning("outbound %d attempt %d: the answer was lost (%s)", mark.id, mark.attempt, outcome.why)
        return row | {"to_state": UNKNOWN, "check": now + LOOK_UP_AFTER}
    return row | {"to_state": QUEUED}  # throttled, or not begun in time: nothing was processed
