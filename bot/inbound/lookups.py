"""The worker's second thread: everything that asks the carrier's list. The clock thread must never wait for an answer over the network.

Unknown outcomes every few seconds; texts that no webhook brought at the start, after an outage and every five minutes; prices now and then.
Whatever fails is tried again, later and later; nothing that fails here ends the worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from bot.delivery.account import Service, TwilioAccount, Webhook
from bot.delivery.carrier_list import ListUnread, ReadsList
from bot.delivery.gateway import AccountClient, AccountError
from bot.delivery.listed_prices import PriceReader
from bot.delivery.reconcile import look_up_unknown
from bot.delivery.trouble import DATABASE_TROUBLE, name_trouble
from bot.deployment import Deployment
from bot.inbound.backfill import TIMER, read_missed
from bot.inbound.receive import Reception
from bot.schedule.clock import Handler

log = logging.getLogger("chorus.lookups")

TICK_SECONDS = 2.0
# After a failure, doubled with each one: seconds.
FIRST_REST, LONGEST_REST = 10.0, 600.0
# Unknown outcomes looked up at a time. More of them mean an outage: they follow at once, but missed texts get their turn between.
MOST, MOST_SECONDS = 20, 20.0
PRICES = "listed_prices"
# Which timers wake this thread, and how often they come (one worker answers each).
EVERY = {TIMER: timedelta(minutes=5), PRICES: timedelta(minutes=30)}
POOL_KEPT_SECONDS = 3600.0


class LookupsThread(threading.Thread):
    """``gateway``: one of its own, for it may hang. ``stop``: ends after the request in progress; one that hangs ends with the process."""

    def __init__(
        self, deployment: Deployment, reception: Reception, gateway: ReadsList, stop: threading.Event, pool: ServicePool | None = None
    ) -> None:
        super().__init__(name="lookups", daemon=True)
        self.deployment, self.reception, self.gateway, self.stop_asked = deployment, reception, gateway, stop
        self.pool = pool or ServicePool(deployment)
        self.prices = PriceReader(deployment, gateway)
        # A worker's start may be the end of an outage.
        self.wants_missed, self.wants_prices = threading.Event(), threading.Event()
        self.wants_missed.set()
        self._rests: dict[str, tuple[float, float]] = {}

    def handlers(self) -> dict[str, Handler]:
        """What the clock does with this thread's timers: it wakes this thread, and does not wait."""
        return {TIMER: lambda *_: self.wants_missed.set(), PRICES: lambda *_: self.wants_prices.set()}

    def run(self) -> None:
        while not self.stop_asked.is_set():
            self.look()
            self.stop_asked.wait(TICK_SECONDS)

    def look(self) -> None:
        """One round: each job whose rest is over."""
        self._do("unknown outcomes", self._look_up_unknown)
        if self.wants_missed.is_set():
            self._do("missed texts", self._read_missed)
        if self.wants_prices.is_set():
            self._do("prices", self._read_prices)

    def _look_up_unknown(self) -> None:
        until = time.monotonic() + MOST_SECONDS
        while not self.stop_asked.is_set() and time.monotonic() < until:
            seen = look_up_unknown(self.deployment, self.gateway, MOST)
            if seen.unread is not None:
                raise ListUnread(seen.unread)
            if seen.total < MOST:
                return

    def _read_missed(self) -> None:
        # Taken back before the work: whoever asks meanwhile is heard.
        self.wants_missed.clear()
        try:
            seen = read_missed(self.reception, self.gateway, self.pool, self.stop_asked)
        except Exception:
            self.wants_missed.set()
            raise
        if seen.unread is not None:
            self.wants_missed.set()
            raise ListUnread(seen.unread)

    def _read_prices(self) -> None:
        self.wants_prices.clear()
        done = self.prices.read()
        if done:
            log.info("%d prices of Twilio's written down", done)

    def _do(self, name: str, job: Callable[[], None]) -> None:
        until, rest = self._rests.get(name, (0.0, FIRST_REST))
        if self.stop_asked.is_set() or time.monotonic() < until:
            return
        try:
            job()
        except DATABASE_TROUBLE as error:
            # While it was away, texts may have been refused.
            self.wants_missed.set()
            log.warning("%s: the database failed (%s)", name, name_trouble(error))
        except ListUnread as error:
            log.warning("%s: the carrier's list could not be read (%s); again in %.0f s", name, error, rest)
            self._rests[name] = (time.monotonic() + rest, min(rest * 2, LONGEST_REST))
        except Exception as error:  # noqa: BLE001 - a mistake of ours in one job must not end the others, nor the worker
            log.error("%s: failed (%s); again in %.0f s", name, type(error).__name__, rest)
            self._rests[name] = (time.monotonic() + rest, min(rest * 2, LONGEST_REST))
        else:
            self._rests.pop(name, None)


class ServicePool:
    """The numbers behind each Messaging Service, read once an hour."""

    def __init__(self, deployment: Deployment) -> None:
        settings = deployment.settings
        self._account = TwilioAccount(AccountClient(settings), settings.twilio_account_sid)
        self._known: dict[str, tuple[float, list[str]]] = {}

    def __call__(self, service: str) -> Sequence[str]:
        """Raises ListUnread."""
        read_at, numbers = self._known.get(service, (0.0, []))
        if not numbers or time.monotonic() - read_at > POOL_KEPT_SECONDS:
            try:
                numbers = self._account.pool_of(Service(service, Webhook(), False))
            except AccountError as error:
                raise ListUnread(f"pool, HTTP {error.status}") from None
            self._known[service] = (time.monotonic(), numbers)
        return numbers
