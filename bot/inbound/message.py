"""An inbound message as it came: Twilio's parameters, read forgivingly. Unknown parameters are ignored, missing ones are empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.languages import clean_text

# Longer texts are kept whole but read only this far: no question of ours has an answer of ten pages.
LONGEST_READ = 1600


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


class NotAMessage(Exception):
    """The parameters name no message or no sender: nothing to store, nothing to answer."""


def read_message(parameters: Mapping[str, Any]) -> InboundMessage:
    """Read Twilio's parameters (facts: docs/decisions/0004-twilio.md). Raises NotAMessage."""
    sid = str(parameters.get("MessageSid") or parameters.get("SmsMessageSid") or parameters.get("SmsSid") or "")
    sender, to = str(parameters.get("From") or ""), str(parameters.get("To") or "")
    if not sid or not sender:
        raise NotAMessage
    channel = "whatsapp" if sender.startswith("whatsapp:") else "sms"
    body = clean_text(str(parameters.get("Body") or parameters.get("ButtonText") or ""))
    return InboundMessage(
        sid=sid,
        channel=channel,
        number=_e164(sender.removeprefix("whatsapp:")),
        to=_e164(to) if channel == "sms" else "whatsapp:" + _e164(to.removeprefix("whatsapp:")),
        service=str(parameters.get("MessagingServiceSid") or "") or None,
        body=body,
        kind=_kind(parameters, body),
        opt_out_type=(str(parameters.get("OptOutType") or "").upper() or None),
    )


def _e164(address: str) -> str:
    # A proxy or a GET decodes "+1555" to " 1555".
    address = address.strip()
    return "+" + address if address[:1].isdigit() and len(address) > 8 else address


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
