"""The web process: ``gunicorn wsgi:app``, and how ``flask`` finds its commands."""

import os
import sys

import click

from bot import create_app
from bot.commands import make_command_line
from bot.health.places import take_place
from bot.settings import SettingsRefused

# gunicorn's WORKER_BOOT_ERROR: its master stops then, instead of starting worker after worker for ever.
BOOT_ERROR = 3


def is_command_line() -> bool:
    """Whether ``flask`` wants its commands, to run or list one. Its own (run, shell, routes) need the whole application."""
    context = click.get_current_context(silent=True)
    return "FLASK_RUN_FROM_CLI" in os.environ and context is not None and isinstance(context.command, click.Group)


try:
    app = create_app()
except SettingsRefused as refusal:
    if is_command_line():
        app = make_command_line(refusal)
    else:
        # A clear list instead of a traceback: whoever deploys reads this line first.
        print(refusal, file=sys.stderr)
        raise SystemExit(1 if "FLASK_RUN_FROM_CLI" in os.environ else BOOT_ERROR) from None
else:
    if "FLASK_RUN_FROM_CLI" not in os.environ:
        take_place(app.extensions["chorus"].store)
