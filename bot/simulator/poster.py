"""Posting signed webhooks: one kept-open connection per thread and host, so that receipts keep up with 500 sends a second."""

from __future__ import annotations

import http.client
import select
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from twilio.request_validator import RequestValidator

CONNECT_SECONDS = 5.0  # Twilio's own: 5 s to connect, 15 s in all
TOTAL_SECONDS = 15.0
LONGEST_ANSWER = 1_000_000
HTTP_FAILED, UNREACHABLE = 11200, 11205


@dataclass(slots=True)
class WebhookAnswer:
    """What the webhook said. `status` is 0 and `error` is Twilio's code when it said nothing."""

    status: int
    body: bytes = b""
    content_type: str = ""
    error: int | None = None
    seconds: float = 0.0


class Poster:
    """Posts forms with X-Twilio-Signature.

    `public_base` is the address that the receiver believes it has (what is signed), `webhook_base` where it really listens; they differ
    when it stands behind a proxy.
    """

    def __init__(self, webhook_base: str, public_base: str = "") -> None:
        self.webhook_base = webhook_base.rstrip("/")
        self.public_base = (public_base or webhook_base).rstrip("/")
        self._local = threading.local()

    def locate(self, url: str) -> str:
        """Where a public URL is really reached."""
        if url == self.public_base or url.startswith((self.public_base + "/", self.public_base + "?")):
            return self.webhook_base + url[len(self.public_base) :]
        return url

    def post(self, url: str, params: Mapping[str, str], token: str, idempotency: str = "") -> WebhookAnswer:
        """Post `params` to `url`, signed with `token`. Never raises for the receiver's faults: they are in the answer.

        A refused connection is tried once more, as Twilio does by default; nothing else is.
        """
        url, _, _ = url.partition("#")  # connection overrides travel nowhere
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "X-Twilio-Signature": str(RequestValidator(token).compute_signature(url, params)),
        }
        if idempotency:
            headers["I-Twilio-Idempotency-Token"] = idempotency
        body = urlencode(params, encoding="utf-8", errors="surrogatepass").encode()
        started = time.monotonic()
        try:
            answer = self._send(self.locate(url), body, headers)
        except ValueError:
            answer = WebhookAnswer(0, error=UNREACHABLE)
        answer.seconds = time.monotonic() - started
        return answer

    def _send(self, url: str, body: bytes, headers: dict[str, str]) -> WebhookAnswer:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        key = (parts.scheme, parts.netloc)
        connections: dict[tuple[str, str], http.client.HTTPConnection] = self._local.__dict__.setdefault("connections", {})
        for attempt in (1, 2):
            connection = connections.pop(key, None)
            if connection is not None and _was_closed(connection):
                connection.close()
                connection = None
            reused = connection is not None
            if connection is None:
                connection = _connection(parts.scheme, parts.netloc)
                try:
                    connection.connect()
                except OSError:
                    if attempt == 1:
                        continue
                    return WebhookAnswer(0, error=UNREACHABLE)
                if connection.sock is not None:
                    connection.sock.settimeout(TOTAL_SECONDS)
            try:
                connection.request("POST", path, body, headers)
                response = connection.getresponse()
                content = response.read(LONGEST_ANSWER)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A kept-open connection may have been closed by the other side just now, before it read anything: then a fresh one.
                if reused and attempt == 1 and isinstance(error, (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)):
                    continue
                return WebhookAnswer(0, error=UNREACHABLE)
            if response.will_close or not response.isclosed():
                connection.close()
            else:
                connections[key] = connection
            error_code = None if 200 <= response.status < 300 else HTTP_FAILED
            return WebhookAnswer(response.status, content, response.headers.get("Content-Type", ""), error_code)
        return WebhookAnswer(0, error=UNREACHABLE)


def _connection(scheme: str, netloc: str) -> http.client.HTTPConnection:
    if scheme not in ("http", "https") or not netloc:
        raise ValueError("a webhook is an http or https URL")
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    return kind(netloc, timeout=CONNECT_SECONDS)


def _was_closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the idle connection has something to read: that can only be its end."""
    return connection.sock is None or bool(select.select([connection.sock], [], [], 0)[0])
