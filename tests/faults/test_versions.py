"""Two versions side by side (O14): migrations only add, so the version before goes on working on the tables of this one, and back."""

from __future__ import annotations

import ast
import os
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.delivery.receipts import apply_receipt
from bot.delivery.sweep import sweep
from bot.delivery.tokens import callback_token
from bot.deployment import Deployment
from models import Keyring, Outbound, Store
from models.clock import real_seconds
from models.messages import ACCEPTED, ATTEMPTING, CLAIMED, DELIVERED, HELD, OUTBOUND_STATES, QUEUED, UNKNOWN
from models.migrations import upgrade
from tests.conftest import START, make_settings, open_frozen
from tests.delivery import ScriptedCarrier, pump_all, row, rows, send_broadcast, states
from tests.servers import PostgresServer
from tests.waiting import wait_for
from tests.world import World, new_sid

VERSIONS = Path(__file__).resolve().parents[2] / "models" / "migrations" / "versions"
# What the version before can live with: more tables, more columns that it need not know, more ways to find a row.
ADDITIONS = {"create_table", "add_column", "create_index", "batch_alter_table", "f"}
# What fills a column that the same migration added changes nothing that the version before knows.
_FILLS = re.compile(r"UPDATE (\w+) SET (\w+) = \(SELECT [^;]*\Z")


def upgrades_after_the_first() -> list[tuple[str, ast.FunctionDef]]:
    found = []
    for path in sorted(VERSIONS.glob("0*.py")):
        if path.name.startswith("0001"):
            continue
        found += [
            (path.name, node) for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
        ]
    return found


def calls_in(function: ast.FunctionDef) -> Iterator[tuple[str, ast.Call]]:
    """Every call of Alembic's in it: (what it does, the call)."""
    operators = {"op"} | {
        item.optional_vars.id
        for node in ast.walk(function)
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(item.optional_vars, ast.Name)
    }
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in operators
        ):
            yield node.func.attr, node


def say(value: ast.expr | None) -> str:
    return "" if value is None else ast.unparse(value)


@pytest.mark.parametrize(("name", "function"), upgrades_after_the_first(), ids=lambda value: value if isinstance(value, str) else "")
def test_o14_a_migration_only_adds(name: str, function: ast.FunctionDef) -> None:
    added: set[tuple[str, str]] = set()
    for act, call in calls_in(function):
        if act == "execute":
            filled = _FILLS.match(ast.literal_eval(call.args[0]))
            assert filled is not None and filled.groups() in added, f"{name}:{call.lineno}: it changes what the version before knows"
            continue
        assert act in ADDITIONS, f"{name}:{call.lineno} {act}: first a release that does without it, then one that takes it away"
        if act == "add_column":
            table, column = call.args[0], call.args[1]
            assert isinstance(column, ast.Call)
            options = {keyword.arg: say(keyword.value) for keyword in column.keywords}
            may_be_left_out = options.get("nullable") == "True" or "server_default" in options
            assert may_be_left_out, f"{name}:{call.lineno}: the version before inserts rows without {say(column.args[0])}"
            added.add((ast.literal_eval(table), ast.literal_eval(column.args[0])))
        if act == "create_index" and any(keyword.arg == "unique" and say(keyword.value) == "True" for keyword in call.keywords):
            table, columns = ast.literal_eval(call.args[1]), ast.literal_eval(call.args[2])
            fresh = any((table, column) in added for column in columns)
            assert fresh, f"{name}:{call.lineno}: the version before may write what this index refuses"


# --- the tables of the first release ------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def old_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database as the first release made it, once of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/old.db"
        upgrade(url, "0001")
        yield url
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"old_{uuid.uuid4().hex[:12]}"
    url = server.create_database(name)
    upgrade(url, "0001")
    yield url
    server.drop_database(name)


