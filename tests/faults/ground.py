"""One deployment with real processes on it: members, a broadcast, a worker that dies at a point, the leases that run out, the rest."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import urllib3
from redis import Redis
from twilio.request_validator import RequestValidator

from bot.delivery.bell import MARK
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.sweep import sweep
from bot.deployment import Deployment
from bot.simulator.client import RunningSimulator, TextReply
from models import Broadcast, Inbound, Keyring, Line, Outbound, Store, Timer
from models.broadcasts import SCHEDULED, SENDING
from models.messages import ATTEMPTING, CLAIMED, QUEUED
from tests.conftest import make_settings
from tests.delivery import change
from tests.faults import invariants
from tests.faults.processes import Nursery, Running, free_port, wait_until_it_serves
from tests.waiting import wait_for
from tests.world import TOKEN, World

LINE = "+15550001111"
PUBLIC = "https://chorus.example.org"
_o: Any = Outbound.__table__


class Ground:
    """A context manager: what it started is gone at its end. The clock runs, as the processes' own do."""

    def __init__(self, database_url: str, redis_url: str, nursery: Nursery, simulator: RunningSimulator, **settings: Any) -> None:
        values = {"redis_url": redis_url, "twilio_api_url": simulator.url, "public_url": PUBLIC} | settings
        self.settings = make_settings(database_url, **values)
        self.world = World(Deployment(self.settings, Store(self.settings.database_url, Keyring(self.settings.data_keys))))
        self.store = self.world.store
        self.redis = Redis.from_url(redis_url)
        self.carrier = simulator.client
        self.nursery = nursery
        self.port = free_port()
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30.0))
        self.running: list[Running] = []
        self.climb = invariants.Climb(self.store)
        self.carrier.configure(webhook_base=f"http://127.0.0.1:{self.port}", public_base=PUBLIC)

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill_all()
        self.store.close()
        self.redis.close()

    # --- processes ----------------------------------------------------------------------------------------------------

    def worker(self, crash_at: str = "", **tune: int) -> Running:
        """``chunk``: fan-out in chunks of so many; ``settled``: a text that no webhook brought is missed after so many seconds."""
        return self._keep(self.nursery.start("worker", self.settings, crash_at=crash_at, tune=tune))

    def web(self, crash_at: str = "") -> Running:
        """A web server that answers already. Always on the same port, so that the carrier finds it again."""
        web = self._keep(self.nursery.start("web", self.settings, crash_at=crash_at, CHORUS_BIND=f"127.0.0.1:{self.port}"))
        wait_until_it_serves(web, self.port)
        return web

    def _keep(self, process: Running) -> Running:
        self.running.append(process)
        return process

    def kill_all(self) -> None:
        for process in self.running:
            process.kill()
        self.running.clear()

    # --- people -------------------------------------------------------------------------------------------------------

    def approve(self, collective: int, text: str = "Rally today", *, kind: str = "notice", **named: Any) -> int:
        """As an organizer does it: the planning and the sending are the worker's. Returns the broadcast's id."""
        now = self.world.clock.now()
        with self.store.write() as session:
            drafted = draft_broadcast(session, now, collective, kind, {"en": text}, **named)
            assert approve_broadcast(session, now, drafted, how="cli")
        return drafted.id

    def text(self, number: str, body: str, sid: str | None = None, **named: Any) -> TextReply:
        """Text from a phone through the carrier and the real web server; ``status`` 0: nobody answered."""
        return self.carrier.text(number, LINE, body, sid=sid, **named)

    def post(self, path: str, parameters: dict[str, str]) -> int:
        """A signed webhook that the carrier would send, posted once; the HTTP status, 0 when nobody answered."""
        signature = RequestValidator(TOKEN).compute_signature(PUBLIC + path, parameters)
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            response = self._http.request_encode_body(
                "POST", url, parameters, headers={"X-Twilio-Signature": signature}, encode_multipart=False
            )
        except urllib3.exceptions.HTTPError:
            return 0
        return response.status

    # --- time ---------------------------------------------------------------------------------------------------------

    def let_leases_run_out(self) -> None:
        """Two minutes pass for whatever a dead process holds: lines, claims, attempts, look-ups, timers, the bell's mark."""
        now = self.world.clock.now()
        change(self.world, Line, lease_until=0.0, next_slot=0.0)
        change(self.world, Outbound, Outbound.lease_until.is_not(None), lease_until=1.0)
        change(self.world, Outbound, Outbound.check_at.is_not(None), check_at=now)
        change(self.world, Timer, Timer.done_at.is_(None), lease_until=0.0)
        self.redis.delete(MARK)

    def wait_until_settled(self, seconds: float = 30.0) -> None:
        """Every broadcast is planned, nothing waits, is claimed or on its way; then one sweep, which closes what is over."""
        wait_for(self.is_settled, "everything to be over", seconds)
        sweep(self.store)

    def is_settled(self) -> bool:
        # What left in a webhook's answer was never claimed (no fence), and waits a minute for its receipt.
        on_its_way = sa.or_(_o.c.state.in_((QUEUED, CLAIMED)), sa.and_(_o.c.state == ATTEMPTING, _o.c.fence.is_not(None)))
        with self.store.read() as session:
            rows = session.scalar(sa.select(sa.func.count()).where(on_its_way))
            going = (Broadcast.state.in_((SCHEDULED, SENDING)), Broadcast.planned_at.is_(None))
            return not rows and not session.scalar(sa.select(sa.func.count()).select_from(Broadcast).where(*going))

    # --- what came of it ----------------------------------------------------------------------------------------------

    def callbacks(self) -> list[str]:
        return [entry["status_callback"] for entry in self.carrier.ledger()]

    def check(self, broadcasts: Iterable[int] = ()) -> None:
        """All invariants, by the database and by the carrier's ledger."""
        invariants.check_the_ledger(self.store, self.callbacks())
        invariants.check_the_rows(self.store)
        for broadcast in broadcasts:
            invariants.check_the_plan(self.store, broadcast)
        self.climb.check()

    def count(self, table: Any, *where: Any) -> int:
        with self.store.read() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0

    def inbound(self) -> int:
        return self.count(Inbound)


def moment() -> datetime:
    """The present by the machine's clock, aware: what the processes write into their rows."""
    return datetime.fromtimestamp(time.time(), UTC)
