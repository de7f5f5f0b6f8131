"""What makes a function an action: a flow may name it in a Do, and walking all conversations knows what it may give back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


Outcomes = Sequence[Any] | Callable[[str], Sequence[Any]]


def action(*, outcomes: Outcomes = ({},), reads: bool = False) -> Callable[[Function], Function]:
    """Mark an action. It takes the Turn and plain JSON, re-checks the world, writes through ``turn.session`` and gives plain JSON.

    ``outcomes``: an example of each kind of outcome a flow branches on; a function of the language where they hold words that a member
    reads. ``reads``: it changes nothing, so that a broadcast's question may be looked at before anybody answers it.
    """

    def mark(function: Function) -> Function:
        function.outcomes = outcomes if callable(outcomes) else tuple(outcomes)  # type: ignore[attr-defined]
        function.reads = reads  # type: ignore[attr-defined]
        return function

    return mark
