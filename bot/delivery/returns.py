"""What came back from the senders, until it is written down."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.orm import Session

from bot.crashpoints import crashpoint
from bot.delivery.errors import REST, Reaction, reaction_to
from bot.delivery.gateway import Accepted, Lost, Refused
from bot.delivery.leases import clear_trouble
from bot.delivery.money import Purse
from bot.delivery.outcomes import Sent, write_outcomes
from bot.delivery.pace import PacedLine
from bot.delivery.trouble import DATABASE_TROUBLE
from models import Store

log = logging.getLogger(__name__)


class Returns:
    """The outcomes a pump has in hand. ``lines``: those it holds, by id."""

    def __init__(self, store: Store, purse: Purse, lines: Mapping[int, PacedLine]) -> None:
        self._store, self._purse, self._lines = store, purse, lines
        self.unwritten: list[Sent] = []

    def take(self, results: Iterable[Sent], now: float) -> None:
        """These came back: each teaches its line something."""
        for sent in results:
            self.unwritten.append(sent)
            line = self._lines.get(sent.mark.line.id)
            if line is not None:
                line.in_flight -= 1
                _teach(line, sent, now)

    def write(self, session: Session) -> None:
        """Write all of them down in this transaction; ``forget`` them once it is committed."""
        self._write(session, self.unwritten)

    def forget(self) -> None:
        if self.unwritten:
            crashpoint("outcomes.after_commit")
        self.unwritten = []

    def write_one_by_one(self) -> None:
        """Each in a transaction of its own, because one of them raises. Those that met database trouble stay in hand."""
        results, self.unwritten = self.unwritten, []
        for sent in results:
            try:
                with self._store.write() as session:
                    self._purse.begin(session)
                    self._write(session, [sent])
            except DATABASE_TROUBLE:
                self.unwritten.append(sent)
            except Exception as error:  # noqa: BLE001 - one row's trouble must not become everybody's
                # It stays as attempting; the sweep makes it unknown, and it is looked up like every lost answer.
                log.error("outbound %d: its outcome can not be written (%s)", sent.mark.id, type(error).__name__)

    def _write(self, session: Session, results: Sequence[Sent]) -> None:
        if not results:
            return
        write_outcomes(self._store, session, results)
        for sent in results:
            self._purse.settle(sent.mark.id, sent.mark.attempt, accepted=isinstance(sent.outcome, Accepted))
        crashpoint("outcomes.before_commit")
        for number in {sent.mark.line.id for sent in results if isinstance(sent.outcome, Accepted) and sent.mark.line.held_code}:
            line = self._lines.get(number)
            if line is not None and not line.resting:
                clear_trouble(session, line.line)


def _teach(line: PacedLine, sent: Sent, now: float) -> None:
    if isinstance(sent.outcome, Accepted):
        line.went_well(now)
    elif isinstance(sent.outcome, Refused):
        reaction = reaction_to(sent.outcome.code)
        if reaction in REST:
            line.rest()
        elif reaction is Reaction.SLOW:
            line.slow_down(now)
            line.requeued()
    elif not isinstance(sent.outcome, Lost):  # not processed (429, no connection), or not begun in time
        line.requeued()
        if sent.outcome is not None:
            line.slow_down(now)
