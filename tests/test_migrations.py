"""The migrations make what the models describe, on both databases, and harm nothing when they run again."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from models import Keyring, Store
from models.migrations import current_revision, differences, head_revision, upgrade


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    server = request.getfixturevalue("postgres")
    name = f"empty_{uuid.uuid4().hex[:12]}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture
def empty(empty_url: str) -> Iterator[Store]:
    store = Store(empty_url, Keyring([os.urandom(32)]))
    yield store
    store.close()


def test_the_tables_are_those_of_the_models(empty_url: str, empty: Store) -> None:
    upgrade(empty_url)
    with empty.engine.connect() as connection:
        assert current_revision(connection) == head_revision()
        assert differences(connection) == []


def test_an_empty_database_has_no_revision(empty: Store) -> None:
    with empty.engine.connect() as connection:
        assert current_revision(connection) is None


def test_migrating_again_keeps_everything(empty_url: str, empty: Store) -> None:
    upgrade(empty_url, "0001")
    rows = {
        "lines": {
            "channel": "sms", "address": "+15550001111", "two_way": True, "carrier_answers_stop": True, "mps": 1.0, "fence": 0,
            "lease_until": 0.0, "next_slot": 0.0,
        },
        "phones": {"number": b"sealed", "number_hash": b"h" * 32},
    }  # fmt: skip
    with empty.engine.begin() as connection:
        for name, values in rows.items():
            # The tables as they were at 0001, not as the models are now.
            table = sa.Table(name, sa.MetaData(), autoload_with=connection)
            connection.execute(sa.insert(table).values(values | {"created_at": sa.func.current_timestamp()}))
    upgrade(empty_url)
    upgrade(empty_url)
    with empty.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT address FROM lines")) == "+15550001111"
        assert connection.scalar(sa.text("SELECT count(*) FROM phones")) == 1
        assert current_revision(connection) == head_revision()


def test_every_table_keeps_its_name_conventions(empty_url: str, empty: Store) -> None:
    """Alembic can only change a constraint that has a name."""
    upgrade(empty_url)
    inspector = sa.inspect(empty.engine)
    for table in inspector.get_table_names():
        if table == "alembic_version":
            continue
        assert inspector.get_pk_constraint(table)["name"], table
        assert all(key["name"] for key in inspector.get_foreign_keys(table)), table
        assert all(unique["name"] for unique in inspector.get_unique_constraints(table)), table
