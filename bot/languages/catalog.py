"""Every word the bot says, in every language: the English text is the key, the translations stand in the .po files beside this one."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from babel import Locale
from babel.messages.pofile import read_po

from bot.languages.folding import fold

LANGUAGES = ("en", "es", "hi", "hi-Latn")

# What a menu of languages shows: each one in its own words (ñ is in the GSM alphabet, so "Español" costs nothing).
LANGUAGE_NAMES = {"en": "English", "es": "Español", "hi": "हिन्दी", "hi-Latn": "Hindi (abc)"}

# hi-Latn is a language of its own: it has its own file and falls back to English, never to Devanagari.
_FILES = {"es": "es.po", "hi": "hi.po", "hi-Latn": "hi_latn.po"}
_PLURALS = {"en": Locale("en"), "es": Locale("es"), "hi": Locale("hi"), "hi-Latn": Locale("hi")}

_SPELLINGS = {
    "en": "en eng english ingles inglesa angrezi angreji angrezee अंग्रेजी अंग्रेज़ी अँग्रेजी इंग्लिश anglais",
    "es": "es esp spa spanish espanol espanola castellano spenish स्पेनिश स्पैनिश",
    "hi": "hi hin hindi hindee हिन्दी हिंदी हिन्दि हिंदि devanagari देवनागरी hi-deva",
    "hi-Latn": "hi-latn hilatn hinglish hinglis romanhindi हिंग्लिश हिन्ग्लिश",
}
_PHRASES = {
    "hi-Latn": (
        "hindi abc",
        "hindi (abc",
        "hindi latin",
        "latin hindi",
        "hindi latn",
        "roman hindi",
        "hindi roman",
        "hindi in english",
        "hindi english letters",
        "hindi in english letters",
        "english hindi",
        "hindi english",
        "angrezi me hindi",
        "hindi angrezi me",
        "abc hindi",
        "abc",
    ),
    "hi": ("hindi devanagari", "devanagari hindi", "hindi (devanagari"),
}


@dataclass(frozen=True, slots=True)
class Words:
    """The translations of one file, by the English text (a counted one by its singular)."""

    singles: dict[str, str]
    plurals: dict[str, tuple[str, str]]


@cache
def _read(language: str) -> Words:
    return read_words(Path(__file__).with_name(_FILES[language]))


def read_words(path: Path) -> Words:
    """Read a .po file; an empty or fuzzy entry counts as none."""
    singles: dict[str, str] = {}
    plurals: dict[str, tuple[str, str]] = {}
    with path.open("rb") as file:
        catalog = read_po(file, abort_invalid=True)
    for message in catalog:
        if not message.id or message.fuzzy:
            continue
        if isinstance(message.id, str):
            if message.string:
                singles[message.id] = str(message.string)
        elif isinstance(message.string, tuple) and len(message.string) == 2 and all(message.string):
            plurals[message.id[0]] = (message.string[0], message.string[1])
    return Words(singles, plurals)


def mark(text: str) -> str:
    """Mark an English text that stands in a table and reaches `words` later, so that the check finds it. Returns it unchanged."""
    return text


def words(language: str, text: str, /, **values: object) -> str:
    """The English `text` in `language`, `values` put in its `{placeholders}`; English where no translation exists.

    Only the template is formatted, so braces inside a value are inert. A placeholder without a value raises KeyError.
    """
    template = _read(language).singles.get(text, text) if language in _FILES else text
    return template.format(**values)


def count_words(language: str, one: str, many: str, n: int, /, **values: object) -> str:
    """A text that depends on a number: `count_words("es", "1 person", "{n} people", 3)` is "3 personas". `{n}` is always given.

    The form follows the language's CLDR rule (in Hindi 0 is singular); a form that spells out its "1" is kept for 1 itself.
    """
    translated = language in _FILES and _read(language).plurals.get(one)
    single, several = translated or (one, many)
    rule = language if translated else "en"
    singular = _PLURALS[rule].plural_form(n) == "one" and (n == 1 or "{n}" in single)
    return (single if singular else several).format(n=n, **values)


def translation(language: str, text: str) -> tuple[str, ...]:
    """The raw templates standing for one English text (two for a counted one), () when there is none. English is its own translation."""
    if language not in _FILES:
        return (text,)
    known = _read(language)
    if text in known.singles:
        return (known.singles[text],)
    return known.plurals.get(text, ())


def missing(texts: Iterable[str], language: str) -> list[str]:
    """Those of the English `texts` that have no translation in `language`, in order, each once."""
    return [text for text in dict.fromkeys(texts) if not translation(language, text)]


@cache
def _spellings() -> dict[str, str]:
    table = {fold(word): language for language, line in _SPELLINGS.items() for word in line.split()}
    table |= {fold(phrase): language for language, phrases in _PHRASES.items() for phrase in phrases}
    return table


def match_language(text: str) -> str | None:
    """The language a member named, in whatever spelling ("hindi", "español", "EN", "hi-latn", "es_MX"); None when it names none."""
    folded = " ".join(fold(text).replace("_", "-").split())
    table = _spellings()
    if folded in table:
        return table[folded]
    code, region, country = folded.partition("-")
    if region and len(country) == 2 and code in ("en", "es", "hi"):
        return code
    return None
