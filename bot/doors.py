"""Every route has a door: a mark that says by what it is guarded. A route without one fails the tests (default closed)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])


def open_to_all(reason: str) -> Callable[[View], View]:
    """A route that anybody may ask, and why that harms nobody."""

    def mark(view: View) -> View:
        view.door = f"open: {reason}"  # type: ignore[attr-defined]
        return view

    return mark
