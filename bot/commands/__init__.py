"""The ``flask`` commands, a file a subject. Exit codes: 0 done, 1 refused (the reason on standard error), 2 wrong usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask


def register(app: Flask) -> None:
    """Put every command on ``flask``."""
    from bot.commands import broadcasts, collectives, databases, doctors, keys, lines, members, purging, roles, talk, words

    # Each module has a `commands` tuple; a new subject is a new file and its name here.
    for module in (databases, collectives, lines, members, roles, broadcasts, words, talk, doctors, purging, keys):
        for command in module.commands:
            app.cli.add_command(command)
