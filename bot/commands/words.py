"""``flask flows``: every conversation and the words that start it."""

from __future__ import annotations

import click

from bot.commands.ground import command


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
