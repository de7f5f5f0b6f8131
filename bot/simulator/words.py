"""The page's own words, in English, Spanish and Hindi. English is the key; the other two stand in `words/*.po`.

What members and Chorus text, names and numbers stay as they are. The reader is the simulator's own: it is a separate program.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

LANGUAGES = ("en", "es", "hi")
NAMES = {"en": "English", "es": "Español", "hi": "हिन्दी"}
FOLDER = Path(__file__).parent / "words"


@cache
def read_words(language: str) -> dict[str, str | tuple[str, str]]:
    """{English: its translation; of a counted text, by its singular, both forms}. Empty for English."""
    if language not in LANGUAGES[1:]:
        return {}
    with (FOLDER / f"{language}.po").open("rb") as file:
        catalog = read_po(file, abort_invalid=True)
    found: dict[str, str | tuple[str, str]] = {}
    for message in catalog:
        if message.fuzzy:
            continue
        if isinstance(message.id, str) and isinstance(message.string, str) and message.id and message.string:
            found[message.id] = message.string
        elif isinstance(message.string, (tuple, list)) and len(message.string) == 2 and all(message.string):
            found[message.id[0]] = (message.string[0], message.string[1])
    return found


def mark(text: str) -> str:
    """Mark an English text that reaches `say` later, so that the check finds it. Returns it unchanged."""
    return text


def say(language: str, text: str, /, **values: object) -> str:
    """The English `text` in `language`, `values` put in its `{placeholders}`. Without values it may hold any braces."""
    found = read_words(language).get(text)
    template = found if isinstance(found, str) else text
    return template.format(**values) if values else template


def count(language: str, one: str, many: str, n: int) -> str:
    """A text that depends on a number, which is its `{n}`."""
    found = read_words(language).get(one)
    single, several = found if isinstance(found, tuple) else (one, many)
    return (single if n == 1 else several).format(n=n)


def match_language(accepted: str) -> str:
    """The language for an Accept-Language header, whatever the country; English when it names none of ours.

    Whoever reads Hindi in Latin letters may not read Devanagari: English, as everywhere in Chorus.
    """
    for tag, quality in parse_accept_header(accepted, LanguageAccept):
        language, *parts = tag.lower().split("-")
        if quality and language in LANGUAGES:
            return "en" if "latn" in parts else language
    return "en"
