"""The console's own words, in English, Spanish and Hindi. English is the key; the other two stand in ``words/*.po``.

Apart from the members' texts (``bot.languages``): those are counted in segments and have a Latin-letter Hindi as well; a page has room.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bot.languages.catalog import Words, read_words

LANGUAGES = ("en", "es", "hi")
NAMES = {"en": "English", "es": "Español", "hi": "हिन्दी"}
FOLDER = Path(__file__).parent / "words"


@cache
def _words(language: str) -> Words:
    return read_words(FOLDER / f"{language}.po")


def mark(text: str) -> str:
    """Mark an English text that stands in a table and reaches ``say`` later, so that the check finds it. Returns it unchanged."""
    return text


def say(language: str, text: str, /, **values: object) -> str:
    """The English ``text`` in the page's language, ``values`` put in its ``{placeholders}``."""
    template = _words(language).singles.get(text, text) if language != "en" else text
    return template.format(**values)


def count(language: str, one: str, many: str, n: int, /, **values: object) -> str:
    """A text that depends on a number: ``{n}`` is always given, with its thousands set apart."""
    forms = _words(language).plurals.get(one) if language != "en" else None
    single, several = forms or (one, many)
    # In Hindi 0 takes the singular, as CLDR has it.
    singular = n == 1 or (n == 0 and language == "hi")
    return (single if singular else several).format(n=f"{n:,}", **values)


def page_language(wanted: str | None) -> str:
    """The page language for a member's language: Hindi in Latin letters reads English, for she may not read Devanagari."""
    return wanted if wanted in LANGUAGES else "en"
