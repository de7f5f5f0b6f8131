"""The only file that talks to Twilio: its own client, unmodified, over a transport of ours.

The transport rewrites the base URL to TWILIO_API_URL, keeps connections alive, sets time limits (the client's own has none), and never
repeats a request: Twilio knows no idempotency key, so a second POST may be a second text. urllib3 because it costs half of what
requests does (measured: 326 against 661 microseconds of CPU a message).
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import urllib3
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client

from bot.delivery.carrier_list import LARGEST_PAGE, Listing, ListUnread, read_date, read_listed
from bot.delivery.errors import Reaction, reaction_to
from bot.settings import Settings

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
# A connection that was quiet for longer may be closed by the other end just as we write: then nobody knows whether the message went.
IDLE_SECONDS = 20.0
# Twilio keeps a message ten hours at most.
MOST_VALIDITY = 36_000

# Client.request would log addresses and bodies at INFO.
_silent = logging.getLogger("chorus.twilio")
_silent.setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Twilio has it, under this SID."""

    sid: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Twilio will not send it; ``errors`` says what the code means."""

    code: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """It was certainly not processed (429, or no connection at all): the same message may go again. ``code`` is 0 without an answer."""

    code: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """Nobody knows whether it went. ``why`` is a short name, never the content."""

    why: str


Outcome = Accepted | Refused | Throttled | Lost


class SendsTexts(Protocol):
    """Whatever takes texts: Twilio, or a test's own carrier."""

    def send(
        self,
        *,
        to: str,
        sender: str,
        body: str,
        callback: str,
        validity: int | None = None,
        content_sid: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Send one text, once. ``validity``: how many seconds the carrier may keep it; ``content_sid``: a template, instead of a body."""


class NotSent(TwilioException):
    """No connection could be had, so not one byte of the request left."""


class AnswerLost(TwilioException):
    """The request left, the answer did not come."""


class _Transport(HttpClient):
    """Carries the client's requests to ``base_url`` through one pool of connections."""

    def __init__(self, base_url: str, connections: int) -> None:
        super().__init__(_silent, is_async=False, timeout=ANSWER_SECONDS)
        parts = urlsplit(base_url)
        self._base, self._path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        self._connections = connections
        self.timeouts = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
        self._pool = self._new_pool()
        self._authorizations: dict[tuple[str, str], str] = {}
        self.used_at = time.monotonic()

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        return urllib3.connection_from_url(self._base, maxsize=self._connections, block=False, retries=False)

    def request(
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        """One request, once. Raises NotSent or AnswerLost."""
        now = time.monotonic()
        if now - self.used_at > IDLE_SECONDS:
            self._pool.close()
            self._pool = self._new_pool()
        self.used_at = now
        url = self._path + uri[uri.index("/", 8) :]
        if params:
            url = f"{url}?{urlencode(params, doseq=True)}"
        headers = dict(headers or {})
        if auth is not None:
            headers["Authorization"] = self._authorizations.setdefault(auth, "Basic " + b64encode(":".join(auth).encode()).decode())
        body = None
        if data is not None and headers.get("Content-Type") == "application/json":
            body = json.dumps(data).encode()
        elif data is not None:
            body = urlencode(data, doseq=True).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            response = self._pool.urlopen(
                method, url, body=body, headers=headers, retries=False, redirect=False, timeout=self.timeouts, assert_same_host=False
            )
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
            raise NotSent(type(error).__name__) from error
        except urllib3.exceptions.SSLError as error:
            # A certificate that does not hold ends the handshake, before the request.
            untrusted = bool(error.args) and isinstance(error.args[0], ssl.SSLCertVerificationError)
            raise (NotSent if untrusted else AnswerLost)(type(error).__name__) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise AnswerLost(type(error).__name__) from error
        return Response(response.status, response.data.decode("utf-8", "replace"), response.headers)


class Gateway:
    """Sends messages through Twilio, or through whatever TWILIO_API_URL names. One a process; safe to share between threads."""

    def __init__(self, settings: Settings, connections: int = 128) -> None:
        self.transport = _Transport(settings.twilio_api_url, connections)
        # ``environment`` must not be empty (the client would read the real one, where TWILIO_EDGE could change the address).
        nothing = {"CHORUS": "1"}
        sid = settings.twilio_account_sid
        self._client = Client(sid, settings.twilio_auth_token[0], http_client=self.transport, environment=nothing)
        self._messages = self._client.api.v2010.account.messages

    def send(
        self,
        *,
        to: str,
        sender: str,
        body: str,
        callback: str,
        validity: int | None = None,
        content_sid: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Send one text, once. ``sender``: a number, a WhatsApp address or a Messaging Service; ``callback``: where receipts go.

        ``validity``: for how many seconds (1 to 36000) the carrier may keep it before it gives up with 30036.
        ``content_sid``: an approved template goes instead of ``body``; ``variables``: what fills its {{1}}, by number.
        """
        values: dict[str, Any] = {"messaging_service_sid": sender} if sender.startswith("MG") else {"from_": sender}
        if validity is not None:
            values["validity_period"] = min(max(validity, 1), MOST_VALIDITY)
        if content_sid is None:
            values["body"] = body
        else:
            # A template sent as Body is refused outside the window since April 2025 (63016).
            values["content_sid"] = content_sid
            if variables:
                values["content_variables"] = json.dumps(dict(variables), ensure_ascii=False)
        try:
            message = self._messages.create(to, status_callback=callback, **values)
        except NotSent:
            return Throttled()
        except AnswerLost as error:
            return Lost(str(error))
        except (TwilioRestException, TwilioServiceException) as error:
            return _judge(error)
        except (TwilioException, ValueError, TypeError, KeyError, AttributeError) as error:
            # A 2xx whose body is not what Twilio sends: it may well have been taken.
            return Lost(type(error).__name__)
        return Accepted(message.sid) if message.sid else Lost("no SID")

    def list_messages(
        self,
        *,
        to: str | None = None,
        sender: str | None = None,
        sent_after: datetime | None = None,
        sent_before: datetime | None = None,
        most: int = LARGEST_PAGE,
    ) -> Listing:
        """The newest ``most`` messages to or from an address. What was not sent yet has no date of sending: no ``sent_…`` finds it.

        Raises ListUnread: then nothing is known, least of all that a message is not there.
        """
        wanted = {"to": to, "from_": sender, "date_sent_after": sent_after, "date_sent_before": sent_before}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        try:
            answer = self._messages.page_with_http_info(page_size=min(most, LARGEST_PAGE), **wanted)
            page, now = answer.data, read_date((answer.headers or {}).get("Date"))
            messages = [read_listed(message) for message in page]
            while page.next_page_url and len(messages) < most:
                page = self._messages.get_page(page.next_page_url)
                messages += [read_listed(message) for message in page]
        except (NotSent, AnswerLost) as error:
            raise ListUnread(str(error)) from error
        except (TwilioException, ValueError, TypeError, KeyError, AttributeError) as error:
            answered = error.args[1] if len(error.args) > 1 else None
            raise ListUnread(f"HTTP {getattr(answered, 'status_code', '?')} {type(error).__name__}") from None
        return Listing(messages[:most], now, is_whole=len(messages) <= most and not page.next_page_url)


def _judge(error: TwilioRestException | TwilioServiceException) -> Outcome:
    status, code = int(error.status), int(error.code or 0)
    if status == 429 and reaction_to(code) is not Reaction.BACK_OFF:
        return Throttled(code)
    # 5xx: "not idempotent, a retry can send twice" (Twilio on 20500). 408 and 3xx: some box in between answered.
    if status >= 500 or status == 408 or status < 400:
        return Lost(f"HTTP {status}")
    return Refused(code)  # without a code of Twilio's own (an HTML page, an empty answer) the client gives the HTTP status


class AccountError(Exception):
    """Twilio did not do what was asked of the account, in a sentence without numbers or secrets.

    ``status`` is the HTTP status, 0 when no answer came; ``code`` Twilio's own, 0 without one.
    """

    def __init__(self, says: str, status: int = 0, code: int = 0) -> None:
        super().__init__(says)
        self.status, self.code = status, code


class AccountClient:
    """Asks Twilio about the account itself: its numbers, services, templates. For commands, not for the hot path.

    Twilio has a host for each product (messaging.twilio.com ...); any other TWILIO_API_URL answers for all of them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[str, Client] = {}

    def ask(
        self,
        method: str,
        product: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One request, once; its JSON answer. ``product``: api, messaging, content or accounts. ``form`` or ``body`` (JSON) is sent.

        Raises AccountError for every failure.
        """
        uri = base_url(self._settings, product) + path
        data = dict((form if body is None else body) or {}) or None
        headers = None if body is None else {"Content-Type": "application/json"}
        try:
            response = self._client(product).request(method, uri, params=dict(query or {}) or None, data=data, headers=headers)
        except NotSent as error:
            raise AccountError(f"no connection to {_host_of(self._settings, product)} could be had ({error})") from error
        except AnswerLost as error:
            raise AccountError(f"{_host_of(self._settings, product)} gave no answer ({error})") from error
        return _read_answer(int(response.status_code), str(response.text))

    def _client(self, product: str) -> Client:
        base = base_url(self._settings, product)
        if base not in self._clients:
            sid, token = self._settings.twilio_account_sid, self._settings.twilio_auth_token[0]
            self._clients[base] = Client(sid, token, http_client=_Transport(base, 2), environment={"CHORUS": "1"})
        return self._clients[base]


def base_url(settings: Settings, product: str) -> str:
    """Where one of Twilio's products answers: its own host, else TWILIO_API_URL for all of them."""
    parts = urlsplit(settings.twilio_api_url)
    host = parts.hostname or ""
    if host.startswith("api.") and host.endswith(".twilio.com"):
        return f"https://{product}{host.removeprefix('api')}"
    return settings.twilio_api_url


def _host_of(settings: Settings, product: str) -> str:
    return urlsplit(base_url(settings, product)).netloc


def _read_answer(status: int, text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text) if text.strip() else {}
    except ValueError:
        answer = None
    if status < 300 and isinstance(answer, dict):
        return answer
    told = answer if isinstance(answer, dict) else {}
    says = str(told.get("message") or told.get("detail") or told.get("title") or "no reason given")
    code = told.get("code")
    # Twilio quotes what it was asked; a number among it is nobody's business here.
    says = re.sub(r"\+?\d[\d ()-]{6,}\d", "…", says)[:200]
    raise AccountError(f"Twilio answered {status}: {says}", status, code if isinstance(code, int) else 0)
