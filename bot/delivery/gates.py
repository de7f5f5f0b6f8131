"""What holds back polls and broadcasts of a line while urgent messages go on: its canary, and the carrier's own queue being full."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.canary import Canary, needs_canary
from bot.delivery.claims import Claimed
from bot.delivery.leases import LeasedLine
from bot.delivery.lists import in_states
from bot.delivery.marks import Marked
from bot.delivery.pace import PacedLine
from models import Outbound, Store
from models.messages import ACCEPTED, LANE_BROADCAST, LANE_CHECK_IN

# How long Twilio keeps what it could not send yet (docs, queueing and latency); what waits longer there fails with 30001.
QUEUE_SPAN = {"sms": timedelta(hours=10), "whatsapp": timedelta(hours=4)}
# A line that fast is told by Twilio itself (21611), before we could count so far.
TOO_MANY_TO_COUNT = 1_000_000
LOOK_EVERY = 5.0

_o: Any = Outbound.__table__
_there = (
    sa.select(_o.c.segments)
    .where(
        _o.c.line_id == sa.bindparam("line"),
        in_states(_o.c.state, ACCEPTED),
        _o.c.accepted_at > sa.bindparam("since", type_=_o.c.accepted_at.type),
    )
    .limit(sa.bindparam("most"))
    .subquery()
)
_AT_CARRIER = sa.select(sa.func.coalesce(sa.func.sum(_there.c.segments), 0))


@dataclass(slots=True)
class CarrierQueue:
    """How many segments more the carrier can deliver in time, of one line. The process keeps it from one turn of duty to the next."""

    room_left: float = 0.0
    look_after: float = 0.0
    mps: float = 0.0

    def room(self, session: Session, line: LeasedLine, now: datetime, real: float) -> int | None:
        """Segments that may still go there; None: no limit worth counting. ``now`` people's time, ``real`` epoch seconds."""
        span = QUEUE_SPAN[line.channel]
        limit = line.mps * span.total_seconds()
        if limit > TOO_MANY_TO_COUNT:
            return None
        if real >= self.look_after or line.mps != self.mps:
            values = {"line": line.id, "since": now - span, "most": int(limit) + 1}
            self.room_left = limit - session.connection().execute(_AT_CARRIER, values).scalar_one()
            # Nobody fills it faster than the line's pace.
            self.look_after, self.mps = real + max(LOOK_EVERY, self.room_left / line.mps), line.mps
        return max(0, int(self.room_left))

    def filled(self, segments: int) -> None:
        """So many are on their way there."""
        self.room_left -= segments


@dataclass(frozen=True, slots=True)
class Opening:
    """What may be claimed now: the least urgent lane, rows and segments at most. ``is_narrow``: more is there than may leave."""

    highest: int
    most: int
    segments: int
    is_narrow: bool


class Gates:
    """The gates of a pump's lines for a turn of duty."""

    def __init__(self, store: Store, queues: dict[int, CarrierQueue]) -> None:
        self._store = store
        self._canaries: dict[int, Canary] = {}
        self._queues = queues

    def add(self, line: LeasedLine) -> None:
        """This line was leased."""
        self._canaries.pop(line.id, None)
        if needs_canary(line, self._store.clock.now()):
            self._canaries[line.id] = Canary(self._store, line)

    def open(self, session: Session, paced: PacedLine, taken: Iterable[Claimed], wanted: int, most: int, real: float) -> Opening:
        """What of ``wanted`` segments and ``most`` rows may be claimed. ``taken``: rows in hand that are marked in this turn."""
        line, now = paced.line, self._store.clock.now()
        canary, rows = self._canaries.get(line.id), None
        if canary is not None:
            rows = canary.room(session, now, paced.waiting_rows + sum(row.can_wait for row in taken))
        segments = self._queues.setdefault(line.id, CarrierQueue()).room(session, line, now, real)
        if rows == 0 or segments == 0:
            return Opening(LANE_CHECK_IN, most, wanted, True)
        most_rows = most if rows is None else min(most, rows)
        most_segments = wanted if segments is None else min(wanted, segments)
        return Opening(LANE_BROADCAST, most_rows, most_segments, (most_rows, most_segments) != (most, wanted))

    def passed(self, line: LeasedLine, marked: Iterable[Marked], waiting: Iterable[int]) -> None:
        """These were marked; ``waiting``: the ids among them that are of polls and broadcasts."""
        marked = list(marked)
        queue = self._queues.get(line.id)
        if queue is not None:
            queue.filled(sum(mark.segments for mark in marked))
        canary = self._canaries.get(line.id)
        if canary is not None:
            canary.left(waiting)
            if canary.is_over:
                del self._canaries[line.id]
