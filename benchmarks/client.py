"""The twilio client without Chorus, and the words that both sides send. Imports no more: the naive script's jobs pay for it."""

from __future__ import annotations

import os
from typing import Any

from requests.adapters import HTTPAdapter
from twilio.http.http_client import TwilioHttpClient  # noqa: TID251 - this is the other side of the comparison
from twilio.rest import Client  # noqa: TID251

LINE = "+15550001111"
WORDS = "Rally today 10am at Gandhi Chowk"
CALLBACK = "https://chorus.example.org/twilio/status/2s-1-0123456789abcdef"


def number_of(index: int) -> str:
    """The phone of the member at ``index``."""
    return f"+1666{index:07d}"


class ToTheSimulator(TwilioHttpClient):
    """The client's own transport, to another address, with a connection for each thread (its default keeps ten and throws others away)."""

    def __init__(self, connections: int) -> None:
        super().__init__(timeout=10)
        self.session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=connections))

    def request(self, method: str, uri: str, *arguments: Any, **named: Any) -> Any:
        return super().request(method, uri.replace("https://api.twilio.com", os.environ["TWILIO_API_URL"]), *arguments, **named)


def make_client(connections: int = 1) -> Any:
    """The account's client; the settings are those of the environment."""
    return Client(os.environ["TWILIO_ACCOUNT_SID"], os.environ["TWILIO_AUTH_TOKEN"], http_client=ToTheSimulator(connections))


def send(client: Any, number: str) -> str:
    """One text; returns its SID."""
    return str(client.messages.create(number, body=WORDS, from_=LINE, status_callback=CALLBACK).sid)
