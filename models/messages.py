"""Messages in and out. The outbound table is the truth about every send; Redis is only a bell."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, BigId, Moment
from .sealing import SealedText

# The states of an outbound row, in the order of its life (docs/delivery.md draws it).
HELD, QUEUED, CLAIMED, ATTEMPTING, ACCEPTED, SENT = "held", "queued", "claimed", "attempting", "accepted", "sent"
DELIVERED, UNDELIVERED, FAILED = "delivered", "undelivered", "failed"
UNKNOWN, SUPPRESSED, EXPIRED, STOPPED = "unknown", "suppressed", "expired", "stopped"
OUTBOUND_STATES = (HELD, QUEUED, CLAIMED, ATTEMPTING, ACCEPTED, SENT, DELIVERED, UNDELIVERED, FAILED, UNKNOWN, SUPPRESSED, EXPIRED, STOPPED)

# What the receipts may do: a status only ever climbs. Unknown stands below accepted, because a late receipt brings it home.
RANKS = {HELD: 0, QUEUED: 0, CLAIMED: 0, ATTEMPTING: 1, UNKNOWN: 1, ACCEPTED: 2, SENT: 4, DELIVERED: 5, UNDELIVERED: 5, FAILED: 5}

# The lanes, the most urgent first: twenty people never wait behind 140,000.
LANE_STOP, LANE_CODE, LANE_RELAY, LANE_REPLY, LANE_CHECK_IN, LANE_POLL, LANE_BROADCAST = range(7)


class Inbound(Base):
    """One message that reached us, stored before anything else happens. Its SID hash outlives its words (13 months against replays)."""

    __tablename__ = "inbound"
    __table_args__ = (Index("ix_inbound_phone_id_id", "phone_id", "id"), Index("ix_inbound_received_at", "received_at"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    sid_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    line_id: Mapped[int | None] = mapped_column(ForeignKey("lines.id"))
    phone_id: Mapped[int | None] = mapped_column(BigId)
    person_id: Mapped[int | None] = mapped_column(BigId)
    collective_id: Mapped[int | None] = mapped_column(BigId)
    body: Mapped[str | None] = mapped_column(SealedText("inbound.body"))
    kind: Mapped[str] = mapped_column(String(10), default="text")  # text | button | media | location | contact | empty
    # What became of it: a word ("STOP"), "answer", "note", "stranger", "unknown line", "replayed" ... never its content.
    handled_as: Mapped[str] = mapped_column(String(24), default="")
    # The TwiML given, so that a repeated webhook gets the same answer for ten minutes.
    answer: Mapped[str | None] = mapped_column(SealedText("inbound.answer"))
    received_at: Mapped[datetime] = mapped_column(Moment)
    # Read from Twilio's list after an outage, and when the carrier had it; None: it came by webhook.
    sent_at: Mapped[datetime | None] = mapped_column(Moment)


class Outbound(Base):
    """One text to one phone. A broadcast's row has no body: the words are rendered at the send, in her language."""

    __tablename__ = "outbound"
    __table_args__ = (
        Index("uq_outbound_broadcast_phone", "broadcast_id", "phone_id", unique=True),
        Index("uq_outbound_broadcast_membership", "broadcast_id", "membership_id", unique=True),
        Index(
            "ix_outbound_due",
            "line_id",
            "lane",
            "position",
            "id",
            postgresql_where=text("state = 'queued'"),
            sqlite_where=text("state = 'queued'"),
        ),
        Index(
            "ix_outbound_open",
            "state",
            "due_at",
            postgresql_where=text("state IN ('held','claimed','attempting')"),
            sqlite_where=text("state IN ('held','claimed','attempting')"),
        ),
        Index(
            "ix_outbound_asking",
            "person_id",
            "asked_at",
            postgresql_where=text("asked_at IS NOT NULL"),
            sqlite_where=text("asked_at IS NOT NULL"),
        ),
        Index("ix_outbound_phone_id", "phone_id"),
        Index(
            "ix_outbound_check",
            "check_at",
            postgresql_where=text("check_at IS NOT NULL"),
            sqlite_where=text("check_at IS NOT NULL"),
        ),
        # What the carrier holds and has not sent on yet: a slow line must not queue more there than it can deliver in time.
        Index(
            "ix_outbound_at_carrier",
            "line_id",
            "accepted_at",
            postgresql_where=text("state = 'accepted'"),
            sqlite_where=text("state = 'accepted'"),
        ),
        Index(
            "ix_outbound_about_membership_id",
            "about_membership_id",
            postgresql_where=text("about_membership_id IS NOT NULL"),
            sqlite_where=text("about_membership_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    broadcast_id: Mapped[int | None] = mapped_column(ForeignKey("broadcasts.id", ondelete="CASCADE"))
    membership_id: Mapped[int | None] = mapped_column(BigId)
    person_id: Mapped[int | None] = mapped_column(BigId)
    # None: she was forgotten. Such a row is never sent, and learns no SID any more.
    phone_id: Mapped[int | None] = mapped_column(BigId)
    # Whose words or whose plight it tells to somebody else (a page, a relay): her FORGET takes it back, too.
    about_membership_id: Mapped[int | None] = mapped_column(BigId)
    collective_id: Mapped[int | None] = mapped_column(BigId)
    line_id: Mapped[int] = mapped_column(ForeignKey("lines.id"))
    # reply | code | notice | alert | poll | check_in | result | page | relay: decides lane, quiet hours and what an unknown outcome means
    kind: Mapped[str] = mapped_column(String(10))
    lane: Mapped[int] = mapped_column(SmallInteger)
    position: Mapped[int] = mapped_column(default=0)
    language: Mapped[str] = mapped_column(String(8))
    body: Mapped[str | None] = mapped_column(SealedText("outbound.body"))
    state: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str | None] = mapped_column(String(24))  # why held, suppressed, expired
    segments: Mapped[int] = mapped_column(SmallInteger, default=1)
    attempt: Mapped[int] = mapped_column(SmallInteger, default=0)
    # Whether quiet hours and pauses hold it: False only for an answer to her own text.
    unprompted: Mapped[bool] = mapped_column(default=True)
    due_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime | None] = mapped_column(Moment)
    lease_until: Mapped[float | None]
    fence: Mapped[int | None]  # the line's fence under which it was claimed
    attempted_at: Mapped[datetime | None] = mapped_column(Moment)
    accepted_at: Mapped[datetime | None] = mapped_column(Moment)
    done_at: Mapped[datetime | None] = mapped_column(Moment)
    sid: Mapped[str | None] = mapped_column(String(34))
    error_code: Mapped[int | None]
    resent: Mapped[bool] = mapped_column(default=False)
    # How often it stood in the way of a pump that died or broke over it; at five it is put aside (poison).
    tries: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    # An unknown outcome is looked up in Twilio's list, after one minute and after ten; None: nothing more to look up.
    check_at: Mapped[datetime | None] = mapped_column(Moment)
    checks: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    # What it cost, in millionths: by our price table at the acceptance, then by Twilio's own price (``priced``).
    cost_micros: Mapped[int | None] = mapped_column(BigInteger)
    priced: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # An asking message (a poll, a scale, an alert) is in flight from its acceptance until answered or 24 hours old.
    asks: Mapped[str | None] = mapped_column(String(16))  # the flow it opens
    asked_at: Mapped[datetime | None] = mapped_column(Moment)
    answered_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)


class Note(Base):
    """What a member wrote that no flow took. Organizers see a number within their collective, never her phone."""

    __tablename__ = "notes"
    __table_args__ = (Index("uq_notes_collective_number", "collective_id", "number", unique=True),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"))
    number: Mapped[int]
    membership_id: Mapped[int] = mapped_column(BigId)
    body: Mapped[str | None] = mapped_column(SealedText("notes.body"))
    # note | sos | stranded (an answer whose question a deploy removed) | failed (a flow raised)
    kind: Mapped[str] = mapped_column(String(10), default="note")
    state: Mapped[str] = mapped_column(String(10), default="open")  # open | answered | closed
    # Who is at it: two organizers must not answer the same note twice without knowing.
    claimed_by: Mapped[int | None] = mapped_column(BigId)
    claimed_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)
    answered_at: Mapped[datetime | None] = mapped_column(Moment)
