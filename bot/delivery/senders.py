"""The threads that wait for a message's slot and post it. They touch no database: marks go in, outcomes come out."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from queue import SimpleQueue

from bot.crashpoints import crashpoint
from bot.delivery.gateway import Lost, Outcome, SendsTexts
from bot.delivery.marks import Marked
from bot.delivery.meter import Meter
from bot.delivery.outcomes import Sent
from bot.delivery.pace import LATE
from models.clock import real_seconds

log = logging.getLogger(__name__)

# A mark is a promise that consent was looked at a moment ago; older, the row goes back and is looked at again.
FRESH_SECONDS = 2.0


class Senders:
    """Up to ``most`` threads, started as they are needed."""

    def __init__(self, gateway: SendsTexts, most: int, batch: int) -> None:
        self._gateway = gateway
        self._most, self._batch = most, batch
        self._jobs: SimpleQueue[tuple[float, Meter, Marked, str] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._results: deque[Sent] = deque()
        # Set when a batch of results is ready, or all that may still come: the pump writes many rows at a time.
        self.ready = threading.Event()
        self.outstanding = 0  # marked, and the outcome not collected yet; only the pump's thread touches it
        self._gives_way = False

    def submit(self, slot: float, meter: Meter, mark: Marked, callback: str) -> None:
        """Post it at ``slot`` (epoch seconds), as soon as the line's meter allows."""
        self.outstanding += 1
        if len(self._threads) < min(self._most, self.outstanding):
            thread = threading.Thread(target=self._work, name=f"sender {len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put((slot, meter, mark, callback))

    def collect(self) -> list[Sent]:
        """What came back since the last time."""
        self.ready.clear()
        results = [self._results.popleft() for _ in range(len(self._results))]
        self.outstanding -= len(results)
        return results

    def give_way(self) -> None:
        """The lines are given back: whoever takes them counts on what was marked to leave at its slot. What is later goes back unsent."""
        self._gives_way = True

    def close(self) -> None:
        """Let the threads go. A request that hangs is not waited for: its thread ends with it, or with the process."""
        for _ in self._threads:
            self._jobs.put(None)
        if not self.outstanding:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            slot, meter, mark, callback = job
            outcome = self._post(mark, callback) if self._waits_for_its_turn(slot, meter, mark.segments) else None
            crashpoint("sender.after_post")
            self._results.append(Sent(mark, outcome))
            if len(self._results) >= min(self._batch, self.outstanding):
                self.ready.set()

    def _waits_for_its_turn(self, slot: float, meter: Meter, segments: int) -> bool:
        """Sleep until it may start; False: it came too late for that."""
        wait = slot - real_seconds()
        while wait > 0:
            time.sleep(wait)
            wait = slot - real_seconds()
        while (wait := meter.start(segments, slot + LATE if self._gives_way else math.inf)) > 0:
            time.sleep(wait)
        return wait == 0

    def _post(self, mark: Marked, callback: str) -> Outcome | None:
        if real_seconds() - mark.marked_at > FRESH_SECONDS:
            return None
        crashpoint("sender.before_post")
        try:
            return self._gateway.send(
                to=mark.to,
                sender=mark.line.address,
                body=mark.body,
                callback=callback,
                validity=mark.validity,
                content_sid=mark.content_sid,
                variables=mark.variables,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the request may have left: the row must not hang, nor be sent again
            # Its name only: the message of an encoding error holds the text.
            log.error("outbound %d: the send broke (%s)", mark.id, type(error).__name__)
            return Lost("broke")