@pytest.fixture
def old_tables(old_url: str) -> sa.MetaData:
    """What the version before knows of the tables."""
    store = Store(old_url, Keyring([os.urandom(32)]))
    tables = sa.MetaData()
    tables.reflect(store.engine)
    store.close()
    return tables


def some_value(column: sa.Column[Any], serial: int) -> Any:
    """A value of the column's type, different for each ``serial``."""
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return False
    if isinstance(kind, sa.DateTime):
        return START.replace(tzinfo=None) if not kind.timezone else START
    if isinstance(kind, sa.Float):
        return 1.0
    if isinstance(kind, sa.Integer):
        return serial
    if isinstance(kind, sa.LargeBinary):
        return f"sealed {serial}".encode()
    return f"x{serial}"[: getattr(kind, "length", None) or 10]


def fill_every_table(connection: sa.Connection, tables: sa.MetaData) -> dict[str, int]:
    """A row in every table with only the columns that the version before knows; outbound in every state. {table: rows}"""
    counts: dict[str, int] = {}
    for table in tables.sorted_tables:
        if table.name == "alembic_version":
            continue
        row = {column.name: some_value(column, 1) for column in table.columns}
        many = [row]
        if table.name == "outbound":
            many = [
                row | {"id": n, "state": state, "broadcast_id": None, "kind": "notice", "sid": None}
                for n, state in enumerate(OUTBOUND_STATES, start=1)
            ]
        if table.name == "clock_jump":
            many = [row | {"seconds": 0}]
        connection.execute(sa.insert(table), many)
        counts[table.name] = len(many)
    return counts


def count_rows(connection: sa.Connection, tables: sa.MetaData) -> dict[str, int]:
    return {
        table.name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        for table in tables.sorted_tables
        if table.name != "alembic_version"
    }


