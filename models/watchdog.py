"""A database that hangs must not hang the webhook.

A server that is stopped, or a network that swallows packets, answers nothing, and statement_timeout runs on the server. So one
thread watches the transactions in progress, and shuts the socket of one that is overdue: libpq then reports a lost connection.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa


class Watchdog:
    """Ends transactions that wait for the server longer than ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._watched: dict[int, tuple[float, Any]] = {}
        self._numbers = itertools.count()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0

    @contextmanager
    def watch(self, connection: sa.Connection, seconds: float | None = None) -> Iterator[None]:
        """Watch what happens on ``connection`` inside the block."""
        self._run()
        number = next(self._numbers)
        self._watched[number] = (time.monotonic() + (seconds or self.seconds), connection.connection.driver_connection)
        try:
            yield
        finally:
            self._watched.pop(number, None)

    def _run(self) -> None:
        # Threads do not survive a fork (gunicorn's workers): start again in the child.
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._watched.clear()
            self._thread = threading.Thread(target=self._look_after, name="database watchdog", daemon=True)
            self._thread.start()

    def _look_after(self) -> None:
        while not self._stopped.wait(0.5):
            now = time.monotonic()
            for number, (deadline, driver) in list(self._watched.items()):
                if now > deadline:
                    self._watched.pop(number, None)
                    shut(driver)

    def stop(self) -> None:
        self._stopped.set()


def shut(driver: Any) -> None:
    """Shut the socket under a psycopg connection, so that whoever waits on it wakes with an error."""
    try:
        descriptor = os.dup(driver.pgconn.socket)
    except Exception:  # noqa: BLE001 - already closed: there is nobody left to wake
        return
    with socket.socket(fileno=descriptor) as sock:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
