"""One leased line in the hands of a pump: what is claimed, when the next message may leave, how fast."""

from __future__ import annotations

import heapq
import math
import random
import threading
import time
from collections import deque
from collections.abc import Iterable

from bot.delivery.claims import Claimed
from bot.delivery.leases import LeasedLine

# Messages are marked this long before their slot (seconds), a little fewer at a time on a fast line.
MARK_AHEAD, MARK_ROWS = 0.25, 40
# Claimed when less than the first of these seconds of pace is in hand, up to the second: urgent messages overtake what is not claimed yet.
CLAIM_BELOW, CLAIM_UP_TO = 0.3, 0.6
MOST_CLAIMED = 160
# Looking again at a line that had nothing more.
DRY_SECONDS = 0.25
# A phone that is busy (its STOP is being written) is tried again after these seconds, so many times.
BUSY_SECONDS, BUSY_TRIES = 0.2, 10
# Threads start late by milliseconds; half a percent keeps "at most MPS + 1 segments in any second" true at 80 and above.
MARGIN = 0.995
# 429: 100 ms, doubling, give or take a tenth, 30 s at most (Twilio's own advice).
SLOWEST, FIRST_WAIT = 30.0, 0.1


class Meter:
    """The starts of the last second on one line, as they really were: never more than ``mps`` + 1 segments in any second.

    The slots alone would do if threads woke on time; on a busy machine one wakes late, and the next ones must not crowd behind it.
    """

    def __init__(self, mps: float) -> None:
        self._most = mps + 1
        self._starts: deque[tuple[float, int]] = deque()
        self._segments = 0
        self._lock = threading.Lock()

    def start(self, segments: int) -> float:
        """0.0: it may start, and counts as started now. Else the seconds to wait before asking again."""
        with self._lock:
            now = time.monotonic()
            while self._starts and self._starts[0][0] <= now - 1.0:
                self._segments -= self._starts.popleft()[1]
            if self._starts and self._segments + segments > self._most:
                return self._starts[0][0] + 1.0 - now + 0.0005
            self._starts.append((now, segments))
            self._segments += segments
            return 0.0


class PacedLine:
    """All times in epoch seconds. ``next_slot`` is exact: each message moves it on by its segments, however late a thread wakes."""

    def __init__(self, line: LeasedLine, now: float) -> None:
        self.line = line
        self.rate = line.mps * MARGIN
        self.meter = Meter(line.mps)
        self.ahead = min(MARK_AHEAD, MARK_ROWS / self.rate)
        # Nothing we write is further ahead than a second of pace or one long message; more means that the machine's clock was set back.
        furthest = now + 2.0 + SLOWEST + 10.0 / self.rate
        self.next_slot = line.next_slot if line.next_slot <= furthest else now
        self._claimed: list[Claimed] = []
        self._segments = 0
        self._busy: list[tuple[float, Claimed]] = []
        self._is_dry, self._look_after = False, 0.0
        self._backoff, self._warned_until = 0.0, 0.0
        self.in_flight = 0
        self.was_useful = False
        # A line that rested after an error sends one message and waits for its outcome.
        self.is_trying = line.held_code is not None
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
        return max(self._look_after if self._is_dry else now, self.pace_spoken_for(now) - CLAIM_BELOW)

    def pace_spoken_for(self, now: float) -> float:
        """Where the pace stands when everything claimed has left: what a successor must respect."""
        return max(self.next_slot, now) + self._segments / self.rate

    def claimed(self, rows: Iterable[Claimed], is_dry: bool, now: float) -> None:
        """These are ours now; ``is_dry``: there were no more."""
        self.put_back(rows)
        self._is_dry, self._look_after = is_dry, now + DRY_SECONDS

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

    def delay(self, rows: Iterable[Claimed], now: float) -> None:
        """The phones of these are busy. After BUSY_TRIES they are let go: their claim runs out, and the sweep queues them again."""
        for row in rows:
            row.tries += 1
            if row.tries < BUSY_TRIES:
                heapq.heappush(self._busy, (now + BUSY_SECONDS, row))

    def take_slot(self, now: float, segments: int) -> float:
        """When this message leaves."""
        slot = max(self.next_slot, now)
        self.next_slot = slot + segments / self.rate
        self.in_flight += 1
        self.was_useful = True
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
        """The carrier said 429: the whole line waits."""
        if now < self._warned_until:
            return  # the messages of one moment are one warning
        self._backoff = min(SLOWEST, self._backoff * 2 or FIRST_WAIT)
        self._warned_until = now + self._backoff * random.uniform(0.9, 1.1)
        self.next_slot = max(self.next_slot, self._warned_until)

    def went_well(self) -> None:
        self._backoff = self._backoff / 2 if self._backoff > FIRST_WAIT else 0.0
        self.is_trying = False

    def requeued(self) -> None:
        """A message of ours was not processed and waits again."""
        self._is_dry = False

    def rest(self) -> None:
        """An error holds the line: nothing more is claimed or marked."""
        self.resting = True

    # --- letting go -----------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Nothing in hand, and the last look found nothing more."""
        return not self._claimed and not self._busy and not self.in_flight and (self._is_dry or self.resting)

    def let_go(self) -> list[Claimed]:
        """Everything claimed and not marked, to be queued again."""
        rows = [*self._claimed, *(row for _, row in self._busy)]
        self._claimed, self._busy, self._segments = [], [], 0
        return rows
