"""``flask flows``: every conversation and the words that start it; and which words no collective may take."""

from __future__ import annotations

from functools import cache

import click

from bot.commands.ground import command
from bot.languages import fold, match_language
from bot.languages.answers import parse_yes_no_maybe

# Words the carriers take, whatever our own table says (Twilio's default keywords).
_CARRIERS = frozenset("stop stopall unsubscribe cancel end quit revoke optout start unstop yes help info".split())


@cache
def _table() -> frozenset[str]:
    from flows import WORDS  # at module level it would be circular

    return frozenset(fold(spelling) for word in WORDS for spelling in word.all_spellings())


def means_something(word: str) -> bool:
    """Whether the bot or a carrier understands this word already, in any language: then no collective may be called by it."""
    folded = fold(word)
    return folded in _CARRIERS or folded in _table() or parse_yes_no_maybe(folded) is not None or match_language(folded) is not None


@command("flows")
def list_flows() -> None:
    """Every conversation, what it is for, and the words that start it."""
    from flows import FLOWS, WORDS

    started: dict[str, list[str]] = {}
    for word in WORDS:
        started.setdefault(word.flow, []).append(word.name)
    width = max(len(name) for name in FLOWS)
    for name, entry in sorted(FLOWS.items()):
        words = ", ".join(started.get(name, []))
        click.echo(f"{name:<{width}}  {entry.about}{f'  [{words}]' if words else ''}")
    click.echo("Talk to one here: flask talk FLOW")


commands: tuple[click.Command, ...] = (list_flows,)
