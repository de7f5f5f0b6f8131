"""One turn of talk: who speaks, on which line, in which language, inside which transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from bot.conversation.steps import FlowEntry
from bot.deployment import Deployment

# An answer within this time of her text belongs to it; later she has put the phone away, and nobody knows who holds it.
LATE = timedelta(minutes=10)


@dataclass(frozen=True)
class LineFacts:
    """What the hot path needs to know of a line."""

    id: int
    channel: str
    address: str
    two_way: bool
    carrier_answers_stop: bool
    collective_ids: tuple[int, ...]


@dataclass(frozen=True)
class Belonging:
    """One active membership of the speaker, with what the flow needs of its collective."""

    membership_id: int
    collective_id: int
    collective: str
    language: str
    timezone: str
    roles: frozenset[str]
    line_id: int | None = None


@dataclass
class Turn:
    """What actions are handed. They may write through ``session``; they never send: they put rows, and set ``rings``."""

    deployment: Deployment
    session: Session
    now: datetime
    line: LineFacts
    phone_id: int | None
    person_id: int | None
    language: str
    zone: str
    flows: Mapping[str, FlowEntry] = field(default_factory=dict)
    belongings: tuple[Belonging, ...] = ()
    # The membership this turn is about; None: a stranger, or several and not yet said which.
    here: Belonging | None = None
    # Set by actions:
    rings: bool = False
    forgotten: bool = False
    silent: bool = False
    handoff: Handoff | None = None
    # Something private spoke in this turn: what is said is never repeated by itself.
    of_care: bool = False
    # When the carrier had her text, if it was read from the carrier's list; None: it came just now.
    sent_at: datetime | None = None
    # Whose floor was looked at and is empty (a person): it would be asked for twice a turn otherwise.
    empty_floor_of: int | None = None
    asked: Sequence[Any] | None = None
    # What actions that only read gave in this turn (``talk.acting``).
    read: dict[str, Any] = field(default_factory=dict)

    @property
    def local_now(self) -> datetime:
        """The present moment in the speaker's zone."""
        return self.now.astimezone(ZoneInfo(self.zone))

    @property
    def is_late(self) -> bool:
        """Whether her text reached us so late that an answer would come as a surprise."""
        return self.sent_at is not None and self.now - self.sent_at > LATE

    def member(self) -> Belonging:
        """The membership this turn is about; a flow of the table is started only where there is one."""
        if self.here is None:
            raise LookupError("this flow needs a membership, and the turn has none")
        return self.here

    def with_role(self, *roles: str) -> Belonging:
        """The membership this turn is about, which must have one of ``roles``: the second wall behind the table of words."""
        here = self.member()
        if not here.roles & set(roles):
            raise PermissionError(f"this act needs the role {' or '.join(roles)}")
        return here


@dataclass(frozen=True)
class Handoff:
    """She said which question, or which collective, her earlier text was meant for: hear it again, there."""

    text: str
    outbound_id: int | None = None
    broadcast_id: int | None = None
    collective_id: int | None = None
