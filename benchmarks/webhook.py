"""The webhooks against bare Flask: a signed request without database, a whole message in, a receipt.

CPU seconds of the server process, asked of it before and after each slice of requests, because wall time on a shared machine says little.
Sockets and gunicorn are part of both sides: the goals are about a request as it costs in production, "on the same server". One connection
posts at a time; the sides take turns in slices of SLICE requests, and each slice is compared with the bare slices before and after it.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice, repeat

import sqlalchemy as sa

from benchmarks.client import LINE
from benchmarks.ground import SQLITE, Bench, Crowd, Ground, add_crowd, start_python, stop_process
from benchmarks.results import Result, at_most
from benchmarks.wire import Address, Connection, ask_all, signed_post
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.plan import plan_broadcast
from bot.delivery.tokens import callback_token
from bot.inbound.twiml import EMPTY
from models import Outbound, Poll
from models.messages import ACCEPTED
from tests.world import ACCOUNT, inbound_parameters, new_sid

TITLE = "The webhooks against bare Flask, CPU of the server process"
SLICE, WARM_UP, ROUNDS = 50, 4, 16
NOTE = "Could somebody bring the banner on Sunday?"
NOTED, COUNTED = b"Passed on", b"Counted"
# Requests, and what each answer must hold.
Side = tuple[Iterator[bytes], bytes]
# What is measured, with its goal on SQLite and on PostgreSQL.
FORM, SIGNED, RECEIPT = "bare Flask that reads the form", "signed, no database", "a status callback"
A_NOTE, A_VOTE = "a message in: a note", "a message in: a vote"
GOALS = {SIGNED: (1.5, 1.5), A_NOTE: (5.0, 7.0), A_VOTE: (5.0, 7.0), RECEIPT: (2.5, 3.5)}


@dataclass(frozen=True)
class Website:
    """A running `benchmarks.website`."""

    address: Address
    pid: int
    connection: Connection

    def cpu(self) -> float:
        """The CPU seconds it used so far."""
        return float(self.connection.ask(b"GET /cpu HTTP/1.1\r\nHost: bench\r\n\r\n")[1])


@contextmanager
def open_website(ground: Ground) -> Iterator[Website]:
    """Chorus and bare Flask behind one gunicorn, on the database of ``ground``."""
    arguments = ("-m", "benchmarks.website")
    process = start_python(*arguments, environment=ground.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        told = process.stdout.readline().split()
        if len(told) != 2:
            raise RuntimeError("the website did not start")
        address = ("127.0.0.1", int(told[0]))
        connection = Connection(address)
        yield Website(address, int(told[1]), connection)
        connection.close()
    finally:
        stop_process(process)


def text_from(ground: Ground, number: str, body: str, path: str = "/twilio/inbound") -> bytes:
    return signed_post(ground.deployment.settings.public_url, path, inbound_parameters(number, body, LINE))


def open_poll(ground: Ground, crowd: Crowd) -> int:
    """A poll that every member was asked a moment ago; returns its broadcast's id."""
    deployment = ground.deployment
    now = deployment.clock.now()
    with deployment.store.write() as session:
        poll = Poll(collective_id=crowd.collective_id, options=3, closes_at=now + timedelta(days=2), created_at=now)
        session.add(poll)
        session.flush()
        options = {"en": ["The library", "Gandhi Park", "Online"]}
        broadcast = draft_broadcast(
            session, now, crowd.collective_id, "poll", {"en": "Where shall we meet on Sunday?"}, options=options, poll_id=poll.id
        )
        approve_broadcast(session, now, broadcast, how="cli")
    plan_broadcast(deployment, broadcast.id)
    accept_all(ground, broadcast.id)
    return broadcast.id


def accept_all(ground: Ground, broadcast_id: int) -> list[int]:
    """As if the carrier had just accepted the first attempt of every row; returns the rows' ids."""
    now = ground.deployment.clock.now()
    asked = sa.case((Outbound.asks.is_not(None), now), else_=None)
    accepted = (
        sa.update(Outbound)
        .where(Outbound.broadcast_id == broadcast_id)
        .values(state=ACCEPTED, attempt=1, attempted_at=now, accepted_at=now, asked_at=asked)
        .returning(Outbound.id)
    )
    with ground.deployment.store.write() as session:
        return sorted(session.execute(accepted).scalars())


def notes(ground: Ground, crowd: Crowd, first: int) -> Iterator[bytes]:
    """Ordinary texts that no flow takes, each from another member, from the one at ``first`` on."""
    return (text_from(ground, crowd.number(index), NOTE) for index in range(first, len(crowd.memberships)))


def votes(ground: Ground, crowd: Crowd, most: int) -> Iterator[bytes]:
    """First votes in the open poll, each from another member."""
    return (text_from(ground, crowd.number(index), "abc"[index % 3]) for index in range(most))


