"""How somebody joins: a link, and a picture of it, that opens her own app with the words ready to be sent."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from phonenumbers import PhoneNumberFormat, format_number
from phonenumbers import parse as parse_number


@dataclass(frozen=True)
class Way:
    """One way to join: ``link`` opens the phone's own app with the words ready to be sent."""

    channel: str
    shown: str
    link: str


def way_to_join(address: str, word: str) -> Way | None:
    """How to text ``JOIN WORD`` to a line; None for a Messaging Service, whose numbers only Twilio knows."""
    text = quote(f"JOIN {word.upper()}")
    if address.startswith("MG"):
        return None
    if address.startswith("whatsapp:"):
        number = address.removeprefix("whatsapp:")
        return Way("whatsapp", _spaced(number), f"https://wa.me/{number.lstrip('+')}?text={text}")
    # "?&body": the one form that both iPhones and Androids understand.
    return Way("sms", _spaced(address), f"sms:{address}?&body={text}")


def _spaced(number: str) -> str:
    """+1 555-000-1111; a short code stays as it is."""
    return format_number(parse_number(number), PhoneNumberFormat.INTERNATIONAL) if number.startswith("+") else number
