"""The database: engines, transactions, the keyring and the clock that go with it. One ``Store`` a process.

Reading and writing are two doors. On SQLite a writer takes an in-process lock and BEGIN IMMEDIATE (measured: threads that
queue inside SQLite wait up to a second at p99, at the lock 50 ms); readers have an engine of their own and never wait.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from .clock import Clock
from .collectives import SealedKey
from .conversations import ClockJump
from .prepared import run_plainly
from .sealing import Keyring, blind_index
from .watchdog import Watchdog

# A refusing database is told within 2 s, a hanging one within 10 s (the contract). PostgreSQL: a connection from the pool or a new one,
# then one statement that the server (STATEMENT) or else the watchdog (HANG) ends. SQLite: our own turn, then the file's (BUSY each).
CONNECT_SECONDS, WAIT_SECONDS, STATEMENT_SECONDS, HANG_SECONDS, BUSY_SECONDS = 2, 2, 6, 7, 4


class DatabaseBusy(Exception):
    """SQLite's one writer could not get its turn in time; nothing was written."""


def normalise_url(url: str) -> str:
    """``postgres://`` and ``postgresql://`` mean psycopg 3; ``sqlite:///`` stays."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


class _Session(Session):
    """An ORM session on a transaction that is open already.

    Hot paths speak to its connection and never wake the ORM, whose own bookkeeping costs more than a short statement (measured: a
    transaction of ORM and connection 70 us, of the connection alone 32). It is made when something of it is first asked for.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._joined = connection

    def __getattr__(self, name: str) -> Any:
        # Only what Session's own constructor sets is ever missing.
        if "identity_map" in self.__dict__:
            raise AttributeError(name)
        super().__init__(self._joined, expire_on_commit=False, join_transaction_mode="rollback_only")
        return getattr(self, name)

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        if "identity_map" in self.__dict__:
            super().flush(objects)

    def close(self) -> None:
        if "identity_map" in self.__dict__:
            super().close()

    def connection(self, *arguments: Any, **named: Any) -> sa.Connection:
        if arguments or named:
            return super().connection(*arguments, **named)
        return self._joined


class Store:
    """Where everything is kept. ``keyring`` seals the columns; ``clock`` tells people's time."""

    def __init__(self, url: str, keyring: Keyring, clock: Clock | None = None, *, pool_size: int = 20) -> None:
        self.url = make_url(normalise_url(url))
        self.keyring = keyring
        self.clock = clock or Clock()
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._turn = threading.Lock()
        self._opened_keys: dict[str, bytes] | None = None
        if self.is_sqlite:
            self.engine = self._sqlite_engine("BEGIN IMMEDIATE")
            self.reader = self._sqlite_engine("BEGIN")
            self.watchdog = None
        else:
            self.watchdog = Watchdog(HANG_SECONDS)
            self.engine = self.reader = sa.create_engine(
                self.url,
                pool_size=pool_size,
                max_overflow=10,
                pool_timeout=WAIT_SECONDS,
                pool_recycle=1800,
                # The connection used last: its statements are prepared, its pages are in memory.
                pool_use_lifo=True,
                hide_parameters=True,
                connect_args={
                    "connect_timeout": CONNECT_SECONDS,
                    "prepare_threshold": 3,
                    "options": f"-c statement_timeout={STATEMENT_SECONDS * 1000} -c timezone=UTC",
                },
            )
            self.engine.dialect.chorus_keyring = keyring  # type: ignore[attr-defined]
            self.watchdog.attach(self.engine)

    def _sqlite_engine(self, begin: str) -> sa.Engine:
        if self.url.database:
            os.makedirs(os.path.dirname(os.path.abspath(self.url.database)), mode=0o700, exist_ok=True)
        engine = sa.create_engine(
            self.url, hide_parameters=True, pool_size=20, max_overflow=20, pool_timeout=WAIT_SECONDS, pool_use_lifo=True
        )
        engine.dialect.chorus_keyring = self.keyring  # type: ignore[attr-defined]

        @sa.event.listens_for(engine, "connect")
        def _prepare(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                "secure_delete=ON",
                f"busy_timeout={BUSY_SECONDS * 1000}",
            ):
                connection.execute(f"PRAGMA {pragma}")

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            run_plainly(connection, begin)

        return engine

    def write(self) -> AbstractContextManager[Session]:
        """One transaction that may write: committed at the end of the block, rolled back when it raises.

        Raises DatabaseBusy or sqlalchemy.exc.OperationalError when the database can not be had in time.
        """
        _ = self._keys  # made before the transaction: on SQLite a second writer inside it would wait for itself
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        if self.is_sqlite and not self._turn.acquire(timeout=BUSY_SECONDS):
            raise DatabaseBusy("another writer held SQLite too long")
        try:
            with self.engine.connect() as connection, connection.begin():
                session = _Session(connection)
                try:
                    yield session
                    session.flush()
                finally:
                    session.close()
        finally:
            if self.is_sqlite:
                self._turn.release()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that only reads."""
        with self.reader.connect() as connection:
            session = _Session(connection)
            try:
                yield session
            finally:
                session.close()

    @property
    def _keys(self) -> dict[str, bytes]:
        """The deployment's random keys, made at first use; two processes that meet there agree on the first one stored.

        Never first asked for inside a write: it may need one of its own (``write`` sees to that).
        """
        if self._opened_keys is not None:
            return self._opened_keys
        # No lock (functools.cached_property has one): with the database hanging, those who queue at it would wait for one another.
        wanted = ("phone index", "callback token")
        with self.read() as session:
            stored = {row.purpose: row.wrapped for row in session.scalars(sa.select(SealedKey))}
        if not all(purpose in stored for purpose in wanted):
            with self._transaction() as session:
                for purpose in wanted:
                    wrapped = self.keyring.seal(os.urandom(32), f"keys.{purpose}")
                    insert = sqlite_or_postgres_insert(self, SealedKey.__table__).values(purpose=purpose, wrapped=wrapped)
                    session.execute(insert.on_conflict_do_nothing())
                stored = {row.purpose: row.wrapped for row in session.scalars(sa.select(SealedKey))}
        self._opened_keys = {purpose: self.keyring.open(stored[purpose], f"keys.{purpose}") for purpose in wanted}
        return self._opened_keys

    @property
    def index_key(self) -> bytes:
        return self._keys["phone index"]

    @property
    def token_key(self) -> bytes:
        return self._keys["callback token"]

    def hash_number(self, number: str) -> bytes:
        """The blind index of an E.164 number."""
        return blind_index(self.index_key, "phone|" + number)

    def hash_sid(self, sid: str) -> bytes:
        """The blind index of a message SID: recognises a replay after the message itself is gone."""
        return blind_index(self.index_key, "sid|" + sid)

    def refresh_clock(self) -> None:
        """Take over the simulator's jump. Call it only where a simulator is the carrier."""
        with self.read() as session:
            seconds = session.scalar(sa.select(ClockJump.seconds)) or 0
        self.clock.offset = timedelta(seconds=seconds)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()
        self.reader.dispose()
        if self.watchdog is not None:
            self.watchdog.stop()


def sqlite_or_postgres_insert(store: Store, table: Any) -> Any:
    """An INSERT that knows ON CONFLICT, in the store's dialect (SQLAlchemy has one per dialect, with the same methods)."""
    if store.is_sqlite:
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
    return insert(table)
