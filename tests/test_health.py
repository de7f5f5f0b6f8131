"""/healthz, /metrics, ``flask doctor``, the console's status page, and what is deleted when."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue, SimpleWorker
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from bot import create_app
from bot.delivery.broadcasts import hold_broadcast, release_broadcast
from bot.deployment import Deployment
from bot.health.places import Place, count_web_processes
from models import Broadcast, Collective, Keyring, Line, Outbound, Spending, Store, Timer
from models.clock import real_seconds
from models.messages import QUEUED
from models.migrations import head_revision, upgrade
from tests.cli import commands_of
from tests.conftest import DATA_KEY
from tests.delivery import ScriptedCarrier, add_many_members, pump_all, send_broadcast
from tests.servers import PostgresServer
from tests.waiting import wait_for
from tests.world import ACCOUNT, TOKEN, World

LINE = "+15550001111"
ROOT = Path(__file__).resolve().parents[1]
CANARIES = ("+15550004001", "5550004001", "Maya", "the words")


@pytest.fixture
def world(world: World, redis_url: str) -> World:
    """Its Redis answers, so that what is late has no excuse."""
    return World(redirected(world.deployment, redis_url=redis_url))


def without_redis(world: World) -> Deployment:
    return redirected(world.deployment, redis_url="redis://127.0.0.1:1/0")


def client_of(deployment: Deployment) -> FlaskClient:
    return create_app(deployment).test_client()


def redirected(deployment: Deployment, **settings: Any) -> Deployment:
    return Deployment(deployment.settings.model_copy(update=settings), deployment.store)


def put_out(world: World, **values: Any) -> int:
    """A message that is due for three minutes."""
    now = world.clock.now()
    row: dict[str, Any] = {
        "line_id": world.line(), "kind": "notice", "lane": 6, "language": "en", "state": QUEUED, "body": "the words",
        "due_at": now - timedelta(minutes=3), "created_at": now - timedelta(minutes=3),
    }  # fmt: skip
    with world.store.write() as session:
        made = Outbound(**(row | values))
        session.add(made)
        session.flush()
        return made.id


# --- /healthz -----------------------------------------------------------------------------------------------------------


def test_all_is_well(world: World) -> None:
    response = client_of(world.deployment).get("/healthz")
    assert response.status_code == 200 and response.get_json()["status"] == "ok"
    assert response.headers["Cache-Control"] == "no-store"


def test_redis_down_alone_is_degraded(world: World) -> None:
    response = client_of(without_redis(world)).get("/healthz")
    assert response.status_code == 200
    assert response.get_json() == {"status": "degraded", "database": "ok", "redis": "down", "outbox": "ok", "timers": "ok"}


def test_what_waits_for_redis_is_not_stuck(world: World) -> None:
    """Nobody is woken to send it; a restart of the web process, which is what a 503 asks for, would mend nothing."""
    put_out(world)
    assert client_of(world.deployment).get("/healthz").status_code == 503
    response = client_of(without_redis(world)).get("/healthz")
    assert response.status_code == 200 and response.get_json()["status"] == "degraded"


@pytest.mark.parametrize("values", [{"state": "held", "reason": "quiet_hours"}, {"state": "claimed", "lease_until": 1.0}], ids=str)
def test_what_nobody_sweeps_is_stuck_without_redis_too(world: World, values: dict[str, Any]) -> None:
    """The sweep needs no bell: every clock has died."""
    put_out(world, **values)
    assert client_of(without_redis(world)).get("/healthz").status_code == 503


def test_a_redis_that_hangs_costs_little(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deployment = redirected(world.deployment, redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        response = client_of(deployment).get("/healthz")
    assert response.status_code == 200 and response.get_json()["redis"] == "down"
    assert time.monotonic() - started < 2


def test_a_message_nobody_tries_to_send_is_stuck(world: World) -> None:
    put_out(world)
    response = client_of(world.deployment).get("/healthz")
    assert response.status_code == 503 and response.get_json()["status"] == "stuck"
    assert all(canary not in response.text for canary in CANARIES)


@pytest.mark.parametrize(
    "values",
    [
        {"due_at": None},  # due now
        {"attempt": 1},  # tried, and queued again
        {"state": "held", "reason": "organizer"},
        {"state": "held", "reason": "window"},
        {"state": "held", "reason": "quiet_hours", "due_at": None},
        {"state": "held", "reason": "cap", "due_at": None},
        {"state": "claimed", "lease_until": 3_600.0},  # seconds from now
        {"state": "attempting", "attempt": 1},
        {"state": "delivered"},
        {"state": "unknown"},
    ],
    ids=str,
)
def test_messages_that_are_not_stuck(world: World, values: dict[str, Any]) -> None:
    if "lease_until" in values:
        values = values | {"lease_until": real_seconds() + values["lease_until"]}
    put_out(world, **{name: world.clock.now() if value is None else value for name, value in values.items()})
    assert client_of(world.deployment).get("/healthz").status_code == 200


@pytest.mark.parametrize("reason", ["quiet_hours", "cap", "question", "due", None])
def test_an_hour_that_has_come_and_nobody_sweeps_is_stuck(world: World, reason: str | None) -> None:
    put_out(world, state="held", reason=reason)
    assert client_of(world.deployment).get("/healthz").status_code == 503


def test_what_a_dead_pump_left_and_nobody_sweeps_is_stuck(world: World) -> None:
    put_out(world, state="claimed", lease_until=real_seconds() - 60)
    assert client_of(world.deployment).get("/healthz").status_code == 503


@pytest.mark.parametrize("state", ["held", "stopped"])
def test_what_an_organizer_holds_or_stops_is_not_stuck(world: World, state: str) -> None:
    """Also rows that stand as queued still: the pump puts them aside when their turn comes."""
    with world.store.write() as session:
        broadcast = Broadcast(
            collective_id=world_collective(session, world), number=1, kind="notice", state=state, created_at=world.clock.now()
        )
        session.add(broadcast)
        session.flush()
        number = broadcast.id
    put_out(world, broadcast_id=number)
    assert client_of(world.deployment).get("/healthz").status_code == 200
    with world.store.write() as session:
        session.execute(sa.update(Broadcast).values(state="sending"))
    assert client_of(world.deployment).get("/healthz").status_code == 503


def world_collective(session: Session, world: World) -> int:
    made = Collective(name="Sangha", word="sangha", created_at=world.clock.now())
    session.add(made)
    session.flush()
    return made.id


@pytest.mark.parametrize("reason", ["next_slot", "lease_until", "held_until", "just_held"])
def test_a_line_that_keeps_its_pace_or_is_held_is_not_stuck(world: World, reason: str) -> None:
    put_out(world)
    values = {
        "next_slot": {"next_slot": real_seconds() - 60},
        "lease_until": {"lease_until": real_seconds() + 3_600},
        "held_until": {"held_until": world.clock.now() + timedelta(minutes=5)},
        "just_held": {"held_until": world.clock.now() - timedelta(minutes=1)},
    }
    with world.store.write() as session:
        session.execute(sa.update(Line).values(values[reason]))
    assert client_of(world.deployment).get("/healthz").status_code == 200


def test_a_line_whose_reasons_are_over_is_stuck(world: World) -> None:
    put_out(world)
    with world.store.write() as session:
        over = {
            "next_slot": real_seconds() - 130,
            "lease_until": real_seconds() - 1,
            "held_until": world.clock.now() - timedelta(minutes=3),
        }
        session.execute(sa.update(Line).values(over))
    assert client_of(world.deployment).get("/healthz").status_code == 503


@pytest.mark.parametrize(("lane", "code"), [(6, 200), (5, 200), (4, 503), (0, 503)])
def test_a_full_queue_at_the_carrier_is_a_reason_for_broadcasts_only(world: World, lane: int, code: int) -> None:
    """A toll-free line at 3 segments a second delivers 108,000 in ten hours; here it is slower."""
    world.line(mps=0.001)  # 36 segments in ten hours
    now = world.clock.now()
    for _ in range(36):
        put_out(world, state="accepted", attempt=1, accepted_at=now - timedelta(hours=1))
    put_out(world, lane=lane)
    assert client_of(world.deployment).get("/healthz").status_code == code
    with world.store.write() as session:
        session.execute(sa.update(Outbound).where(Outbound.state == "accepted").values(accepted_at=now - timedelta(hours=11)))
    assert client_of(world.deployment).get("/healthz").status_code == 503, "there is room again"


def test_a_canary_is_a_reason(world: World) -> None:
    """A line without proof sends five and waits; a pump at work writes the slot of the last one, and that is what shows here."""
    world.line(LINE, mps=500.0, proven_at=None)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 40)
    send_broadcast(world, collective)
    with world.store.write() as session:
        session.execute(sa.update(Outbound).values(due_at=world.clock.now() - timedelta(minutes=3)))
    assert client_of(world.deployment).get("/healthz").status_code == 503
    assert pump_all(world, ScriptedCarrier(), 1.0) == 5
    assert client_of(world.deployment).get("/healthz").status_code == 200


def test_what_is_let_go_is_due_from_then_on(world: World) -> None:
    """Held for an hour by an organizer, then released: nobody was late."""
    collective = world.collective()
    world.member(collective, "+12125550100")
    number = send_broadcast(world, collective)
    with world.store.write() as session:
        assert hold_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
    world.clock.advance(timedelta(hours=1))
    assert client_of(world.deployment).get("/healthz").status_code == 200
    with world.store.write() as session:
        assert release_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
    assert client_of(world.deployment).get("/healthz").status_code == 200
    world.clock.advance(timedelta(minutes=3))
    assert client_of(world.deployment).get("/healthz").status_code == 503


def test_late_timers_degrade(world: World) -> None:
    with world.store.write() as session:
        session.add(Timer(kind="broadcast", subject_id=1, key="a", due_at=world.clock.now() - timedelta(minutes=3)))
    response = client_of(world.deployment).get("/healthz")
    assert response.status_code == 200 and response.get_json()["status"] == "degraded" and response.get_json()["timers"] == "late"


def test_a_database_that_refuses_is_told_within_two_seconds(world: World) -> None:
    store = Store("postgresql://somebody:hunter2@127.0.0.1:1/none", world.store.keyring, world.clock)
    started = time.monotonic()
    response = client_of(Deployment(world.deployment.settings, store)).get("/healthz")
    assert time.monotonic() - started < 2
    assert response.status_code == 503 and response.get_json()["database"] == "down" and "hunter2" not in response.text


def test_a_database_without_tables_is_down(world: World, tmp_path: object) -> None:
    store = Store(f"sqlite:///{tmp_path}/empty.db", world.store.keyring, world.clock)
    assert client_of(Deployment(world.deployment.settings, store)).get("/healthz").status_code == 503


class Road:
    """A TCP road to a PostgreSQL that may be blocked: then nothing arrives any more, and nobody is told."""

    def __init__(self, database_url: str) -> None:
        url = make_url(database_url)
        self._folder, self._to = str(url.query.get("host", "")), (url.host or "", url.port or 5432)
        self.blocked = threading.Event()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = url.set(host="127.0.0.1", port=self._door.getsockname()[1], query={}).render_as_string(hide_password=False)
        self._open: list[socket.socket] = [self._door]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            if self._folder:
                far = socket.socket(socket.AF_UNIX)
                far.connect(f"{self._folder}/.s.PGSQL.5432")
            else:
                far = socket.create_connection(self._to)
            self._open += [near, far]
            for here, there in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(here, there), daemon=True).start()

    def _carry(self, here: socket.socket, there: socket.socket) -> None:
        try:
            while data := here.recv(65536):
                if not self.blocked.is_set():
                    there.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        for each in self._open:
            each.close()


@contextmanager
def road_to(server: PostgresServer, name: str) -> Iterator[Road]:
    url = server.create_database(name)
    road = Road(url)
    try:
        yield road
    finally:
        road.close()
        server.drop_database(name)


def test_a_database_that_hangs_is_told_within_ten_seconds(postgres: PostgresServer, small_world: World) -> None:
    with road_to(postgres, f"hang_{os.getpid()}") as road:
        upgrade(road.url)
        store = Store(road.url, Keyring([os.urandom(32)]), small_world.clock)
        client = client_of(Deployment(small_world.deployment.settings, store))
        assert client.get("/healthz").status_code == 200, "the connection stands in the pool"
        road.blocked.set()
        started = time.monotonic()
        response = client.get("/healthz")
        assert time.monotonic() - started < 10
        assert response.status_code == 503 and response.get_json()["status"] == "down"
        store.close()


# --- the status page ----------------------------------------------------------------------------------------------------


def test_the_status_page_counts_and_names_nobody(world: World) -> None:
    world.member(world.collective(), "+15550004001", name="Maya")
    put_out(world)
    with world.store.write() as session:
        session.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        session.execute(sa.text("INSERT INTO alembic_version VALUES (:head)"), {"head": head_revision()})
    response = client_of(world.deployment).get("/console/")
    assert response.status_code == 200 and "JOIN SANGHA" in response.text
    assert all(canary not in response.text for canary in CANARIES)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert not re.search(r"<script(?![^>]* src=)", response.text) and " style=" not in response.text
    assert response.headers["Cache-Control"] == "no-store" and response.headers["Referrer-Policy"] == "no-referrer"


def test_a_real_deployment_names_no_collective_to_visitors(world: World) -> None:
    world.collective()
    response = client_of(redirected(world.deployment, twilio_api_url="https://api.twilio.com")).get("/console/")
    assert "SANGHA" not in response.text and "+15550001111" not in response.text


def test_the_pages_files_are_served_with_their_headers(world: World) -> None:
    client = client_of(world.deployment)
    for name, kind in (("console.css", "text/css"), ("chorus.svg", "image/svg+xml")):
        response = client.get(f"/console/static/{name}")
        assert response.status_code == 200 and response.content_type.startswith(kind)
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_the_status_page_without_a_database(world: World) -> None:
    store = Store("postgresql://somebody@127.0.0.1:1/none", world.store.keyring, world.clock)
    response = client_of(Deployment(world.deployment.settings, store)).get("/console/")
    assert response.status_code == 200 and "does not answer" in response.text


# --- flask doctor -------------------------------------------------------------------------------------------------------


@pytest.fixture
def healthy(small_world: World, redis_url: str) -> Deployment:
    """Migrated, with Redis and a line; on SQLite."""
    Redis.from_url(redis_url).flushdb()
    small_world.collective()
    with small_world.store.write() as session:
        session.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        session.execute(sa.text("INSERT INTO alembic_version VALUES (:head)"), {"head": head_revision()})
    return redirected(small_world.deployment, redis_url=redis_url)


@contextmanager
def workers(url: str, number: int) -> Iterator[None]:
    connection = Redis.from_url(url)
    made = [
        SimpleWorker([Queue("chorus", connection=connection)], connection=connection, name=f"w{n}-{os.getpid()}") for n in range(number)
    ]
    for worker in made:
        worker.register_birth()
    try:
        yield
    finally:
        for worker in made:
            worker.register_death()
        connection.close()


def test_the_doctor_finds_all_well(healthy: Deployment) -> None:
    with workers(healthy.settings.redis_url, 1):
        result = commands_of(healthy)("doctor")
    assert result.exit_code == 0 and "All is well." in result.output, result.output
    assert "line +15550001111: two-way, 10 segments a second" in result.output


def test_the_doctor_misses_the_worker(healthy: Deployment) -> None:
    result = commands_of(healthy)("doctor")
    assert result.exit_code == 1 and "Start one: python worker.py" in result.output


def test_the_doctor_refuses_two_workers_on_sqlite(healthy: Deployment) -> None:
    with workers(healthy.settings.redis_url, 2):
        result = commands_of(healthy)("doctor")
    assert result.exit_code == 1 and "2 run on SQLite, which has one writer" in result.output


def test_the_doctor_refuses_two_web_processes_on_sqlite(healthy: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    with workers(healthy.settings.redis_url, 1):
        assert commands_of(healthy)("doctor").exit_code == 1


def test_the_doctor_counts_the_web_processes_on_sqlite(healthy: Deployment) -> None:
    one, two = Place(healthy.store), Place(healthy.store)
    with workers(healthy.settings.redis_url, 1):
        one.take()
        one.take()
        assert "web: one process runs" in commands_of(healthy)("doctor").output
        two.take()
        result = commands_of(healthy)("doctor")
        assert result.exit_code == 1 and "2 web processes run on SQLite" in result.output
        one.leave()
        assert commands_of(healthy)("doctor").exit_code == 0
        two.leave()
        assert "web: no process runs here now" in commands_of(healthy)("doctor").output


SERVES = """
import os, sys, time, wsgi
for _ in range(int(sys.argv[1])):  # as gunicorn --preload does
    if os.fork() == 0:
        break
