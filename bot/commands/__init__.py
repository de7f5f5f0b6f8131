"""The ``flask`` commands, a file a subject. Exit codes: 0 done, 1 refused (the reason on standard error), 2 wrong usage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

    from bot.settings import SettingsRefused


def register(app: Flask) -> None:
    """Put every command on ``flask``."""
    from bot.commands import (
        broadcasts,
        collectives,
        connecting,
        databases,
        doctors,
        keys,
        lines,
        members,
        money,
        purging,
        registration,
        roles,
        steering,
        talk,
        templates,
        words,
    )

    # Each module has a `commands` tuple; a new subject is a new file and its name here.
    modules = (databases, collectives, lines, connecting, members, roles, broadcasts, steering, money, templates, registration, words)
    for module in (*modules, talk, doctors, purging, keys):
        for command in module.commands:
            app.cli.add_command(command)


def make_command_line(refusal: SettingsRefused) -> Flask:
    """``flask`` without a deployment: talk, flows and --help work before anything is set up; every other command says what is missing."""
    from flask import Flask

    from bot.commands.ground import Refused

    class NoDeployment(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            raise Refused(str(refusal))

    app = Flask("chorus", static_folder=None)
    app.extensions = NoDeployment(app.extensions)
    register(app)
    return app
