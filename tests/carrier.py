"""The pretend carrier as tests use it: a running one with lines, and a small web application that it calls.

The fixtures stand in tests/conftest.py, too, so that every test may ask for them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from click.testing import Result
from flask import Flask, Response, request
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from werkzeug.serving import make_server

from bot.deployment import Deployment
from bot.simulator.client import RunningSimulator, start_simulator
from tests.cli import Run, commands_of
from tests.world import World

TOKEN = "a-token-of-the-test"
SMS, OTHER, WHATSAPP, SERVICE = "+15550001111", "+15550001119", "whatsapp:+15550001112", "MG" + "a" * 32
POOL = ["+15550001113", "+15550001114"]
LINES: list[str | dict[str, Any]] = [SMS, OTHER, WHATSAPP, *POOL, {"address": SERVICE, "pool": POOL}]
MEMBER = "+15550003333"
PUBLIC = "https://chorus.example.org"
INBOUND = f"{PUBLIC}/twilio/inbound"


class Receiver:
    """The application that the carrier calls: keeps every request, answers with `answer`, and knows whether the signature held."""

    def __init__(self) -> None:
        self.texts: list[dict[str, str]] = []
        self.receipts: list[dict[str, str]] = []
        self.signed: list[bool] = []
        self.answer: Callable[[dict[str, str]], Response | str] = lambda form: twiml()
        app = Flask("receiver")
        app.post("/twilio/inbound")(self.hear)
        app.post("/twilio/status/<token>")(self.hear_status)
        self.server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.believed_url = self.url
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def hear(self) -> Response | str:
        self._check()
        self.texts.append(request.form.to_dict())
        return self.answer(self.texts[-1])

    def hear_status(self, token: str) -> tuple[str, int]:
        self._check()
        self.receipts.append({**request.form.to_dict(), "token": token})
        return "", 204

    def _check(self) -> None:
        signature = request.headers.get("X-Twilio-Signature", "")
        self.signed.append(RequestValidator(TOKEN).validate(self.believed_url + request.path, request.form, signature))

    def statuses(self, sid: str) -> list[str]:
        return [one["MessageStatus"] for one in list(self.receipts) if one["MessageSid"] == sid]

    def callback(self, token: str = "t") -> str:
        return f"{self.url}/twilio/status/{token}"


def twiml(*messages: str, attributes: str = "") -> Response:
    inside = "".join(f"<Message{attributes}>{message}</Message>" for message in messages)
    return Response(f'<?xml version="1.0" encoding="UTF-8"?><Response>{inside}</Response>', mimetype="text/xml")


class Rerouted(TwilioHttpClient):
    """The SDK's own HTTP client, with another host."""

    def __init__(self, base: str) -> None:
        super().__init__(timeout=10)
        self.base = base

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, re.sub(r"\Ahttps://\w+\.twilio\.com", self.base, url), *args, **kwargs)


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture(scope="session")
def running(receiver: Receiver) -> Iterator[RunningSimulator]:
    with start_simulator(webhook_base=receiver.url, token=TOKEN) as running:
        yield running


@pytest.fixture
def simulator(running: RunningSimulator, receiver: Receiver) -> RunningSimulator:
    """The running simulator, with nothing in it but the lines."""
    running.client.reset()
    running.client.configure(lines=LINES, phones=[], contents={}, webhook_base=receiver.url)
    running.client.faults(receipts={"sent_ms": 2, "delivered_ms": 5})
    receiver.answer, receiver.believed_url = (lambda form: twiml()), receiver.url
    for kept in (receiver.texts, receiver.receipts, receiver.signed):
        kept.clear()
    return running


@pytest.fixture
def twilio(simulator: RunningSimulator) -> Client:
    return Client(simulator.account, TOKEN, http_client=Rerouted(simulator.url))


def refused(twilio: Client, **fields: Any) -> TwilioRestException:
    with pytest.raises(TwilioRestException) as caught:
        twilio.messages.create(**({"to": MEMBER, "from_": SMS, "body": "hello"} | fields))
    return caught.value


def post_raw(simulator: RunningSimulator, **fields: str) -> requests.Response:
    url = f"{simulator.url}/2010-04-01/Accounts/{simulator.account}/Messages.json"
    return requests.post(url, data=fields, auth=(simulator.account, TOKEN), timeout=10)


@pytest.fixture
def at_twilio(database_url: str, simulator: RunningSimulator, receiver: Receiver) -> Iterator[World]:
    """A world whose carrier is the simulator, which believes in our public address."""
    from tests.conftest import make_settings, open_frozen  # which imports these fixtures

    simulator.client.configure(webhook_base=receiver.url, public_base=PUBLIC)
    settings = make_settings(
        database_url, twilio_api_url=simulator.url, twilio_account_sid=simulator.account, twilio_auth_token=TOKEN, public_url=PUBLIC
    )
    world = World(open_frozen(settings))
    yield world
    world.store.close()


def line_of(world: World, address: str, **values: Any) -> None:
    """A collective with a member that speaks through this line."""
    world.line(address, **values)
    world.member(world.collective(lines=(address,)), "+15550002222")


def wrongs(result: Result) -> list[str]:
    """The doctor's findings that must be mended, each with its remedy; there are some exactly when it ended with 1."""
    lines = result.output.splitlines()
    found = [f"{line.removeprefix('WRONG').strip()} | {lines[n + 1].strip()}" for n, line in enumerate(lines) if line.startswith("WRONG")]
    assert bool(found) == bool(result.exit_code), result.output
    return found


def commands_with(world: World, **settings: Any) -> Run:
    """Commands on the same database with other settings."""
    from tests.conftest import DATA_KEY, make_settings

    known = world.deployment.settings.model_dump() | {"twilio_auth_token": TOKEN, "data_keys": DATA_KEY}
    return commands_of(Deployment(make_settings(known.pop("database_url"), **(known | settings)), world.store))