os.write(1, b"up\\n")  # one piece: the others write beside it
time.sleep(60)
"""


@pytest.mark.parametrize("children", [0, 2])
def test_a_web_process_is_counted_while_it_lives(healthy: Deployment, children: int) -> None:
    """The application that was loaded before the fork is its children's: the parent serves nobody."""
    settings = healthy.settings
    environment = os.environ | {
        "DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url, "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN,
        "PUBLIC_URL": settings.public_url, "SECRET_KEY": settings.secret_key, "DATA_KEYS": DATA_KEY,
    }  # fmt: skip
    command = [sys.executable, "-c", SERVES, str(children)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, start_new_session=True) as started:
        try:
            assert started.stdout is not None
            for _ in range(children + 1):
                assert started.stdout.readline() == b"up\n"
            assert count_web_processes(healthy.store) == max(children, 1)
        finally:
            os.killpg(started.pid, signal.SIGKILL)
    wait_for(lambda: count_web_processes(healthy.store) == 0, "the end of the processes", 10.0)


def test_the_doctor_speaks_of_one_and_of_several(healthy: Deployment) -> None:
    world = World(healthy)
    put_out(world)
    assert "1 line has messages late" in commands_of(healthy)("doctor").output
    put_out(world, line_id=world.line("+15550001112"))
    assert "2 lines have messages late" in commands_of(healthy)("doctor").output
    result = commands_of(redirected(healthy, redis_url="redis://127.0.0.1:1/0"))("doctor")
    assert "messages wait for Redis; none is late for another reason" in result.output


