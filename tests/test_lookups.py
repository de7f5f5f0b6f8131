"""Looking up over the carrier's own protocol: the simulator as a process, the unmodified client, the thread that does it in a worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import urllib3
from redis import Redis
from sqlalchemy.exc import OperationalError
from twilio.rest import Client
from werkzeug.serving import make_server

import bot.delivery.gateway
import bot.inbound.lookups
from bot.delivery import listed_prices
from bot.delivery.carrier_list import ListUnread
from bot.delivery.gateway import Gateway
from bot.delivery.listed_prices import PriceReader
from bot.delivery.pump import MOST_IN_FLIGHT
from bot.delivery.reconcile import LookedUp, look_up_unknown
from bot.delivery.sweep import sweep
from bot.deployment import Deployment
from bot.inbound import backfill
from bot.inbound.backfill import TIMER, read_missed
from bot.inbound.keywords import WordTable
from bot.inbound.lines import LineBook
from bot.inbound.lookups import PRICES, LookupsThread
from bot.inbound.receive import Reception
from bot.simulator.client import RunningSimulator, start_simulator
from flows import FLOWS, WORDS
from models import Inbound, Keyring, Line, Membership, Outbound, Spending, Store
from tests.conftest import make_settings
from tests.delivery import add_many_members, change, pump_all, put_letter, row, rows, send_broadcast, states
from tests.faults.processes import free_port
from tests.lists import ScriptedList
from tests.test_simulator import Rerouted
from tests.test_worker import worker_for
from tests.waiting import wait_for
from tests.world import ACCOUNT, TOKEN, World

LINE, SERVICE, POOLED = "+15550001111", "MG" + "0" * 32, "+15550002222"
ASHA = "+15551000001"


@pytest.fixture(scope="module")
def carrier_process() -> Iterator[RunningSimulator]:
    lines = [LINE, POOLED, {"address": SERVICE, "pool": [POOLED]}]
    with start_simulator(account=ACCOUNT, token=TOKEN, webhook_base="http://127.0.0.1:9", lines=lines) as simulator:
        yield simulator


@pytest.fixture
def carrier(carrier_process: RunningSimulator) -> RunningSimulator:
    carrier_process.client.reset()
    carrier_process.client.clear_faults()
    carrier_process.client.faults(receipts={"drop": True})
    return carrier_process


def open_running(database_url: str, carrier: RunningSimulator, **overrides: object) -> World:
    """A world whose clock runs, as the carrier's does."""
    settings = make_settings(database_url, twilio_api_url=carrier.url, **overrides)
    return World(Deployment(settings, Store(settings.database_url, Keyring(settings.data_keys))))


@pytest.fixture
def running(database_url: str, carrier: RunningSimulator) -> Iterator[World]:
    world = open_running(database_url, carrier)
    yield world
    world.store.close()


def impatient(world: World) -> Gateway:
    """A gateway that gives an answer up after half a second."""
    gateway = Gateway(world.deployment.settings, connections=8)
    gateway.transport.timeouts = urllib3.Timeout(connect=5.0, read=0.5)
    return gateway


def look(world: World) -> LookedUp:
    """The moment of the next look comes."""
    change(world, Outbound, Outbound.check_at.is_not(None), check_at=world.clock.now())
    return look_up_unknown(world.deployment, Gateway(world.deployment.settings, connections=2))


# --- the list itself ----------------------------------------


