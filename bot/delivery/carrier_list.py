"""What Twilio's list of messages says: the one place that still knows when an answer or a webhook was lost.

Plain values; ``Gateway.list_messages`` reads them. A moment here is the carrier's: ``Listing.people_time`` translates it by the clock that
the carrier's own answer showed, so that a server whose clock is wrong, or a simulator that jumped ahead, finds the same messages.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from models.clock import real_seconds

# Twilio's largest page (docs, Messages list: PageSize 1 to 1000).
LARGEST_PAGE = 1000

# What Twilio's smart encoding puts in a character's place, and what phones and carriers put there (sms-segments-calculator's map, in part).
_REPLACED = str.maketrans(
    {"‘": "'", "’": "'", "‚": "'", "′": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "–": "-", "—": "-", "−": "-", "\u00a0": " "}
)
_GAPS = re.compile(r"\s+")


class ListUnread(Exception):
    """The carrier's list could not be read, so nothing may be concluded from it. The text is a short name, without content."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One message as the carrier lists it. ``direction``: inbound | outbound-api | outbound-reply | outbound-call.

    ``sender`` is "" while a Messaging Service has not chosen one; ``created_at`` and ``sent_at`` are the carrier's moments, whole seconds;
    ``sent_at`` None: not sent yet; ``price_micros``: what it cost, in millionths of ``currency``, None: not known yet.
    """

    sid: str
    to: str
    sender: str
    body: str
    direction: str
    status: str
    error_code: int | None
    created_at: datetime
    sent_at: datetime | None
    segments: int
    price_micros: int | None
    currency: str = ""
    service: str = ""
    media: int = 0

    @property
    def is_inbound(self) -> bool:
        return self.direction == "inbound"


@dataclass(frozen=True, slots=True)
class Listing:
    """What one look at the list gave, the newest first. ``now``: the carrier's own clock; ``is_whole``: nothing was left off."""

    messages: list[Listed]
    now: datetime
    is_whole: bool = True

    def people_time(self, moment: datetime, now: datetime) -> datetime:
        """A moment of the carrier's in people's time, which is ``now`` at the moment of the reading."""
        return moment + (now - self.now)


class ReadsList(Protocol):
    """Whoever can read the list: the gateway, or a test's own carrier."""

    def list_messages(
        self,
        *,
        to: str | None = None,
        sender: str | None = None,
        sent_after: datetime | None = None,
        sent_before: datetime | None = None,
        most: int = LARGEST_PAGE,
    ) -> Listing:
        """The newest ``most`` messages that fit. Raises ListUnread."""


def read_listed(message: Any) -> Listed:
    """A message of Twilio's client as plain values. Raises ListUnread when it is not what Twilio's documentation says."""
    created = message.date_created
    if not message.sid or not isinstance(created, datetime):
        raise ListUnread("unreadable")
    sent = message.date_sent
    return Listed(
        sid=str(message.sid),
        to=str(message.to or ""),
        sender=str(message.from_ or ""),
        body=str(message.body or ""),
        direction=str(message.direction or ""),
        status=str(message.status or ""),
        error_code=message.error_code if isinstance(message.error_code, int) else None,
        created_at=created,
        sent_at=sent if isinstance(sent, datetime) else None,
        segments=_number(message.num_segments),
        price_micros=_micros(message.price),
        currency=str(message.price_unit or "").upper(),
        service=str(message.messaging_service_sid or ""),
        media=_number(message.num_media),
    )


def read_date(header: str | None) -> datetime:
    """The carrier's clock, from its answer's Date header; ours when there is none."""
    try:
        moment = parsedate_to_datetime(header or "")
    except ValueError:
        return datetime.fromtimestamp(real_seconds(), UTC)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def fold_body(text: str) -> str:
    """A body so that two spellings of one message compare equal, whatever smart encoding, a carrier or a log made of it.

    Only letters and digits count; a text without any is compared by its signs.
    """
    plain = unicodedata.normalize("NFKC", text.translate(_REPLACED))
    letters = "".join(character for character in plain if character.isalnum())
    return letters.casefold() or _GAPS.sub(" ", plain).strip()


def is_redacted(message: Listed) -> bool:
    """Whether its words or a number are blacked out (Twilio's Message Redaction): such a message says nothing about what was sent."""
    addresses = (message.to, message.sender)
    return (not message.body.strip() and not message.media) or any(
        "X" in address or "*" in address for address in addresses if not address.startswith(("MG", "rcs:"))
    )


def _number(value: Any) -> int:
    text = str(value or "0")
    return int(text) if text.isdecimal() else 0


def _micros(price: Any) -> int | None:
    """Twilio's price is a negative amount in text ("-0.00750"): what it took from the account."""
    if price in (None, ""):
        return None
    try:
        return abs(int(Decimal(str(price)) * 1_000_000))
    except (InvalidOperation, ValueError):
        return None
