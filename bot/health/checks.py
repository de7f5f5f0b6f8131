"""The checks, each a sentence and what to do about it. Used by /healthz, the console's status page and ``flask doctor``.

Nothing here names a person, a number or a text.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Worker
from rq.worker import BaseWorker
from sqlalchemy.exc import SQLAlchemyError

from bot.delivery.caps import find_near_cap, format_money
from bot.delivery.money import broadcast_limit
from bot.deployment import Deployment
from bot.health.outbox import LATE, stuck_lines
from bot.health.places import count_web_processes
from bot.schedule.timers import TRIES
from bot.upkeep.retention import is_behind
from models import DatabaseBusy, Line, Outbound, SealBroken, Timer
from models.migrations import current_revision, head_revision

REDIS_SECONDS = 0.5
# The database's ways of not being there.
DATABASE_ERRORS = (SQLAlchemyError, DatabaseBusy, OSError)


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``todo`` is what to do when it is not ok; empty otherwise. ``is_broken`` False: a remark only."""

    name: str
    ok: bool
    says: str
    todo: str = ""
    is_broken: bool = True


def check_database(deployment: Deployment) -> Check:
    """Whether the database answers, has the tables of this version, and opens with the keys given."""
    store = deployment.store
    kind = "SQLite" if store.is_sqlite else "PostgreSQL"
    try:
        with store.read() as session:
            revision = current_revision(session.connection())
    except DATABASE_ERRORS as error:
        return Check("database", False, f"{kind} does not answer ({type(error).__name__})", "Start it, or correct DATABASE_URL.")
    head = head_revision()
    if revision is None:
        return Check("database", False, f"{kind} answers, and is empty", "Run: flask db upgrade")
    if revision != head:
        return Check("database", False, f"{kind} stands at revision {revision}, this version needs {head}", "Run: flask db upgrade")
    return Check("database", True, f"{kind} answers, revision {revision}")


def check_keys(deployment: Deployment) -> Check:
    """Whether DATA_KEYS open what the database sealed."""
    try:
        deployment.store.hash_number("+10000000000")
    except SealBroken:
        return Check(
            "data keys",
            False,
            "the database was sealed under another key",
            "Put the key it was sealed under into DATA_KEYS, after the new one.",
        )
    return Check("data keys", True, f"{len(deployment.settings.data_keys)} in DATA_KEYS, they open the database")


def open_redis(deployment: Deployment) -> Redis:
    """A connection that gives up fast: a health check must answer while Redis hangs."""
    return Redis.from_url(
        deployment.settings.redis_url, socket_connect_timeout=REDIS_SECONDS, socket_timeout=REDIS_SECONDS, retry=Retry(NoBackoff(), 0)
    )


def redis_answers(deployment: Deployment) -> bool:
    """Whether Redis says PONG now."""
    try:
        with open_redis(deployment) as redis:
            return bool(redis.ping())
    except (RedisError, OSError):
        return False


def count_workers(deployment: Deployment) -> int | None:
    """RQ workers that have made themselves known and still live, as far as this machine can tell; None when Redis is down."""
    try:
        with open_redis(deployment) as redis:
            return sum(_lives(worker) for worker in Worker.all(connection=redis))
    except (RedisError, OSError):
        return None


def _lives(worker: BaseWorker) -> bool:
    # A killed worker stays in Redis for minutes. Of one on this machine we can ask the system.
    if worker.hostname != socket.gethostname() or not worker.pid:
        return True
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def check_redis(deployment: Deployment) -> Check:
    if redis_answers(deployment):
        return Check("Redis", True, "answers")
    return Check("Redis", False, "does not answer; replies go on, broadcasts wait in the database", "Start it, or correct REDIS_URL.")


def check_workers(deployment: Deployment) -> Check:
    """Whether somebody sends; on SQLite, whether it is one worker, for SQLite has one writer."""
    count = count_workers(deployment)
    if count is None:
        return Check("workers", False, "unknown while Redis is down", "Start Redis first.")
    if count == 0:
        return Check("workers", False, "none runs: nothing is sent except direct replies", "Start one: python worker.py")
    if deployment.store.is_sqlite and count > 1:
        return Check("workers", False, f"{count} run on SQLite, which has one writer", "Stop all but one, or move to PostgreSQL.")
    return Check("workers", True, f"{count} run{'s' if count == 1 else ''}")


def check_web(deployment: Deployment) -> Check:
    """On SQLite: whether one web process runs, however it was started. None is no fault: the doctor may come before it."""
    todo = "Use one process with threads (gunicorn --workers 1 --threads 16), or PostgreSQL."
    concurrency = os.environ.get("WEB_CONCURRENCY", "1")
    if concurrency not in ("", "0", "1"):
        return Check("web", False, f"WEB_CONCURRENCY={concurrency} starts several web processes on SQLite", todo)
    running = count_web_processes(deployment.store)
    if running > 1:
        return Check("web", False, f"{running} web processes run on SQLite, which has one writer", todo)
    return Check("web", True, "one process runs" if running else "no process runs here now")


