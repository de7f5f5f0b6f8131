"""What the simulator is told about: lines, phones to show, accounts. Read from JSON, checked once."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from bot.simulator.wire import BadRequest
from bot.simulator.words import mark

NUMBER = re.compile(r"\+[1-9][0-9]{6,14}\Z")
SENDER = re.compile(r"(?:\+[1-9][0-9]{6,14}|[0-9]{3,8}|[A-Za-z0-9 ]{1,11})\Z")  # a number, a short code or a name
SERVICE = re.compile(r"MG[0-9A-Za-z]+\Z")
ROLES = ("member", "organizer", "supporter", "survivor", "newcomer")
SECRET = re.compile(r"(?:[A-Z2-7]{8}){2,8}\Z")
MOST_PHONES = 200  # shown on the page
CONFIGURABLE = ("accounts", "lines", "phones", "contents", "conversation", "webhook_base", "public_base", "faults")
QUEUE_SECONDS = 36_000.0  # how long a sender's queue may grow before it refuses (error 21611)


def channel_of(address: str) -> str:
    """`sms` or `whatsapp`."""
    return "whatsapp" if address.startswith("whatsapp:") else "sms"


def number_of(address: str) -> str:
    """The address without its channel: `whatsapp:+1555` becomes `+1555`."""
    return address.removeprefix("whatsapp:")


@dataclass(slots=True)
class Line:
    """An address of the account: a number, a WhatsApp sender, or a Messaging Service with its pool of senders.

    `mps` is the pace at which messages leave it, in segments a second (None: at once). `webhook` is the path or URL called for a text
    that comes in. `carrier_answers_stop` defaults to True for SMS and False for WhatsApp, as with Twilio.
    """

    address: str
    label: str = ""
    pool: list[str] = field(default_factory=list)
    carrier_answers_stop: bool | None = None
    carrier_answers_help: bool = False
    advanced_opt_out: bool = False  # the webhook then carries OptOutType
    mps: float | None = None
    webhook: str = "/twilio/inbound"
    account: str = ""
    enforce_window: bool = True  # WhatsApp: free text fails with 63016 outside 24 h
    next_free: float = 0.0  # monotonic time at which the next segment may leave
    segments_sent: int = 0
    peak_backlog: float = 0.0  # seconds; how far the queue stretched at most

    def __post_init__(self) -> None:
        if self.is_service:
            if not all(isinstance(sender, str) for sender in self.pool):
                raise BadRequest("a pool is a list of addresses")
        elif not SENDER.match(number_of(self.address)):
            raise BadRequest("a line's address is +15550001111, whatsapp:+15550001111, a short code or MG...")
        if self.carrier_answers_stop is None:
            self.carrier_answers_stop = self.channel == "sms"
        if self.mps is not None and not (isinstance(self.mps, (int, float)) and self.mps > 0):
            raise BadRequest("a line's mps is a number above 0, in segments a second")
        if not self.label:
            self.label = {"sms": "SMS", "whatsapp": "WhatsApp"}[self.channel]

    @property
    def is_service(self) -> bool:
        return bool(SERVICE.match(self.address))

    @property
    def channel(self) -> str:
        return channel_of(self.address)


@dataclass(slots=True)
class Phone:
    """A phone shown on the page. `app_secret`: what its authenticator app holds (base32), for the six digits; never shown itself."""

    number: str
    name: str = ""
    role: str = "member"
    channel: str = "sms"
    line: str = ""
    language: str = ""
    app_secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.number, str) or not NUMBER.match(self.number):
            raise BadRequest(mark("a phone's number is written in E.164, such as +15550003333"))
        if self.role not in ROLES:
            raise BadRequest(f"a phone's role is one of {', '.join(ROLES)}")
        if not all(isinstance(value, str) for value in (self.name, self.line, self.language, self.app_secret)):
            raise BadRequest("a phone's name, line, language and app_secret are texts")
        if self.app_secret and not SECRET.match(self.app_secret):
            raise BadRequest("a phone's app_secret is base32 of 16 to 64 letters")
        if channel_of(self.line) == "whatsapp":
            self.channel = "whatsapp"
        if self.channel not in ("sms", "whatsapp"):
            raise BadRequest("a phone's channel is sms or whatsapp")


Told = TypeVar("Told", Line, Phone)


def _read_one(kind: type[Told], value: object, address_field: str) -> Told:
    if isinstance(value, str):
        value = {address_field: value}
    if not isinstance(value, Mapping) or address_field not in value:
        raise BadRequest(f"a {kind.__name__.lower()} needs {address_field}")
    known = {entry.name for entry in fields(kind)} - {"next_free", "segments_sent", "peak_backlog"}
    unknown = sorted(set(map(str, value)) - known)
    if unknown:
        raise BadRequest(f"a {kind.__name__.lower()} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return kind(**value)


def read_lines(values: Iterable[object]) -> list[Line]:
    """Lines from JSON: each an address, or an object with the fields of Line. Raises BadRequest."""
    return [_read_one(Line, value, "address") for value in values]


def read_phones(values: Iterable[object]) -> list[Phone]:
    """Phones from JSON: each a number, or an object with the fields of Phone. Raises BadRequest."""
    return [_read_one(Phone, value, "number") for value in values]


def read_accounts(values: object) -> dict[str, str]:
    """Accounts from JSON: {"AC...": "token"} (several for subaccounts). Raises BadRequest."""
    if not isinstance(values, Mapping) or not all(isinstance(key, str) and isinstance(token, str) for key, token in values.items()):
        raise BadRequest('accounts is {"AC...": "token"}')
    return dict(values)


@dataclass(slots=True, frozen=True)
class Config:
    """A configuration, checked; None is what it does not name."""

    accounts: dict[str, str] | None
    lines: list[Line] | None
    phones: list[Phone] | None
    contents: dict[str, dict[str, Any]] | None
    conversation: dict[str, str] | None


def read_config(told: Mapping[str, Any]) -> Config:
    """A configuration from JSON, without its faults. Raises BadRequest naming what is wrong."""
    unknown = sorted(set(told) - set(CONFIGURABLE))
    if unknown:
        raise BadRequest(f"the configuration has no {', '.join(unknown)}; it has {', '.join(CONFIGURABLE)}")
    phones = read_phones(told["phones"]) if "phones" in told else None
    if phones is not None and len(phones) > MOST_PHONES:
        raise BadRequest(mark("at most {n} phones can be shown"), n=MOST_PHONES)
    contents = told.get("contents")
    if contents is not None and not (isinstance(contents, Mapping) and all(isinstance(value, Mapping) for value in contents.values())):
        raise BadRequest('contents is {"HX...": {"body": "Hi {{1}}", "buttons": [{"title": "Yes", "id": "yes"}]}}')
    conversation = told.get("conversation")
    if conversation is not None and not _is_head(conversation):
        raise BadRequest('conversation is the head of a saved one: {"World": "demo", "Begins": "2026-11-22T09:00:00+00:00"}')
    return Config(
        accounts=read_accounts(told["accounts"]) if told.get("accounts") else None,
        lines=read_lines(told["lines"]) if "lines" in told else None,
        phones=phones,
        contents=None if contents is None else {str(sid): dict(content) for sid, content in contents.items()},
        conversation=None if conversation is None else dict(conversation),
    )


def _is_head(told: object) -> bool:
    if not isinstance(told, Mapping) or set(told) - {"World", "Begins"} or not all(isinstance(value, str) for value in told.values()):
        return False
    try:
        begins = datetime.fromisoformat(told.get("Begins", "2000-01-01T00:00+00:00"))
    except ValueError:
        return False
    return begins.tzinfo is not None and bool(re.fullmatch(r"\w*", told.get("World", "")))


def pick_sender(service: Line, to: str, last_used: str) -> str:
    """The pool sender for this recipient, always the same one (Twilio's sticky sender); "" when no sender fits the channel."""
    fitting = [sender for sender in service.pool if channel_of(sender) == channel_of(to)]
    if last_used in fitting:
        return last_used
    return fitting[zlib.crc32(to.encode()) % len(fitting)] if fitting else ""


def describe(line: Line, now: float) -> dict[str, Any]:
    """A line as JSON, with how far its queue stretches (`backlog_s`)."""
    return {
        "address": line.address, "label": line.label, "channel": line.channel, "pool": line.pool, "mps": line.mps,
        "carrier_answers_stop": line.carrier_answers_stop, "carrier_answers_help": line.carrier_answers_help, "webhook": line.webhook,
        "advanced_opt_out": line.advanced_opt_out, "segments_sent": line.segments_sent,
        "backlog_s": round(max(0.0, line.next_free - now), 3), "peak_backlog_s": round(line.peak_backlog, 3),
    }  # fmt: skip
