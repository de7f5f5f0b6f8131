"""The servers that the tests bring are real, private, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from models import Base
from tests.servers import PostgresServer, redis_url_for_worker, remove_what_killed_runs_left
from tests.test_demo_processes import PROJECT, gone, wait_for


def run_sql(url: str, statement: str) -> object:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def test_a_database_is_cloned_with_what_its_template_holds(postgres: PostgresServer):
    template = postgres.create_database("template")
    run_sql(template, "CREATE TABLE word AS SELECT 'SANGHA' AS word")
    first = postgres.create_database("first", template="template")
    second = postgres.create_database("second", template="template")
    run_sql(first, "DELETE FROM word")
    assert run_sql(first, "SELECT count(*) FROM word") == 0
    assert run_sql(second, "SELECT word FROM word") == "SANGHA"


def test_making_a_database_again_empties_it_even_while_somebody_is_connected(postgres: PostgresServer):
    engine = create_engine(postgres.create_database("again"))
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE left_over (id int)"))
        connection.commit()
        url = postgres.create_database("again")
    engine.dispose()
    assert run_sql(url, "SELECT count(*) FROM pg_tables WHERE tablename = 'left_over'") == 0


def test_a_fresh_database_has_all_tables_and_is_gone_afterwards(postgres: PostgresServer):
    with postgres.fresh_database("fresh") as url:
        assert run_sql(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == len(Base.metadata.tables)
    with pytest.raises(OperationalError, match="does not exist"):
        run_sql(url, "SELECT 1")


def test_a_given_postgres_is_used_and_left_as_it_was(postgres: PostgresServer):
    server_url = postgres.create_database("given")
    with PostgresServer.open(server_url) as given:
        url = given.create_database("mine")
        assert run_sql(url, "SELECT current_database()") == f"chorus_test_{os.getpid()}_mine"
    left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'chorus_test_%'"
    assert run_sql(server_url, left) == 0


def test_the_redis_is_real(redis_url: str):
    client = redis.Redis.from_url(redis_url)
    assert client.eval("return redis.call('SET', KEYS[1], 'x', 'NX', 'EX', '5')", 1, "a bell") == b"OK"
    client.close()


@pytest.mark.parametrize(
    ("given", "for_second_worker"),
    [
        ("redis://localhost:6379", "redis://localhost:6379?db=1"),
        ("redis://:secret@host:6379/3", "redis://:secret@host:6379/3?db=4"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=1"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=3"),
    ],
)
def test_each_test_process_gets_its_own_database_of_a_given_redis(given: str, for_second_worker: str):
    assert redis_url_for_worker(given, "gw1") == for_second_worker


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the child of a killed parent")
def test_no_postgres_and_no_redis_outlives_a_killed_test_run(tmp_path: Path):
    script = (
        "import pathlib, sys, time\n"
        "from urllib.parse import unquote\n"
        "from tests import servers\n"
        "with servers.PostgresServer.open(None) as postgres, servers.EmbeddedRedis(pathlib.Path(sys.argv[1])) as redis:\n"
        "    folder = pathlib.Path(unquote(postgres.url('').split('host=')[1]))\n"
        "    pids = (folder / 'data/postmaster.pid').read_text().split()[0], redis.child.pid\n"
        "    print(*pids, folder, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        *pids, folder = run.stdout.readline().split()
        servers = [int(pid) for pid in pids]
        assert len(servers) == 2 and all(not gone(pid) for pid in servers)
        run.kill()
        wait_for(lambda: all(gone(pid) for pid in servers), "PostgreSQL and Redis end with the killed run")
    assert Path(folder).exists(), "nobody was left to remove it"
    remove_what_killed_runs_left()
    assert not Path(folder).exists()