def test_the_doctor_says_why_a_line_is_held(healthy: Deployment) -> None:
    with healthy.store.write() as session:
        session.execute(sa.update(Line).values(held_until=healthy.clock.now() + timedelta(hours=1), held_code=30034))
    result = commands_of(healthy)("doctor")
    assert result.exit_code == 1 and "error 30034" in result.output and "--release" in result.output


def test_the_doctor_speaks_of_money_and_of_unknown_outcomes(healthy: Deployment) -> None:
    now = healthy.clock.now()
    with healthy.store.write() as session:
        session.execute(sa.update(Collective).values(monthly_cap_micros=50_000_000))
        collective = session.scalars(sa.select(Collective.id)).one()
        session.add(Spending(collective_id=collective, month=f"{now:%Y-%m}", micros=39_000_000))
    with workers(healthy.settings.redis_url, 1):
        assert "money" not in commands_of(healthy)("doctor").output
        with healthy.store.write() as session:
            session.execute(sa.update(Spending).values(micros=41_000_000))
        put_out(World(healthy), state="unknown", attempt=1, check_at=now)
        result = commands_of(healthy)("doctor")
    assert result.exit_code == 0, "remarks only"
    assert "money of SANGHA: 41.00 of 50.00 are spent this month; at 45.00 broadcasts and polls wait" in result.output
    assert "flask money cap --collective SANGHA" in result.output and "1 message has an unknown outcome and is being" in result.output


def test_the_doctor_knows_keys_that_do_not_fit(healthy: Deployment) -> None:
    _ = healthy.store.index_key
    other = Deployment(healthy.settings, Store(healthy.settings.database_url, Keyring([os.urandom(32)]), healthy.clock))
    result = commands_of(other)("doctor")
    assert result.exit_code == 1 and "sealed under another key" in result.output
    other.store.close()
