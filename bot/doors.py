"""Every route has a door: a mark that says by what it is guarded. A route without one fails the tests (default closed)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Request
from flask.sessions import SessionInterface, SessionMixin

View = TypeVar("View", bound=Callable[..., Any])


def open_to_all(reason: str) -> Callable[[View], View]:
    """A route that anybody may ask, and why that harms nobody."""

    def mark(view: View) -> View:
        view.door = f"open: {reason}"  # type: ignore[attr-defined]
        return view

    return mark


class NoSessions(SessionInterface):
    """No session of Flask's behind any door: it can be read, and writing to it raises.

    What the console remembers of a browser stands in the database (bot/console/sessions.py); and opening one, for which a key is derived
    and a cookie looked for, would cost every request of the carrier as much as its signature.
    """

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:
        return None
