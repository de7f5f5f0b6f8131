"""What every test may ask for: a fresh database of each kind, a deployment on it, an application, the pretend carrier."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.deployment import Deployment
from bot.settings import Settings, read_settings
from models import Base, Clock, Keyring, Store
from tests.carrier import at_twilio as at_twilio
from tests.carrier import receiver as receiver
from tests.carrier import running as running
from tests.carrier import simulator as simulator
from tests.carrier import twilio as twilio
from tests.servers import PostgresServer, RedisServer
from tests.world import ACCOUNT, TOKEN, World

# A Sunday morning in spring, no change of summer time near it: 09:00 UTC is 14:30 in Kolkata.
START = datetime(2026, 4, 12, 9, 0, tzinfo=UTC)
DATA_KEY = "t6jQmP0vYx3n1kZc8sWb5uLr2eHd9aFg4oIiTqXyN7M="


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL for the session (TEST_DATABASE_URL, or the one that the test requirements bring)."""
    with PostgresServer.open(os.environ.get("TEST_DATABASE_URL")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis for the session (TEST_REDIS_URL, or the one that the demo brings)."""
    with RedisServer.open(os.environ.get("TEST_REDIS_URL")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, empty database with all tables, once of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/chorus.db"
        store = Store(url, Keyring([os.urandom(32)]))
        Base.metadata.create_all(store.engine)
        store.close()
        yield url
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        with server.fresh_database(f"t_{uuid.uuid4().hex[:12]}") as url:
            yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh SQLite database only: for what has nothing to do with the database."""
    url = f"sqlite:///{tmp_path}/chorus.db"
    store = Store(url, Keyring([os.urandom(32)]))
    Base.metadata.create_all(store.engine)
    store.close()
    return url


def make_settings(database_url: str, **overrides: object) -> Settings:
    values: dict[str, object] = {
        "database_url": database_url,
        "redis_url": "redis://127.0.0.1:1/0",
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": TOKEN,
        "twilio_api_url": "http://127.0.0.1:1",
        "public_url": "https://chorus.example.org",
        "secret_key": "a-secret-for-web-sessions-in-tests",
        "data_keys": DATA_KEY,
    }
    return read_settings(**(values | overrides))


def open_frozen(settings: Settings) -> Deployment:
    clock = Clock()
    clock.freeze(START)
    return Deployment(settings, Store(settings.database_url, Keyring(settings.data_keys), clock))


@pytest.fixture
def deployment(database_url: str) -> Iterator[Deployment]:
    """A deployment on a fresh database (each kind), with a clock that stands still at START until moved."""
    deployment = open_frozen(make_settings(database_url))
    yield deployment
    deployment.store.close()


@pytest.fixture
def store(deployment: Deployment) -> Store:
    return deployment.store


@pytest.fixture
def world(deployment: Deployment) -> World:
    """Collectives, members and phones to act with, on each kind of database."""
    return World(deployment)


@pytest.fixture
def small_world(sqlite_url: str) -> Iterator[World]:
    """The same on SQLite only, for what does not depend on the database."""
    deployment = open_frozen(make_settings(sqlite_url))
    yield World(deployment)
    deployment.store.close()
