"""All that a flow may yield: a closed vocabulary of things to say, to ask and to do.

A flow is a generator; it is run from its first line on every message, and what it asked before is answered from the record
(``engine``). So a flow is pure: it never reads the clock, the database or chance; the world comes in through ``Do``.

Texts are written in English, and the English text is the key of its translations (bot/languages). Words that a person wrote are
wrapped in ``OwnWords``: they go out as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from bot.languages import words
from bot.languages.answers import fold, parse_choice, parse_language, parse_number, parse_scale, parse_yes_no, parse_yes_no_maybe
from bot.languages.days import Day as ParsedDay
from bot.languages.days import parse_day, say_day

Flow = Generator["Say | Do | Question", Any, None]
Fill = Mapping[str, object]


class Silence:
    """The answer to a question whose patience ran out. Flows compare with ``is SILENCE``."""

    def __repr__(self) -> str:
        return "SILENCE"

    def __bool__(self) -> bool:
        return False


SILENCE = Silence()


class OwnWords(str):
    """Words that a member or an organizer wrote: never translated, never a template."""


class NotUnderstood(Exception):
    """The text does not answer the question; ``hint`` (English, a key) says what would."""

    def __init__(self, hint: str, fill: Fill | None = None) -> None:
        super().__init__(hint)
        self.hint, self.fill = hint, dict(fill or {})


@dataclass(frozen=True)
class Hearing:
    """How a text is to be read: her language, the present moment in her zone, and whether bare digits may mean a letter."""

    language: str
    now: datetime
    digits: bool = True


def render(language: str, text: str, fill: Fill | None = None) -> str:
    """``text`` in ``language``, its blanks filled."""
    return str(text) if isinstance(text, OwnWords) else words(language, text, **(fill or {}))


@dataclass(frozen=True)
class Say:
    """Say something. What was said on an earlier turn is not said again."""

    text: str
    fill: Fill = field(default_factory=dict)

    def render(self, language: str) -> str:
        return render(language, self.text, self.fill)


@dataclass(frozen=True)
class Do:
    """Act on the world, once, by name; the action's outcome (plain JSON) is recorded and given back on every replay.

    ``was``: the name it had before a rename, so that conversations under way do not act twice.
    """

    name: str
    action: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    was: str | None = None


@dataclass(frozen=True)
class Question:
    """Ask something. ``name`` is its address for ever: answers are recorded and found by it.

    ``within``: its patience; when it runs out the answer is SILENCE. ``optional``: SKIP answers None instead of ending the talk.
    """

    name: str
    text: str
    fill: Fill = field(default_factory=dict)
    within: timedelta | None = None
    optional: bool = False

    def render(self, language: str) -> str:
        """The question as she reads it."""
        return render(language, self.text, self.fill)

    def parse(self, text: str, hearing: Hearing) -> Any:
        """Her answer as plain JSON. Raises NotUnderstood."""
        raise NotImplementedError

    def revive(self, recorded: Any) -> Any:
        """The recorded answer as the flow receives it."""
        return recorded

    def examples(self) -> list[str]:
        """Texts that lead down every branch, for walking all conversations."""
        raise NotImplementedError


@dataclass(frozen=True)
class YesNo(Question):
    """Yes or no, in any of the languages. Gives True or False."""

    def parse(self, text: str, hearing: Hearing) -> bool:
        answer = parse_yes_no(text)
        if answer is None:
            raise NotUnderstood("Please reply YES or NO.")
        return answer

    def examples(self) -> list[str]:
        return ["yes", "no"]


@dataclass(frozen=True)
class YesNoMaybe(Question):
    """Will you come? Gives "yes", "no" or "maybe"."""

    def parse(self, text: str, hearing: Hearing) -> str:
        answer = parse_yes_no_maybe(text)
        if answer is None:
            raise NotUnderstood("Please reply YES, NO or MAYBE.")
        return answer

    def examples(self) -> list[str]:
        return ["yes", "no", "maybe"]


@dataclass(frozen=True)
class Choice(Question):
    """One of several options, by letter. ``options`` maps keys to what she reads; gives the key.

    ``listed``: False when the text already shows the options (a poll's own words).
    """

    options: Mapping[str, str] = field(default_factory=dict)
    listed: bool = True

    def render(self, language: str) -> str:
        asked = render(language, self.text, self.fill)
        if not self.listed:
            return asked
        return "\n".join(
            [asked, *(f"{letter} {render(language, label)}" for letter, label in zip(_LETTERS, self.options.values(), strict=False))]
        )

    def parse(self, text: str, hearing: Hearing) -> str:
        labels = [render(hearing.language, label) for label in self.options.values()]
        index = parse_choice(text, labels, digits=hearing.digits)
        if index is None:
            raise NotUnderstood("Please reply with a letter, A to {last}.", {"last": _LETTERS[len(labels) - 1]})
        return list(self.options)[index]

    def examples(self) -> list[str]:
        return [_LETTERS[index] for index in range(len(self.options))]


@dataclass(frozen=True)
class LanguageChoice(Choice):
    """A choice of languages, whose keys are their codes; understood by letter, and by code or name in any spelling ("es", "LANG hindi")."""

    def parse(self, text: str, hearing: Hearing) -> str:
        named = parse_language(text)
        return named if named is not None and named in self.options else super().parse(text, hearing)


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Scale(Question):
    """A digit between ``low`` and ``high``. Gives the number."""

    low: int = 1
    high: int = 5

    def parse(self, text: str, hearing: Hearing) -> int:
        answer = parse_scale(text, self.low, self.high)
        if answer is None:
            raise NotUnderstood("Please send a number from {low} to {high}.", {"low": self.low, "high": self.high})
        return answer

    def examples(self) -> list[str]:
        return [str(number) for number in range(self.low, self.high + 1)]


@dataclass(frozen=True)
class Number(Question):
    """How many? Gives a whole number between ``low`` and ``high``."""

    low: int = 0
    high: int = 999

    def parse(self, text: str, hearing: Hearing) -> int:
        answer = parse_number(text)
        if answer is None or not self.low <= answer <= self.high:
            raise NotUnderstood("Please send a number from {low} to {high}.", {"low": self.low, "high": self.high})
        return answer

    def examples(self) -> list[str]:
        return [str(self.low), str(min(self.low + 1, self.high))]


@dataclass(frozen=True)
class FreeText(Question):
    """A few words of her own. Gives them trimmed, at most ``longest`` characters."""

    longest: int = 500

    def parse(self, text: str, hearing: Hearing) -> str:
        answer = text.strip()
        if not answer:
            raise NotUnderstood("Please send a few words.")
        if len(answer) > self.longest:
            raise NotUnderstood("That is a little long. Please send it in fewer words.")
        return answer

    def revive(self, recorded: Any) -> OwnWords:
        return OwnWords(recorded)

    def examples(self) -> list[str]:
        return ["after 6"]


_GREETINGS = frozenset(
    fold(word)
    for word in ("hello", "hi", "hey", "hola", "buenas", "namaste", "namaskar", "salaam", "नमस्ते", "नमस्कार", "thanks", "gracias", "धन्यवाद")
)


@dataclass(frozen=True)
class PersonName(FreeText):
    """A name she may be called by. A question, a yes or a sentence is none: where the question is optional, such a text is for somebody
    else, and goes its ordinary way (bot/inbound/routing)."""

    longest: int = 40

    def parse(self, text: str, hearing: Hearing) -> str:
        name = " ".join(text.split())
        is_sentence = len(name.split()) > 4 or any(mark in name for mark in "?!;:¿¡।") or any(character.isdecimal() for character in name)
        is_greeting = fold(name) in _GREETINGS or parse_yes_no_maybe(name) is not None
        if not name or len(name) > self.longest or is_sentence or is_greeting:
            raise NotUnderstood("Please send only a name, like: Asha")
        return name

    def examples(self) -> list[str]:
        return ["Asha"]


@dataclass(frozen=True)
class Day(Question):
    """When? Today, tomorrow, a weekday or a date, with an hour if she gives one. Gives a bot.languages.days.Day.

    A flow echoes it in words and asks whether that is right: a wrong guess about a day sends people to an empty square.
    """

    def parse(self, text: str, hearing: Hearing) -> dict[str, str | None]:
        day = parse_day(text, hearing.now)
        if day is None:
            raise NotUnderstood("Please send a day and an hour, like: tomorrow 10am")
        return {"date": day.date.isoformat(), "time": day.time.isoformat() if day.time else None}

    def revive(self, recorded: Any) -> ParsedDay:
        hour = recorded["time"]
        return ParsedDay(date.fromisoformat(recorded["date"]), time.fromisoformat(hour) if hour else None)

    def examples(self) -> list[str]:
        return ["tomorrow 10am"]


SKIP_WORDS = frozenset(fold(word) for word in ("skip", "saltar", "omitir", "pasar", "chhodo", "chhod do", "छोड़ो", "छोड़ें", "रहने दो"))


def is_skip(text: str) -> bool:
    """Whether she asks to leave the question."""
    return fold(text) in SKIP_WORDS


@dataclass(frozen=True)
class Word:
    """A word that starts a flow: one row of the table in flows/__init__.

    ``spellings``: what else means the same, in every language. ``always``: obeyed in the middle of any question; otherwise only
    where no question is open. ``who``: anyone, member, supporter or organizer. ``takes``: the flow's argument for what follows the word
    (None: the word stands alone; "needed" words without their argument are ordinary text).
    """

    name: str
    flow: str
    spellings: tuple[str, ...] = ()
    always: bool = False
    who: str = "member"
    takes: str | None = None
    alone: bool = True  # whether the bare word works too
    gives: Mapping[str, str] = field(default_factory=dict)  # arguments that the word itself stands for: HI is the language hi
    capitals: bool = False  # only in capitals: "HI आज…" is Hindi words for the draft, "hi everyone" is a greeting

    def all_spellings(self) -> Iterable[str]:
        return (self.name, *self.spellings)


@dataclass(frozen=True)
class FlowEntry:
    """A flow as the table knows it: what it is for, whether it is care, whether its broadcast question may be answered anew."""

    function: Callable[..., Flow]
    about: str
    private: bool = False  # care: never named when asking which question she meant, nothing of it in the organizers' notes
    reanswered: bool = False  # a vote or an RSVP may be changed by answering again
    # Example arguments, for walking every conversation and for `flask talk`.
    example: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.function.__name__


__all__ = [
    "SILENCE",
    "Choice",
    "Day",
    "Do",
    "Flow",
    "FlowEntry",
    "FreeText",
    "LanguageChoice",
    "NotUnderstood",
    "Number",
    "OwnWords",
    "PersonName",
    "Question",
    "Say",
    "Scale",
    "Silence",
    "Word",
    "YesNo",
    "YesNoMaybe",
    "is_skip",
    "say_day",
]
