"""``flask keys rotate`` and ``flask keys status``: moving to a new data key."""

from __future__ import annotations

import click

from bot.commands.ground import Refused, Subject, current_deployment, progress_bar
from bot.upkeep.rotation import count_old_seals, reseal_everything

keys = Subject("keys", help="The keys that seal the database (DATA_KEYS).")
commands: tuple[click.Command, ...] = (keys,)


@keys.act("status")
def show_seals() -> None:
    """How much is sealed under another key than the first of DATA_KEYS."""
    waiting = count_old_seals(current_deployment().store)
    for name, number in waiting.items():
        click.echo(f"{number:>9,}  {name}")
    click.echo("Everything is sealed under the first key." if not waiting else "Move it: flask keys rotate")


@keys.act("rotate")
def rotate_keys() -> None:
    """Seal everything under the first key of DATA_KEYS. Put the new key first, restart all processes, then run this.

    It may be stopped and run again. The old key stays readable until nothing is sealed under it.
    """
    store = current_deployment().store
    with progress_bar("Sealing") as show:
        moved, broken = reseal_everything(store, lambda _name, done: show(done, done))
    for name, number in moved.items():
        click.echo(f"{number:>9,}  {name}")
    if broken:
        told = ", ".join(f"{number} in {name}" for name, number in broken.items())
        raise Refused(f"Some values do not open with the keys in DATA_KEYS ({told}); they were left as they are.")
    if count_old_seals(store):
        raise Refused("Something was sealed under the old key meanwhile: restart every process with the new DATA_KEYS, and run this again.")
    click.echo("Everything is sealed under the first key of DATA_KEYS. The others may go once every process runs with the new setting.")
