"""One leased line in the hands of a pump: what is claimed, when the next message may leave, how fast."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from bot.delivery.claims import Claimed
from bot.delivery.leases import LeasedLine
from bot.delivery.meter import SLOT_SECOND, Meter, Window

# Messages are marked this long before their slot (seconds), a little fewer at a time on a fast line.
MARK_AHEAD, MARK_ROWS = 0.25, 40
# Claimed when less than the first of these seconds of pace is in hand, up to the second: urgent messages overtake what is not claimed yet.
CLAIM_BELOW, CLAIM_UP_TO = 0.3, 0.6
MOST_CLAIMED = 160
# Looking again at a line that had nothing more, or nothing that may leave now.
DRY_SECONDS = 0.25
# A phone that is busy (its STOP is being written) is tried again after these seconds, so many times.
BUSY_SECONDS, BUSY_TRIES = 0.2, 10
# Threads start late by milliseconds, and the carrier's own clock has its moods: three quarters of a percent keep "at most MPS + 1 segments
# in any second" true at 80 and above.
MARGIN = 0.9925
# When a line is given back, what was marked still leaves at its slot, give or take this much; later it goes back (``Senders.give_way``).
LATE = 0.01
# 429: 100 ms, doubling, give or take a tenth, 30 s at most (Twilio's own advice). Forgotten when it is long over.
SLOWEST, FIRST_WAIT, FORGET_AFTER = 30.0, 0.1, 60.0


@dataclass(slots=True)
class Backoff:
    """What 429 taught about one line, in seconds and epoch seconds."""

    seconds: float = 0.0
    until: float = 0.0

    def grow(self, now: float) -> bool:
        """The carrier said 429. False: it is one of the many that one moment's messages met."""
        if now < self.until:
            return False
        self.seconds = FIRST_WAIT if now > self.until + FORGET_AFTER else min(SLOWEST, self.seconds * 2 or FIRST_WAIT)
        self.until = now + self.seconds * random.uniform(0.9, 1.1)
        return True

    def shrink(self) -> None:
        """A message went through."""
        self.seconds = self.seconds / 2 if self.seconds > FIRST_WAIT else 0.0


@dataclass(slots=True)
class Known:
    """What a process knows of a line from its earlier turns of duty. Forgotten, it is learnt again."""

    backoff: Backoff = field(default_factory=Backoff)
    meter: Meter | None = None

    def meter_for(self, mps: float) -> Meter:
        """Its meter; a new one when the pace was changed."""
        if self.meter is None or self.meter.mps != mps:
            self.meter = Meter(mps)
        return self.meter