def receipts(ground: Ground, rows: list[int]) -> Iterator[bytes]:
    """Two receipts for each outbound row, as the carrier sends them: sent, delivered."""
    deployment = ground.deployment
    for row in rows:
        path = "/twilio/status/" + callback_token(deployment.store, row, 1)
        sid = new_sid()
        for status in ("sent", "delivered"):
            parameters = {"MessageSid": sid, "SmsSid": sid, "MessageStatus": status, "SmsStatus": status, "AccountSid": ACCOUNT}
            parameters |= {"From": LINE, "To": "+16660000001", "ApiVersion": "2010-04-01", "RawDlrDoneDate": "2611220930"}
            yield signed_post(deployment.settings.public_url, path, parameters)


def notice_rows(ground: Ground, crowd: Crowd) -> list[int]:
    """A notice that the carrier accepted for every member; returns its rows' ids."""
    deployment = ground.deployment
    now = deployment.clock.now()
    with deployment.store.write() as session:
        broadcast = draft_broadcast(session, now, crowd.collective_id, "notice", {"en": "Rally today 10am at Gandhi Chowk"})
        approve_broadcast(session, now, broadcast, how="cli")
    plan_broadcast(deployment, broadcast.id)
    return accept_all(ground, broadcast.id)


def measure(bench: Bench) -> Iterator[Result]:
    for database in bench.databases:
        with bench.ground(database) as ground:
            yield from measure_on(ground)


def measure_on(ground: Ground) -> Iterator[Result]:
    count = SLICE * (WARM_UP + ROUNDS)
    crowd = add_crowd(ground.deployment, count)
    rows = notice_rows(ground, crowd)
    sides: dict[str, Side] = {
        SIGNED: ((text_from(ground, crowd.number(0), NOTE, "/signed") for _ in range(count)), EMPTY.encode()),
        A_NOTE: (notes(ground, crowd, 0), NOTED),
        RECEIPT: (receipts(ground, rows), b""),
    }
    form = signed_post(ground.deployment.settings.public_url, "/bare-form", inbound_parameters("+16660000001", NOTE, LINE))
    sides[FORM] = (repeat(form, count), EMPTY.encode())
    costs = run_rounds(ground, sides)
    # The poll is asked only now: with its question in flight, a note would cost its parsing too.
    open_poll(ground, crowd)
    voted = run_rounds(ground, {A_VOTE: (votes(ground, crowd, count), COUNTED)})
    assert counted_ballots(ground) == count
    costs |= voted
    yield Result(FORM, ground.database, "", f"{statistics.median(costs[FORM].ratios):.2f}x", costs[FORM].figures())
    for what, goals in GOALS.items():
        ratio, figures = statistics.median(costs[what].ratios), costs[what].figures()
        yield at_most(what, ground.database, ratio, goals[0 if ground.database == SQLITE else 1], figures)


@dataclass(frozen=True)
class Cost:
    """CPU seconds a request in each slice, and in its bare neighbours."""

    ours: list[float]
    bare: list[float]

    @property
    def ratios(self) -> list[float]:
        return [one / other for one, other in zip(self.ours, self.bare, strict=True)]

    def figures(self) -> str:
        """Both medians; and the quietest slices of both, which say what it costs on an idle machine."""
        medians = f"{statistics.median(self.ours) * 1e6:.0f} us against {statistics.median(self.bare) * 1e6:.0f} us a request"
        return f"{medians} (quietest {min(self.ours) * 1e6:.0f} against {min(self.bare) * 1e6:.0f})"


def run_rounds(ground: Ground, sides: dict[str, Side]) -> dict[str, Cost]:
    """Measure each side, in turns with bare Flask."""
    bare_request = signed_post(ground.deployment.settings.public_url, "/bare", inbound_parameters("+16660000001", NOTE, LINE))
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    with open_website(ground) as website:

        def cost_of(requests: list[bytes], expected: bytes) -> float:
            before = website.cpu()
            ask_all(website.connection, requests, expected)
            return (website.cpu() - before) / len(requests)

        for turn in range(WARM_UP + ROUNDS):
            before = cost_of([bare_request] * SLICE, EMPTY.encode())
            for name, (requests, expected) in sides.items():
                ours = cost_of(list(islice(requests, SLICE)), expected)
                after = cost_of([bare_request] * SLICE, EMPTY.encode())
                if turn >= WARM_UP:
                    spent[name].append((ours, (before + after) / 2))
                before = after
    return {name: Cost([ours for ours, _ in pairs], [bare for _, bare in pairs]) for name, pairs in spent.items()}


def counted_ballots(ground: Ground) -> int:
    with ground.deployment.store.read() as session:
        return session.execute(sa.text("SELECT count(*) FROM ballots")).scalar_one()
