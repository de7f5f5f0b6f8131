"""What sixteen open live pages do to the webhook: organizers watch a broadcast leave, a vote, an action and the first page, members text.

A page that watches asks again every few seconds, as its htmx attributes say; none holds a connection. Members text at a steady rate,
whether answers are quick or not. Slices with the pages and slices without take turns, so that what disturbs the machine disturbs both.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from benchmarks.ground import Bench, Crowd, Ground, add_crowd
from benchmarks.results import Result, at_most, percentile
from benchmarks.webhook import NOTED, Website, accept_all, notes, open_poll, open_website
from benchmarks.wire import Connection, WrongAnswer, check
from bot.console.sessions import COOKIE, open_session
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.plan import plan_broadcast
from models import Alert, Broadcast, Role
from models.broadcasts import SENDING

TITLE = "The webhook, while 16 live pages are open"
MEMBERS, WATCHED, TEXTS_A_SECOND = 8_000, 2_000, 40
SLICES, SLICE_SECONDS = 6, 6.0
PAGES, MOST = 16, 2.0


@dataclass(frozen=True)
class Page:
    """A live part: how often it asks (seconds), and what its answer must hold."""

    path: str
    every: float
    holds: bytes


def measure(bench: Bench) -> Iterator[Result]:
    for database in bench.databases:
        with bench.ground(database) as ground:
            crowd = add_crowd(ground.deployment, MEMBERS)
            pages = open_pages(ground, crowd)
            cookie = log_in(ground, crowd)
            texts = notes(ground, crowd, WATCHED)
            with open_website(ground) as website:
                alone, watched, asked = take_turns(website, texts, pages, cookie)
        p99, p99_watched = percentile(alone, 0.99), percentile(watched, 0.99)
        figures = (
            f"p99 {p99_watched * 1e3:.0f} ms against {p99 * 1e3:.0f} ms, p95 {percentile(watched, 0.95) * 1e3:.0f} against "
            f"{percentile(alone, 0.95) * 1e3:.0f}, median {percentile(watched, 0.5) * 1e3:.1f} against "
            f"{percentile(alone, 0.5) * 1e3:.1f} ms, of {len(watched)} and {len(alone)} texts; {asked} looks at pages"
        )
        yield at_most("p99 of a message in, with and without them", database, p99_watched / p99, MOST, figures)


def open_pages(ground: Ground, crowd: Crowd) -> list[Page]:
    """Sixteen live parts: of a broadcast on its way, a vote, an action, and the first page; as often as each asks."""
    poll = open_poll(ground, crowd)
    deployment, now = ground.deployment, ground.deployment.clock.now()
    with deployment.store.write() as session:
        alert = Alert(collective_id=crowd.collective_id, created_at=now)
        session.add(alert)
        session.flush()
        call = draft_broadcast(session, now, crowd.collective_id, "alert", {"en": "Rally at six."}, alert_id=alert.id)
        approve_broadcast(session, now, call, how="cli")
    plan_broadcast(deployment, call.id)
    accept_all(ground, call.id)
    with deployment.store.write() as session:
        session.get_one(Broadcast, call.id).state = SENDING
        vote = session.get_one(Broadcast, poll).number
    base = "/console/sangha0"
    kinds = (
        Page(f"{base}/broadcasts/{call.number}/live?seen={SENDING}", 3.0, b'id="live"'),
        Page(f"{base}/polls/{vote}/turnout", 5.0, b'id="turnout"'),
        Page(f"{base}/actions/{call.number}/headcount", 5.0, b'id="headcount"'),
        Page(f"{base}/now", 10.0, b'id="now"'),
    )
    return [kind for _ in range(PAGES // len(kinds)) for kind in kinds]


def log_in(ground: Ground, crowd: Crowd) -> str:
    """An organizer's session; the cookie's value."""
    with ground.deployment.store.write() as session:
        member = crowd.memberships[0]
        session.add(Role(membership_id=member, role="organizer"))
        return open_session(ground.deployment.store, session, ground.deployment.clock.now(), member, "Firefox on Linux")


def take_turns(website: Website, texts: Iterator[bytes], pages: list[Page], cookie: str) -> tuple[list[float], list[float], int]:
    """Answer times without and with the pages, and how often the pages asked.

    One turn of each goes before and is not counted: a server that has run for a minute has its templates compiled, its connections open.
    """
    alone: list[float] = []
    watched: list[float] = []
    looks = itertools.count()
    failed: list[Exception] = []
    for turn in range(-2, 2 * SLICES):
        with_pages, over = turn % 2 == 1, threading.Event()
        watchers = [
            threading.Thread(target=watch, args=(website, page, cookie, place, over, looks, failed))
            for place, page in enumerate(pages)
            if with_pages
        ]
        for watcher in watchers:
            watcher.start()
        text_steadily(website, islice(texts, int(TEXTS_A_SECOND * SLICE_SECONDS)), ([] if turn < 0 else watched if with_pages else alone))
        over.set()
        for watcher in watchers:
            watcher.join()
        if failed:
            raise failed[0]
    return alone, watched, next(looks)


def watch(
    website: Website, page: Page, cookie: str, place: int, over: threading.Event, looks: Iterator[int], failed: list[Exception]
) -> None:
    """One open page: asks every so often, each at another moment, until it is over."""
    if over.wait(page.every * place / PAGES):
        return
    # Opened with its first request: a connection that says nothing yet would hold one of gunicorn's threads.
    connection = Connection(website.address)
    try:
        while True:
            look_at(connection, page, cookie)
            next(looks)
            if over.wait(page.every):
                break
    except (WrongAnswer, OSError) as trouble:
        failed.append(trouble)
    finally:
        connection.close()


def look_at(connection: Connection, page: Page, cookie: str) -> None:
    """Ask once, as htmx does. Raises WrongAnswer."""
    request = f"GET {page.path} HTTP/1.1\r\nHost: chorus.example.org\r\nHX-Request: true\r\nCookie: {COOKIE}={cookie}\r\n\r\n"
    check(*connection.ask(request.encode()), page.holds)


def text_steadily(website: Website, texts: Iterator[bytes], took: list[float]) -> None:
    """TEXTS_A_SECOND, from as many phones as are needed: a text is never later because the last answer is slow."""
    waiting: list[threading.Thread] = []
    lock = threading.Lock()
    free: list[Connection] = []

    def send(text: bytes, connection: Connection, due: float) -> None:
        check(*connection.ask(text), NOTED)
        with lock:
            took.append(time.perf_counter() - due)
            free.append(connection)

    due = time.perf_counter()
    for text in texts:
        time.sleep(max(0.0, due - time.perf_counter()))
        with lock:
            connection = free.pop() if free else Connection(website.address)
        thread = threading.Thread(target=send, args=(text, connection, due))
        thread.start()
        waiting.append(thread)
        due += 1 / TEXTS_A_SECOND
    for thread in waiting:
        thread.join()
    for connection in free:
        connection.close()