def test_the_list_is_read_in_pages_whole_or_not(running: World, carrier: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway(running.deployment.settings)
    for number in range(7):
        gateway.send(to=ASHA, sender=LINE, body=f"Text {number}", callback="https://chorus.example.org/x")
    monkeypatch.setattr(bot.delivery.gateway, "LARGEST_PAGE", 3)
    whole = gateway.list_messages(to=ASHA, most=100)
    assert ([each.body for each in whole.messages], whole.is_whole) == ([f"Text {number}" for number in range(6, -1, -1)], True)
    cut = gateway.list_messages(to=ASHA, most=5)
    assert (len(cut.messages), cut.is_whole) == (5, False)
    assert gateway.list_messages(to="+15559999999").messages == []
    first = whole.messages[0]
    assert (first.direction, first.to, first.sender, first.segments) == ("outbound-api", ASHA, LINE, 1)
    assert abs(whole.now - datetime.now(UTC)) < timedelta(minutes=2)
    assert timedelta(0) <= whole.now - first.created_at < timedelta(minutes=2)


def test_what_is_not_sent_yet_has_no_date_of_sending(running: World, carrier: RunningSimulator) -> None:
    """Why an unknown message is looked for by its recipient alone."""
    carrier.client.faults(receipts={"drop": True, "sent_ms": 600_000, "delivered_ms": 700_000})
    gateway = Gateway(running.deployment.settings)
    gateway.send(to=ASHA, sender=LINE, body="Hello", callback="https://chorus.example.org/x")
    assert gateway.list_messages(to=ASHA).messages[0].sent_at is None
    assert gateway.list_messages(to=ASHA, sent_after=datetime.now(UTC) - timedelta(days=1)).messages == []


@pytest.mark.parametrize("trouble", ["no connection", "wrong token", "no answer"])
def test_a_list_that_can_not_be_read_is_one_kind_of_error(running: World, carrier: RunningSimulator, trouble: str) -> None:
    named: dict[str, object] = {"twilio_api_url": carrier.url}
    if trouble == "no connection":
        named = {"twilio_api_url": "http://127.0.0.1:9"}
    elif trouble == "wrong token":
        named["twilio_auth_token"] = "f" * 32
    gateway = Gateway(make_settings("sqlite:////tmp/never-opened.db", **named))
    if trouble == "no answer":
        carrier.client.faults(latency_ms=3_000)
        gateway.transport.timeouts = urllib3.Timeout(connect=5.0, read=0.2)
    with pytest.raises(ListUnread) as raised:
        gateway.list_messages(to=ASHA)
    assert ASHA not in str(raised.value) and ("401" in str(raised.value)) is (trouble == "wrong token")


# --- unknown outcomes ----------------------------------------


@pytest.mark.parametrize("fault", ["accept_hang", "accept_reset", "accept_500"])
@pytest.mark.parametrize("kind", ["relay", "alert"])
def test_o3_accepted_and_the_answer_lost(running: World, carrier: RunningSimulator, fault: str, kind: str) -> None:
    number = lost(running, carrier, kind, {fault: {"hang_s": 60} if fault == "accept_hang" else True})
    carrier.client.clear_faults()
    assert look(running) == LookedUp(found=1)
    assert (row(running, number).state, row(running, number).sid) == ("accepted", carrier.client.ledger()[0]["sid"])
    assert look(running).total == 0 and carrier.client.count() == 1, "found, so never sent again"


@pytest.mark.parametrize(("kind", "most"), [("relay", 1), ("check_in", 1), ("page", 1), ("alert", 2)])
def test_o3_what_the_list_does_not_show_follows_its_class(running: World, carrier: RunningSimulator, kind: str, most: int) -> None:
    """The worst: it was accepted, and the carrier's list never shows it."""
    number = lost(running, carrier, kind, {"accept_500": True})
    carrier.client.clear_faults()
    carrier.client.faults(receipts={"drop": True})
    client = Client(ACCOUNT, TOKEN, http_client=Rerouted(carrier.url))
    client.messages(carrier.client.ledger()[0]["sid"]).delete()
    for _ in range(4):
        look(running)
        pump_all(running, Gateway(running.deployment.settings), 30.0)
    assert carrier.client.count() == most
    assert row(running, number).state == ("accepted" if kind == "alert" else "unknown")
    assert row(running, number).resent is (kind == "alert")


def lost(world: World, carrier: RunningSimulator, kind: str, faults: dict[str, object]) -> int:
    """One message of this kind, whose answer is lost; returns its row."""
    carrier.client.faults(**faults, receipts={"drop": True, "sent_ms": 600_000, "delivered_ms": 700_000})
    world.line(LINE, mps=100.0)
    member = world.member(world.collective(lines=[LINE]), ASHA)
    number = rows(world, send_broadcast(world, 1, kind=kind))[0].id if kind == "alert" else put_letter(world, member, kind=kind)
    pump_all(world, impatient(world), 5.0)
    assert (row(world, number).state, carrier.client.count()) == ("unknown", 1)
    return number


def test_o2_a_worker_killed_between_post_and_commit(database_url: str, redis_url: str, carrier: RunningSimulator) -> None:
    """Killed with requests in progress: each is found in the list, and nobody gets it twice."""
    Redis.from_url(redis_url).flushdb()
    world = open_running(database_url, carrier, redis_url=redis_url)
    carrier.client.faults(latency_ms=200)
    world.line(LINE, mps=100.0)
    collective = world.collective(lines=[LINE])
    # Eight seconds of pace: however late this process sees that the sending began, it kills in the middle.
    add_many_members(world, collective, 800)
    broadcast = send_broadcast(world, collective)
    with worker_for(world) as worker:
        wait_for(lambda: carrier.client.count() > 20, "the sending", 60.0)
        worker.kill()
    attempting = states(world, broadcast).count("attempting")
    assert 0 < attempting <= MOST_IN_FLIGHT
    # Its leases run out.
    change(world, Line, lease_until=1.0, mps=500.0)
    change(world, Outbound, Outbound.lease_until.is_not(None), lease_until=1.0)
    assert sweep(world.store).unknown == attempting
    carrier.client.faults(latency_ms=0)
    pump_all(world, Gateway(world.deployment.settings), 120.0)
    found = 0
    while (seen := look(world)).total:
        assert seen.resent == 0, "an ordinary notice is never sent again by itself"
        found += seen.found
    sent = [entry["to"] for entry in carrier.client.ledger()]
    assert len(sent) == len(set(sent)), "nobody gets it twice"
    assert found > 0 and states(world, broadcast).count("unknown") == 800 - len(sent), "what did not go is what stays unknown"
    world.store.close()


def test_o6_a_callback_before_the_answer(database_url: str, carrier: RunningSimulator) -> None:
    """All receipts come before the create request is answered, and that answer is lost."""
    port = free_port()
    world = open_running(database_url, carrier, public_url=f"http://127.0.0.1:{port}")
    server = make_server("127.0.0.1", port, world.app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        carrier.client.clear_faults()
        carrier.client.faults(receipts={"before_answer": True}, accept_hang={"hang_s": 60})
        world.line(LINE, mps=100.0)
        member = world.member(world.collective(lines=[LINE]), ASHA)
        number = put_letter(world, member)
        pump_all(world, impatient(world), 5.0)
        wait_for(lambda: row(world, number).state == "delivered", "the receipt")
        found = row(world, number)
        assert (found.sid, found.resent) == (carrier.client.ledger()[0]["sid"], False)
        assert look(world).total == 0 and row(world, number).check_at is None
        assert carrier.client.count() == 1
    finally:
        server.shutdown()
        world.store.close()


# --- missed texts ----------------------------------------


def test_i6_and_i8_texts_whose_webhook_failed_come_from_the_list(
    running: World, carrier: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "SETTLED", timedelta(seconds=-2))
    running.collective(lines=[LINE])
    running.collective("LABDI", lines=[SERVICE])
    change(running, Line, mps=100.0)
    lookups = thread_for(running)
    lookups.look()
    assert carrier.client.text(ASHA, LINE, "JOIN SANGHA").status == 0, "nobody answers at the webhook"
    assert carrier.client.text("+15551000002", SERVICE, "JOIN LABDI").status == 0
    lookups.wants_missed.set()
    lookups.look()
    with running.store.read() as session:
        assert sorted(session.scalars(sa.select(Inbound.handled_as))) == ["JOIN", "JOIN"]
    pump_all(running, Gateway(running.deployment.settings), 30.0)
    assert sorted(entry["to"] for entry in carrier.client.ledger()) == [ASHA, "+15551000002"]
    assert not lookups.wants_missed.is_set()


def thread_for(world: World, gateway: object = None, stop: threading.Event | None = None) -> LookupsThread:
    deployment = world.deployment
    reception = Reception(deployment, FLOWS, WordTable(WORDS), LineBook(deployment.store))
    return LookupsThread(deployment, reception, gateway or Gateway(deployment.settings), stop or threading.Event())  # type: ignore[arg-type]


# --- the thread ----------------------------------------


def test_the_first_thing_a_worker_does_is_to_read_what_it_missed(small_world: World) -> None:
    small_world.collective()
    listing = ScriptedList(small_world)
    lookups = thread_for(small_world, listing)
    lookups.look()
    assert [each["to"] for each in listing.asked] == [LINE]
    lookups.look()
    assert len(listing.asked) == 1, "then when a timer says so"
    wake = lookups.handlers()
    assert set(wake) == {TIMER, PRICES}
    wake[TIMER](small_world.deployment, None)  # type: ignore[arg-type]
    lookups.look()
    assert [each["to"] for each in listing.asked] == [LINE, LINE]


def test_a_carrier_that_does_not_answer_is_left_alone_for_longer_and_longer(small_world: World) -> None:
    small_world.collective()
    listing = ScriptedList(small_world)
    listing.unread = "HTTP 503"
    lookups = thread_for(small_world, listing)
    for _ in range(5):
        lookups.look()
    assert len(listing.asked) == 1
    rests = []
    for _ in range(8):
        lookups._rests = {name: (0.0, rest) for name, (_, rest) in lookups._rests.items()}
        lookups.look()
        rests.append(lookups._rests["missed texts"][1])
    assert rests == [40.0, 80.0, 160.0, 320.0, 600.0, 600.0, 600.0, 600.0]
    listing.unread = None
    lookups._rests = {name: (0.0, rest) for name, (_, rest) in lookups._rests.items()}
    lookups.look()
    assert not lookups._rests and not lookups.wants_missed.is_set(), "what was missed meanwhile is read"


def test_a_database_that_fails_is_survived_and_means_that_texts_may_be_missing(small_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    small_world.collective()
    listing = ScriptedList(small_world)
    lookups = thread_for(small_world, listing)
    lookups.look()
    assert not lookups.wants_missed.is_set()
    with monkeypatch.context() as patch:

        def away(*_: object) -> None:
            raise OperationalError("x", {}, Exception("away"))

        patch.setattr(small_world.store, "write", away)
        lookups.look()
    assert lookups.wants_missed.is_set()
    lookups.look()
    assert not lookups.wants_missed.is_set(), "read as soon as the database is back"


def test_a_mistake_of_ours_ends_neither_the_thread_nor_its_other_work(small_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    small_world.collective()
    listing = ScriptedList(small_world)
    lookups = thread_for(small_world, listing)

    def breaks(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bot.inbound.lookups, "look_up_unknown", breaks)
    lookups.look()
    assert [each["to"] for each in listing.asked] == [LINE]


def test_the_thread_ends_when_it_is_asked_to(small_world: World) -> None:
    small_world.collective()
    stop = threading.Event()
    lookups = thread_for(small_world, ScriptedList(small_world), stop)
    lookups.start()
    stop.set()
    lookups.join(10)
    assert not lookups.is_alive() and lookups.daemon


def test_a_stop_in_the_middle_of_a_back_fill_loses_nothing(small_world: World) -> None:
    small_world.collective()
    stop, listing = threading.Event(), ScriptedList(small_world)
    lookups = thread_for(small_world, listing, stop)
    lookups.look()
    for n in range(3):
        listing.hear(f"+155530000{n:02d}", "JOIN SANGHA")
    small_world.clock.advance(timedelta(minutes=2))
    stop.set()
    assert read_missed(lookups.reception, listing, lookups.pool, stop).taken == 0
    stop.clear()
    assert read_missed(lookups.reception, listing, lookups.pool, stop).taken == 3
    with small_world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Membership)) == 3


# --- prices ----------------------------------------


def test_twilios_own_prices_replace_ours(running: World, carrier: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed_prices, "SETTLED", timedelta(seconds=-2))
    carrier.client.faults(receipts={"drop": True, "final": {"+16660000001": 21610}})
    running.line(LINE, mps=200.0)
    collective = running.collective(lines=[LINE])
    add_many_members(running, collective, 4)
    broadcast = send_broadcast(running, collective, "Rally today " * 20)
    pump_all(running, Gateway(running.deployment.settings), 30.0)
    wait_for(lambda: {entry["status"] for entry in carrier.client.ledger()} <= {"delivered", "failed"}, "the sending")
    reader = PriceReader(running.deployment, Gateway(running.deployment.settings))
    estimate = {each.cost_micros for each in rows(running, broadcast)}
    assert len(estimate) == 1 and 15_800 not in estimate
    assert reader.read() == 3
    assert sorted((each.cost_micros, each.priced) for each in rows(running, broadcast) if each.priced) == [(15_800, True)] * 3
    with running.store.read() as session:
        assert session.scalars(sa.select(Spending.micros)).all() == [3 * 15_800 + estimate.pop()], "what was never sent has no price yet"
    assert reader.read() == 0


def test_prices_are_asked_for_within_a_budget_and_not_in_vain(small_world: World) -> None:
    listing = ScriptedList(small_world)
    collective = small_world.collective()
    member = small_world.member(collective, ASHA)
    reader = PriceReader(small_world.deployment, listing)
    assert reader.read() == 0 and not listing.asked, "nothing to price, nothing to ask"
    start = small_world.clock.now()
    numbers = []
    for hour, price in ((0, 7_900), (3, None), (6, 8_000)):
        number = put_letter(small_world, member)
        made = listing.add(ASHA, "Hello", at=start + timedelta(hours=hour), price_micros=price)
        change(small_world, Outbound, Outbound.id == number, state="sent", sid=made.sid, accepted_at=made.created_at)
        numbers.append(number)
    small_world.clock.advance(timedelta(hours=8))
    assert reader.read(most_pages=2) == 1
    assert len(listing.asked) == 1 + 2, "two hours, and the carrier's clock"
    assert reader.read() == 1
    assert [row(small_world, number).cost_micros for number in numbers] == [7_900, None, 8_000]
    asked = len(listing.asked)
    reader.read()
    assert len(listing.asked) == asked + 1, "an hour without prices rests"
    small_world.clock.advance(timedelta(days=4))
    reader.read()
    assert len(listing.asked) == asked + 1, "after three days ours stays"
