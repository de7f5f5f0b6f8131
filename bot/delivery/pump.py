"""The pump: claims what is due on the lines it leases, marks it just before its slot, hands it to the senders, writes down what came back.

One thread does all of it but the posting, in turns; a turn is one transaction (what came back, then what leaves next), so that a message
costs no commit of its own. Nothing is kept in memory that the database could not do without: a pump that is killed leaves at most
MOST_IN_FLIGHT messages of unknown outcome, and its successor begins where the line's pace allows.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from bot.delivery.claims import Claimed, claim_rows, unclaim_rows
from bot.delivery.errors import REST, Reaction, reaction_to
from bot.delivery.gateway import Accepted, Lost, Refused, SendsTexts
from bot.delivery.leases import LeaseLost, clear_trouble, is_anything_waiting, release_line, renew_lease, take_lines
from bot.delivery.marks import Marked, mark_rows
from bot.delivery.outcomes import Sent, write_outcomes
from bot.delivery.pace import MOST_CLAIMED, PacedLine
from bot.delivery.senders import Senders
from bot.delivery.texts import Texts
from bot.delivery.tokens import callback_token
from bot.delivery.trouble import DATABASE_TROUBLE, name_trouble
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
# After the last mark: how long outcomes may still come in and be written (the gateway waits 5 seconds to connect, 10 for an answer).
DRAIN_SECONDS = 14.0


def serve_lines(deployment: Deployment, gateway: SendsTexts, stop: threading.Event, seconds: float = 10.0) -> int:
    """Send what is due on lines that nobody serves, for about ``seconds`` or until nothing is left; returns how many were handed over.

    ``stop``: marks nothing more, lets the requests in progress end, gives everything back, within 15 s.
    """
    return Pump(deployment, gateway, stop).run(seconds)


@dataclass(slots=True)
class _Line:
    """What one turn does on one line."""

    paced: PacedLine
    taken: list[Claimed]
    wanted: int
    claimed: list[Claimed] = field(default_factory=list)
    is_dry: bool = False
    marked: list[Marked] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)


class Pump:
    """One turn of duty of one worker."""

    def __init__(self, deployment: Deployment, gateway: SendsTexts, stop: threading.Event) -> None:
        self.store = deployment.store
        _ = self.store.token_key  # made now if it never was: inside a transaction it could not be
        self.stop = stop
        self.callbacks = deployment.settings.public_url + "/twilio/status/"
        self.holder = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(3)}"
        self.senders = Senders(gateway, MOST_IN_FLIGHT, BATCH)
        self.texts = Texts(self.store)
        self.lines: dict[int, PacedLine] = {}
        self.unwritten: list[Sent] = []
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
        if now >= self.take_after and len(self.lines) < MOST_LINES:
            with self.store.read() as session:
                waiting = is_anything_waiting(session, self.store.clock.now())
            if waiting:
                for line in take_lines(self.store, self.holder, MOST_LINES - len(self.lines)):
                    self.lines[line.id] = PacedLine(line, now)
            self.take_after = now + TAKE_EVERY
        return bool(self.lines or self.senders.outstanding or self.unwritten)

    def _room(self) -> int:
        return MOST_IN_FLIGHT - self.senders.outstanding - len(self.unwritten)

    def _next_turn(self) -> float:
        """When the next turn is due (epoch seconds), unless a batch of outcomes comes first."""
        now = real_seconds()
        has_room = self._room() >= BATCH
        moment = min((line.next_moment(now, has_room) for line in self.lines.values()), default=now + TAKE_EVERY)
        if self.senders.outstanding or self.unwritten:
            # No outcome wakes us by itself, only a batch: look at the latest when the first of them should be written.
            moment = min(moment, max(now + 0.005, self.written_at + (WRITE_WITHIN if has_room else WRITE_SOON)))
        return min(moment, now + TAKE_EVERY)

    # --- one turn: one transaction --------------------------------------------------------------------------------------

    def _turn(self) -> None:
        now = real_seconds()
        self._collect(now)
        self.written_at = now
        idle = [line for line in self.lines.values() if line.is_idle]
        turns = self._allot([line for line in self.lines.values() if not line.is_idle], now)
        renew = now - self.renewed_at > RENEW_EVERY
        if not (self.unwritten or idle or renew or any(turn.taken or turn.wanted for turn in turns)):
            return
        try:
            with self.store.write() as session:
                self._write(session)
                for turn in turns:
                    self._claim_and_mark(session, turn, renew, now)
                for line in idle:
                    release_line(session, line.line, line.next_slot)
        except DATABASE_TROUBLE:
            for turn in turns:
                turn.paced.put_back(turn.taken)
            raise
        except LeaseLost as lost:
            # Its successor queued again what we had claimed there.
            log.warning("lost the lease of %s", lost)
            for turn in turns:
                turn.paced.put_back(turn.taken)
            self.lines.pop(lost.line.id, None)
            return
        self.unwritten = []
        self.renewed_at = now if renew else self.renewed_at
        for line in idle:
            del self.lines[line.line.id]
            if line.was_useful:
                self.take_after = 0.0  # somebody may have rung while we still held it, and gone away again
        self._hand_over(turns)

    def _allot(self, lines: list[PacedLine], now: float) -> list[_Line]:
        """What each line takes and claims in this turn; the room in flight is shared out fairly."""
        # The outcomes at hand are written in this very transaction, so they take up no room in it.
        turns, room = [], MOST_IN_FLIGHT - self.senders.outstanding
        for number, line in enumerate(lines):
            taken = line.due(now, max(0, -(-room // (len(lines) - number))))
            room -= len(taken)
            turns.append(_Line(line, taken, line.wants(now)))
        return turns

    def _claim_and_mark(self, session: Session, turn: _Line, renew: bool, now: float) -> None:
        line = turn.paced
        if line.resting:
            unclaim_rows(self.store, session, line.line, [*line.let_go(), *turn.taken])
            turn.taken = []
            return
        if turn.wanted:
            turn.claimed, turn.is_dry = claim_rows(self.store, session, line.line, turn.wanted, min(turn.wanted, MOST_CLAIMED))
        if turn.claimed or renew:
            in_hand = sum(row.segments for row in (*turn.taken, *turn.claimed))
            renew_lease(session, line.line, line.pace_spoken_for(now) + in_hand / line.rate)
        if turn.taken:
            turn.marked, turn.busy = mark_rows(self.store, session, line.line, turn.taken, self.texts)

    def _hand_over(self, turns: list[_Line]) -> None:
        """The transaction is committed: what it marked leaves at its slot."""
        now = real_seconds()
        for turn in turns:
            line = turn.paced
            if turn.wanted:
                line.claimed(turn.claimed, turn.is_dry, now)
            if turn.busy:
                busy = set(turn.busy)
                line.delay((row for row in turn.taken if row.id in busy), now)
            for mark in turn.marked:
                callback = self.callbacks + callback_token(self.store, mark.id, mark.attempt)
                self.senders.submit(line.take_slot(now, mark.segments), line.meter, mark, callback)
            self.handed_over += len(turn.marked)

    # --- what came back -------------------------------------------------------------------------------------------------

    def _collect(self, now: float) -> None:
        for sent in self.senders.collect():
            self.unwritten.append(sent)
            line = self.lines.get(sent.mark.line.id)
            if line is None:
                continue
            line.in_flight -= 1
            if isinstance(sent.outcome, Accepted):
                line.went_well()
            elif isinstance(sent.outcome, Refused):
                reaction = reaction_to(sent.outcome.code)
                if reaction in REST:
                    line.rest()
                elif reaction is Reaction.SLOW:
                    line.slow_down(now)
                    line.requeued()
            elif not isinstance(sent.outcome, Lost):
                line.requeued()
                if sent.outcome is not None:
                    line.slow_down(now)

    def _write(self, session: Session) -> None:
        if not self.unwritten:
            return
        write_outcomes(self.store, session, self.unwritten)
        for number in {sent.mark.line.id for sent in self.unwritten if isinstance(sent.outcome, Accepted) and sent.mark.line.held_code}:
            line = self.lines.get(number)
            if line is not None and not line.resting:
                clear_trouble(session, line.line)

    # --- the end of duty ------------------------------------------------------------------------------------------------

    def _give_everything_back(self) -> None:
        """Queue again what was not marked, give the lines back at once, then wait for the requests in progress and write them down."""
        until = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < until and (self.lines or self.senders.outstanding or self.unwritten):
            self.senders.ready.wait(0.0 if self.lines else WRITE_SOON)
            self._collect(real_seconds())
            if not (self.lines or self.unwritten):
                continue
            lines = list(self.lines.values())
            in_hand = {line.line.id: line.let_go() for line in lines}
            try:
                with self.store.write() as session:
                    write_outcomes(self.store, session, self.unwritten)
                    for line in lines:
                        unclaim_rows(self.store, session, line.line, in_hand[line.line.id])
                        release_line(session, line.line, line.next_slot)
            except DATABASE_TROUBLE as error:
                for line in lines:
                    line.put_back(in_hand[line.line.id])
                log.warning("the pump can not write down its last outcomes yet (%s)", name_trouble(error))
                time.sleep(0.2)
            else:
                self.unwritten = []
                self.lines = {}
        if self.senders.outstanding or self.unwritten:
            log.error("%d messages keep an unknown outcome", self.senders.outstanding + len(self.unwritten))
        self.senders.close()
