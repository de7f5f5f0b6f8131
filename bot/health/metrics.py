"""What Prometheus reads at /metrics, from the database at that moment, so that any number of processes tells the same truth.

No label says anything about a person: lanes, states, error codes, and the ids of lines and of collectives with a cap, MOST_LABELS of each
at most. Cheap at a million rows: what is counted has a small index of its own (``_queue``, ``_lines``), and of what has none a sample is
looked at (``recent``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy.orm import Session

from bot.delivery.broadcasts import MOST_SEGMENTS
from bot.delivery.canary import needs_canary
from bot.delivery.gates import QUEUE_SPAN
from bot.delivery.lists import in_states
from bot.delivery.money import month_of
from bot.delivery.prices import MICROS
from bot.deployment import Deployment
from bot.health.checks import DATABASE_ERRORS, LATE, redis_answers
from bot.health.outbox import find_stuck_lines, is_carrier_full, leased
from bot.health.recent import measure_recent, no_code
from bot.health.shapes import gauge, labelled
from bot.schedule.timers import TRIES
from models import Broadcast, Collective, Inbound, Line, Moment, Outbound, Spending, Store, Timer
from models.broadcasts import SENDING
from models.messages import ACCEPTED, ATTEMPTING, CLAIMED, HELD, LANE_CODE, QUEUED

LANES = ("stop", "code", "relay", "reply", "check_in", "poll", "broadcast")
# A code leaves for a number that has a role here, and for no other: whoever may read this must not see it leave.
TOLD = tuple(lane for number, lane in enumerate(LANES) if number != LANE_CODE)
WAITING = (QUEUED, HELD, CLAIMED, ATTEMPTING)
# Lines and collectives that have metrics of their own: the first so many.
MOST_LABELS = 100
# A message that the carrier has held longer than this without a receipt will not get one any more (its queue is ten hours long).
RECEIPT_SPAN = timedelta(hours=10)

_o: Any = Outbound.__table__
_l: Any = Line.__table__
_moment = Moment()


class _Scrape:
    """What one scrape found, in the shape the Prometheus client asks for."""

    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def registry_of(deployment: Deployment) -> CollectorRegistry | None:
    """A registry that holds the counts of this moment; None when the database does not answer."""
    try:
        with deployment.store.read() as session:
            families = list(_measure(session, deployment.store, deployment.clock.now()))
    except DATABASE_ERRORS:
        return None
    families.append(gauge("chorus_redis_up", "1 when Redis answers", int(redis_answers(deployment))))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(families))  # type: ignore[arg-type,unused-ignore]
    return registry


def _measure(session: Session, store: Store, now: datetime) -> Iterable[GaugeMetricFamily]:
    yield from _queue(session, now)
    yield from _unknown(session, now)
    yield from measure_recent(session, store, now)
    yield from _lines(session, store, now)
    yield from _spending(session, now)
    hour = sa.select(sa.func.count()).select_from(Inbound).where(Inbound.received_at > now - timedelta(hours=1))
    yield gauge("chorus_inbound_last_hour", "Messages that came in within the last hour", session.scalar(hour) or 0)
    sending = sa.select(sa.func.count(Broadcast.id)).where(Broadcast.state == SENDING)
    yield gauge("chorus_broadcasts_sending", "Broadcasts under way", session.scalar(sending) or 0)
    late = sa.select(sa.func.count(Timer.id)).where(Timer.done_at.is_(None), Timer.attempts < TRIES, Timer.due_at < now - LATE)
    yield gauge("chorus_timers_late", "Timers due for over two minutes", session.scalar(late) or 0)


# --- what waits ------------------------------------------------------------------------------------------------------------

_by_lane = (_o.c.state, _o.c.lane, sa.func.count().label("rows"), sa.func.min(_o.c.due_at, type_=_moment).label("oldest"))
# Two, one for each of the partial indexes.
_DEPTHS = (
    sa.select(sa.null().label("reason"), *_by_lane).where(in_states(_o.c.state, QUEUED), no_code).group_by(_o.c.state, _o.c.lane),
    sa.select(_o.c.reason, *_by_lane)
    .where(in_states(_o.c.state, HELD, CLAIMED, ATTEMPTING), no_code)
    .group_by(_o.c.state, _o.c.lane, _o.c.reason),
)


def _queue(session: Session, now: datetime) -> Iterable[GaugeMetricFamily]:
    keys = [(lane, state) for lane in TOLD for state in WAITING]
    depths, ages = dict.fromkeys(keys, 0.0), dict.fromkeys(keys, 0.0)
    reasons: Counter[str] = Counter()
    for statement in _DEPTHS:
        for row in session.connection().execute(statement):
            key = (LANES[row.lane], row.state)
            depths[key] += row.rows
            ages[key] = max(ages[key], (now - row.oldest).total_seconds())
            if row.state == HELD:
                reasons[row.reason or "none"] += row.rows
    labels = ("lane", "state")
    yield labelled("chorus_queue_depth", "Messages not handed to the carrier yet", labels, depths)
    yield labelled("chorus_queue_oldest_seconds", "For how long the oldest of them has been due", labels, ages)
    yield labelled("chorus_held", "Messages held, by reason", ("reason",), {(reason,): number for reason, number in reasons.items()})


_LOOKING = sa.select(sa.func.count().label("rows"), sa.func.min(_o.c.attempted_at, type_=_moment).label("oldest")).where(
    _o.c.check_at.is_not(None), no_code
)


def _unknown(session: Session, now: datetime) -> Iterable[GaugeMetricFamily]:
    row = session.connection().execute(_LOOKING).one()
    age = 0.0 if row.oldest is None else max(0.0, (now - row.oldest).total_seconds())
    yield gauge("chorus_unknown", "Messages of unknown outcome that are being looked up in Twilio's list", row.rows)
    yield gauge("chorus_unknown_oldest_seconds", "Since when the oldest of them was tried", age)


# --- lines -----------------------------------------------------------------------------------------------------------------

_AT_CARRIER = (
    sa.select(_o.c.line_id, sa.func.count().label("rows"), sa.func.min(_o.c.accepted_at, type_=_moment).label("oldest"))
    .where(in_states(_o.c.state, ACCEPTED), no_code, _o.c.accepted_at > sa.bindparam("since", type_=_o.c.accepted_at.type))
    .group_by(_o.c.line_id)
)
_LINES = sa.select(_l).order_by(_l.c.id).limit(MOST_LABELS)


def _lines(session: Session, store: Store, now: datetime) -> Iterable[GaugeMetricFamily]:
    lines = session.connection().execute(_LINES).all()
    ids = {row.id for row in lines}
    counts: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    for row in session.connection().execute(_AT_CARRIER, {"since": now - RECEIPT_SPAN}):
        if row.line_id in ids:
            counts[(str(row.line_id),)] = row.rows
            ages[(str(row.line_id),)] = max(0.0, (now - row.oldest).total_seconds())
    yield labelled("chorus_receipts_awaited", "Messages the carrier took within ten hours, without a receipt so far", ("line",), counts)
    yield labelled("chorus_receipts_awaited_oldest_seconds", "The age of the oldest of them: receipts lag by that", ("line",), ages)
    resting = {
        (str(row.id), str(row.held_code or "")): (row.held_until - now).total_seconds()
        for row in lines
        if row.held_until is not None and row.held_until > now
    }
    yield labelled("chorus_line_resting_seconds", "How long the line still rests, and after which error", ("line", "code"), resting)
    proven = {(str(row.id),): int(not needs_canary(leased(row), now)) for row in lines}
    yield labelled("chorus_line_proven", "1 when a delivery within a day proves the line; at 0 a canary goes first", ("line",), proven)
    full = {(str(row.id),): int(_may_be_full(row, counts) and is_carrier_full(session, row, now)) for row in lines}
    yield labelled("chorus_line_carrier_full", "1 when the carrier has as much as it can deliver in time", ("line",), full)
    read = {(str(row.id),): max(0.0, (now - row.read_through).total_seconds()) for row in lines if row.read_through is not None}
    yield labelled("chorus_backfill_lag_seconds", "How far back Twilio's list of what came in has been read", ("line",), read)
    stuck = len(find_stuck_lines(session, store, now))
    yield gauge("chorus_lines_stuck", "Lines with messages due for two minutes that nobody tries to send: /healthz says 503", stuck)


def _may_be_full(line: Any, counts: dict[tuple[str, ...], float]) -> bool:
    """Whether it is worth adding up the segments: far fewer messages than it can deliver are far fewer segments, too."""
    return counts.get((str(line.id),), 0) * MOST_SEGMENTS >= line.mps * QUEUE_SPAN[line.channel].total_seconds()


# --- money -----------------------------------------------------------------------------------------------------------------

_SHARES = (
    sa.select(Collective.id, Collective.monthly_cap_micros.label("cap"), sa.func.coalesce(Spending.micros, 0).label("spent"))
    .outerjoin(Spending, sa.and_(Spending.collective_id == Collective.id, Spending.month == sa.bindparam("month")))
    .where(Collective.monthly_cap_micros > 0)
    .order_by(Collective.id)
    .limit(MOST_LABELS)
)
_SUM = sa.select(sa.func.coalesce(sa.func.sum(Spending.micros), 0)).where(Spending.month == sa.bindparam("month"))


def _spending(session: Session, now: datetime) -> Iterable[GaugeMetricFamily]:
    month = {"month": month_of(now)}
    shares = {(str(row.id),): row.spent / row.cap for row in session.connection().execute(_SHARES, month)}
    yield labelled("chorus_spending_share", "Spent of the month's cap, 1.0 is all of it, by the collective's id", ("collective",), shares)
    total = int(session.connection().execute(_SUM, month).scalar_one()) / MICROS
    yield gauge("chorus_spending_month", "What all texts of this month cost, in the account's currency, partly by estimate", total)