class PacedLine:
    """All times in epoch seconds. ``next_slot`` is exact: each message moves it on by its segments, however late a thread wakes."""

    def __init__(self, line: LeasedLine, now: float, known: Known | None = None) -> None:
        known = known or Known()
        self.line = line
        self.rate = line.mps * MARGIN
        self.meter, self.backoff = known.meter_for(line.mps), known.backoff
        self.ahead = min(MARK_AHEAD, MARK_ROWS / self.rate)
        # Nothing we write is further ahead than a second of pace or one long message; more means that the machine's clock was set back.
        furthest = now + 2.0 + SLOWEST * 1.1 + 10.0 / self.rate
        self.next_slot = line.next_slot if line.next_slot <= furthest else now
        self._slots = Window(line.mps, SLOT_SECOND)
        self._claimed: list[Claimed] = []
        self._segments = 0
        self._busy: list[tuple[float, Claimed]] = []
        self._given_up: list[Claimed] = []
        self._is_dry, self._look_after = False, 0.0
        # The next row is a suspect, to be claimed alone; one is in hand, beside which nothing is claimed.
        self._suspect_next = self._has_suspect = False
        self.in_flight = 0
        self.was_useful = False
        # After an error that held the line, and after 429, one message tries it and waits for its outcome.
        self.is_trying = line.held_code is not None or self.backoff.seconds > 0
        self.resting = False

    # --- claiming -------------------------------------------------------------------------------------------------------

    def wants(self, now: float) -> int:
        """How many segments to claim now; 0: none."""
        if self._claim_moment(now) > now:
            return 0
        return 1 if self.is_trying else max(1, int((now + CLAIM_UP_TO - self.pace_spoken_for(now)) * self.rate))

    def _claim_moment(self, now: float) -> float:
        if self.resting or len(self._claimed) >= MOST_CLAIMED // 2 or (self.is_trying and (self._claimed or self.in_flight)):
            return math.inf
        if self._suspect_next or self._has_suspect:
            return math.inf if self._claimed or self._busy else self.next_slot - self.ahead
        return max(self._look_after, self.pace_spoken_for(now) - CLAIM_BELOW)

    def is_alone(self, now: float) -> bool:
        """Whether a suspect row may be claimed: nothing else is in hand, and it would be marked at once."""
        return not (self._claimed or self._busy) and self.next_slot - self.ahead <= now

    @property
    def waiting_rows(self) -> int:
        """How many rows of polls and broadcasts are in hand and not marked."""
        return sum(row.can_wait for row in self._claimed) + sum(row.can_wait for _, row in self._busy)

    def pace_spoken_for(self, now: float) -> float:
        """Where the pace stands when everything claimed has left: what a successor must respect."""
        return max(self.next_slot, now) + self._segments / self.rate

    def claimed(self, rows: Iterable[Claimed], is_dry: bool, now: float, *, is_held_back: bool = False) -> None:
        """These are ours now; ``is_dry``: there were no more; ``is_held_back``: there are, and they may not leave yet."""
        rows = list(rows)
        self._has_suspect = any(row.is_suspect for row in (*rows, *self._claimed))
        self._suspect_next = not rows and not is_dry
        self.put_back(rows)
        self._is_dry = is_dry and not is_held_back
        self._look_after = now + DRY_SECONDS if is_dry else 0.0

    # --- marking --------------------------------------------------------------------------------------------------------

    def due(self, now: float, most: int) -> list[Claimed]:
        """Take out the messages whose slot is near, at most ``most``."""
        while self._busy and self._busy[0][0] <= now:
            self.put_back([heapq.heappop(self._busy)[1]])
        taken: list[Claimed] = []
        slot = max(self.next_slot, now)
        most = min(most, 1 - self.in_flight) if self.is_trying else most
        while self._claimed and len(taken) < most and slot <= now + self.ahead:
            row = heapq.heappop(self._claimed)
            self._segments -= row.segments
            slot += row.segments / self.rate
            taken.append(row)
        return taken

    def put_back(self, rows: Iterable[Claimed]) -> None:
        """In hand again, in their order of urgency."""
        for row in rows:
            heapq.heappush(self._claimed, row)
            self._segments += row.segments

    def take_out(self, row: Claimed) -> bool:
        """Take this one out of hand; False when it is not there any more."""
        if row not in self._claimed:
            return False
        self._claimed = [other for other in self._claimed if other.id != row.id]
        heapq.heapify(self._claimed)
        self._segments -= row.segments
        return True

    def delay(self, rows: Iterable[Claimed], now: float) -> None:
        """The phones of these are busy. After BUSY_TRIES they are given up (``take_given_up``)."""
        for row in rows:
            row.busy += 1
            if row.busy < BUSY_TRIES:
                heapq.heappush(self._busy, (now + BUSY_SECONDS, row))
            else:
                self._given_up.append(row)

    def take_given_up(self) -> list[Claimed]:
        """Rows whose phones stay busy: to be queued again, so that they do not look like a dead pump's."""
        rows, self._given_up = self._given_up, []
        return rows

    def take_slot(self, now: float, segments: int) -> float:
        """When this message leaves."""
        slot = self._slots.first(max(self.next_slot, now), segments)
        self._slots.add(slot, segments)
        self.next_slot = slot + segments / self.rate
        self.in_flight += 1
        self.was_useful = True
        self.meter.expect(segments)
        return slot

    def next_moment(self, now: float, has_room: bool) -> float:
        """When there is something to do here again; ``has_room``: whether more may be marked before something comes back."""
        moments = [self._claim_moment(now)]
        if has_room and not self.resting and not (self.is_trying and self.in_flight):
            if self._claimed:
                moments.append(self.next_slot - self.ahead / 2)
            if self._busy:
                moments.append(self._busy[0][0])
        return min(moments)

    # --- what came back -------------------------------------------------------------------------------------------------

    def slow_down(self, now: float) -> None:
        """The carrier said 429: the whole line waits, and then one message tries whether it is over."""
        if self.backoff.grow(now):
            self.next_slot = max(self.next_slot, self.backoff.until)
            self.is_trying = True

    def went_well(self, now: float) -> None:
        """The carrier took a message; one that it took before it said 429 says nothing."""
        if now >= self.backoff.until:
            self.backoff.shrink()
            self.is_trying = False

    def requeued(self) -> None:
        """A message of ours was not processed and waits again."""
        self._is_dry, self._look_after = False, 0.0

    def rest(self) -> None:
        """An error holds the line: nothing more is claimed or marked."""
        self.resting = True

    # --- letting go -----------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Nothing in hand, and the last look found nothing more."""
        return not (self._claimed or self._busy or self._given_up or self.in_flight) and (self._is_dry or self.resting)

    @property
    def slot_for_others(self) -> float:
        """The first slot of whoever serves the line next, as long as what is marked keeps to its slots (``LATE``)."""
        return max(self.next_slot + LATE, self.meter.free_from(self.rate))

    def let_go(self) -> list[Claimed]:
        """Everything claimed and not marked, to be queued again."""
        rows = [*self._claimed, *(row for _, row in self._busy), *self._given_up]
        self._claimed, self._busy, self._given_up, self._segments = [], [], [], 0
        return rows
