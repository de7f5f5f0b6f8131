"""The pump: claims what is due on the lines it leases, marks it just before its slot, hands it to the senders, writes down what came back.

One thread does all of it but the posting, in turns; a turn is one transaction (what came back, then what leaves next), so that a message
costs no commit of its own. Nothing is kept in memory that the database could not do without: a pump that is killed leaves at most
MOST_IN_FLIGHT messages of unknown outcome, and its successor begins where the line's pace allows. A row whose handling raises is put aside
(``poison``); everything else goes on.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field

from bot.crashpoints import crashpoint
from bot.delivery.claims import Claimed, unclaim_rows
from bot.delivery.gates import CarrierQueue
from bot.delivery.gateway import SendsTexts
from bot.delivery.leases import LeaseLost, is_anything_waiting, release_line, take_lines
from bot.delivery.logins import write_codes
from bot.delivery.pace import Known, PacedLine
from bot.delivery.poison import put_aside
from bot.delivery.returns import Returns
from bot.delivery.senders import Senders
from bot.delivery.tokens import callback_token
from bot.delivery.trouble import DATABASE_TROUBLE, name_trouble
from bot.delivery.turns import LineTurn, Marker, allot
from bot.deployment import Deployment
from models.clock import real_seconds

log = logging.getLogger(__name__)

# Marked, and the outcome not written yet: the most that a kill leaves unknown, and the most requests at one time.
MOST_IN_FLIGHT = 128
# Outcomes are written so many at a time, or when the first has waited so long (seconds): sooner when there is no room to mark more.
BATCH, WRITE_WITHIN, WRITE_SOON = 24, 0.15, 0.03
# The lines of one pump; more due lines wait for another worker's pump, or for this one's next turn of duty.
MOST_LINES = 8
TAKE_EVERY, RENEW_EVERY = 0.5, 4.0
# After the last mark: how long outcomes may still come in and be written (the gateway waits 10 seconds for an answer).
DRAIN_SECONDS = 12.0


@dataclass
class Memory:
    """What a process keeps of its lines from one turn of duty to the next, by their ids. Forgotten, it is learnt again."""

    known: dict[int, Known] = field(default_factory=dict)
    queues: dict[int, CarrierQueue] = field(default_factory=dict)


def serve_lines(
    deployment: Deployment, gateway: SendsTexts, stop: threading.Event, seconds: float = 10.0, memory: Memory | None = None
) -> int:
    """Send what is due on lines that nobody serves, for about ``seconds`` or until nothing is left; returns how many were handed over.

    ``stop``: marks nothing more, lets the requests in progress end, gives everything back, within 15 s. ``memory``: the process's own,
    of this deployment.
    """
    return Pump(deployment, gateway, stop, memory).run(seconds)


class Pump:
    """One turn of duty of one worker."""

    def __init__(self, deployment: Deployment, gateway: SendsTexts, stop: threading.Event, memory: Memory | None = None) -> None:
        self.store = deployment.store
        _ = self.store.token_key  # made now if it never was: inside a transaction it could not be
        self.stop = stop
        self.callbacks = deployment.settings.public_url + "/twilio/status/"
        self.holder = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(3)}"
        self.senders = Senders(gateway, MOST_IN_FLIGHT, BATCH)
        self.memory = memory or Memory()
        self.lines: dict[int, PacedLine] = {}
        self.marker = Marker(self.store, self.memory.queues)
        self.returns = Returns(self.store, self.marker.purse, self.lines)
        self.handed_over = 0
        self.written_at = self.take_after = self.renewed_at = 0.0

    def run(self, seconds: float) -> int:
        """Serve for about so long; returns how many messages were handed to the gateway."""
        ends = time.monotonic() + seconds
        try:
            while time.monotonic() < ends and not self.stop.is_set():
                try:
                    if not self._find_work():
                        break
                    self._turn()
                except DATABASE_TROUBLE as error:
                    # What came back stays in hand until it can be written; claims and leases run out by themselves.
                    log.warning("the pump's database failed (%s)", name_trouble(error))
                    self.stop.wait(0.5)
                else:
                    if self.lines or self.senders.outstanding:
                        self.senders.ready.wait(max(0.0, min(self._next_turn() - real_seconds(), ends - time.monotonic())))
        finally:
            self._give_everything_back()
        return self.handed_over

    def _find_work(self) -> bool:
        """Lease lines with due work; False when there are none, and nothing in hand."""
        now = real_seconds()
        if now >= self.take_after:
            self._write_codes()
            if len(self.lines) < MOST_LINES:
                self._take_lines(now)
            self.take_after = now + TAKE_EVERY
        return bool(self.lines or self.senders.outstanding or self.returns.unwritten)

    def _write_codes(self) -> None:
        try:
            write_codes(self.store)
        except DATABASE_TROUBLE:
            raise
        except Exception as error:  # noqa: BLE001 - a code that can not be written is over in ten minutes; nothing else may wait for it
            log.error("codes for logging in were not written (%s)", type(error).__name__)

    def _take_lines(self, now: float) -> None:
        with self.store.read() as session:
            waiting = is_anything_waiting(session, self.store.clock.now())
        if waiting:
            for line in take_lines(self.store, self.holder, MOST_LINES - len(self.lines)):
                self.lines[line.id] = PacedLine(line, now, self.memory.known.setdefault(line.id, Known()))
                self.marker.gates.add(line)

    def _room(self) -> int:
        return MOST_IN_FLIGHT - self.senders.outstanding - len(self.returns.unwritten)

    def _next_turn(self) -> float:
        """When the next turn is due (epoch seconds), unless a batch of outcomes comes first."""
        now = real_seconds()
        has_room = self._room() >= BATCH
        moment = min((line.next_moment(now, has_room) for line in self.lines.values()), default=now + TAKE_EVERY)
        if self.senders.outstanding or self.returns.unwritten:
            # No outcome wakes us by itself, only a batch: look at the latest when the first of them should be written.
            moment = min(moment, max(now + 0.005, self.written_at + (WRITE_WITHIN if has_room else WRITE_SOON)))
        return min(moment, now + TAKE_EVERY)

    # --- one turn: one transaction --------------------------------------------------------------------------------------

    def _turn(self) -> None:
        now = real_seconds()
        self.returns.take(self.senders.collect(), now)
        self.written_at = now
        idle = [line for line in self.lines.values() if line.is_idle]
        # The outcomes at hand are written in this very transaction, so they take up no room in it.
        turns = allot([line for line in self.lines.values() if not line.is_idle], MOST_IN_FLIGHT - self.senders.outstanding, now)
        renew = now - self.renewed_at > RENEW_EVERY
        if not (self.returns.unwritten or idle or renew or any(turn.taken or turn.wanted for turn in turns)):
            return
        try:
            with self.store.write() as session:
                self.marker.purse.begin(session)
                self.returns.write(session)
                for turn in turns:
                    self.marker.claim_and_mark(session, turn, now, renew=renew)
                for line in idle:
                    release_line(session, line.line, line.slot_for_others)
        except DATABASE_TROUBLE:
            _undo(turns)
            raise
        except LeaseLost as lost:
            # Its successor queued again what we had claimed there.
            log.warning("lost the lease of %s", lost)
            _undo(turns)
            self.lines.pop(lost.line.id, None)
            return
        except Exception as error:  # noqa: BLE001 - one row's trouble must not become everybody's: find it by handling each alone
            log.error("the pump stumbles (%s): one at a time", type(error).__name__)
            _undo(turns)
            self._go_one_by_one(turns)
            return
        self.returns.forget()
        self.renewed_at = now if renew else self.renewed_at
        for line in idle:
            del self.lines[line.line.id]
            if line.was_useful:
                self.take_after = 0.0  # somebody may have rung while we still held it, and gone away again
        self._hand_over(turns)

    def _hand_over(self, turns: list[LineTurn]) -> None:
        """The transaction is committed: what it marked leaves at its slot."""
        now = real_seconds()
        self.marker.passed(turns)
        for turn in turns:
            if turn.marked:
                crashpoint("pump.after_mark")
            elif turn.claimed:
                crashpoint("pump.after_claim")
            turn.settle(now)
            for mark in turn.marked:
                callback = self.callbacks + callback_token(self.store, mark.id, mark.attempt)
                self.senders.submit(turn.paced.take_slot(now, mark.segments), turn.paced.meter, mark, callback)
            self.handed_over += len(turn.marked)

    # --- when something raises ------------------------------------------------------------------------------------------

    def _go_one_by_one(self, turns: list[LineTurn]) -> None:
        """What the turn wanted to do, each row in a transaction of its own: what raises is put aside. Raises DATABASE_TROUBLE only."""
        self.returns.write_one_by_one()
        for turn in turns:
            for row in turn.taken:
                if turn.paced.line.id in self.lines and turn.paced.take_out(row):
                    self._handle_alone(turn.paced, row)
            if turn.wanted and turn.paced.line.id in self.lines:
                self._handle_alone(turn.paced, None)

    def _handle_alone(self, line: PacedLine, row: Claimed | None) -> None:
        """One row's mark, or (``row`` None) the line's next claim."""
        now = real_seconds()
        turn = LineTurn(line, [], line.wants(now)) if row is None else LineTurn(line, [row], 0)
        try:
            with self.store.write() as session:
                self.marker.purse.begin(session)
                self.marker.claim_and_mark(session, turn, now, renew=False)
        except DATABASE_TROUBLE:
            turn.undo()
            raise
        except LeaseLost as lost:
            log.warning("lost the lease of %s", lost)
            self.lines.pop(line.line.id, None)
        except Exception as error:  # noqa: BLE001 - see above
            with self.store.write() as session:
                if row is not None:
                    log.error("outbound %d can not be handled, try %d (%s)", row.id, row.tries + 1, type(error).__name__)
                    put_aside(session, self.store.clock.now(), row.id, row.tries, line.line.fence)
                else:
                    # Its lease runs out in a while, and then it is tried again.
                    log.error("line %d can not be served (%s)", line.line.id, type(error).__name__)
                    turn.undo()
                    unclaim_rows(self.store, session, line.line, line.let_go())
                    del self.lines[line.line.id]
        else:
            self._hand_over([turn])

    # --- the end of duty ------------------------------------------------------------------------------------------------

    def _give_everything_back(self) -> None:
        """Queue again what was not marked, give the lines back at once, then wait for the requests in progress and write them down."""
        until = time.monotonic() + DRAIN_SECONDS
        self.senders.give_way()
        while time.monotonic() < until and (self.lines or self.senders.outstanding or self.returns.unwritten):
            self.senders.ready.wait(0.0 if self.lines else WRITE_SOON)
            self.returns.take(self.senders.collect(), real_seconds())
            try:
                self._give_lines_back()
                self._write_returns()
            except DATABASE_TROUBLE as error:
                log.warning("the pump can not write down its last outcomes yet (%s)", name_trouble(error))
                time.sleep(0.2)
        if self.senders.outstanding or self.returns.unwritten:
            log.error("%d messages keep an unknown outcome", self.senders.outstanding + len(self.returns.unwritten))
        self.senders.close()

    def _give_lines_back(self) -> None:
        if not self.lines:
            return
        in_hand = [(line, line.let_go()) for line in self.lines.values()]
        try:
            with self.store.write() as session:
                for line, rows in in_hand:
                    unclaim_rows(self.store, session, line.line, rows)
                    release_line(session, line.line, line.slot_for_others)
        except DATABASE_TROUBLE:
            for line, rows in in_hand:
                line.put_back(rows)
            raise
        self.lines.clear()

    def _write_returns(self) -> None:
        if not self.returns.unwritten:
            return
        try:
            with self.store.write() as session:
                self.marker.purse.begin(session)
                self.returns.write(session)
        except DATABASE_TROUBLE:
            raise
        except Exception as error:  # noqa: BLE001 - see _turn
            log.error("the pump stumbles (%s): one at a time", type(error).__name__)
            self.returns.write_one_by_one()
        else:
            self.returns.forget()


def _undo(turns: list[LineTurn]) -> None:
    for turn in turns:
        turn.undo()
