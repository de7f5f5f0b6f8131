"""The long run: round after round a broadcast goes out and members text, while something is killed; then everything comes back, and holds.

Everything that chance decides comes from one seed. Real processes, a real Redis and a real PostgreSQL, each of which may be killed.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bot.delivery.pump import MOST_IN_FLIGHT
from bot.delivery.sweep import sweep
from bot.demo.embedded_redis import EmbeddedRedis, redis_answers, short_temporary_folder
from bot.simulator.client import RunningSimulator
from models import Base, Outbound, Phone, Poll
from models.messages import UNKNOWN
from tests.delivery import add_many_members
from tests.faults import invariants
from tests.faults.ground import LINE, Ground, moment
from tests.faults.processes import Nursery, Running
from tests.servers import PostgresServer, run_postgres, start_postgres, wait_until_it_answers
from tests.waiting import wait_for
from tests.world import new_sid

log = logging.getLogger("soak")

MEMBERS, TALKERS, MPS, CHUNK = 24, 8, 300.0, 10
WORDS = ("STOP", "START", "A", "B", "MENU", "JOIN SANGHA", "My street is flooded", "STOP")


# What was committed survives the server's death (the tests' usual server gives that up for speed).
REMEMBERS = ("synchronous_commit=on",)


class OwnPostgres:
    """A PostgreSQL that may be killed and started again. A context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=f"chorus-soak-{os.getpid()}-", dir=short_temporary_folder())
        self.root = Path(self._folder.name)
        self.process = start_postgres(self.root, *REMEMBERS)
        self.server = PostgresServer(f"postgresql://postgres@/postgres?host={self.root}")
        self._wait()

    def _wait(self) -> None:
        wait_until_it_answers(self.server, self.process, self.root / "log")

    def stop(self) -> None:
        """At once, as when the machine is switched off: what was committed is there again after the next start, nothing else."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(20)

    def start(self) -> None:
        self.process = run_postgres(self.root, *REMEMBERS)
        self._wait()

    def __enter__(self) -> OwnPostgres:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.stop()
        self._folder.cleanup()


@dataclass
class Said:
    """One text of a member and how the webhook took it the last time (0: nobody answered)."""

    number: str
    body: str
    sid: str
    status: int = 0


@dataclass
class Kept:
    """What the soak remembers across rounds."""

    callbacks: list[str] = field(default_factory=list)
    last: int = 0
    said: list[Said] = field(default_factory=list)
    stopped: dict[str, datetime] = field(default_factory=dict)
    killed_workers: int = 0
    faults: Counter[str] = field(default_factory=Counter)


class Soak:
    """``run(rounds)`` raises AssertionError, naming the round and the fault, when something does not hold."""

    def __init__(self, ground: Ground, redis: EmbeddedRedis, postgres: OwnPostgres | None, seed: int) -> None:
        self.ground, self.redis, self.postgres = ground, redis, postgres
        self.chance = random.Random(seed)
        self.kept = Kept()
        self.web: Running | None = None
        self.workers: list[Running] = []
        world = ground.world
        world.line(LINE, mps=MPS)
        self.collective = world.collective(lines=[LINE])
        add_many_members(world, self.collective, MEMBERS)
        self.talkers = [f"+1666{n:07d}" for n in range(TALKERS)]
        self.faults: dict[str, Callable[[], None]] = {
            "kill the workers": self._kill_workers,
            "kill the workers again": self._kill_workers,
            "kill one worker": self._kill_one,
            "kill the web server": self._kill_web,
            "ask the workers to stop": self._ask_to_stop,
            "flush Redis": self._flush,
            "kill Redis": self._kill_redis,
            "everything at once": self._kill_everything,
            "lost answers": lambda: None,
            "nothing": lambda: None,
        }
        if postgres is not None:
            self.faults |= {"stop PostgreSQL": postgres.stop, "stop PostgreSQL again": postgres.stop}

    def run(self, rounds: int) -> Counter[str]:
        """So many rounds; returns how often each fault struck."""
        self._bring_up()
        for number in range(rounds):
            fault = self.chance.choice(sorted(self.faults))
            try:
                self._round(fault)
            except AssertionError as error:
                logs = "\n".join(f"--- {process.program}\n{process.tell()}" for process in self.ground.running[-3:])
                raise AssertionError(f"round {number}, {fault!r}: {error}\n{logs}") from error
            self.kept.faults[fault] += 1
        return self.kept.faults

    # --- one round --------------------------------------------------------------------------------------------------------

    def _round(self, fault: str) -> None:
        self._set_carrier(fault)
        broadcast = self._send()
        texting = threading.Thread(target=self._text_on, args=([self._draw_text() for _ in range(self.chance.randint(0, 4))],))
        texting.start()
        delay = self.chance.random() * 0.4
        threading.Event().wait(delay)
        self.faults[fault]()
        texting.join(60)
        self.ground.carrier.clear_faults()
        self.ground.carrier.faults(receipts={"drop": True})
        self._bring_up()
        self._text_again()
        wait_for(self.ground.is_settled, f"everything to be over after {fault!r}", 60.0)
        self._check(broadcast)

    def _set_carrier(self, fault: str) -> None:
        switches: dict[str, Any] = {"latency_ms": self.chance.choice([0, 5, 30])}
        if fault == "lost answers":
            name = self.chance.choice(["accept_500", "accept_reset", "reject_500", "throttle_429"])
            switches[name] = {"share": 0.3, "count": 12}
        self.ground.carrier.faults(**switches)

    def _send(self) -> int:
        kind = self.chance.choice(["notice", "poll", "alert"])
        if kind != "poll":
            return self.ground.approve(self.collective, kind=kind)
        with self.ground.store.write() as session:
            poll = Poll(collective_id=self.collective, options=2, created_at=self.ground.world.clock.now())
            session.add(poll)
            session.flush()
        return self.ground.approve(self.collective, "Where?", kind="poll", poll_id=poll.id, options={"en": ["Park", "School"]})

    # --- what members text --------------------------------------------------------------------------------------------------

    def _draw_text(self) -> Said:
        return Said(self.chance.choice(self.talkers), self.chance.choice(WORDS), new_sid())

    def _text_on(self, texts: list[Said]) -> None:
        for said in texts:
            self.kept.said.append(said)
            self._text(said)

    def _text(self, said: Said) -> None:
        if said.body == "START":
            self.kept.stopped.pop(said.number, None)
        said.status = self.ground.text(said.number, said.body, said.sid).status
        # Whatever is newer for this phone counts more than an old text that is tried again.
        decisive = [other for other in self.kept.said if other.number == said.number and other.body in ("STOP", "START")]
        if said.body == "STOP" and said.status == 200 and decisive[-1] is said:
            self.kept.stopped[said.number] = moment()

    def _text_again(self) -> None:
        """Twilio tries again what nobody answered."""
        for said in self.kept.said:
            if said.status != 200:
                self._text(said)
                assert said.status == 200, f"the webhook says {said.status} after everything came back"

    # --- what dies, and comes back --------------------------------------------------------------------------------------------

    def _kill_workers(self) -> None:
        for worker in self.workers:
            worker.kill()
            self.kept.killed_workers += 1
        self.workers.clear()

    def _kill_one(self) -> None:
        """One now, the other one a moment later: what the first held is not taken over by a rule that the second would break."""
        self.workers.pop().kill()
        self.kept.killed_workers += 1
        threading.Event().wait(self.chance.random() * 0.1)
        self._kill_workers()

    def _kill_web(self) -> None:
        assert self.web is not None
        self.web.kill()
        self.web = None

    def _ask_to_stop(self) -> None:
        for worker in self.workers:
            assert worker.ask_to_stop() == 0, worker.tell()
        self.workers.clear()

    def _flush(self) -> None:
        self.ground.redis.flushall()

    def _kill_redis(self) -> None:
        os.kill(self.redis.child.pid, signal.SIGKILL)
        wait_for(lambda: self.redis.child.exit_code() is not None, "the end of Redis")

    def _kill_everything(self) -> None:
        acts = [self._kill_workers, self._kill_web, self._kill_redis]
        if self.postgres is not None:
            acts.append(self.postgres.stop)
        self.chance.shuffle(acts)
        for act in acts:
            act()

    def _bring_up(self) -> None:
        if self.postgres is not None and self.postgres.process.poll() is not None:
            self.postgres.start()
            self.ground.store.engine.dispose()  # this process's own connections are dead, too
        if self.redis.child.exit_code() is not None:
            self.redis.child.start()
            wait_for(lambda: redis_answers(self.redis.url), "Redis")
        if self.web is None:
            self.web = self.ground.web()
        if not self.workers:
            # Nobody is left who holds anything: now, and only now, its time may pass.
            self.ground.let_leases_run_out()
            # SQLite knows one worker (`flask doctor` refuses more).
            self.workers = [self.ground.worker(chunk=CHUNK) for _ in range(2 if self.postgres is not None else 1)]

    # --- what holds -----------------------------------------------------------------------------------------------------------

    def _check(self, broadcast: int) -> None:
        store, kept = self.ground.store, self.kept
        entries = self.ground.carrier.ledger(since=kept.last)
        kept.last = entries[-1]["n"] if entries else kept.last
        kept.callbacks += [entry["status_callback"] for entry in entries]
        invariants.check_the_ledger(store, kept.callbacks)
        invariants.check_the_rows(store)
        sweep(store)
        invariants.check_nothing_in_limbo(store)
        invariants.check_the_plan(store, broadcast)
        self.ground.climb.check()
        phones = self._phone_ids()
        invariants.check_no_send_after_stop(store, {phones[number]: at for number, at in kept.stopped.items()})
        found = invariants.states_of(store)
        lost_answers = 12 * (kept.faults["lost answers"] + 1)
        assert found[UNKNOWN] <= MOST_IN_FLIGHT * kept.killed_workers + lost_answers + len(kept.said)
        with store.read() as session:
            stored = session.scalar(sa.text("SELECT count(*) FROM inbound"))
            planned = session.scalar(sa.select(sa.func.count()).where(Outbound.broadcast_id == broadcast))
        assert stored == len(kept.said), f"{len(kept.said)} texts were answered, {stored} are stored"
        assert planned == MEMBERS, f"{planned} of {MEMBERS} members were planned"

    def _phone_ids(self) -> dict[str, int]:
        hashes = {self.ground.store.hash_number(number): number for number in self.talkers}
        with self.ground.store.read() as session:
            found = session.execute(sa.select(Phone.number_hash, Phone.id).where(Phone.number_hash.in_(hashes))).all()
        return {hashes[bytes(row.number_hash)]: row.id for row in found}


@contextmanager
def soak_ground(database: str, folder: Path, nursery: Nursery, simulator: RunningSimulator, seed: int) -> Iterator[Soak]:
    """A soak on "sqlite" or "postgresql" with servers of its own."""
    simulator.client.reset()
    simulator.client.faults(receipts={"drop": True})
    postgres = OwnPostgres() if database == "postgresql" else None
    try:
        url = f"sqlite:///{folder}/soak.db" if postgres is None else postgres.server.create_database("soak")
        with EmbeddedRedis(folder / "redis") as redis, Ground(url, redis.url, nursery, simulator) as ground:
            Base.metadata.create_all(ground.store.engine)
            yield Soak(ground, redis, postgres, seed)
    finally:
        if postgres is not None:
            postgres.__exit__()