def test_o14_a_database_full_of_data_is_migrated(old_url: str, old_tables: sa.MetaData) -> None:
    engine = sa.create_engine(make_settings(old_url).database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        counts = fill_every_table(connection, old_tables)
    upgrade(old_url)
    with engine.connect() as connection:
        assert count_rows(connection, old_tables) == counts
        found = connection.execute(sa.text("SELECT tries, checks, check_at, priced FROM outbound")).all()
        assert {(each.tries, each.checks, each.check_at, bool(each.priced)) for each in found} == {(0, 0, None, False)}
        assert connection.scalar(sa.text("SELECT cool_down_seconds FROM collectives")) == 20
    engine.dispose()


def test_o14_the_version_before_inserts_into_every_table_of_this_one(old_url: str, old_tables: sa.MetaData) -> None:
    upgrade(old_url)
    engine = sa.create_engine(make_settings(old_url).database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        assert fill_every_table(connection, old_tables) == count_rows(connection, old_tables)
    engine.dispose()


@pytest.fixture
def new_world(old_url: str, old_tables: sa.MetaData) -> Iterator[World]:
    """This version, on a database of the first release that was migrated; ``old_tables`` is what the other one knows of it."""
    upgrade(old_url)
    deployment: Deployment = open_frozen(make_settings(old_url))
    yield World(deployment)
    deployment.store.close()


def plan_as_before(world: World, tables: sa.MetaData, collective: int, members: list[int]) -> int:
    """A broadcast and its rows, inserted as the version before does; returns the broadcast's id."""
    o, b, t, m, p = (tables.tables[name] for name in ("outbound", "broadcasts", "broadcast_texts", "memberships", "people"))
    now = world.clock.now()
    with world.store.write() as session:
        connection = session.connection()
        broadcast = connection.execute(
            sa.insert(b)
            .values(
                collective_id=collective, number=1, kind="notice", state="sending", planned_through=max(members), planned_at=now,
                total=len(members), created_at=now, due_at=now, expires_at=now + timedelta(days=3),
            )
            .returning(b.c.id)
        ).scalar_one()  # fmt: skip
        sealed = world.store.keyring.seal(b"Rally today", "broadcast_texts.body")
        connection.execute(sa.insert(t).values(broadcast_id=broadcast, language="en", body=sealed, segments=1))
        for position, member in enumerate(members):
            found = connection.execute(
                sa.select(m.c.person_id, p.c.phone_id).join(p, p.c.id == m.c.person_id).where(m.c.id == member)
            ).one()
            connection.execute(
                sa.insert(o).values(
                    broadcast_id=broadcast, membership_id=member, person_id=found.person_id, phone_id=found.phone_id,
                    collective_id=collective, line_id=1, kind="notice", lane=6, position=position, language="en", state=QUEUED,
                    segments=1, attempt=0, unprompted=True, due_at=now, expires_at=now + timedelta(days=3), resent=False, created_at=now,
                )
            )  # fmt: skip
    return int(broadcast)


def test_o14_this_version_serves_what_the_version_before_left(new_world: World, old_tables: sa.MetaData) -> None:
    """Planned, claimed, marked and accepted by the version before; swept, sent and confirmed by this one."""
    world = new_world
    world.line(mps=500.0)
    collective = world.collective()
    members = [world.member(collective, f"+155510000{n:02d}") for n in range(8)]
    number = plan_as_before(world, old_tables, collective, members)
    ids = [each.id for each in rows(world, number)]
    o = old_tables.tables["outbound"]
    with world.store.write() as session:
        execute = session.connection().execute
        # What a worker of the version before has in hand when it dies, or is asked to stop.
        execute(sa.update(o).where(o.c.id == ids[0]).values(state=CLAIMED, lease_until=1.0, fence=0))
        marked = {"state": ATTEMPTING, "attempt": 1, "attempted_at": world.clock.now(), "reason": None, "error_code": None}
        execute(sa.update(o).where(o.c.id == ids[1]).values(**marked, lease_until=1.0))
        execute(sa.update(o).where(o.c.id.in_(ids[2:4])).values(**marked, lease_until=real_seconds() + 60))
        execute(sa.update(o).where(o.c.id == ids[3]).values(state=ACCEPTED, sid=new_sid(), accepted_at=world.clock.now()))
        execute(sa.update(o).where(o.c.id == ids[4]).values(state=HELD, reason="quiet_hours"))
    swept = sweep(world.store)
    assert (swept.unknown, swept.released) == (1, 1)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert len(carrier.taken) == 5 and len({text.to for text in carrier.taken}) == 5
    assert row(world, ids[1]).state == UNKNOWN and row(world, ids[1]).check_at is not None, "this version looks it up"
    for late in ids[1:4]:
        assert apply_receipt(world.store, callback_token(world.store, late, 1), "delivered", None, new_sid())
    assert sorted(states(world, number)) == [ACCEPTED] * 5 + [DELIVERED] * 3
    wait_for(lambda: sweep(world.store).broadcasts_done == 0, "the sweep to have nothing left")


def test_o14_the_version_before_goes_on_with_what_this_one_left(new_world: World, old_tables: sa.MetaData) -> None:
    """Its claim, its mark, its receipt name only columns of its own: rows of this version take them."""
    world = new_world
    world.line(mps=500.0)
    collective = world.collective()
    world.member(collective, "+15551000001")
    number = send_broadcast(world, collective)
    (queued,) = rows(world, number)
    o = old_tables.tables["outbound"]
    with world.store.write() as session:
        for values in (
            {"state": CLAIMED, "lease_until": real_seconds() + 15, "fence": 7},
            {"state": ATTEMPTING, "attempt": 1, "attempted_at": world.clock.now(), "lease_until": real_seconds() + 60},
            {"state": ACCEPTED, "sid": new_sid(), "accepted_at": world.clock.now(), "lease_until": None},
        ):
            session.connection().execute(sa.update(o).where(o.c.id == queued.id).values(**values))
    assert row(world, queued.id).state == ACCEPTED
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier, 1.0) == 0, "what the other version sent is sent"
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Outbound)) == 1
