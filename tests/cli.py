"""Run a ``flask`` command in a test, as somebody without a terminal would."""

from __future__ import annotations

from collections.abc import Callable

from click.testing import Result
from flask import Flask

from bot.commands import register
from bot.deployment import Deployment

Run = Callable[..., Result]


def commands_of(deployment: Deployment) -> Run:
    """``run("line", "set", …)`` runs ``flask line set …`` on this deployment. The rest of the application is not needed for it."""
    app = Flask("chorus", static_folder=None)
    app.extensions["chorus"] = deployment
    register(app)

    def run(*arguments: str) -> Result:
        result = app.test_cli_runner(catch_exceptions=False).invoke(args=list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run
