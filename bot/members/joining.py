"""How somebody joins: the word of a collective, and a link that opens her own app with the words ready to be sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote

from phonenumbers import PhoneNumberFormat, format_number
from phonenumbers import parse as parse_number

from bot.languages import fold, match_language
from bot.languages.answers import parse_yes_no_maybe

# Words the carriers take, whatever our own table says (Twilio's default keywords).
_CARRIERS = frozenset("stop stopall unsubscribe cancel end quit revoke optout start unstop yes help info".split())


class WordRefused(ValueError):
    """No collective may have this word; ``reason``: shape (not one word of 2 to 20 letters and digits) | means_something."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_word(text: str) -> str:
    """A collective's word as the bot will compare it: one word of 2 to 20 letters and digits in any alphabet. Raises WordRefused."""
    word = fold(text)
    # Not isalnum: Devanagari words hold vowel signs.
    if not re.fullmatch(r"[^\W_](?:[^\W_]|[\u0900-\u097f]){1,19}", word) or word.isdecimal():
        raise WordRefused("shape")
    if word in _CARRIERS or word in _spellings() or parse_yes_no_maybe(word) is not None or match_language(word) is not None:
        raise WordRefused("means_something")
    return word


@cache
def _spellings() -> frozenset[str]:
    from flows import WORDS  # at module level it would be circular

    return frozenset(fold(spelling) for word in WORDS for spelling in word.all_spellings())


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
