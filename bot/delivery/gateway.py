"""The only file that talks to Twilio: its own client, unmodified, over a transport of ours.

The transport rewrites the base URL to TWILIO_API_URL, keeps connections alive, sets time limits (the client's own has none), and never
repeats a request: Twilio knows no idempotency key, so a second POST may be a second text. urllib3 because it costs half of what
requests does (measured: 326 against 661 microseconds of CPU a message).
"""

from __future__ import annotations

import logging
import ssl
import time
from base64 import b64encode
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import urllib3
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client

from bot.delivery.errors import Reaction, reaction_to
from bot.settings import Settings

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
# A connection that was quiet for longer may be closed by the other end just as we write: then nobody knows whether the message went.
IDLE_SECONDS = 20.0

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

    def send(self, *, to: str, sender: str, body: str, callback: str) -> Outcome:
        """Send one text, once."""


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
        body = urlencode(data, doseq=True).encode() if data is not None else None
        if body is not None:
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

    def send(self, *, to: str, sender: str, body: str, callback: str) -> Outcome:
        """Send one text, once. ``sender``: a number, a WhatsApp address or a Messaging Service; ``callback``: where receipts go."""
        origin: dict[str, Any] = {"messaging_service_sid": sender} if sender.startswith("MG") else {"from_": sender}
        try:
            message = self._messages.create(to, body=body, status_callback=callback, **origin)
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


def _judge(error: TwilioRestException | TwilioServiceException) -> Outcome:
    status, code = int(error.status), int(error.code or 0)
    if status == 429 and reaction_to(code) is not Reaction.BACK_OFF:
        return Throttled(code)
    # 5xx: "not idempotent, a retry can send twice" (Twilio on 20500). 408 and 3xx: some box in between answered.
    if status >= 500 or status == 408 or status < 400:
        return Lost(f"HTTP {status}")
    return Refused(code)  # without a code of Twilio's own (an HTML page, an empty answer) the client gives the HTTP status
