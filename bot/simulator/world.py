"""What the parts of the simulator share: accounts, lines, phones, messages, opt-outs, faults. All of it in memory, all of it bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bot.simulator.carrier import Carrier
from bot.simulator.faults import Faults
from bot.simulator.ledger import Ledger, Message, make_sid
from bot.simulator.lines import MOST_PHONES, Line, Phone, describe, number_of, pick_sender, read_config
from bot.simulator.poster import Poster
from bot.simulator.receipts import Receipts
from bot.simulator.setup import Setup
from bot.simulator.wire import BadRequest
from bot.simulator.words import mark, say

WINDOW_SECONDS = 24 * 3600.0  # WhatsApp: how long after her last text free text may be sent
MOST_REMEMBERED = 300_000
MOST_OPEN_LINES = 1_000
MOST_HANGING = 40  # of the server's threads


class World:
    """The state of one simulator. `configure` may be called again while it runs: what is named is replaced, the rest stays."""

    def __init__(self, accounts: Mapping[str, str], webhook_base: str, public_base: str = "", keep: int = 300_000) -> None:
        self.accounts = dict(accounts)
        self.lines: dict[str, Line] = {}
        self.phones: dict[str, Phone] = {}
        self.contents: dict[str, dict[str, Any]] = {}  # templates: {"HX...": {"body": "Hi {{1}}", "buttons": [{"title", "id"}]}}
        self.conversation: dict[str, str] = {}  # the head of a saved one: {"World": "demo", "Begins": "2026-11-22T09:00:00+00:00"}
        self.has_asked_clock = False
        self.setup = Setup()
        self.open = True  # no line configured: any address may be one
        self.poster = Poster(webhook_base, public_base)
        self.ledger = Ledger(keep)
        self.carrier = Carrier()
        self.faults = Faults()
        self.last_texts: dict[tuple[str, str], tuple[float, str]] = {}  # (phone, scope) -> when and to which line she wrote last
        self.answered: dict[str, None] = {}  # MessageSids whose answer already reached the phone
        self.receipts = Receipts(self.ledger, self.faults, lambda: self.poster, self.token_of)
        self.stopping = threading.Event()
        self._flight_lock = threading.Lock()
        self._in_flight = 0
        self.hanging = threading.BoundedSemaphore(MOST_HANGING)

    @contextmanager
    def request_in_flight(self) -> Iterator[int]:
        """How many API requests are being answered, this one included."""
        with self._flight_lock:
            self._in_flight += 1
            in_flight = self._in_flight
        try:
            yield in_flight
        finally:
            with self._flight_lock:
                self._in_flight -= 1

    @property
    def main_account(self) -> str:
        return next(iter(self.accounts))

    def token_of(self, account: str) -> str:
        """The token that signs for this account (the main account's when it is unknown)."""
        return self.accounts.get(account) or self.accounts[self.main_account]

    def configure(self, told: Mapping[str, Any]) -> None:
        """Take over a configuration (JSON, see the fields of Line and Phone). Raises BadRequest and changes nothing when one is wrong."""
        config = read_config(told)
        self.faults.set(told.get("faults") or {})
        if config.accounts is not None:
            self.accounts = config.accounts
        if config.lines is not None:
            self.lines = {line.address: line for line in config.lines}
            self.open = not config.lines
        if config.phones is not None:
            self.phones = {phone.number: phone for phone in config.phones}
        if config.contents is not None:
            self.contents = config.contents
        if config.conversation is not None:
            self.conversation = config.conversation
        if "webhook_base" in told or "public_base" in told:
            base = str(told.get("webhook_base") or self.poster.webhook_base)
            self.poster = Poster(base, str(told.get("public_base") or base))

    def show_phone(self, phone: Phone) -> None:
        """Add a phone to the page, or change the one of this number."""
        if phone.number not in self.phones and len(self.phones) >= MOST_PHONES:
            raise BadRequest(mark("at most {n} phones can be shown"), n=MOST_PHONES)
        known = self.phones.get(phone.number)
        if known is not None:  # the page names neither
            phone.app_secret, phone.language = phone.app_secret or known.app_secret, phone.language or known.language
        self.phones[phone.number] = phone

    def reset(self) -> None:
        """Forget messages, opt-outs, windows and faults, put the account in order; keep lines, phones and accounts."""
        self.receipts.reset()
        self.setup.clear()
        self.faults.clear()
        self.carrier.reset()
        self.ledger.reset()
        # Whose time it was is forgotten, too: the next text asks again.
        self.ledger.ahead, self.has_asked_clock = 0.0, False
        self.last_texts.clear()
        self.answered.clear()
        for line in list(self.lines.values()):
            line.next_free, line.segments_sent, line.peak_backlog = 0.0, 0, 0.0

    def line_at(self, address: str) -> Line | None:
        """The line of this address; when no line was configured, any valid address is one."""
        line = self.lines.get(address)
        if line is None and self.open and len(self.lines) < MOST_OPEN_LINES:
            try:
                line = self.lines.setdefault(address, Line(address))
            except BadRequest:
                return None
        return line

    def service_of(self, address: str) -> Line | None:
        """The Messaging Service whose pool has this sender."""
        return next((line for line in list(self.lines.values()) if line.is_service and address in line.pool), None)

    def scope_of(self, address: str) -> str:
        """What a STOP to this address blocks: its Messaging Service, else the address alone."""
        service = self.service_of(address)
        return service.address if service is not None else address

    def webhook_of(self, line: Line) -> str:
        """What is called for a text to this line: its service's webhook, unless the service leaves it to the numbers."""
        service = self.service_of(line.address)
        if service is None or self.setup.services.get(service.address, {}).get("use_inbound_webhook_on_number"):
            return line.webhook
        return service.webhook

    def sender_for(self, service: Line, to: str) -> str:
        """The pool sender a service uses for this recipient: the one she wrote to last, else always the same."""
        _, last = self.last_texts.get((number_of(to), service.address), (0.0, ""))
        return pick_sender(service, to, last)

    def remember_text(self, phone: str, line: str) -> None:
        """Note that she wrote to this line: it opens her WhatsApp window and keeps a service on the same sender."""
        with self.ledger.lock:
            for scope in {line, self.scope_of(line)}:
                self.last_texts.pop((phone, scope), None)
                self.last_texts[(phone, scope)] = (self.people_time(), line)
            while len(self.last_texts) > MOST_REMEMBERED:
                del self.last_texts[next(iter(self.last_texts))]

    def people_time(self) -> float:
        """Seconds since 1970 as Chorus' people live them: it may have jumped ahead."""
        return time.time() + self.ledger.ahead

    def window_is_open(self, phone: str, line: Line) -> bool:
        """Whether free text may go to her on WhatsApp now."""
        when, _ = self.last_texts.get((phone, line.address), (0.0, ""))
        return not line.enforce_window or self.people_time() - when < WINDOW_SECONDS

    def write_note(self, phone: str, line: str, text: str, code: int, **values: object) -> None:
        """Put a remark of the simulator on the phone's screen, such as a webhook that failed. `values` stand in its text."""
        body = say("en", text, **values)
        note = Message(make_sid("NO"), "note", phone, phone, line, body, 0, "note", error_code=code, remark=(text, values))
        self.ledger.add(note)
        self.ledger.show(note)

    def describe(self) -> dict[str, Any]:
        """The state as JSON, for tests and for the page's panel."""
        now = time.monotonic()
        return {
            "accounts": list(self.accounts), "lines": [describe(line, now) for line in list(self.lines.values())],
            "phones": len(self.phones), "messages": len(self.ledger.messages), "accepted": self.ledger.accepted,
            "requests": self.ledger.requests, "revision": self.ledger.revision, "blocked": [list(pair) for pair in self.carrier.blocked()],
            "webhook_base": self.poster.webhook_base, "public_base": self.poster.public_base, "faults": self.faults.describe(),
            "receipts": {
                "posted": self.receipts.posted, "refused": self.receipts.refused, "waiting": self.receipts.waiting,
                "dropped": self.receipts.dropped,
            },
        }  # fmt: skip
