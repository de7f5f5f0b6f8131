"""A database that hangs must not hang the webhook.

A server that is stopped, or a network that swallows packets, answers nothing, and statement_timeout runs on the server. So one
thread watches who is waiting for the server, and shuts the socket of whoever waits too long: libpq then reports a lost connection.
Only waiting counts: a long import whose statements are each answered in time is left alone.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

import sqlalchemy as sa

_LOOK_EVERY_SECONDS = 0.5


class Watchdog:
    """Ends waits for the server that last longer than ``seconds`` (and half a second at most)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[int, tuple[float, Any]] = {}
        self._starting = threading.Lock()
        self._stopped = threading.Event()
        self._pid = 0

    def attach(self, engine: sa.Engine) -> None:
        """Watch every statement, commit and rollback on ``engine``'s psycopg connections."""

        def executes(_connection: Any, cursor: Any, *_: Any) -> None:
            self.waits(cursor.connection)

        def executed(_connection: Any, cursor: Any, *_: Any) -> None:
            self.waits_no_more(cursor.connection)

        def ends(connection: sa.Connection) -> None:
            if not connection.invalidated:
                self.waits(connection.connection.driver_connection)

        def is_back(driver: Any, _record: Any) -> None:
            self.waits_no_more(driver)

        # Prepared statements pass the events by, and find it here.
        engine.dialect.chorus_watchdog = self  # type: ignore[attr-defined]
        sa.event.listen(engine, "before_cursor_execute", executes)
        sa.event.listen(engine, "after_cursor_execute", executed)
        # These two come before the server is asked; the connection is back in the pool when it has answered.
        sa.event.listen(engine, "commit", ends)
        sa.event.listen(engine, "rollback", ends)
        sa.event.listen(engine, "checkin", is_back)

    def waits(self, driver: Any) -> None:
        """Somebody waits for the server on this psycopg connection from now on."""
        if self._pid != os.getpid():
            self._start()
        self._waiting[id(driver)] = (time.monotonic() + self.seconds, driver)

    def waits_no_more(self, driver: Any) -> None:
        """The server has answered."""
        self._waiting.pop(id(driver), None)

    def _start(self) -> None:
        # Threads do not survive a fork (gunicorn's workers): start again in the child.
        with self._starting:
            if self._pid != os.getpid():
                self._waiting.clear()
                threading.Thread(target=self._look_after, name="database watchdog", daemon=True).start()
                self._pid = os.getpid()

    def _look_after(self) -> None:
        while not self._stopped.wait(_LOOK_EVERY_SECONDS):
            now = time.monotonic()
            for key, waits in list(self._waiting.items()):
                if now > waits[0] and self._waiting.get(key) is waits:
                    self._waiting.pop(key, None)
                    shut(waits[1])

    def stop(self) -> None:
        """End the thread: the store is closed."""
        self._stopped.set()


def watchdog_of(dialect: sa.Dialect) -> Watchdog | None:
    """The watchdog of this dialect's engine; None on SQLite, which has no server to wait for."""
    return getattr(dialect, "chorus_watchdog", None)


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
