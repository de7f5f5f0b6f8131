"""On SQLite: how many web processes run on this database, however they were started (``--workers 2``, two gunicorns, two containers).

Each takes the first free of a few places beside the database file and keeps it locked. The system lets go of a lock when its process
ends, however it ends, so there is nothing to go stale; what stays is an empty file for each process that ever ran at the same time.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from models import Store

log = logging.getLogger(__name__)

# More than these are counted as these: two are too many already.
PLACES = 8


class Place:
    """The place of this process. A child of a fork takes over the parent's, so that gunicorn --preload counts the processes that serve."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: int | None = None

    def take(self) -> None:
        """Take the first free place, unless this process has one. A folder that can not lock costs the count, not the service."""
        if self._held is not None:
            return
        try:
            for file in _files(self._store):
                self._held = _lock(file)
                if self._held is not None:
                    return
        except OSError as error:
            log.warning("web processes on SQLite can not be counted (%s)", type(error).__name__)

    def leave(self) -> None:
        """Give it up, or over to the child that was just forked: the lock is gone when nobody has it open any more."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


def take_place(store: Store) -> None:
    """This process serves the web on ``store``, and so will its children."""
    if not _is_file(store):
        return
    place = Place(store)
    place.take()
    os.register_at_fork(after_in_parent=place.leave, after_in_child=place.take)


def count_web_processes(store: Store) -> int:
    """Web processes that run on this database now; 0 where they are not counted (PostgreSQL may have any number)."""
    running = 0
    for file in _files(store) if _is_file(store) else ():
        if not file.exists():
            continue
        mine = _lock(file)
        if mine is None:
            running += 1
        else:
            os.close(mine)
    return running


def _is_file(store: Store) -> bool:
    return store.is_sqlite and bool(store.url.database) and not str(store.url.database).startswith(("file:", ":memory:"))


def _files(store: Store) -> Iterator[Path]:
    for number in range(1, PLACES + 1):
        yield Path(f"{store.url.database}-web{number}")


def _lock(file: Path) -> int | None:
    """The open, locked file; None when another process has it."""
    opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        return None
    except OSError:
        os.close(opened)
        raise
    return opened
