"""An inbound message as it came: Twilio's parameters, read forgivingly. Unknown parameters are ignored, missing ones are empty."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.languages import clean_text

# Longer texts are kept whole but read only this far: no question of ours has an answer of ten pages.
LONGEST_READ = 1600

# E.164: a plus and at most fifteen digits. Names ("BANK") and short codes are machines, and no carrier takes an answer to a name.
_PHONE = re.compile(r"\+[1-9][0-9]{5,14}")


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """What arrived. ``number`` is E.164 without the channel; ``body`` is safe to store, log it never."""

    sid: str
    channel: str  # sms | whatsapp
    number: str
    to: str  # the line's address: +1555…, whatsapp:+1555…
    service: str | None  # MG…, when it came through a Messaging Service
    body: str
    kind: str  # text | button | media | location | contact | empty
    opt_out_type: str | None  # STOP | START | HELP, with Advanced Opt-Out
    # Read from the carrier's list after an outage: when the carrier had it, in people's time. None: it came by webhook.
    sent_at: datetime | None = None

    @property
    def sender(self) -> str:
        """The sender's address, as a line of ours would be written."""
        return self.number if self.channel == "sms" else f"{self.channel}:{self.number}"

    @property
    def is_from_a_phone(self) -> bool:
        """Whether a person can be at the other end, and read an answer."""
        return _PHONE.fullmatch(self.number) is not None


class NotAMessage(Exception):
    """The parameters name no message or no sender: nothing to store, nothing to answer."""


def read_message(parameters: Mapping[str, Any], sent_at: datetime | None = None) -> InboundMessage:
    """Read Twilio's parameters (facts: docs/decisions/0004-twilio.md); ``sent_at`` if they are from its list. Raises NotAMessage."""
    sid = _read(parameters, "MessageSid", "SmsMessageSid", "SmsSid")
    sender, to = _read(parameters, "From"), _read(parameters, "To")
    if not sid or not sender:
        raise NotAMessage
    channel = "whatsapp" if sender.startswith("whatsapp:") else "sms"
    body = _read(parameters, "Body", "ButtonText")
    return InboundMessage(
        sid=sid,
        channel=channel,
        number=_e164(sender.removeprefix("whatsapp:")),
        to=_e164(to) if channel == "sms" else "whatsapp:" + _e164(to.removeprefix("whatsapp:")),
        service=_read(parameters, "MessagingServiceSid") or None,
        body=body,
        kind=_kind(parameters, body),
        opt_out_type=_read(parameters, "OptOutType").upper() or None,
        sent_at=sent_at,
    )


def _read(parameters: Mapping[str, Any], *names: str) -> str:
    """The first of these parameters that says something. Cleaned: JSON may smuggle in lone surrogates, which no database takes."""
    return next((clean_text(str(parameters[name])) for name in names if parameters.get(name)), "")


def _e164(address: str) -> str:
    # A proxy or a GET decodes "+1555" to " 1555".
    address = address.strip()
    return "+" + address if address.isascii() and address.isdecimal() and len(address) > 8 else address


def _kind(parameters: Mapping[str, Any], body: str) -> str:
    types = " ".join(str(parameters.get(key, "")) for key in parameters if str(key).startswith("MediaContentType"))
    if parameters.get("ButtonPayload") or parameters.get("ButtonText"):
        return "button"
    if parameters.get("Latitude"):
        return "location"
    if "vcard" in types.lower():
        return "contact"
    if str(parameters.get("NumMedia") or "0") not in ("", "0"):
        return "media"
    return "text" if body.strip() else "empty"
