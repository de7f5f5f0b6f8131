"""Open conversations, what is due later, and what must last after a conversation ends."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, ForeignKey, Index, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, BigId, Moment
from .sealing import SealedJSON, SealedText


class Conversation(Base):
    """A flow in progress with one person. The newest open one holds the floor; its session is cleared when it ends.

    ``session`` is {"arguments": {...}, "answers": {name: {"value", "language", "at", "options"}}, "done": {name: result}}.
    ``turn`` counts the questions put; a timer fires only if conversation, question and turn still match.
    """

    __tablename__ = "conversations"
    __table_args__ = (
        Index("ix_conversations_open", "person_id", "id", postgresql_where=text("state = 'open'"), sqlite_where=text("state = 'open'")),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    collective_id: Mapped[int | None] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"))
    line_id: Mapped[int] = mapped_column(ForeignKey("lines.id"))
    flow: Mapped[str] = mapped_column(String(24))
    state: Mapped[str] = mapped_column(String(8), default="open")  # open | done | silent (its patience ran out) | ended (idle, STOP, LEAVE)
    question: Mapped[str | None] = mapped_column(String(40))
    turn: Mapped[int] = mapped_column(SmallInteger, default=0)
    hints: Mapped[int] = mapped_column(SmallInteger, default=0)
    session: Mapped[dict[str, Any] | None] = mapped_column(SealedJSON("conversations.session"))
    # The asking message it began with, so that a second answer finds the same conversation's question.
    outbound_id: Mapped[int | None] = mapped_column(BigId)
    opened_at: Mapped[datetime] = mapped_column(Moment)
    last_heard_at: Mapped[datetime] = mapped_column(Moment)


class Timer(Base):
    """Work due later: each occurrence once. ``key`` names the occurrence; claiming is a lease, done is for ever."""

    __tablename__ = "timers"
    __table_args__ = (Index("ix_timers_due", "due_at", postgresql_where=text("done_at IS NULL"), sqlite_where=text("done_at IS NULL")),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(24))
    subject_id: Mapped[int] = mapped_column(BigId)
    key: Mapped[str] = mapped_column(String(80), unique=True)
    due_at: Mapped[datetime] = mapped_column(Moment)
    lease_until: Mapped[float] = mapped_column(default=0.0)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    done_at: Mapped[datetime | None] = mapped_column(Moment)


class CheckIn(Base):
    """One answered check-in: when and how she was. Shown only as aggregates; never to organizers by name."""

    __tablename__ = "check_ins"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    membership_id: Mapped[int] = mapped_column(ForeignKey("memberships.id", ondelete="CASCADE"), index=True)
    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"), index=True)
    mood: Mapped[int] = mapped_column(SealedJSON("check_ins.mood"))
    at: Mapped[datetime] = mapped_column(Moment)


class CareWeek(Base):
    """How a collective was in one week, as it was shown first: what is erased later must not be read off from a difference."""

    __tablename__ = "care_weeks"

    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"), primary_key=True)
    begins: Mapped[date] = mapped_column(Date, primary_key=True)  # its Monday, on the collective's clocks
    # {"people": …, "mean": …, "hard": …}; None: fewer than five people, so nothing is shown.
    shown: Mapped[dict[str, Any] | None] = mapped_column(SealedJSON("care_weeks.shown"))


class PeerRequest(Base):
    """She asked for a peer. Supporters see an alias number and the time that suits her; nobody else sees the row at all."""

    __tablename__ = "peer_requests"
    __table_args__ = (
        Index("uq_peer_requests_collective_number", "collective_id", "number", unique=True),
        Index("ix_peer_requests_membership_id_answered_at", "membership_id", "answered_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"))
    number: Mapped[int]
    membership_id: Mapped[int] = mapped_column(BigId)
    good_time: Mapped[str | None] = mapped_column(SealedText("peer_requests.good_time"))
    # Who answered, and when last: what she writes within a day of it goes to that supporter, and to nobody else.
    supporter_id: Mapped[int | None] = mapped_column(BigId)
    answered_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)


class Audit(Base):
    """Who did what, without content. Appended, never changed, except that FORGET takes the name off; every organizer may read it."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    collective_id: Mapped[int | None] = mapped_column(BigId, index=True)
    membership_id: Mapped[int | None] = mapped_column(BigId)  # None: the command line, the clock, or somebody forgotten
    act: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(40), default="")
    at: Mapped[datetime] = mapped_column(Moment)


class ClockJump(Base):
    """How far the simulator has jumped ahead, in seconds. One row at most; never used where real lines are connected."""

    __tablename__ = "clock_jump"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    seconds: Mapped[int] = mapped_column(default=0)
