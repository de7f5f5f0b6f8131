"""/metrics: what it counts, that it names nobody, and that it reads small indexes and not the whole table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.delivery import caps, costs, sweep, unconfirmed
from bot.deployment import Deployment
from bot.health import metrics, outbox, recent
from models import Collective, Inbound, Outbound, Spending, Store, Timer
from models.clock import real_seconds
from tests.delivery import ScriptedCarrier, add_many_members, pump_all, send_broadcast
from tests.test_health import CANARIES, client_of, put_out, redirected
from tests.world import World

LINE = "+15550001111"


def scrape(world: World) -> dict[str, float]:
    response = client_of(world.deployment).get("/metrics")
    assert response.status_code == 200 and response.content_type.startswith("text/plain")
    assert all(canary not in response.text for canary in CANARIES)
    lines = (line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def ago(world: World, **span: float) -> Any:
    return world.clock.now() - timedelta(**span)


def test_what_waits_by_lane_and_state(world: World, redis_url: str) -> None:
    put_out(world)
    put_out(world, lane=2, due_at=ago(world, seconds=5))
    put_out(world, state="held", reason="quiet_hours", due_at=ago(world, hours=-8))
    put_out(world, state="held", reason="cap", due_at=ago(world, days=-8))
    put_out(world, state="claimed", lease_until=real_seconds(), due_at=ago(world, seconds=20))
    put_out(world, state="attempting", attempt=1, lane=3)
    found = scrape(world)
    assert {name: value for name, value in found.items() if name.startswith("chorus_queue_depth") and value} == {
        'chorus_queue_depth{lane="broadcast",state="queued"}': 1,
        'chorus_queue_depth{lane="relay",state="queued"}': 1,
        'chorus_queue_depth{lane="broadcast",state="held"}': 2,
        'chorus_queue_depth{lane="broadcast",state="claimed"}': 1,
        'chorus_queue_depth{lane="reply",state="attempting"}': 1,
    }
    assert 'chorus_queue_depth{lane="stop",state="queued"}' in found, "zeros are said, too"
    assert found['chorus_queue_oldest_seconds{lane="broadcast",state="queued"}'] == 180
    assert found['chorus_queue_oldest_seconds{lane="relay",state="queued"}'] == 5
    assert found['chorus_queue_oldest_seconds{lane="broadcast",state="held"}'] == 0, "its hour has not come"
    assert (found['chorus_held{reason="quiet_hours"}'], found['chorus_held{reason="cap"}']) == (1, 1)
    assert found["chorus_lines_stuck"] == 0 and found["chorus_redis_up"] == 0, "they wait for Redis"
    found = scrape(World(redirected(world.deployment, redis_url=redis_url)))
    assert found["chorus_lines_stuck"] == 1 and found["chorus_redis_up"] == 1


def test_unknown_outcomes_and_their_age(world: World) -> None:
    put_out(world, state="unknown", attempt=1, attempted_at=ago(world, minutes=4), check_at=ago(world, minutes=1))
    put_out(world, state="unknown", attempt=1, attempted_at=ago(world, minutes=2), check_at=ago(world, minutes=1))
    put_out(world, state="unknown", attempt=1, attempted_at=ago(world, hours=2), check_at=None)
    found = scrape(world)
    assert (found["chorus_unknown"], found["chorus_unknown_oldest_seconds"]) == (2, 240)
    assert found['chorus_outcomes{state="unknown"}'] == 3


def test_outcomes_by_state_and_code(world: World) -> None:
    put_out(world, state="failed", error_code=30034, created_at=ago(world, hours=30))
    for state, code in (("delivered", None), ("delivered", None), ("undelivered", 30003), ("failed", 21211), ("failed", 21211)):
        put_out(world, state=state, error_code=code, attempt=1)
    found = scrape(world)
    assert (found['chorus_outcomes{state="delivered"}'], found['chorus_outcomes{state="failed"}'], found["chorus_sample_step"]) == (2, 2, 1)
    assert (found['chorus_errors{code="21211"}'], found['chorus_errors{code="30003"}']) == (2, 1)
    assert 'chorus_errors{code="30034"}' not in found, "of the day before"


def test_a_big_day_is_sampled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST_READ", 10)
    for number in range(40):
        put_out(world, state="failed" if number % 2 else "delivered", error_code=30000 + number if number % 2 else None, attempt=1)
    found = scrape(world)
    assert found["chorus_sample_step"] == 5
    assert found['chorus_outcomes{state="delivered"}'] + found['chorus_outcomes{state="failed"}'] == 40


def test_codes_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST_CODES", 2)
    for code in (1, 1, 1, 2, 2, 3, 4):
        put_out(world, state="failed", error_code=code, attempt=1)
    found = scrape(world)
    assert {name: value for name, value in found.items() if name.startswith("chorus_errors")} == {
        'chorus_errors{code="1"}': 3, 'chorus_errors{code="2"}': 2, 'chorus_errors{code="other"}': 2,
    }  # fmt: skip


def test_how_long_each_step_took(world: World) -> None:
    for seconds in range(1, 101):
        accepted = ago(world, seconds=60)
        put_out(
            world, state="delivered", attempt=1, due_at=accepted - timedelta(seconds=seconds),
            attempted_at=accepted - timedelta(seconds=1), accepted_at=accepted, done_at=accepted + timedelta(seconds=10),
        )  # fmt: skip
    long_ago = ago(world, hours=3)
    put_out(world, state="delivered", attempt=1, attempted_at=long_ago, accepted_at=long_ago, done_at=long_ago, due_at=ago(world, hours=9))
    found = scrape(world)
    assert found['chorus_seconds{quantile="0.5",step="due_to_accepted"}'] == 51
    assert found['chorus_seconds{quantile="0.99",step="due_to_accepted"}'] == 100
    assert found['chorus_seconds{quantile="0.95",step="attempt_to_accepted"}'] == 1
    assert found['chorus_seconds{quantile="0.5",step="accepted_to_final"}'] == 10


def test_nothing_happened_says_nothing(world: World) -> None:
    assert not [name for name in scrape(world) if name.startswith("chorus_seconds")]


def test_receipts_lag_by_line(world: World) -> None:
    first, second = world.line(), world.line("+15550001112")
    for minutes in (1, 5, 700):
        put_out(world, state="accepted", attempt=1, accepted_at=ago(world, minutes=minutes))
    put_out(world, state="sent", attempt=1, accepted_at=ago(world, minutes=9))
    found = scrape(world)
    assert found[f'chorus_receipts_awaited{{line="{first}"}}'] == 2, "after ten hours none will come any more"
    assert found[f'chorus_receipts_awaited_oldest_seconds{{line="{first}"}}'] == 300
    assert f'chorus_receipts_awaited{{line="{second}"}}' not in found


def test_lines_rest_prove_themselves_fill_up_and_are_read(world: World) -> None:
    now = world.clock.now()
    resting = world.line(held_until=now + timedelta(minutes=5), held_code=30034, proven_at=None)
    world.line("+15550001112", proven_at=now - timedelta(hours=23), read_through=now - timedelta(seconds=90))
    slow = world.line("+15550001113", mps=0.0001)
    put_out(world, line_id=slow, state="accepted", attempt=1, segments=4, accepted_at=now)
    found = scrape(world)
    second = resting + 1
    assert found[f'chorus_line_resting_seconds{{code="30034",line="{resting}"}}'] == 300
    assert (found[f'chorus_line_proven{{line="{resting}"}}'], found[f'chorus_line_proven{{line="{second}"}}']) == (0, 1)
    assert found[f'chorus_backfill_lag_seconds{{line="{second}"}}'] == 90 and f'chorus_backfill_lag_seconds{{line="{slow}"}}' not in found
    assert found[f'chorus_line_carrier_full{{line="{slow}"}}'] == 1 and found[f'chorus_line_carrier_full{{line="{second}"}}'] == 0


def test_labels_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_LINES", metrics._LINES.limit(2))
    numbers = [world.line(f"+1555000111{number}") for number in range(4)]
    for number in numbers:
        put_out(world, line_id=number, state="accepted", attempt=1, accepted_at=world.clock.now())
    labels = {name for name in scrape(world) if "line=" in name}
    assert labels and all(f'line="{number}"' in name for name in labels for number in [*numbers[:2]] if f'line="{number}"' in name)
    assert not [name for name in labels if f'line="{numbers[2]}"' in name or f'line="{numbers[3]}"' in name]


def test_the_share_of_the_cap(world: World) -> None:
    first, second, third = world.collective(), world.collective("OTHER"), world.collective("THIRD")
    with world.store.write() as session:
        session.execute(sa.update(Collective).where(Collective.id == first).values(monthly_cap_micros=50_000_000))
        session.execute(sa.update(Collective).where(Collective.id == third).values(monthly_cap_micros=10_000_000))
        session.add(Spending(collective_id=first, month="2026-04", micros=40_000_000))
        session.add(Spending(collective_id=second, month="2026-04", micros=2_500_000))
        session.add(Spending(collective_id=first, month="2026-03", micros=7_000_000))
    found = scrape(world)
    assert {name: value for name, value in found.items() if name.startswith("chorus_spending_share")} == {
        f'chorus_spending_share{{collective="{first}"}}': 0.8,
        f'chorus_spending_share{{collective="{third}"}}': 0,
    }
    assert found["chorus_spending_month"] == 42.5


def test_what_comes_in_and_what_is_late(world: World) -> None:
    with world.store.write() as session:
        session.add(Inbound(sid_hash=b"a" * 32, received_at=ago(world, minutes=59)))
        session.add(Inbound(sid_hash=b"b" * 32, received_at=ago(world, minutes=61)))
        session.add(Timer(kind="broadcast", subject_id=1, key="a", due_at=ago(world, minutes=3)))
    found = scrape(world)
    assert (found["chorus_inbound_last_hour"], found["chorus_timers_late"], found["chorus_broadcasts_sending"]) == (1, 1, 0)


def test_after_a_broadcast(world: World) -> None:
    line = world.line(LINE, mps=500.0)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 30)
    send_broadcast(world, collective)
    assert scrape(world)['chorus_queue_depth{lane="broadcast",state="queued"}'] == 30
    pump_all(world, ScriptedCarrier())
    found = scrape(world)
    assert found['chorus_outcomes{state="accepted"}'] == found[f'chorus_receipts_awaited{{line="{line}"}}'] == 30
    assert found["chorus_lines_stuck"] == 0 and found["chorus_spending_month"] > 0


def test_metrics_without_a_database(world: World) -> None:
    store = Store("postgresql://somebody@127.0.0.1:1/none", world.store.keyring, world.clock)
    assert client_of(Deployment(world.deployment.settings, store)).get("/metrics").status_code == 503


# --- no full scans -----------------------------------------------------------------------------------------------------------


def _statements(world: World) -> dict[str, tuple[Any, dict[str, Any]]]:
    is_sqlite, now = world.store.is_sqlite, world.clock.now()
    ids: Any = "[1, 2]" if is_sqlite else [1, 2]
    late = {"lines": ids, "limit": now, "real": 0.0}
    return {
        "queued": (metrics._DEPTHS[0], {}),
        "held": (metrics._DEPTHS[1], {}),
        "unknown": (metrics._LOOKING, {}),
        "at the carrier": (metrics._AT_CARRIER, {"since": now}),
        "stuck, queued": (outbox._FIND[is_sqlite][0], late),
        "stuck, claimed": (outbox._FIND[is_sqlite][1], late),
        "stuck, held": (outbox._FIND[is_sqlite][2], late),
        "recent": (recent._READ[is_sqlite], {"ids": ids}),
        "the ends": (costs._ENDS, {}),
        "the next": (costs._NEXT, {"number": 5}),
        "without a cost": (costs._UNPRICED, {"after": 5}),
        "waiting for money": (caps._WAITING_FOR_MONEY, {}),
        "let go": (caps._LET_GO, {"collective": 1, "now": now}),
        "left behind": (sweep._LEFT_BEHIND, {"now": now}),
        "expired words": (unconfirmed._EXPIRED_WORDS, {"since": now}),
    }


def test_no_statement_reads_all_messages(world: World) -> None:
    """The planners are told that the table is big; on PostgreSQL nothing but an index is allowed, and the plan must find one."""
    wanted = {
        "queued": "ix_outbound_due",
        "held": "ix_outbound_open",
        "at the carrier": "ix_outbound_at_carrier",
        "unknown": "ix_outbound_check",
        "left behind": "ix_outbound_open",
        "expired words": "ix_outbound_about_membership_id",
    }
    for name, (statement, values) in _statements(world).items():
        plan = _plan(world, statement, values)
        assert not any(_reads_all(step) for step in plan), (name, plan)
        assert any(wanted.get(name, "outbound") in step for step in plan), (name, plan)


def _plan(world: World, statement: Any, values: dict[str, Any]) -> list[str]:
    explain = "EXPLAIN QUERY PLAN " if world.store.is_sqlite else "EXPLAIN "

    def ask(_connection: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        return explain + sql, parameters

    with world.store.read() as session:
        connection = session.connection()
        if not world.store.is_sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        sa.event.listen(connection, "before_cursor_execute", ask, retval=True)
        cursor = connection.execute(statement, values).cursor
        return [str(row[-1]) for row in cursor.fetchall()]


def _reads_all(step: str) -> bool:
    return "Seq Scan on outbound" in step or (step.startswith("SCAN outbound") and " USING " not in step)


def test_the_law_sees_a_scan(world: World) -> None:
    assert any(_reads_all(step) for step in _plan(world, sa.select(Outbound.id, Outbound.body).where(Outbound.error_code == 1), {}))
