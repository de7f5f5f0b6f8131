"""Which word of the table a text begins with. Compared folded: case, accents, final punctuation and width do not matter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bot.conversation.steps import Word
from bot.languages.answers import fold

_TOKENS = re.compile(r"\S+")
_MOST_TOKENS = 4
# After "SEND:" or "REPLY 7 -" people put marks that belong to neither.
_BETWEEN = " \t:,-–—"


@dataclass(frozen=True)
class Match:
    """A word of the table, and what follows it (None: nothing does)."""

    word: Word
    rest: str | None
    typed: str = ""  # the word as she typed it

    @property
    def arguments(self) -> dict[str, str]:
        said = {self.word.takes: self.rest} if self.word.takes and self.rest is not None else {}
        return dict(self.word.gives) | said


class WordTable:
    """The table of flows/__init__, ready for look-ups."""

    def __init__(self, words: Sequence[Word]) -> None:
        self.words = tuple(words)
        self._spelled: dict[str, Word] = {}
        for word in words:
            for spelling in word.all_spellings():
                folded = fold(spelling)
                if folded in self._spelled:
                    raise ValueError(f"two words are spelled {spelling!r}: {self._spelled[folded].name} and {word.name}")
                self._spelled[folded] = word

    def spellings(self) -> frozenset[str]:
        """Every folded spelling: a collective's own word must be none of them."""
        return frozenset(self._spelled)

    def match(self, text: str) -> Match | None:
        """The word that ``text`` is, or begins with where the word takes something. The longest spelling wins."""
        tokens = list(_TOKENS.finditer(text))[: _MOST_TOKENS + 1]
        for count in range(min(len(tokens), _MOST_TOKENS), 0, -1):
            head = text[tokens[0].start() : tokens[count - 1].end()]
            word = self._spelled.get(fold(head.rstrip(_BETWEEN)))
            if word is None:
                continue
            rest = text[tokens[count - 1].end() :].strip().lstrip(_BETWEEN).strip()
            if not rest:
                return Match(word, None, head) if word.alone else None
            return Match(word, rest, head) if word.takes else None
        return None
