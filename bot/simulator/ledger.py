"""Every message the simulator knows, in the order they came: what was accepted from the API, replied by TwiML, typed on a phone."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bot.simulator.codes import explain
from bot.simulator.words import say

FINAL = frozenset({"delivered", "undelivered", "failed", "read", "canceled", "received"})
FEED_LENGTH = 200  # how many messages a phone shows


@dataclass(slots=True, eq=False)
class Message:
    """One message. `kind` is api, reply (TwiML), carrier (its own STOP answer), inbound (typed on a phone) or note (a failed webhook)."""

    sid: str
    kind: str
    phone: str  # the member's number, without a channel
    to: str
    sender: str  # the address it comes from
    body: str
    segments: int
    status: str
    account: str = ""
    service: str = ""
    media: tuple[str, ...] = ()
    buttons: tuple[tuple[str, str], ...] = ()  # (title, payload)
    status_callback: str = ""
    error_code: int | None = None
    error_message: str | None = None
    request_number: int = 0  # which create request of the process this was
    received: float = 0.0  # monotonic seconds
    created: float = 0.0  # seconds since 1970
    updated: float = 0.0
    sent: float | None = None
    sender_known: bool = True  # a Messaging Service names its sender only later
    seq: int = 0  # place in the ledger
    shown: int = 0  # place on the phone's screen; 0 while it has not arrived
    ahead: float = 0.0  # seconds by which Chorus' clock was ahead of ours when it came
    answers: str = ""  # a TwiML reply: the SID of the text that it answers
    tapped: bool = False  # typed by tapping a button
    remark: tuple[str, Mapping[str, object]] | None = None  # of a note: its words, and what stands in them
    revision: int = 0  # changes with every change

    def entry(self) -> dict[str, Any]:
        """The message as a ledger entry (JSON)."""
        return {
            "n": self.seq, "sid": self.sid, "kind": self.kind, "to": self.to, "from": self.sender, "service": self.service,
            "body": self.body, "segments": self.segments, "media": list(self.media), "status": self.status, "error_code": self.error_code,
            "status_callback": self.status_callback, "request_number": self.request_number, "received_monotonic": self.received,
            "received_at": iso(self.created),
        }  # fmt: skip

    def bubble(self, language: str) -> dict[str, Any]:
        """The message as its phone shows it (JSON). `direction` is seen from the phone: `sent` was typed on it. Only what the simulator
        says about a message is said in `language`."""
        typed = self.kind == "inbound"
        body = say(language, self.remark[0], **self.remark[1]) if self.remark is not None else self.body
        line = self.to if typed else self.sender
        return {
            "sid": self.sid, "kind": self.kind, "direction": "sent" if typed else "received", "line": line,
            "channel": "whatsapp" if line.startswith("whatsapp:") else "sms", "body": body, "media": list(self.media),
            "buttons": [{"title": title, "payload": payload} for title, payload in self.buttons], "status": self.status,
            "error_code": self.error_code, "why": explain(self.error_code, language), "at": iso((self.sent or self.created) + self.ahead),
            "order": self.shown, "revision": self.revision,
        }  # fmt: skip


def iso(moment: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


def make_sid(prefix: str) -> str:
    """A new identifier of Twilio's shape: two letters and 32 hexadecimal digits."""
    return prefix + secrets.token_hex(16)


class Ledger:
    """The messages, bounded: the oldest leave first. All methods may be called from any thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lock = threading.RLock()
        self.epoch = secrets.token_hex(4)  # changes with a reset, so that an open page starts afresh
        self.ahead = 0.0  # seconds by which Chorus' clock is ahead of ours (bot/simulator/clock.py)
        self._clear()

    def _clear(self) -> None:
        self.messages: deque[Message] = deque()
        self.by_sid: dict[str, Message] = {}
        self.by_phone: dict[str, list[Message]] = {}
        self.revision = 0
        self._seq = 0
        self._shown = 0
        self._requests = 0
        self.accepted = 0

    def reset(self) -> None:
        """Forget every message."""
        with self.lock:
            self._clear()
            self.epoch = secrets.token_hex(4)

    def count_request(self) -> int:
        """The number of this create request, from 1 in the order of arrival; refused requests count too."""
        with self.lock:
            self._requests += 1
            return self._requests

    @property
    def requests(self) -> int:
        return self._requests

    def add(self, message: Message) -> Message:
        """Write the message down. Sets its place, its times and its revision."""
        with self.lock:
            self._seq += 1
            message.seq = self._seq
            message.created = message.created or time.time()
            message.received = message.received or time.monotonic()
            message.updated, message.ahead = message.created, self.ahead
            self._touch(message)
            self.messages.append(message)
            self.by_sid[message.sid] = message
            self.by_phone.setdefault(message.phone, []).append(message)
            if message.kind == "api":
                self.accepted += 1
            if len(self.messages) > self.limit:
                self._drop_oldest()
        return message

    def _drop_oldest(self) -> None:
        oldest = self.messages.popleft()
        if self.by_sid.get(oldest.sid) is oldest:
            del self.by_sid[oldest.sid]
        held = self.by_phone.get(oldest.phone)
        if held and held[0] is oldest:
            held.pop(0)
            if not held:
                del self.by_phone[oldest.phone]

    def _touch(self, message: Message) -> None:
        self.revision += 1
        message.revision = self.revision

    def change(self, message: Message, status: str) -> None:
        """Give the message a status; a delivered one appears on its phone, a failed one as a hint that it did not arrive."""
        with self.lock:
            message.status = status
            message.updated = time.time()
            message.sender_known = True
            if status in ("sent", "delivered") and message.sent is None:
                message.sent = message.updated
            self.show(message, status in FINAL)

    def show(self, message: Message, visible: bool = True) -> None:
        """Put the message on its phone's screen, at the end."""
        with self.lock:
            if visible and not message.shown:
                self._shown += 1
                message.shown = self._shown
            self._touch(message)

    def remove(self, sid: str) -> bool:
        """Delete one message (the API's DELETE); it stays on the phone that has it, as in life."""
        with self.lock:
            return self.by_sid.pop(sid, None) is not None

    def entries(self, since: int = 0, matches: Callable[[Message], bool] | None = None, phone: str = "") -> Iterator[Message]:
        """Messages after place `since`, in order, of one phone if it is given. Works on a snapshot."""
        with self.lock:
            held = list(self.by_phone.get(phone, ())) if phone else list(self.messages)
        return (message for message in held if message.seq > since and (matches is None or matches(message)))

    def feed(self, phone: str, since: int = 0, *, coming: bool = False) -> list[Message]:
        """What the phone shows, changed after revision `since`, in the order of arrival; last, with `coming`, what is on its way."""
        with self.lock:
            held = list(self.by_phone.get(phone, ()))
        shown = sorted((message for message in held if message.shown), key=lambda message: message.shown)[-FEED_LENGTH:]
        if coming:
            shown += [message for message in held if not message.shown][-FEED_LENGTH:]
        return [message for message in shown if message.revision > since]
