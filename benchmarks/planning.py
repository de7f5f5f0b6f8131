"""Planning a broadcast (chunks, consent, pauses, quiet hours, one row a phone) against the plainest statement that writes the same rows.

Wall time, alternating on the same database; the outbound table is emptied before each side, so that both fill the same indexes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from benchmarks.ground import SQLITE, Bench, Crowd, Ground, add_crowd
from benchmarks.results import Result, at_most, median_ratio
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.kinds import lane_of
from bot.delivery.plan import plan_broadcast
from models import Broadcast

TITLE = "Planning 140,000 deliveries against one INSERT ... SELECT"
MEMBERS, ROUNDS = 140_000, 3

_PLAIN = sa.text(
    "INSERT INTO outbound (broadcast_id, membership_id, person_id, phone_id, collective_id, line_id, kind, lane, position, language,"
    " state, segments, attempt, unprompted, due_at, resent, created_at)"
    " SELECT :broadcast, m.id, p.id, p.phone_id, m.collective_id, :line, 'notice', :lane, m.id, coalesce(p.language, 'en'),"
    " 'queued', 1, 0, true, :now, false, :now"
    " FROM memberships m JOIN people p ON p.id = m.person_id WHERE m.collective_id = :collective AND m.state = 'active'"
)


def measure(bench: Bench) -> Iterator[Result]:
    for database in bench.databases:
        with bench.ground(database) as ground:
            crowd = add_crowd(ground.deployment, MEMBERS)
            ours, plain = [], []
            for _ in range(ROUNDS):
                plain.append(timed(ground, crowd, insert_plainly))
                ours.append(timed(ground, crowd, plan))
            figures = f"{statistics.median(ours):.2f} s against {statistics.median(plain):.2f} s"
            yield at_most("planning", database, median_ratio(ours, plain), 1.3, figures)


def timed(ground: Ground, crowd: Crowd, fill: Callable[[Ground, Crowd, int], None]) -> float:
    """The seconds that ``fill`` takes on an empty outbound table, with a new broadcast that is ready to be planned."""
    store, now = ground.deployment.store, ground.deployment.clock.now()
    with store.write() as session:
        session.execute(sa.text("DELETE FROM outbound" if ground.database == SQLITE else "TRUNCATE outbound"))
        broadcast = draft_broadcast(session, now, crowd.collective_id, "notice", {"en": "Rally today 10am at Gandhi Chowk"})
        approve_broadcast(session, now, broadcast, how="cli")
    began = time.perf_counter()
    fill(ground, crowd, broadcast.id)
    took = time.perf_counter() - began
    with store.read() as session:
        planned = session.execute(sa.text("SELECT count(*) FROM outbound WHERE state = 'queued'")).scalar_one()
        if planned != len(crowd.memberships):
            raise RuntimeError(f"{planned} rows were planned")
    return took


def plan(ground: Ground, crowd: Crowd, broadcast_id: int) -> None:
    plan_broadcast(ground.deployment, broadcast_id)
    with ground.deployment.store.read() as session:
        assert session.get_one(Broadcast, broadcast_id).total == len(crowd.memberships)


def insert_plainly(ground: Ground, crowd: Crowd, broadcast_id: int) -> None:
    values = {"broadcast": broadcast_id, "line": crowd.line_id, "collective": crowd.collective_id, "lane": lane_of("notice")}
    now = ground.deployment.clock.now()
    with ground.deployment.store.write() as session:
        if ground.database != SQLITE:
            session.execute(sa.text("SET LOCAL statement_timeout = 0"))  # one statement of 140,000 rows takes its time on a busy machine
        session.execute(_PLAIN, values | {"now": now.replace(tzinfo=None) if ground.database == SQLITE else now})
