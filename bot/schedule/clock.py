"""The clock thread of every worker: due timers to their handlers, the sweep, the bell. When it dies, the process ends."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from bot.crashpoints import crashpoint
from bot.delivery.knocks import knock
from bot.delivery.leases import is_anything_waiting
from bot.delivery.sweep import release_left_behind, release_open_windows, sweep
from bot.delivery.trouble import DATABASE_TROUBLE, name_trouble
from bot.delivery.unconfirmed import tell_of_expired
from bot.deployment import Deployment
from bot.schedule.timers import DueTimer, claim_due, find_unanswered, finish, give_back, put_off, put_off_uncounted, set_timer

log = logging.getLogger(__name__)

Handler = Callable[[Deployment, DueTimer], None]

TICK_SECONDS, SWEEP_SECONDS, WINDOW_SECONDS = 1.0, 5.0, 60.0
MOST_TIMERS = 20
# So long a timer may wait for a worker of the version that knows its kind.
UNANSWERED_AFTER = timedelta(minutes=5)


class ClockThread(threading.Thread):
    """``handlers``: who answers which kind of timer; one may run twice (a worker died in the middle), so each re-checks the world.

    ``every``: kinds that come again, with the time between them.
    ``ring``: called when something is ready to be sent; its result does not matter. ``on_death``: what ends the process.
    """

    def __init__(
        self,
        deployment: Deployment,
        handlers: Mapping[str, Handler],
        ring: Callable[[Deployment], bool],
        *,
        every: Mapping[str, timedelta] | None = None,
        stop: threading.Event | None = None,
        on_death: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name="clock", daemon=True)
        self.deployment = deployment
        self.handlers = handlers
        self.ring = ring
        self.every = every or {}
        self.stop_asked = stop or threading.Event()
        self._on_death = on_death or (lambda: os._exit(70))
        self._sweep_after = self._window_after = 0.0
        self._in_hand: list[DueTimer] = []
        self._told: set[str] = set()

    def run(self) -> None:
        try:
            while not self.stop_asked.is_set():
                self.tick()
                self.stop_asked.wait(TICK_SECONDS)
        except BaseException as error:  # noqa: BLE001 - a worker without a clock sweeps nothing and hears no timer: better none at all
            log.critical("the clock died (%s); this worker ends", type(error).__name__)
            self._on_death()

    def tick(self) -> None:
        """One look at what is due. A database that fails is asked again at the next tick."""
        try:
            self._look()
        except DATABASE_TROUBLE as error:
            log.warning("the clock's database failed (%s)", name_trouble(error))

    def _look(self) -> None:
        deployment = self.deployment
        if deployment.settings.has_simulator:
            deployment.store.refresh_clock()
        if self._in_hand:
            # Claimed at an earlier look, under which the database went away.
            give_back(deployment.store, self._in_hand)
        self._in_hand = claim_due(deployment.store, deployment.clock.now(), MOST_TIMERS, self.handlers)
        while self._in_hand:
            self._handle(self._in_hand[0])
            del self._in_hand[0]
        now = time.monotonic()
        if now >= self._sweep_after:
            self._sweep_after = now + SWEEP_SECONDS
            self._book_ahead()
            waiting = sweep(deployment.store).is_waiting
        else:
            with deployment.store.read() as session:
                waiting = is_anything_waiting(session, deployment.clock.now())
        if now >= self._window_after:
            self._window_after = now + WINDOW_SECONDS
            self._tell_unanswered()
            released = release_open_windows(deployment.store) + release_left_behind(deployment.store)
            waiting = released + tell_of_expired(deployment.store) > 0 or waiting
            knocked = knock(deployment.store)
            waiting = knocked.moved + knocked.knocks > 0 or waiting
        if waiting:
            self.ring(deployment)

    def _book_ahead(self) -> None:
        """Work that comes again: its next occurrence, under the same key in every worker."""
        now = self.deployment.clock.now()
        with self.deployment.store.write() as session:
            for kind, span in self.every.items():
                due = next_occurrence(now, span)
                set_timer(session, kind, 0, f"{kind}:{due:%Y-%m-%dT%H:%M:%SZ}", due)

    def _tell_unanswered(self) -> None:
        """During a deploy another version answers them; else they stand still, and somebody should know. Told once a process."""
        late = self.deployment.clock.now() - UNANSWERED_AFTER
        for kind in set(find_unanswered(self.deployment.store, late, self.handlers)) - self._told:
            self._told.add(kind)
            log.error("timers of kind %s are due, and this version answers none of that kind", kind)

    def _handle(self, timer: DueTimer) -> None:
        crashpoint("timer.claimed")
        try:
            self.handlers[timer.kind](self.deployment, timer)
        except DATABASE_TROUBLE as error:
            log.warning("timer %d of kind %s is put off (%s)", timer.id, timer.kind, name_trouble(error))
            put_off_uncounted(self.deployment.store, timer)
        except Exception as error:  # noqa: BLE001 - one poisoned timer must not stop the others
            log.error("timer %d of kind %s failed, try %d (%s)", timer.id, timer.kind, timer.attempt, type(error).__name__)
            put_off(self.deployment.store, timer)
        else:
            crashpoint("timer.before_done")
            finish(self.deployment.store, timer)


def next_occurrence(now: datetime, span: timedelta) -> datetime:
    """The next whole multiple of ``span`` since the epoch: the same moment in every worker."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + ((now - epoch) // span + 1) * span
