"""Every word the bot says and understands, in every language. Pure: no database, no clock."""

from bot.languages.catalog import LANGUAGE_NAMES, LANGUAGES, count_words, mark, match_language, missing, translation, words
from bot.languages.folding import clean_text, fold

__all__ = [
    "LANGUAGES",
    "LANGUAGE_NAMES",
    "clean_text",
    "count_words",
    "fold",
    "mark",
    "match_language",
    "missing",
    "translation",
    "words",
]
