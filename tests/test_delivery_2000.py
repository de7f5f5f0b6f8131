"""The main job at its size: 2,000 members, a carrier that takes 50 ms for each, over real HTTP; everybody once, and replies overtake."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from bot.delivery.broadcasts import broadcast_status
from bot.delivery.gateway import Accepted, Gateway, Lost, Outcome, Refused, Throttled
from bot.delivery.pump import serve_lines
from bot.delivery.sweep import sweep
from bot.deployment import Deployment
from bot.simulator.client import RunningSimulator, start_simulator
from models import Keyring, Store
from tests.conftest import make_settings
from tests.delivery import add_many_members, put_letter, row, send_broadcast
from tests.world import ACCOUNT, TOKEN, World

LINE, MEMBER = "+15550001111", "+15551000001"


@pytest.fixture(scope="module")
def carrier_process() -> Iterator[RunningSimulator]:
    with start_simulator(account=ACCOUNT, token=TOKEN, webhook_base="http://127.0.0.1:9", lines=[LINE]) as simulator:
        yield simulator


@pytest.fixture
def carrier(carrier_process: RunningSimulator) -> RunningSimulator:
    carrier_process.client.reset()
    carrier_process.client.clear_faults()
    carrier_process.client.faults(receipts={"drop": True})
    return carrier_process


def test_two_thousand_members_get_it_once_each(database_url: str, carrier: RunningSimulator) -> None:
    carrier.client.faults(latency_ms=50)
    settings = make_settings(database_url, twilio_api_url=carrier.url)
    world = World(Deployment(settings, Store(settings.database_url, Keyring(settings.data_keys))))
    world.line(LINE, mps=2000.0)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 2000)
    talker = world.member(collective, MEMBER)
    number = send_broadcast(world, collective, "Rally today 10am Gandhi Chowk 🌱")
    began = time.monotonic()
    gateway = Gateway(settings)
    pumping = threading.Thread(target=serve_lines, args=(world.deployment, gateway, threading.Event(), 60.0))
    pumping.start()
    carrier.client.wait_for(lambda: carrier.client.count() > 200, 30.0)
    asked = time.monotonic()
    reply = put_letter(world, talker, "You are coming. Thank you!")
    carrier.client.wait_for(lambda: row(world, reply).state == "accepted", 10.0)
    overtaken = time.monotonic() - asked
    pumping.join()
    took = time.monotonic() - began
    serve_lines(world.deployment, gateway, threading.Event())
    assert overtaken < 1.0, "a reply does not wait for a broadcast"
    with world.store.read() as session:
        status = broadcast_status(session, number)
    assert (status["total"], status["counts"]["accepted"]) == (2001, 2001)
    sent = Counter(entry["to"] for entry in carrier.client.ledger() if entry["body"].startswith("Sangha: Rally"))
    assert sent == {f"+1666{n:07d}": 1 for n in range(2000)} | {MEMBER: 1}
    # One after the other they would take 100 seconds.
    assert took < 20
    assert sweep(world.store).broadcasts_done == 1
    world.store.close()


# --- the gateway against the carrier's faults ------------------------------------------------------------------------------


@pytest.fixture
def gateway(carrier: RunningSimulator) -> Gateway:
    return Gateway(make_settings("sqlite:///nowhere.db", twilio_api_url=carrier.url))


def send(gateway: Gateway, to: str = MEMBER, body: str = "Hello") -> Outcome:
    return gateway.send(to=to, sender=LINE, body=body, callback="https://chorus.example.org/twilio/status/1-1-x")


def test_the_request_is_what_twilio_expects(gateway: Gateway, carrier: RunningSimulator) -> None:
    words = "Café €5 & {braces} नमस्ते 🌱\nsecond line"
    outcome = send(gateway, body=words)
    (entry,) = carrier.client.ledger()
    assert outcome == Accepted(entry["sid"])
    assert (entry["to"], entry["from"], entry["body"]) == (MEMBER, LINE, words)
    assert entry["status_callback"] == "https://chorus.example.org/twilio/status/1-1-x"


@pytest.mark.parametrize(
    ("faults", "outcome", "taken"),
    [
        ({"throttle_429": 1}, Throttled(20429), 0),
        ({"reject_500": 1}, Lost("HTTP 500"), 0),
        ({"accept_500": 1}, Lost("HTTP 500"), 1),
        ({"accept_reset": {"count": 1}}, Lost("ProtocolError"), 1),
        ({"refuse": {MEMBER: 21211}}, Refused(21211), 0),
        ({"refuse": {MEMBER: 21606}}, Refused(21606), 0),
    ],
    ids=["429", "500", "500 after acceptance", "reset after acceptance", "21211", "21606"],
)
def test_each_fault_has_its_outcome_and_no_second_request(
    gateway: Gateway, carrier: RunningSimulator, faults: dict[str, object], outcome: Outcome, taken: int
) -> None:
    carrier.client.faults(**faults)
    assert send(gateway) == outcome
    assert carrier.client.count() == taken
    carrier.client.clear_faults()
    assert isinstance(send(gateway), Accepted), "and the next one goes"


def test_an_answer_that_does_not_come(gateway: Gateway, carrier: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib3

    monkeypatch.setattr(gateway.transport, "timeouts", urllib3.Timeout(connect=1.0, read=0.3))
    carrier.client.faults(accept_hang=5)
    assert send(gateway) == Lost("ReadTimeoutError")
    assert carrier.client.count() == 1


def test_who_opted_out_at_the_carrier(gateway: Gateway, carrier: RunningSimulator) -> None:
    carrier.client.block(MEMBER, LINE)
    assert send(gateway) == Refused(21610)


def test_a_wrong_token_is_a_configuration_error(carrier: RunningSimulator) -> None:
    stranger = Gateway(make_settings("sqlite:///nowhere.db", twilio_api_url=carrier.url, twilio_auth_token="another-token-altogether"))
    assert send(stranger) == Refused(20003)


def test_nobody_there_is_certainly_not_sent() -> None:
    assert send(Gateway(make_settings("sqlite:///nowhere.db", twilio_api_url="http://127.0.0.1:1"))) == Throttled()


def test_an_idle_connection_is_not_trusted(gateway: Gateway, carrier: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    send(gateway)
    monkeypatch.setattr(gateway.transport, "used_at", time.monotonic() - 60)
    assert isinstance(send(gateway), Accepted)
