"""The codes over the wire: the pretend carrier refuses or fails, through its own HTTP, what the pump sends (O5)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from bot.delivery.gateway import Accepted, Gateway, Lost, Refused
from bot.delivery.pump import serve_lines
from bot.deployment import Deployment
from bot.simulator.client import RunningSimulator, start_simulator
from models import Line, PhoneLine, Store
from tests.conftest import make_settings
from tests.delivery import rows, send_broadcast
from tests.world import ACCOUNT, TOKEN, World, new_sid

LINE, MEMBER = "+15550001111", "+15551000001"
CALLBACK = "https://chorus.example.org/twilio/status/1-1-x"


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


@pytest.fixture
def gateway(carrier: RunningSimulator) -> Gateway:
    return Gateway(make_settings("sqlite:///nowhere.db", twilio_api_url=carrier.url))


def requests(carrier: RunningSimulator) -> int:
    return int(carrier.client.state()["requests"])


# code: (the row's state, its reason, what the pair learns, whether the line rests)
REFUSALS = {
    21211: ("failed", None, "refused", False),
    21408: ("held", "line", None, False),
    21606: ("held", "line", None, True),
    21608: ("held", "line", None, False),
    21610: ("failed", None, "opted out", False),
    21611: ("held", "line", None, True),
    21612: ("failed", None, "refused", False),
    21614: ("failed", None, "refused", False),
    21617: ("failed", None, None, False),
    21655: ("failed", None, None, False),
    21703: ("held", "line", None, True),
    20003: ("held", "line", None, True),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_o5_refused_once_and_never_asked_twice(small_world: World, carrier: RunningSimulator, gateway: Gateway, code: int) -> None:
    world = small_world
    state, reason, learns, rests = REFUSALS[code]
    collective = world.collective(lines=[LINE])
    world.member(collective, MEMBER)
    broadcast = send_broadcast(world, collective)
    carrier.client.faults(refuse={MEMBER: code})
    before = requests(carrier)
    serve_lines(world.deployment, gateway, threading.Event(), 10.0)
    assert (requests(carrier) - before, carrier.client.count()) == (1, 0)
    (only,) = rows(world, broadcast)
    assert (only.state, only.reason, only.error_code) == (state, reason, code)
    with world.store.read() as session:
        known = session.scalars(sa.select(PhoneLine)).one_or_none()
        line = session.scalars(sa.select(Line)).one()
    assert (line.held_code, line.held_until is not None) == ((code, True) if rests else (None, False))
    learnt = None if known is None else "opted out" if known.opted_out_at else "refused" if known.refused_code == code else "?"
    assert learnt == learns


def test_a_validity_and_a_template_are_what_twilio_expects(
    carrier: RunningSimulator, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, object]] = []
    real = gateway.transport.request

    def listen(method: str, uri: str, *arguments: object, **named: object) -> object:
        sent.append(dict(named.get("data") or (arguments[1] if len(arguments) > 1 else {})))  # type: ignore[call-overload]
        return real(method, uri, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(gateway.transport, "request", listen)
    sid = "HX" + "a" * 32
    carrier.client.configure(contents={sid: {"body": "Hello {{1}}, a note is waiting."}})
    assert isinstance(gateway.send(to=MEMBER, sender=LINE, body="Hello", callback=CALLBACK, validity=600), Accepted)
    outcome = gateway.send(to=MEMBER, sender=LINE, body="never sent", callback=CALLBACK, content_sid=sid, variables={"1": "Añá"})
    assert isinstance(outcome, Accepted)
    assert sent[0]["ValidityPeriod"] == 600 and sent[0]["Body"] == "Hello" and "ContentSid" not in sent[0]
    assert (sent[1]["ContentSid"], sent[1]["ContentVariables"]) == (sid, '{"1": "Añá"}')
    assert "Body" not in sent[1] and "ValidityPeriod" not in sent[1]
    assert [entry["body"] for entry in carrier.client.ledger()] == ["Hello", "Hello Añá, a note is waiting."]


@pytest.mark.parametrize(("asked", "told"), [(0, 1), (1, 1), (36_000, 36_000), (90_000, 36_000)])
def test_a_validity_is_one_that_twilio_takes(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, asked: int, told: int) -> None:
    seen: list[dict[str, object]] = []

    def create(_to: str, **named: object) -> SimpleNamespace:
        seen.append(named)
        return SimpleNamespace(sid=new_sid())

    monkeypatch.setattr(gateway, "_messages", SimpleNamespace(create=create))
    gateway.send(to=MEMBER, sender=LINE, body="x", callback=CALLBACK, validity=asked)
    assert seen[0]["validity_period"] == told


def test_an_error_of_the_newer_kind(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9457: twilio-python raises TwilioServiceException, which is no TwilioRestException."""
    from twilio.base.exceptions import TwilioServiceException
    from twilio.http.response import Response

    problem = '{"type":"https://www.twilio.com/docs/errors/%d","title":"t","status":%d,"code":%d,"detail":"d"}'
    for status, code, outcome in ((400, 21610, Refused(21610)), (429, 20429, None), (500, 20500, Lost("HTTP 500"))):
        answer = Response(status, problem % (code, status, code), {"Content-Type": "application/problem+json"})
        monkeypatch.setattr(gateway.transport, "request", lambda *_, answer=answer, **__: answer)
        with pytest.raises(TwilioServiceException):
            gateway._messages.create(MEMBER, body="x", from_=LINE)
        got = gateway.send(to=MEMBER, sender=LINE, body="x", callback=CALLBACK)
        assert got == outcome or (outcome is None and got.code == code), got  # type: ignore[union-attr]


@pytest.mark.parametrize("code", [30003, 30005, 30007, 30034])
def test_the_carriers_receipt_brings_the_code(sqlite_url: str, carrier: RunningSimulator, code: int) -> None:
    """Accepted, then failed: the simulator signs its receipt, which goes through our own webhook."""
    settings = make_settings(sqlite_url, twilio_api_url=carrier.url)
    from models import Keyring

    world = World(Deployment(settings, Store(settings.database_url, Keyring(settings.data_keys))))
    collective = world.collective(lines=[LINE])
    world.member(collective, MEMBER)
    broadcast = send_broadcast(world, collective)
    carrier.client.faults(receipts={"drop": True, "final": {MEMBER: {"code": code, "status": "undelivered"}}})
    serve_lines(world.deployment, Gateway(settings), threading.Event(), 10.0)
    (entry,) = carrier.client.ledger()
    carrier.client.wait_for(lambda: carrier.client.ledger()[0]["status"] == "undelivered", 10.0)
    path = str(entry["status_callback"]).removeprefix(settings.public_url)
    assert world.post(path, {"MessageSid": str(entry["sid"]), "MessageStatus": "undelivered", "ErrorCode": str(code)}).status == 204
    (only,) = rows(world, broadcast)
    assert only.error_code == code
    assert only.state == ("held" if code in (30003, 30034) else "undelivered")
    world.store.close()
