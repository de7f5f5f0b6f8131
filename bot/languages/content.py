"""The words around what organizers write. The flow's question and the send both call these, so that both say the same."""

from collections.abc import Sequence
from string import ascii_uppercase

from bot.languages.catalog import words


def render_poll(language: str, question: str, options: Sequence[str]) -> str:
    """A poll as one text: the question, a letter before each option (letters, so that a vote is never taken for a mood), and how to answer.

    Raises ValueError for fewer than two options or more than there are letters.
    """
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise ValueError("a poll has 2 to 26 options")
    lines = [_one_line(question)]
    lines += [f"{letter} {_one_line(option)}" for letter, option in zip(ascii_uppercase, options, strict=False)]
    lines.append(words(language, "Reply with a letter."))
    return "\n".join(lines)


def render_alert(language: str, collective: str, text: str) -> str:
    """A call to an action, with the question it asks of everyone."""
    return f"{render_notice(language, collective, text)}\n{words(language, 'Coming? Reply YES, NO or MAYBE.')}"


def render_notice(language: str, collective: str, text: str) -> str:
    """An organizer's text as members read it. Every message names its sender (CTIA), in every language in the same place."""
    return f"{_one_line(collective)}: {text.strip()}"


def render_check_in(language: str, collective: str) -> str:
    """The opening question of a check-in. It tells a stranger who reads over her shoulder nothing about why she is asked."""
    return words(language, "{collective}: how are you today, from 1 (rough) to 5 (great)?", collective=_one_line(collective))


def _one_line(text: str) -> str:
    return " ".join(text.split())
