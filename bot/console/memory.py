"""What costs the database much and may be a few seconds old: kept in this process for a moment, read by one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from flask import current_app

from models.clock import real_seconds

T = TypeVar("T")
MOST = 200


class Memory:
    """Values by key, with the real second until which each may be believed."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[float, Any]] = {}
        self._reading: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def recall(self, key: Hashable, read: Callable[[], T], seconds: Callable[[T], float]) -> T:
        """What is kept under ``key``, else what ``read`` gives; ``seconds`` says how long that may be believed (0.0: not at all).

        Sixteen pages that look at the same broadcast read it once: the others wait for the first one.
        """
        with self._lock:
            if len(self._kept) > MOST:
                self._kept.clear()
                self._reading = {key: lock for key, lock in self._reading.items() if lock.locked()}
            reading = self._reading.setdefault(key, threading.Lock())
        with reading:
            until, value = self._kept.get(key, (0.0, None))
            if until > real_seconds():
                return value
            found = read()
            lasts = seconds(found)
            if lasts > 0.0:
                self._kept[key] = (real_seconds() + lasts, found)
            return found


def memory() -> Memory:
    """This process's memory (each application its own)."""
    found: Memory = current_app.extensions.setdefault("chorus_memory", Memory())
    return found
