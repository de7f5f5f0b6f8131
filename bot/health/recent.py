"""What became of the messages of the last day, and how long it took: from all of them, or from a sample of even steps through their ids.

There is no index on time or outcome, and none is wanted for the sake of watching: it would cost every send something. Ids are in the order
of time, so an even step through those of a day, read by the primary key, costs the same at a thousand rows and at a million.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy.orm import Session

from bot.delivery.costs import last_id_before
from bot.delivery.lists import as_list, in_list
from bot.health.shapes import gauge, labelled
from models import Outbound, Store
from models.messages import ACCEPTED, DELIVERED, EXPIRED, FAILED, LANE_CODE, SENT, STOPPED, SUPPRESSED, UNDELIVERED, UNKNOWN

# Outcomes are counted over a day, times over what happened in the last ten minutes.
SPAN, TIMES_SPAN = timedelta(hours=24), timedelta(minutes=10)
MOST_READ = 5_000
SHARES = (0.5, 0.95, 0.99)
OUTCOMES = frozenset({ACCEPTED, SENT, DELIVERED, UNDELIVERED, FAILED, UNKNOWN, SUPPRESSED, EXPIRED, STOPPED})
# So many error codes, the most frequent first; the rest is "other".
MOST_CODES = 50

_o: Any = Outbound.__table__
# Nobody sees here that a code left: it would tell whose number has a role (``metrics.TOLD``).
no_code = _o.c.lane != LANE_CODE
_MAX = sa.select(sa.func.coalesce(sa.func.max(_o.c.id), 0))
_READ = {
    is_sqlite: sa.select(
        _o.c.state, _o.c.error_code, _o.c.due_at, _o.c.attempted_at, _o.c.accepted_at, _o.c.done_at
    ).where(in_list(_o.c.id, "ids", sqlite=is_sqlite), no_code)
    for is_sqlite in (True, False)
}  # fmt: skip


def measure_recent(session: Session, store: Store, now: datetime) -> Iterable[GaugeMetricFamily]:
    """Outcomes by state and error code, and the times of sending and of receipts."""
    step, rows = _read(session, store, now)
    states = Counter(row.state for row in rows if row.state in OUTCOMES)
    yield labelled(
        "chorus_outcomes",
        "Messages of the last day by what became of them; an estimate from a sample where chorus_sample_step is above 1",
        ("state",),
        {(state,): states[state] * step for state in sorted(OUTCOMES)},
    )
    codes = Counter(row.error_code for row in rows if row.error_code is not None)
    most = dict(codes.most_common(MOST_CODES))
    errors = {(str(code),): number * step for code, number in most.items()}
    if len(most) < len(codes):
        errors[("other",)] = (codes.total() - sum(most.values())) * step
    yield labelled("chorus_errors", "Messages of the last day by Twilio's error code, estimated likewise", ("code",), errors)
    yield gauge("chorus_sample_step", "Every which message of the last day was looked at", step)
    since = now - TIMES_SPAN
    accepted = [row for row in rows if row.accepted_at is not None and row.accepted_at > since]
    times = {
        # Since it was due: after the approval, the cool-down, and what held it.
        "due_to_accepted": [(row.accepted_at - row.due_at).total_seconds() for row in accepted],
        "attempt_to_accepted": [(row.accepted_at - row.attempted_at).total_seconds() for row in accepted if row.attempted_at is not None],
        "accepted_to_final": [
            (row.done_at - row.accepted_at).total_seconds()
            for row in rows
            if row.done_at is not None and row.done_at > since and row.accepted_at is not None
        ],
    }
    found = {(step_name, str(share)): _at(seconds, share) for step_name, seconds in times.items() if seconds for share in SHARES}
    yield labelled("chorus_seconds", "How long a step took, in the last ten minutes' messages, by quantile", ("step", "quantile"), found)


def _read(session: Session, store: Store, now: datetime) -> tuple[int, Sequence[Any]]:
    """(every which message was read, the rows)."""
    after = last_id_before(session, now - SPAN)
    last = int(session.connection().execute(_MAX).scalar_one())
    step = max(1, -(-(last - after) // MOST_READ))
    step += 1 - step % 2  # odd: messages that take turns between two lines must not all be of one
    ids = range(last, after, -step)
    return step, session.connection().execute(_READ[store.is_sqlite], {"ids": as_list(store, ids)}).all()


def _at(seconds: list[float], share: float) -> float:
    ordered = sorted(max(0.0, each) for each in seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
