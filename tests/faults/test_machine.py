"""The state machine on both databases: many short lives on SQLite, a few on PostgreSQL; more under `make soak`."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bot.deployment import Deployment
from models import Base, Keyring, Store
from tests.conftest import make_settings, open_frozen
from tests.faults.machine import Chorus
from tests.servers import PostgresServer

_serial = itertools.count(1)
COMMON: dict[str, Any] = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": list(HealthCheck),
    # No shrinking: it would take longer than the test may. What failed is printed as it was; a run of its own may shrink it.
    "phases": (Phase.explicit, Phase.generate),
}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """An empty SQLite database with all tables, to be copied: making them costs more than a life of the machine."""
    path = tmp_path / "template.db"
    store = Store(f"sqlite:///{path}", Keyring([os.urandom(32)]))
    Base.metadata.create_all(store.engine)
    store.close()
    return path


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def on_sqlite(template: Path, folder: Path) -> type[Chorus]:
    class OnSqlite(Chorus):
        def open_deployment(self) -> Deployment:
            path = folder / f"{next(_serial)}.db"
            shutil.copy(template, path)
            deployment = open_frozen(make_settings(f"sqlite:///{path}"))

            # The power of this machine does not fail: its disk need not be waited for.
            @sa.event.listens_for(deployment.store.engine, "connect")
            def _hurry(connection: Any, _record: Any) -> None:
                connection.execute("PRAGMA synchronous=OFF")

            return deployment

    return OnSqlite


def on_postgres(server: PostgresServer) -> type[Chorus]:
    class OnPostgres(Chorus):
        def open_deployment(self) -> Deployment:
            self.fresh = server.fresh_database(f"machine_{os.getpid()}_{next(_serial)}")
            return open_frozen(make_settings(self.fresh.__enter__()))

        def close_deployment(self, deployment: Deployment) -> None:
            super().close_deployment(deployment)
            self.fresh.__exit__(None, None, None)

    return OnPostgres


@pytest.mark.timeout(400)
def test_any_order_of_things_on_sqlite(template: Path, folder: Path) -> None:
    profile = settings(max_examples=20, stateful_step_count=25, derandomize=True, database=None, **COMMON)
    run_state_machine_as_test(on_sqlite(template, folder), settings=profile)


@pytest.mark.timeout(400)
def test_any_order_of_things_on_postgresql(postgres: PostgresServer) -> None:
    profile = settings(max_examples=5, stateful_step_count=20, derandomize=True, database=None, **COMMON)
    run_state_machine_as_test(on_postgres(postgres), settings=profile)


@pytest.mark.soak
def test_any_order_of_things_for_long(template: Path, folder: Path, postgres: PostgresServer) -> None:
    """Other orders every time; what failed is printed as a blob that repeats it."""
    profile = settings(max_examples=int(os.environ.get("SOAK_LIVES", "1000")), stateful_step_count=50, database=None, **COMMON)
    run_state_machine_as_test(on_sqlite(template, folder), settings=profile)
    run_state_machine_as_test(on_postgres(postgres), settings=settings(profile, max_examples=100))
