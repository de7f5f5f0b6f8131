"""``flask purge``: delete what is older than it may be."""

from __future__ import annotations

import click

from bot.commands.ground import command, current_deployment, progress_bar
from bot.upkeep.retention import purge


@command("purge")
def purge_old_data() -> None:
    """Delete what is older than the retention periods; the worker does the same every hour. Prints counts only."""
    deployment = current_deployment()
    with progress_bar("Purging") as show:
        counts = purge(deployment, lambda _rule, done: show(done, done))
    for name, changed in counts.items():
        click.echo(f"{changed:>9,}  {name}")


commands: tuple[click.Command, ...] = (purge_old_data,)