def check_lines(deployment: Deployment) -> list[Check]:
    """Each line: its pace, whether it is two-way, and why it is held when it is."""
    now = deployment.clock.now()
    with deployment.store.read() as session:
        lines = session.scalars(sa.select(Line).order_by(Line.id)).all()
    if not lines:
        return [Check("lines", False, "there is none yet", "Make a collective: flask collective create NAME --word WORD --line +1555…")]
    checks = []
    for line in lines:
        name = f"line {line.address}"
        ways = "two-way" if line.two_way else "one-way"
        if line.held_until is not None and line.held_until > now:
            why = f"error {line.held_code}" if line.held_code else "the carrier's wish"
            todo = (
                f"See https://www.twilio.com/docs/api/errors/{line.held_code} and then: flask line set {line.address} --release"
                if line.held_code
                else ""
            )
            checks.append(Check(name, False, f"held until {line.held_until:%Y-%m-%d %H:%M} UTC by {why}", todo))
        else:
            checks.append(Check(name, True, f"{ways}, {line.mps:g} segments a second"))
    return checks


def check_retention(deployment: Deployment) -> Check:
    if is_behind(deployment):
        return Check(
            "retention", False, "words are here that should be gone for more than a day", "Run: flask purge (the worker does it hourly)"
        )
    return Check("retention", True, "nothing is older than it may be")


def late_timers(deployment: Deployment) -> int:
    """Timers that are due for over two minutes and will still be tried. Raises what the database raises."""
    limit = deployment.clock.now() - LATE
    waiting = sa.select(sa.func.count(Timer.id)).where(Timer.done_at.is_(None), Timer.attempts < TRIES, Timer.due_at < limit)
    with deployment.store.read() as session:
        return session.scalar(waiting) or 0


def parked_timers(deployment: Deployment) -> int:
    """Timers that failed as often as they are tried: a person has to look. Raises what the database raises."""
    parked = sa.select(sa.func.count(Timer.id)).where(Timer.done_at.is_(None), Timer.attempts >= TRIES)
    with deployment.store.read() as session:
        return session.scalar(parked) or 0


def examine(deployment: Deployment) -> list[Check]:
    """Everything that ``flask doctor`` looks at, in the order in which to mend it."""
    settings = deployment.settings
    checks = [Check("settings", True, "complete")]
    if settings.chorus_now is not None:
        checks.append(
            Check("clock", False, "CHORUS_NOW sets it, which is for tests only", "Unset CHORUS_NOW.", is_broken=not settings.has_simulator)
        )
    if settings.has_simulator:
        checks.append(Check("carrier", True, "a simulator on this machine: no text reaches a real phone"))
    database = check_database(deployment)
    checks.append(database)
    if database.ok:
        checks.append(check_keys(deployment))
    redis = check_redis(deployment)
    checks += [redis, check_workers(deployment)]
    if deployment.store.is_sqlite:
        checks.append(check_web(deployment))
    if all(check.ok for check in checks if check.name in ("database", "data keys")):
        checks += check_lines(deployment)
        checks.append(check_retention(deployment))
        checks += check_money(deployment)
        checks += check_unknown(deployment)
        checks += check_due_work(deployment, redis=redis.ok)
    return checks


def check_money(deployment: Deployment) -> list[Check]:
    """Collectives that have spent four fifths of their month's cap. A remark: what is urgent goes on."""
    with deployment.store.read() as session:
        near = find_near_cap(session, deployment.clock.now())
    return [
        Check(
            f"money of {row.word.upper()}",
            False,
            f"{format_money(row.spent)} of {format_money(row.cap)} are spent this month; at {format_money(broadcast_limit(row.cap))}"
            " broadcasts and polls wait",
            f"Wait for the next month, or: flask money cap --collective {row.word.upper()} AMOUNT",
            is_broken=False,
        )
        for row in near
    ]


def check_unknown(deployment: Deployment) -> list[Check]:
    """Messages that may or may not have been sent, while they are looked up. A remark: a minute or ten later they are known or shown."""
    with deployment.store.read() as session:
        number = session.scalar(sa.select(sa.func.count()).select_from(Outbound).where(Outbound.check_at.is_not(None))) or 0
    if not number:
        return []
    many = "1 message has an unknown outcome and is" if number == 1 else f"{number} messages have an unknown outcome and are"
    says = f"{many} being looked up in Twilio's list"
    return [Check("unknown outcomes", False, says, "Nothing: flask broadcast status shows those that stay unknown.", is_broken=False)]


def check_due_work(deployment: Deployment, *, redis: bool) -> list[Check]:
    """Whether messages and timers that are due are being worked on."""
    stuck, late, parked = stuck_lines(deployment, redis=redis), late_timers(deployment), parked_timers(deployment)
    start = "Start a worker: python worker.py"
    lines = "1 line has" if stuck == 1 else f"{stuck} lines have"
    no_stuck = "no message is late" if redis else "messages wait for Redis; none is late for another reason"
    checks = [
        Check("outbox", not stuck, f"{lines} messages late by over two minutes" if stuck else no_stuck, start if stuck else ""),
        Check(
            "timers",
            not late,
            f"{late} {'is' if late == 1 else 'are'} late by over two minutes" if late else "none is late",
            start if late else "",
        ),
    ]
    if parked:
        says = f"{parked} failed too often and {'is' if parked == 1 else 'are'} given up"
        checks.append(Check("parked timers", False, says, "The worker's log says why.", is_broken=False))
    return checks


def guarded(look: Callable[[], int]) -> int | None:
    """What ``look`` counts; None when the database does not answer."""
    try:
        return look()
    except DATABASE_ERRORS:
        return None
