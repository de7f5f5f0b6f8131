"""Counts for Prometheus. They are read from the database at the scrape, so any number of processes tells the same truth.

No label says anything about a person: lanes, states and directions only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy.orm import Session

from bot.deployment import Deployment
from bot.health.checks import DATABASE_ERRORS, LATE, redis_answers
from bot.schedule.timers import TRIES
from models import Broadcast, Inbound, Moment, Outbound, Timer
from models.broadcasts import SENDING
from models.messages import OUTBOUND_STATES, QUEUED, UNKNOWN

LANES = ("stop", "code", "relay", "reply", "check_in", "poll", "broadcast")


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
            families = list(_measure(session, deployment.clock.now()))
    except DATABASE_ERRORS:
        return None
    families.append(_gauge("chorus_redis_up", "1 when Redis answers", int(redis_answers(deployment))))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(families))  # type: ignore[arg-type,unused-ignore]
    return registry


def _measure(session: Session, now: datetime) -> Iterable[GaugeMetricFamily]:
    due = sa.and_(Outbound.state == QUEUED, Outbound.due_at <= now)
    by_lane = sa.select(Outbound.lane, sa.func.count(), sa.func.min(Outbound.due_at, type_=Moment())).where(due).group_by(Outbound.lane)
    depths, ages = dict.fromkeys(LANES, 0), dict.fromkeys(LANES, 0.0)
    for lane, count, oldest in session.execute(by_lane):
        depths[LANES[lane]], ages[LANES[lane]] = count, max(0.0, (now - oldest).total_seconds())
    yield _labelled("chorus_queue_depth", "Messages due and not yet sent", "lane", depths)
    yield _labelled("chorus_queue_oldest_seconds", "Age of the oldest message that is due and not yet sent", "lane", ages)

    states = dict.fromkeys(OUTBOUND_STATES, 0)
    states |= {state: count for state, count in session.execute(sa.select(Outbound.state, sa.func.count()).group_by(Outbound.state))}
    yield _labelled("chorus_outbound", "Messages out, by state, as far as they are kept", "state", states)
    yield _gauge("chorus_outbound_unknown", "Messages that may or may not have been sent", states[UNKNOWN])
    yield _gauge("chorus_inbound", "Messages in, as far as they are kept", _count(session, sa.select(sa.func.count(Inbound.id))))
    sending = sa.select(sa.func.count(Broadcast.id)).where(Broadcast.state == SENDING)
    yield _gauge("chorus_broadcasts_sending", "Broadcasts under way", _count(session, sending))
    late = sa.select(sa.func.count(Timer.id)).where(Timer.done_at.is_(None), Timer.attempts < TRIES, Timer.due_at < now - LATE)
    yield _gauge("chorus_timers_late", "Timers due for over two minutes", _count(session, late))


def _count(session: Session, counting: sa.Select[Any]) -> int:
    return session.scalar(counting) or 0


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)


def _labelled(name: str, meaning: str, label: str, values: dict[str, Any]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
