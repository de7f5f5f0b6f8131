"""One line's part in a turn of the pump: what it claims, what it marks, what it has to give up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from bot.delivery.claims import Claimed, claim_rows, unclaim_rows
from bot.delivery.gates import CarrierQueue, Gates
from bot.delivery.leases import renew_lease
from bot.delivery.marks import Marked, mark_rows
from bot.delivery.money import Purse
from bot.delivery.pace import MOST_CLAIMED, PacedLine
from bot.delivery.texts import Texts
from models import Store


@dataclass(slots=True)
class LineTurn:
    """What one turn does on one line."""

    paced: PacedLine
    taken: list[Claimed]
    wanted: int
    claimed: list[Claimed] = field(default_factory=list)
    is_dry: bool = False
    is_held_back: bool = False
    given_up: list[Claimed] = field(default_factory=list)
    marked: list[Marked] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)

    def undo(self) -> None:
        """The transaction was rolled back: the line has in hand again what it had before."""
        self.paced.put_back([*self.taken, *self.given_up])

    def settle(self, now: float) -> None:
        """The transaction is committed."""
        if self.wanted:
            self.paced.claimed(self.claimed, self.is_dry, now, is_held_back=self.is_held_back)
        if self.busy:
            busy = set(self.busy)
            self.paced.delay((row for row in self.taken if row.id in busy), now)


def allot(lines: list[PacedLine], room: int, now: float) -> list[LineTurn]:
    """What each line takes and claims in this turn; ``room``: how many messages more may be in flight, shared out fairly."""
    turns = []
    for number, line in enumerate(lines):
        taken = line.due(now, max(0, -(-room // (len(lines) - number))))
        room -= len(taken)
        turns.append(LineTurn(line, taken, line.wants(now)))
    return turns


class Marker:
    """Claims and marks for a pump; keeps what a turn of duty needs for that: words, prices, gates."""

    def __init__(self, store: Store, queues: dict[int, CarrierQueue]) -> None:
        self.store = store
        self.texts = Texts(store)
        self.purse = Purse(store)
        self.gates = Gates(store, queues)

    def claim_and_mark(self, session: Session, turn: LineTurn, now: float, *, renew: bool) -> None:
        """One line's part of the transaction. Raises LeaseLost."""
        line = turn.paced
        if not line.resting:
            self._claim(session, turn, now, renew)
        turn.given_up = line.take_given_up()
        if line.resting:
            turn.given_up += [*line.let_go(), *turn.taken]
            unclaim_rows(self.store, session, line.line, turn.claimed)
            turn.taken, turn.claimed = [], []
        unclaim_rows(self.store, session, line.line, turn.given_up)
        if turn.taken:
            turn.marked, turn.busy = mark_rows(self.store, session, line.line, turn.taken, self.texts, self.purse)

    def _claim(self, session: Session, turn: LineTurn, now: float, renew: bool) -> None:
        """Claim what the gates let through, and hold the line for longer. A receipt may have laid it to rest meanwhile."""
        line = turn.paced
        if turn.wanted:
            gate = self.gates.open(session, line, turn.taken, turn.wanted, min(turn.wanted, MOST_CLAIMED), now)
            turn.claimed, turn.is_dry = claim_rows(
                self.store, session, line.line, gate.segments, gate.most, highest=gate.highest, is_alone=line.is_alone(now)
            )
            turn.is_held_back = gate.is_narrow
        if turn.claimed or renew:
            in_hand = sum(row.segments for row in (*turn.taken, *turn.claimed))
            held_until = renew_lease(session, line.line, line.pace_spoken_for(now) + in_hand / line.rate)
            if held_until is not None and held_until > self.store.clock.now():
                line.rest()

    def passed(self, turns: Iterable[LineTurn]) -> None:
        """The transaction is committed: what was marked counts as spent, and with its line's gates."""
        self.purse.keep()
        for turn in turns:
            if turn.marked:
                can_wait = {row.id for row in turn.taken if row.can_wait}
                self.gates.passed(turn.paced.line, turn.marked, [mark.id for mark in turn.marked if mark.id in can_wait])
