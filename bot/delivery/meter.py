"""Never more than MPS + 1 segments of a line in any second: counted as they really start, and as they are planned."""

from __future__ import annotations

import math
import threading
import time
from collections import deque

from models.clock import real_seconds

# What counts as a second: a little more for the slots than for the starts, so that those who woke late catch up; and more than a second
# for both, because the carrier sees a message some milliseconds after its start, and not always the same (measured: up to 20 on a busy
# machine). At MARGIN of the pace (``pace``), MPS messages of one segment just fit in.
SLOT_SECOND, START_SECOND = 1.007, 1.006
# Where messages of several segments leave some of a second's segments over, the second may be so much longer and costs them nothing.
LONGEST_SECOND = 1.03


class Window:
    """Moments of the last second or so and their segments: never more than ``mps`` + 1 segments in it, but one message at least.

    A message counts with all its segments at its start, as whoever watches the carrier counts. Where they do not fill the pace evenly
    (three at a time, ten a second), that is slower than the pace.
    """

    def __init__(self, mps: float, seconds: float) -> None:
        self._mps, self._most, self._seconds = mps, mps + 1, seconds
        self._moments: deque[tuple[float, int]] = deque()
        self._segments = 0

    def first(self, moment: float, segments: int) -> float:
        """The first moment, not before ``moment``, at which so many segments fit in."""
        while self._moments and (self._moments[0][0] <= moment - self._seconds or self._segments + segments > self._most):
            oldest, its_segments = self._moments.popleft()
            self._segments -= its_segments
            moment = max(moment, oldest + self._seconds)
        return moment

    def add(self, moment: float, segments: int) -> None:
        self._moments.append((moment, segments))
        self._segments += segments

    def fits(self, moment: float, segments: int) -> float:
        """0.0 when so many segments may start now, and then they count; else the seconds until it is worth asking again.

        Stricter than the rule, as far as it costs those nothing who are on time: late ones must not use up the one message over the pace.
        """
        while self._moments and self._moments[0][0] <= moment - LONGEST_SECOND:
            self._segments -= self._moments.popleft()[1]
        most = math.ceil(self._mps) if segments == 1 else self._most
        seconds = max(self._seconds, min(LONGEST_SECOND, most // segments * segments / self._mps))
        used = self._segments
        for oldest, its_segments in self._moments:
            if oldest > moment - seconds:
                if used + segments <= most:
                    break
                return oldest + seconds - moment + 0.0005
            used -= its_segments
        self.add(moment, segments)
        return 0.0

    def free_from(self, rate: float) -> float:
        """From when somebody who knows nothing of these may start with messages like them, ``rate`` segments a second; 0.0: at any time."""
        free, later, longest = 0.0, 0, max((segments for _, segments in self._moments), default=1)
        for moment, segments in reversed(self._moments):
            # In the second after this one stand all that came later, and what the other will have started by then.
            later += segments
            free = max(free, moment + self._seconds - (self._most - longest - later) / rate)
        return free


class Meter:
    """The starts of the last second on one line, as they really were: never more than ``mps`` + 1 segments in any second.

    The slots alone would do if threads woke on time; on a busy machine one wakes late, and the next ones must not crowd behind it.
    """

    def __init__(self, mps: float) -> None:
        self._starts = Window(mps, START_SECOND)
        self.mps = mps
        self._lock = threading.Lock()
        self._expected = 0

    def expect(self, segments: int) -> None:
        """A message has its slot: a thread will ``start`` it, or hear that it must not."""
        with self._lock:
            self._expected += segments

    def start(self, segments: int, latest: float = math.inf) -> float:
        """0.0: it may start, and counts as started now. Else the seconds to wait before asking again; below 0: it must not start any more.

        ``latest``: the last moment (epoch seconds) at which it may.
        """
        with self._lock:
            wait = -1.0 if real_seconds() > latest else self._starts.fits(time.monotonic(), segments)
            if wait <= 0.0:
                self._expected -= segments
            return wait

    def free_from(self, rate: float) -> float:
        """From when (epoch seconds) a successor may send, who knows nothing of what started here and of what is expected to."""
        with self._lock:
            return self._starts.free_from(rate) + self._expected / rate + real_seconds() - time.monotonic()
