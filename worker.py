"""The worker process: ``python worker.py``. One RQ SimpleWorker in the main thread; beside it the clock, and the carrier's list (lookups).

Redis is only a bell. When it goes, RQ gives up or waits a minute by itself, so the RQ worker is built anew in a loop; the clock goes on all
the while, so that what is due is planned and swept, and rung for again as soon as Redis is back.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Mapping
from datetime import timedelta
from types import FrameType
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker, worker_registration
from rq.exceptions import StopRequested

from bot.conversation.due import close_due_poll, end_idle_conversations, run_out_patience
from bot.delivery.bell import QUEUE, ring
from bot.delivery.caps import look_after_caps
from bot.delivery.costs import price_replies
from bot.delivery.gateway import Gateway
from bot.delivery.jobs import take_duty
from bot.delivery.plan import plan_broadcast
from bot.delivery.reports import report_broadcast
from bot.deployment import Deployment, open_deployment
from bot.inbound.keywords import WordTable
from bot.inbound.lines import LineBook
from bot.inbound.lookups import EVERY as LOOKUPS_EVERY
from bot.inbound.lookups import LookupsThread
from bot.inbound.receive import Reception
from bot.members.numbers import change_number
from bot.members.search import index_new_names
from bot.schedule.clock import ClockThread, Handler
from bot.schedule.timers import DueTimer
from bot.settings import SettingsRefused
from bot.upkeep.retention import purge
from flows import FLOWS, WORDS

log = logging.getLogger("chorus.worker")

# An idle worker asks Redis again after worker_ttl - 15 seconds and takes a silent connection for dead after worker_ttl - 5:
# together with the waits below, sending resumes well within 60 seconds of Redis' return.
WORKER_TTL, RECONNECT_SECONDS, CLOCK_SECONDS, LOOKUPS_SECONDS = 30, 5.0, 5.0, 2.0

# Work that comes again; each occurrence is one timer, done by one worker.
EVERY = {
    "idle": timedelta(minutes=10),
    "purge": timedelta(hours=1),
    "prices": timedelta(hours=1),
    "caps": timedelta(minutes=5),
    "names": timedelta(minutes=10),
}


class BellWorker(SimpleWorker):
    """An RQ worker that tells the pump when it is asked to stop, and that no Redis can keep from stopping."""

    max_connection_wait_time = RECONNECT_SECONDS

    def __init__(self, *arguments: Any, stop: threading.Event, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.stop = stop

    def handle_warm_shutdown_request(self) -> None:
        self.stop.set()

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Once in WORKER_TTL - 15 seconds and after each job. A Redis that lost everything hears again who works here (RQ says it at its
        start only); else the doctor would look for a worker while it sends, and never see two on SQLite."""
        super().heartbeat(timeout, pipeline)
        if pipeline is None and not self.connection.sismember(self.redis_workers_keys, self.key):
            self.connection.hset(self.key, mapping=self.serialize())
            worker_registration.register(self)

    def set_shutdown_requested_date(self) -> None:
        try:
            super().set_shutdown_requested_date()
        except RedisError as error:
            # This runs inside a signal handler: raised here, it would tear up the job that is just ending.
            log.warning("Redis does not hear that this worker stops (%s)", type(error).__name__)

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()
        if self.stop.is_set():  # asked in the moment before
            raise StopRequested


def answer_bells(deployment: Deployment, stop: threading.Event) -> None:
    """Work on the queue until ``stop``; survives every absence of Redis."""
    while not stop.is_set():
        _listen_for_signals(stop)
        try:
            connection = Redis.from_url(deployment.settings.redis_url, socket_connect_timeout=RECONNECT_SECONDS)
            worker = BellWorker([Queue(QUEUE, connection=connection)], connection=connection, worker_ttl=WORKER_TTL, stop=stop)
            worker.work(logging_level="WARNING")
        except StopRequested:
            break
        except (RedisError, OSError) as error:
            log.warning("Redis can not be reached (%s); trying again", type(error).__name__)
        if not stop.is_set():
            stop.wait(RECONNECT_SECONDS / 5)


def run_worker(deployment: Deployment, handlers: Mapping[str, Handler], stop: threading.Event | None = None) -> None:
    """Serve until SIGTERM or SIGINT (or ``stop``), then drain within 15 seconds."""
    stop = stop or threading.Event()
    take_duty(deployment, stop)
    # Its own gateway: what it asks may hang, and must not hold up what is sent.
    reception = Reception(deployment, FLOWS, WordTable(WORDS), LineBook(deployment.store))
    lookups = LookupsThread(deployment, reception, Gateway(deployment.settings, connections=2), stop)
    handlers = {**handlers, **lookups.handlers()}
    every = {kind: span for kind, span in (EVERY | LOOKUPS_EVERY).items() if kind in handlers}
    clock = ClockThread(deployment, handlers, ring, every=every, stop=stop)
    clock.start()
    lookups.start()
    log.info("worker started")
    try:
        answer_bells(deployment, stop)
    finally:
        stop.set()
        clock.join(CLOCK_SECONDS)
        # A request of its may take 15 seconds: it is not waited for. What it leased is looked up again by another.
        lookups.join(LOOKUPS_SECONDS)
    log.info("worker stopped")


def timer_handlers() -> dict[str, Handler]:
    """Who answers which kind of timer. A kind that is not here is never done: the clock says so in the log."""
    return {
        "broadcast": plan_due_broadcast,
        "poll_close": close_due_poll,
        "report": lambda deployment, timer: _log_count("broadcasts reported", report_broadcast(deployment, timer.subject_id, timer.id)),
        "patience": lambda deployment, timer: run_out_patience(deployment, timer, FLOWS),
        "idle": lambda deployment, _timer: _log_count("idle conversations ended", end_idle_conversations(deployment)),
        "purge": lambda deployment, _timer: _log_count("rows purged", sum(purge(deployment).values())),
        "prices": lambda deployment, _timer: _log_count("replies priced", price_replies(deployment)),
        "caps": lambda deployment, _timer: _log_count("organizers told of their cap", look_after_caps(deployment)),
        "names": lambda deployment, _timer: _log_count("names indexed", index_new_names(deployment)),
        "number_change": lambda deployment, timer: _log_count("numbers changed", change_number(deployment, timer.subject_id)),
    }


def plan_due_broadcast(deployment: Deployment, timer: DueTimer) -> None:
    """The moment of a broadcast has come."""
    plan_broadcast(deployment, timer.subject_id)


def _log_count(what: str, number: int) -> None:
    if number:
        log.info("%s: %d", what, number)


def _listen_for_signals(stop: threading.Event) -> None:
    """While RQ does not listen itself. Only the main thread can."""
    if threading.current_thread() is threading.main_thread():

        def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
            stop.set()

        signal.signal(signal.SIGTERM, ask_to_stop)
        signal.signal(signal.SIGINT, ask_to_stop)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        deployment = open_deployment()
    except SettingsRefused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    run_worker(deployment, timer_handlers())
    deployment.store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
