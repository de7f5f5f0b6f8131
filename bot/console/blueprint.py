"""The blueprint that all pages hang on, and how a page says where it is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint

from bot.console.access import ACCESS
from bot.console.forms import LARGEST

View = TypeVar("View", bound=Callable[..., Any])

blueprint = Blueprint(
    "console", "bot.console", url_prefix="/console", static_folder="static", static_url_path="/static", template_folder="templates"
)


def page(rule: str, *, methods: tuple[str, ...] = ("GET",)) -> Callable[[View], View]:
    """Hang a view up at ``rule``; its endpoint is the function's name, and ``access`` must know it.

    Raises LookupError for one that the table does not know: a page is closed to everybody until somebody decided who may see it.
    """

    def hang(view: View) -> View:
        endpoint = f"console.{view.__name__}"
        if endpoint not in ACCESS:
            raise LookupError(f"{endpoint} is not in bot/console/access.py: nobody decided who may open it")
        # A number that no column can hold is the address of nothing, not an error of the database.
        rule_within = rule.replace("<int:", f"<int(max={LARGEST}):")
        view.door = f"console: {endpoint} in bot/console/access.py"  # type: ignore[attr-defined]
        blueprint.add_url_rule(rule_within, view.__name__, view, methods=list(methods))
        return view

    return hang
