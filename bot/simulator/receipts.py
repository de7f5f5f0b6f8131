"""What becomes of a message after it was accepted: queued, sent, delivered; and who is told, when.

One clock thread holds what is due; the posts go to a fixed set of threads, a message always to the same one, so that its receipts stay in
order however slow the receiver is.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime

from bot.simulator.faults import Faults
from bot.simulator.ledger import Ledger, Message
from bot.simulator.lines import Line, number_of
from bot.simulator.poster import Poster

POSTERS = 12
MOST_WAITING = 500_000  # changes and posts that may wait; beyond it receipts are dropped and counted
FAILED_AT_ONCE = range(21_000, 22_000)
API_VERSION = "2010-04-01"

Step = tuple[float, int, Message, str, bool, int]  # due, tie-breaker, message, status, whether it changes, how many posts


def end_status(code: int) -> str:
    """`failed` for what Twilio never handed on (21xxx, 63xxx, 30001, 30036), `undelivered` for what a carrier refused."""
    return "failed" if code in FAILED_AT_ONCE or code >= 63_000 or code in (30_001, 30_036) else "undelivered"


def receipt_params(message: Message, status: str) -> dict[str, str]:
    """The form of a status callback, with Twilio's full parameter set for its channel."""
    params = {
        "AccountSid": message.account, "ApiVersion": API_VERSION, "From": message.sender, "To": message.to, "MessageSid": message.sid,
        "SmsSid": message.sid, "MessageStatus": status, "SmsStatus": status,
    }  # fmt: skip
    if message.service:
        params["MessagingServiceSid"] = message.service
    failed = status in ("failed", "undelivered")
    if failed and message.error_code is not None:
        params["ErrorCode"] = str(message.error_code)
    if message.to.startswith("whatsapp:"):
        digits = number_of(message.to)
        params |= {
            "ChannelPrefix": "whatsapp", "ChannelInstallSid": "XE" + message.account[2:], "StructuredMessage": "false",
            "ChannelToAddress": digits[:-4] + "XXXX",
        }  # fmt: skip
        if status in ("delivered", "read"):
            params["EventType"] = status.upper()
        if failed:
            params["ChannelStatusMessage"] = f"Error {message.error_code}"
    elif status in ("delivered", "undelivered"):
        params["RawDlrDoneDate"] = datetime.now(UTC).strftime("%y%m%d%H%M")
    return params


class Receipts:
    """The clock and the posting threads. `stop` ends them."""

    def __init__(self, ledger: Ledger, faults: Faults, poster: Callable[[], Poster], token: Callable[[str], str]) -> None:
        self._ledger, self._faults, self._poster, self._token = ledger, faults, poster, token
        self._due: list[Step] = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._stopping = False
        self._count = threading.Lock()
        self.posted = self.refused = self.dropped = 0
        self._queues: list[queue.SimpleQueue[tuple[Message, str] | None]] = [queue.SimpleQueue() for _ in range(POSTERS)]
        threads = [threading.Thread(target=self._run_clock, name="receipts-clock", daemon=True)]
        threads += [threading.Thread(target=self._run_poster, args=(own,), name="receipts-post", daemon=True) for own in self._queues]
        for thread in threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; what still waits is not posted."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        for own in self._queues:
            own.put(None)

    def reset(self) -> None:
        """Forget what waits."""
        with self._wake:
            self._due.clear()
        with self._count:
            self.posted = self.refused = self.dropped = 0

    @property
    def waiting(self) -> int:
        return len(self._due)

    def plan(self, message: Message, line: Line | None, answered_after: float) -> None:
        """Plan the life of an accepted message.

        `answered_after` is how many seconds from now its create request is answered: no receipt comes before that, unless the fault
        `before_answer` asks for it. A line with a pace lets its messages go one after the other.
        """
        faults, now = self._faults, time.monotonic()
        final = faults.take_code(faults.final, message.to)
        if final is not None:
            message.error_code = final.code
        last = "delivered"
        if message.error_code is not None:
            last = (final.status if final is not None else "") or end_status(message.error_code)
        sent_at = now + answered_after + (faults.times["sent_ms"] or 0.0) / 1000
        if line is not None and line.mps is not None:
            with self._ledger.lock:
                sent_at = max(sent_at, line.next_free)
                line.next_free = sent_at + message.segments / line.mps
                line.peak_backlog = max(line.peak_backlog, line.next_free - now)
        end_at = sent_at + max(0.0, (faults.times["delivered_ms"] or 0.0) - (faults.times["sent_ms"] or 0.0)) / 1000
        moments = [(sent_at, "sent"), (end_at, last)] if last != "failed" else [(sent_at, last)]
        if message.service and message.kind == "api":
            moments.insert(0, (now + answered_after + (sent_at - now - answered_after) / 2, "queued"))
        read_ms = faults.times["read_ms"]
        if read_ms is not None and last == "delivered" and message.to.startswith("whatsapp:"):
            moments.append((end_at + read_ms / 1000, "read"))
        if message.status_callback and faults.take("before_answer", message.to):
            self._post_now(message, [status for _, status in moments])
            return
        self._enter(message, moments)

    def _enter(self, message: Message, moments: list[tuple[float, str]]) -> None:
        faults = self._faults
        posts = 1 if message.status_callback else 0
        changes = moments
        told: list[tuple[float, str]] = []
        if posts:
            if faults.take("drop", message.to):
                posts = 0
            elif faults.take("duplicate", message.to):
                posts = 2
            late = faults.take("late", message.to) if posts else None
            swapped = bool(posts) and faults.take("out_of_order", message.to) is not None
            if late is not None or swapped:
                statuses = [status for _, status in moments]
                if swapped:
                    statuses.reverse()
                told = [(due + (late.value / 1000 if late else 0.0), status) for (due, _), status in zip(moments, statuses, strict=True)]
        steps: list[tuple[float, str, bool, int]] = [(due, status, True, 0 if told else posts) for due, status in changes]
        steps += [(due, status, False, posts) for due, status in told]
        with self._wake:
            if len(self._due) + len(steps) > MOST_WAITING:
                self.dropped += len(steps)
                return
            first = self._due[0][0] if self._due else float("inf")
            for due, status, change, count in steps:
                heapq.heappush(self._due, (due, next(self._order), message, status, change, count))
            if self._due[0][0] < first:
                self._wake.notify()

    def _post_now(self, message: Message, statuses: list[str]) -> None:
        for status in statuses:
            self._ledger.change(message, status)
            self._post(message, status)

    def _run_clock(self) -> None:
        while True:
            ready: list[Step] = []
            with self._wake:
                if self._stopping:
                    return
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    ready.append(heapq.heappop(self._due))
                if not ready:
                    self._wake.wait(self._due[0][0] - now if self._due else None)
                    continue
            for _, _, message, status, change, posts in ready:
                if change:
                    self._ledger.change(message, status)
                for _ in range(posts):
                    self._queues[zlib.crc32(message.sid.encode()) % POSTERS].put((message, status))

    def _run_poster(self, own: queue.SimpleQueue[tuple[Message, str] | None]) -> None:
        while (item := own.get()) is not None:
            if self._stopping:
                return
            self._post(*item)

    def _post(self, message: Message, status: str) -> None:
        answer = self._poster().post(message.status_callback, receipt_params(message, status), self._token(message.account))
        with self._count:
            self.posted += 1
            if answer.error is not None:
                self.refused += 1
