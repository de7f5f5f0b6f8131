"""``flask doctor``: is everything in place, and if not, what to do."""

from __future__ import annotations

import click
from flask import current_app

from bot.commands.ground import command
from bot.health.checks import examine


@command("doctor")
def doctor() -> None:
    """Look at settings, database, keys, Redis, workers and lines; exit 1 when something is broken."""
    broken = 0
    for check in examine(current_app.extensions["chorus"]):
        mark = "ok   " if check.ok else ("WRONG" if check.is_broken else "note ")
        click.echo(f"{mark}  {check.name}: {check.says}")
        if check.todo:
            click.echo(f"       {check.todo}")
        broken += not check.ok and check.is_broken
    click.echo("All is well." if not broken else f"{broken} to mend.")
    if broken:
        raise SystemExit(1)


commands: tuple[click.Command, ...] = (doctor,)
