"""How long somebody who texts waits for her answer while others text too, or while a broadcast leaves at full pace.

First: 16 senders at once on SQLite, each texting again as soon as she is answered (a note, a vote), with a worker that sends at 10 a second
and receipts that come in. That is as much as one web process takes: the time is mostly the others' turns.

Then: a broadcast that leaves at 225 segments a second, the fastest there is (a short code), with its two receipts a message coming back
to the same web process, and somebody who texts ten times a second. What she is answered in the response, and what must go out by the
queue (a code, ahead of the broadcast).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice

from benchmarks.carrier import forget_bells, open_simulator, open_worker, send_to, unsent
from benchmarks.client import LINE, number_of
from benchmarks.ground import SQLITE, Bench, Crowd, Ground, add_crowd
from benchmarks.results import Result, percentile, within
from benchmarks.webhook import NOTED, Website, notes, open_poll, open_website, votes
from benchmarks.wire import Connection, ask_together, check
from bot.delivery.bell import ring
from bot.delivery.outbox import Letter, put
from bot.simulator.client import SimulatorClient

TITLE = "A member's answer, in the crowd"
SENDERS, SECONDS, MEMBERS = 16, 6.0, 6_000
SLOW_LINE = "+15550003333"
TEXTS_A_SECOND, CODES = 10, 20
FULL_PACE, BROADCAST = 225.0, 2_700


def measure(bench: Bench) -> Iterator[Result]:
    for database in bench.databases:
        yield from answer_many(bench, database)
        yield from answer_during_a_broadcast(bench, database)


def answer_many(bench: Bench, database: str) -> Iterator[Result]:
    with ExitStack() as stack:
        simulator = stack.enter_context(open_simulator([LINE, SLOW_LINE], receipts=True))
        ground = stack.enter_context(bench.ground(database, TWILIO_API_URL=simulator.url))
        forget_bells(ground)
        crowd = add_crowd(ground.deployment, MEMBERS)
        slow = add_crowd(ground.deployment, 400, mps=10.0, line=SLOW_LINE, first=MEMBERS)
        open_poll(ground, crowd)
        website = open_behind(stack, ground, simulator.client)
        stack.enter_context(open_worker(ground))
        send_to(ground, slow)
        texts = list(chain.from_iterable(zip(votes(ground, crowd, MEMBERS // 2), notes(ground, crowd, MEMBERS // 2), strict=True)))
        ask_together(website.address, iter(texts[:200]), SENDERS, SECONDS)
        took = ask_together(website.address, iter(texts[200:]), SENDERS, SECONDS)
    figures = f"median {percentile(took, 0.5) * 1e3:.0f} ms, {len(took) / SECONDS:.0f} texts a second"
    p99 = percentile(took, 0.99) * 1e3
    what = f"p99 with {SENDERS} senders at once, a worker running"
    if database == SQLITE:
        yield within(what, database, p99, 100.0, "ms", figures)
    else:
        yield Result(what, database, "", f"{p99:.4g} ms", figures, None, p99)


def open_behind(stack: ExitStack, ground: Ground, carrier: SimulatorClient) -> Website:
    """A website that the carrier's receipts reach."""
    website = stack.enter_context(open_website(ground))
    base = f"http://{website.address[0]}:{website.address[1]}"
    carrier.configure(webhook_base=base, public_base=ground.deployment.settings.public_url)
    return website


def answer_during_a_broadcast(bench: Bench, database: str) -> Iterator[Result]:
    with ExitStack() as stack:
        simulator = stack.enter_context(open_simulator([LINE], latency_ms=50.0, receipts=True))
        ground = stack.enter_context(bench.ground(database, TWILIO_API_URL=simulator.url))
        forget_bells(ground)
        crowd = add_crowd(ground.deployment, BROADCAST, mps=FULL_PACE)
        website = open_behind(stack, ground, simulator.client)
        stack.enter_context(open_worker(ground))
        texts = list(islice(notes(ground, crowd, 0), 500))
        broadcast = send_to(ground, crowd)
        began = time.perf_counter()
        simulator.client.wait_for(lambda: simulator.client.count() > 100, timeout=20)
        answered: list[float] = []
        over = threading.Event()
        texting = threading.Thread(target=text_steadily, args=(website, texts, answered, over))
        texting.start()
        put_at: list[float] = []
        for index in range(CODES):
            put_at.append(put_code(ground, crowd, index))
            time.sleep(0.1)
        while left := unsent(ground, broadcast):
            if time.perf_counter() - began > 60:
                raise TimeoutError(f"{left} messages are not sent")
            time.sleep(0.02)
        took = time.perf_counter() - began
        over.set()
        texting.join()
        ledger = simulator.client.ledger()
    sent_at = {one["body"]: float(one["received_monotonic"]) for one in ledger if one["body"].startswith("Code ")}
    waits = [sent_at[f"Code {index}"] - moment for index, moment in enumerate(put_at)]
    last = max(float(one["received_monotonic"]) for one in ledger if not one["body"].startswith("Code "))
    behind = sum(moment > last for moment in sent_at.values())
    pace = f"while {BROADCAST / took:.0f} a second leave, and their receipts come"
    p99 = percentile(answered, 0.99)
    figures = f"median {percentile(answered, 0.5) * 1e3:.0f} ms of {len(answered)}, {pace}"
    yield within("p99 of an answer in the response, during a broadcast", database, p99, 1.0, "s", figures)
    figures = f"median {percentile(waits, 0.5) * 1e3:.0f} ms of {len(waits)}; {behind} left after the broadcast's last"
    yield within("the slowest of the messages that overtake it", database, max(waits), 1.0, "s", figures)


def text_steadily(website: Website, texts: list[bytes], answered: list[float], over: threading.Event) -> None:
    """TEXTS_A_SECOND until it is over, whether the answers are quick or not: the next text is never later because of the last answer."""
    connection = Connection(website.address)
    due = time.perf_counter()
    for text in texts:
        if over.is_set():
            break
        time.sleep(max(0.0, due - time.perf_counter()))
        check(*connection.ask(text), NOTED)
        answered.append(time.perf_counter() - due)
        due += 1 / TEXTS_A_SECOND
    connection.close()


def put_code(ground: Ground, crowd: Crowd, index: int) -> float:
    """Queue a code for one member; returns the moment (monotonic) of its commit."""
    deployment = ground.deployment
    phone = crowd.memberships[index]
    letter = Letter(
        "code", f"Code {index}", "en", crowd.line_id, phone, person_id=phone, collective_id=crowd.collective_id, unprompted=False
    )
    with deployment.store.write() as session:
        put(session, deployment.clock.now(), letter)
    moment = time.monotonic()
    ring(deployment)
    assert number_of(phone - 1) == crowd.number(index)
    return moment
