"""Two ways of tidying a text: `fold` to compare it, `clean_text` to keep it."""

import re
import unicodedata

# Zero-width characters, joiners, direction marks, variation selectors and the enclosing keycap: they change looks, never a word.
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x34F, 0x61C, 0x180E, 0x20E3, 0xFEFF]
    + [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFE00, 0xFE10)]
)
_CURLY = str.maketrans("’‘ʼ´`“”", "'''''\"\"")
_SPACE = re.compile(r"\s+")
_OPENING = " \t\n¡¿\"'([{*«"
_CLOSING = " \t\n.,;:!?…।॥\"')]}*»¡¿"

# What XML 1.0 does not allow (control characters, lone surrogates, U+FFFE, U+FFFF), the C1 controls, and the direction
# embeddings, overrides and isolates, which can make a text read as something else than it says.
_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def fold(text: str) -> str:
    """The form in which texts are compared: trimmed, case-folded, without Latin accents, invisible characters and final punctuation.

    Marks that carry meaning (Devanagari matras, the nukta) stay. A text of nothing but punctuation stays itself, so "?" is still "?".
    """
    if text.isascii():
        plain = text.lower()
    else:
        plain = unicodedata.normalize("NFKC", text.translate(_INVISIBLE).translate(_CURLY)).casefold()
        plain = unicodedata.normalize("NFC", _strip_latin_accents(unicodedata.normalize("NFKD", plain)))
    plain = _SPACE.sub(" ", plain).strip()
    return plain.lstrip(_OPENING).rstrip(_CLOSING) or plain


def _strip_latin_accents(decomposed: str) -> str:
    kept = []
    latin = False
    for char in decomposed:
        if "\u0300" <= char <= "\u036f":
            if latin:
                continue
        else:
            latin = char.isalpha() and char < "\u0250"
        kept.append(char)
    return "".join(kept)


def clean_text(body: str) -> str:
    """A member's text, safe to store and to say again: every character is allowed in XML 1.0 and in PostgreSQL,
    none overrides the reading direction. Newlines (as "\\n") and tabs stay."""
    return _UNSAFE.sub("", body.replace("\r\n", "\n").replace("\r", "\n"))
