"""What time it is for the people Chorus serves.

Everything a person feels (quiet hours, "tomorrow", a poll's close) asks the clock. Leases and pacing ask real time instead
(``time.time`` and ``time.monotonic``): a test that jumps a week ahead must not make a lease look a week old.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta


class Clock:
    """A running clock that may start somewhere else and may be moved.

    ``start``: aware moment shown at construction (CHORUS_NOW); None means real time.
    ``offset``: a jump ahead, shared between processes through the database (see ``Store.refresh_clock``).
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.tzinfo is None:
            raise ValueError("the clock's start must carry a time zone")
        self._shift = timedelta(0) if start is None else start - datetime.now(UTC)
        self.offset = timedelta(0)
        self._frozen: datetime | None = None
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        frozen = self._frozen
        if frozen is not None:
            return frozen + self.offset
        return datetime.now(UTC) + self._shift + self.offset

    def freeze(self, moment: datetime) -> None:
        """Stand still at ``moment`` until moved (tests)."""
        if moment.tzinfo is None:
            raise ValueError("freeze the clock at an aware moment")
        with self._lock:
            self._frozen, self.offset = moment.astimezone(UTC), timedelta(0)

    def advance(self, span: timedelta) -> None:
        """Jump ahead (or back) by ``span``."""
        with self._lock:
            self.offset += span


def real_seconds() -> float:
    """Seconds since the epoch by the machine's clock: for leases shared between processes, never for people."""
    return time.time()
