"""What organizers send to many: the broadcast, its words by language, the poll or alert it may carry."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, BigId, Moment
from .sealing import SealedJSON, SealedText

DRAFT, SCHEDULED, HELD, SENDING, STOPPED, DONE = "draft", "scheduled", "held", "sending", "stopped", "done"


class Broadcast(Base):
    """One act of sending to many. ``number`` is what organizers say ("OK 47"); it is unique within the collective."""

    __tablename__ = "broadcasts"
    __table_args__ = (
        Index("uq_broadcasts_collective_number", "collective_id", "number", unique=True),
        Index("ix_broadcasts_state", "state"),
        Index("uq_broadcasts_request_key", "request_key", unique=True),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(10))  # notice | alert | poll | check_in | result
    state: Mapped[str] = mapped_column(String(10), default=DRAFT)
    group_id: Mapped[int | None] = mapped_column(ForeignKey("groups.id"))
    # None: the command line.
    author_id: Mapped[int | None] = mapped_column(BigId)  # membership
    approver_id: Mapped[int | None] = mapped_column(BigId)
    approved_by: Mapped[str | None] = mapped_column(String(10))  # organizer | code | terminal | cli | clock
    # Who held it: releasing takes another.
    holder_id: Mapped[int | None] = mapped_column(BigId)
    # organizer | line (wrongly set up) | filtered (carriers take it for spam) | cap (the month's money is spent); None: not held.
    hold_reason: Mapped[str | None] = mapped_column(String(16))
    hold_code: Mapped[int | None]
    # The broadcast that this one corrects: what of it was unsent stopped, and whoever may have read it gets this one.
    corrects_id: Mapped[int | None] = mapped_column(BigId, index=True)
    # A correction of a call to an action: when the action begins, once this is approved. None: as it was.
    starts_at: Mapped[datetime | None] = mapped_column(Moment)
    # It may reach those who agreed to early texts before quiet hours end.
    early: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # The form's key: a double click makes one broadcast.
    request_key: Mapped[str | None] = mapped_column(String(64))
    reported_at: Mapped[datetime | None] = mapped_column(Moment)
    poll_id: Mapped[int | None] = mapped_column(ForeignKey("polls.id", ondelete="CASCADE"))
    alert_id: Mapped[int | None] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"))
    due_at: Mapped[datetime | None] = mapped_column(Moment)
    expires_at: Mapped[datetime | None] = mapped_column(Moment)
    # Fan-out goes in committed chunks; it goes on after this membership id, and is whole when planned_at is set.
    planned_through: Mapped[int] = mapped_column(BigId, default=0)
    planned_at: Mapped[datetime | None] = mapped_column(Moment)
    total: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(Moment)
    done_at: Mapped[datetime | None] = mapped_column(Moment)


class BroadcastText(Base):
    """The words of a broadcast in one language; a member whose language has none reads the collective's, else English, else the first."""

    __tablename__ = "broadcast_texts"

    broadcast_id: Mapped[int] = mapped_column(ForeignKey("broadcasts.id", ondelete="CASCADE"), primary_key=True)
    language: Mapped[str] = mapped_column(String(8), primary_key=True)
    body: Mapped[str] = mapped_column(SealedText("broadcast_texts.body"))
    # Of the whole text as a member gets it, so that the pace can be kept without opening the seal.
    segments: Mapped[int]
    # A poll's options in this language, letters implied by their order; None for anything else.
    options: Mapped[list[str] | None] = mapped_column(SealedJSON("broadcast_texts.options"))


class Poll(Base):
    """A question with lettered options. A vote may be changed until it closes; the result is told to everybody asked."""

    __tablename__ = "polls"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"), index=True)
    options: Mapped[int]  # how many
    closes_at: Mapped[datetime | None] = mapped_column(Moment)
    # Hours from the sending to the close, while it is still a draft.
    open_hours: Mapped[int] = mapped_column(default=48)
    closed_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)


class Ballot(Base):
    """One member's open vote (secret ballots come with decisions, and will not stand in this table)."""

    __tablename__ = "ballots"

    poll_id: Mapped[int] = mapped_column(ForeignKey("polls.id", ondelete="CASCADE"), primary_key=True)
    membership_id: Mapped[int] = mapped_column(ForeignKey("memberships.id", ondelete="CASCADE"), primary_key=True, index=True)
    choice: Mapped[int]  # 0 = A
    cast_at: Mapped[datetime] = mapped_column(Moment)


class Alert(Base):
    """A call to come to an action. Its words are the broadcast's; who comes is in ``rsvps``."""

    __tablename__ = "alerts"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"), index=True)
    starts_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)


class Rsvp(Base):
    __tablename__ = "rsvps"

    alert_id: Mapped[int] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True)
    membership_id: Mapped[int] = mapped_column(ForeignKey("memberships.id", ondelete="CASCADE"), primary_key=True, index=True)
    answer: Mapped[str] = mapped_column(String(5))  # yes | no | maybe
    answered_at: Mapped[datetime] = mapped_column(Moment)
