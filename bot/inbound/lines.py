"""Which line a message came to."""

from __future__ import annotations

import threading
import time

import sqlalchemy as sa

from bot.conversation.turn import LineFacts
from bot.inbound.message import InboundMessage
from models import CollectiveLine, Line, Store


class LineBook:
    """The lines by address, read again every second: they change when a person types a command, not with every message.

    Nobody waits for somebody else's reading: with the database hanging, a queue at this door would make the last one wait for minutes.
    """

    FRESH_SECONDS = 1.0

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lines: dict[str, LineFacts] = {}
        self._read_at: float | None = None
        self._reading = threading.Lock()

    def find(self, message: InboundMessage) -> LineFacts | None:
        """The line a message came to: by its number, else by its Messaging Service. Raises what the database raises."""
        if self._read_at is None:
            self._read()
        elif time.monotonic() - self._read_at > self.FRESH_SECONDS and self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()
        found = self._look_up(message)
        if found is None:
            # A line may have been made a moment ago.
            self._read()
            found = self._look_up(message)
        return found

    def is_ours(self, address: str) -> bool:
        """Whether an address (as ``InboundMessage.sender``) is a line of ours: two of our lines must never talk to each other."""
        return address in self._lines

    def _look_up(self, message: InboundMessage) -> LineFacts | None:
        return self._lines.get(message.to) or self._lines.get(message.service or "")

    def _read(self) -> None:
        asked_at = time.monotonic()
        with self._store.read() as session:
            shared: dict[int, list[int]] = {}
            links = sa.select(CollectiveLine.line_id, CollectiveLine.collective_id).order_by(CollectiveLine.collective_id)
            for row in session.execute(links):
                shared.setdefault(row.line_id, []).append(row.collective_id)
            lines = session.scalars(sa.select(Line)).all()
        self._lines = {
            line.address: LineFacts(
                line.id, line.channel, line.address, line.two_way, line.carrier_answers_stop, tuple(shared.get(line.id, ()))
            )
            for line in lines
        }
        self._read_at = asked_at
