"""Which line a message came to."""

from __future__ import annotations

import threading
import time

import sqlalchemy as sa

from bot.conversation.turn import LineFacts
from bot.inbound.message import InboundMessage
from models import CollectiveLine, Line, Store


class LineBook:
    """The lines by address, read again every few seconds: they change when a person types a command, not with every message."""

    FRESH_SECONDS = 5.0

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lines: dict[str, LineFacts] = {}
        self._read_at = -self.FRESH_SECONDS
        self._reading = threading.Lock()

    def find(self, message: InboundMessage) -> LineFacts | None:
        """The line a message came to: by its number, else by its Messaging Service."""
        with self._reading:
            if time.monotonic() - self._read_at > self.FRESH_SECONDS:
                self._read()
            found = self._lines.get(message.to) or self._lines.get(message.service or "")
            if found is None:
                # A line may have been made a moment ago.
                self._read()
                found = self._lines.get(message.to) or self._lines.get(message.service or "")
            return found

    def _read(self) -> None:
        with self._store.read() as session:
            shared: dict[int, list[int]] = {}
            for row in session.execute(sa.select(CollectiveLine.line_id, CollectiveLine.collective_id).order_by(CollectiveLine.collective_id)):
                shared.setdefault(row.line_id, []).append(row.collective_id)
            lines = session.scalars(sa.select(Line)).all()
        self._lines = {
            line.address: LineFacts(line.id, line.channel, line.address, line.two_way, line.carrier_answers_stop, tuple(shared.get(line.id, ()))) for line in lines
        }
        self._read_at = time.monotonic()
