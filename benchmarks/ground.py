"""The ground a benchmark stands on: fresh databases of both kinds, a Redis, a simulator, thousands of members.

PostgreSQL is the embedded one of the tests (no fsync: its data is thrown away), or TEST_DATABASE_URL; SQLite is set up as in production.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.client import LINE, number_of
from bot.deployment import Deployment
from bot.settings import read_settings
from models import Base, Collective, CollectiveLine, Keyring, Line, Membership, Person, Phone, PhoneLine, Store
from tests.servers import PostgresServer, RedisServer
from tests.world import ACCOUNT, TOKEN

ROOT = Path(__file__).resolve().parent.parent
SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
DATA_KEY = "t6jQmP0vYx3n1kZc8sWb5uLr2eHd9aFg4oIiTqXyN7M="
_CHUNK = 5_000


@dataclass
class Ground:
    """One fresh database with its deployment; ``environment`` opens the same one in another process."""

    database: str
    deployment: Deployment
    environment: dict[str, str]


@dataclass
class Bench:
    """What the benchmarks of one run share. ``databases``: the kinds to measure on; ``is_long``: take the time for the slow ones."""

    stack: ExitStack
    databases: Sequence[str] = (SQLITE, POSTGRESQL)
    is_long: bool = False
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="chorus-bench-")))

    @cached_property
    def postgres(self) -> PostgresServer:
        return self.stack.enter_context(PostgresServer.open(os.environ.get("TEST_DATABASE_URL")))

    @cached_property
    def redis_url(self) -> str:
        return self.stack.enter_context(RedisServer.open(os.environ.get("TEST_REDIS_URL")))

    @contextmanager
    def ground(self, database: str, **settings: str) -> Iterator[Ground]:
        """A fresh database of this kind with all tables, and a deployment on it; ``settings`` replace environment variables."""
        name = f"b_{uuid.uuid4().hex[:10]}"
        with ExitStack() as stack:
            if database == SQLITE:
                url = f"sqlite:///{self.folder}/{name}.db"
                store = Store(url, Keyring([os.urandom(32)]))
                Base.metadata.create_all(store.engine)
                store.close()
            else:
                url = stack.enter_context(self.postgres.fresh_database(name))
            environment = make_environment(DATABASE_URL=url, REDIS_URL=self.redis_url, **settings)
            known = read_settings(**{key.lower(): value for key, value in environment.items()})
            deployment = Deployment(known, Store(known.database_url, Keyring(known.data_keys)))
            stack.callback(deployment.store.close)
            _ = deployment.store.index_key
            yield Ground(database, deployment, environment)


def make_environment(**given: str) -> dict[str, str]:
    """The settings of a Chorus that is measured."""
    return {
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_API_URL": "http://127.0.0.1:1",
        "PUBLIC_URL": "https://chorus.example.org",
        "SECRET_KEY": "a-secret-for-web-sessions-in-benchmarks",
        "DATA_KEYS": DATA_KEY,
    } | given


def start_python(*arguments: str, environment: Mapping[str, str], **options: Any) -> subprocess.Popen[str]:
    """A Python process of our own in the project's folder, with these settings and nobody else's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=kept | dict(environment), text=True, start_new_session=True, **options
    )


def stop_process(process: subprocess.Popen[str], seconds: float = 20.0) -> None:
    """Ask it to end; returns when it is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def cpu_seconds(pid: int) -> float:
    """The CPU time, user and system, that another process of ours has used so far."""
    if platform.system() == "Linux":
        # The process's own CPU clock (clock_getcpuclockid(3)): to the nanosecond, where /proc counts hundredths of a second.
        return time.clock_gettime((~pid << 3) | 2)
    told = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout.strip()
    return sum(float(part) * 60**place for place, part in enumerate(reversed(told.replace("-", ":").split(":"))))


@dataclass(frozen=True)
class Crowd:
    """A collective with members. The one at ``index`` has ``number(index)``, and the membership ``memberships[index]``."""

    collective_id: int
    line_id: int
    memberships: range

    def number(self, index: int) -> str:
        return number_of(index)


def add_crowd(deployment: Deployment, count: int, *, mps: float = 10.0, line: str = LINE, first: int = 0) -> Crowd:
    """A collective with a line of its own and ``count`` members who joined by text on it; ``first``: the number of the first phone."""
    store, now = deployment.store, deployment.clock.now()
    with store.write() as session:
        collective = Collective(
            name="Sangha", word=f"sangha{first}", about="we act together", timezone="UTC", language="en", created_at=now
        )
        sender = Line(channel="sms", address=line, country="US", mps=mps, proven_at=now, created_at=now)
        session.add_all([collective, sender])
        session.flush()
        session.add(CollectiveLine(collective_id=collective.id, line_id=sender.id, position=0))
        collective_id, line_id = collective.id, sender.id
    ids = range(first + 1, first + count + 1)
    for start in range(0, count, _CHUNK):
        part = ids[start : start + _CHUNK]
        with store.write() as session:
            rows: dict[Any, list[dict[str, Any]]] = {Phone: [], Person: [], Membership: [], PhoneLine: []}
            for n in part:
                number = number_of(n - 1)
                hashed = store.hash_number(number)
                rows[Phone].append({"id": n, "number": number, "number_hash": hashed, "current_person_id": n, "created_at": now})
                rows[Person].append({"id": n, "phone_id": n, "created_at": now})
                rows[Membership].append({"id": n, "person_id": n, "collective_id": collective_id, "line_id": line_id, "joined_at": now})
                rows[PhoneLine].append({"phone_id": n, "line_id": line_id, "last_inbound_at": now})
            for model, values in rows.items():
                session.execute(sa.insert(model.__table__), values)
    with store.write() as session:
        session.execute(sa.text("ANALYZE"))
    return Crowd(collective_id, line_id, ids)
