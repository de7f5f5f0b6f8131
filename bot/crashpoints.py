"""Places where a test may end this process as a power cut would: no clean-up, no goodbye.

Armed only by CHORUS_CRASHPOINT in the environment, read once at the start: a point's name, or name:n for the n-th time that it is passed.
tests/faults/test_crashpoints.py walks the code for them and fails when one has no case.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_lock = threading.Lock()


def _end_here() -> None:
    os._exit(137)


class _Armed:
    """Which point is armed in this process, and how often it may still be passed."""

    name = ""
    left = 0
    end: Callable[[], None] = staticmethod(_end_here)


def arm(point: str, end: Callable[[], None] = _end_here) -> None:
    """Arm ``point`` ("name" or "name:n", "" for none) in this process. ``end``: what happens there; tests in one process raise instead."""
    name, _, count = point.partition(":")
    with _lock:
        _Armed.name, _Armed.left, _Armed.end = name, int(count or 1), staticmethod(end)


def crashpoint(name: str) -> None:
    """End the process here and now, if this very point is armed and its time has come."""
    if name != _Armed.name:
        return
    with _lock:
        _Armed.left -= 1
        passed = _Armed.left == 0
    if passed:
        _Armed.end()


arm(os.environ.get("CHORUS_CRASHPOINT", ""))
