"""What each language's text costs before it leaves: segments, what made it dear and how to write it plainly, who reads it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.delivery.broadcasts import MOST_SEGMENTS
from bot.delivery.corrections import say_change
from bot.delivery.wording import choose, render
from bot.languages import LANGUAGES
from bot.languages.segments import GSM_BASIC, GSM_EXTENSION, count_segments

# What the letters that look alike are in the phones' own alphabet; accents are taken off below.
_PLAIN = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "´": "'", "`": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "–": "-", "—": "-", "−": "-"}
    | {"‑": "-", "…": "...", "•": "-", "·": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\t": " ", "×": "x", "₹": "Rs "}
)
_GSM = GSM_BASIC | GSM_EXTENSION
# More letters than these of another alphabet are a language, not a slip.
_ALPHABET = 4
_SHOWN = 8


@dataclass(frozen=True)
class Meter:
    """One language's text. ``text``: the whole of it as a member gets it, empty where nothing is written.

    ``replace``: characters that made it UCS-2, with how to write each plainly; ``leave_out``: those that nothing can replace;
    ``alphabet``: it is written in another alphabet, which always takes that room. ``readers`` get this text, ``fall_to``: the
    language that they get while it is empty.
    """

    code: str
    text: str
    encoding: str
    segments: int
    remaining: int
    replace: tuple[tuple[str, str], ...]
    leave_out: tuple[str, ...]
    alphabet: bool
    readers: int
    fall_to: str | None

    @property
    def too_long(self) -> bool:
        return self.segments > MOST_SEGMENTS


def whole_text(kind: str, code: str, collective: str, body: str, *, is_change: bool = False, options: Any = None) -> str:
    """A text as a member gets it; what a correction says begins with "Change:"."""
    return render(kind, code, collective, say_change(code, body) if is_change else body, options)


def measure(
    kind: str,
    collective: str,
    language: str,
    texts: Mapping[str, str],
    readers: Mapping[str, int],
    *,
    is_change: bool = False,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Meter]:
    """A meter for each language. ``language``: the collective's; ``readers``: how many read each language; ``options``: a vote's."""
    found = {}
    for code in LANGUAGES:
        body, theirs = texts.get(code), (options or {}).get(code)
        # A check-in has its own words in every language.
        has_words = bool(body) or (kind == "check_in" and body is not None)
        text = whole_text(kind, code, collective, body or "", is_change=is_change, options=theirs) if has_words else ""
        counted = count_segments(text)
        replace, others = [], []
        for character in counted.culprits:
            plain = to_plain(character)
            if plain is not None:
                replace.append((character, plain))
            else:
                others.append(character)
        letters = [character for character in others if unicodedata.category(character)[0] in "LM"]
        alphabet = len(letters) > _ALPHABET
        fall_to = choose(code, language, texts)[0] if texts and code not in texts and readers.get(code) else None
        found[code] = Meter(
            code,
            text,
            counted.encoding,
            counted.segments,
            counted.remaining,
            tuple(replace[:_SHOWN]),
            () if alphabet else tuple(others[:_SHOWN]),
            alphabet,
            readers.get(code, 0),
            fall_to,
        )
    return found


def to_plain(character: str) -> str | None:
    """How to write it in the alphabet of which 160 letters make a segment; None when there is no way."""
    plain = character.translate(_PLAIN)
    if plain == character:
        plain = "".join(each for each in unicodedata.normalize("NFKD", character) if not unicodedata.combining(each))
    return plain if plain and plain != character and set(plain) <= _GSM else None
