"""Who is speaking: a phone, the people who use it, and what each line may send to it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, BigId, Moment
from .sealing import SealedText


class Phone(Base):
    """A number (E.164) that somebody texted from, or that a member list names. Found by a keyed hash; sealed at rest.

    The row is also the lock of everything that happens to this phone: one inbound message at a time, and no send is marked
    while a STOP is being written.
    """

    __tablename__ = "phones"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    number: Mapped[str | None] = mapped_column(SealedText("phones.number"))
    number_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    # Who is holding it now, as far as we know: only a second JOIN or NAME switches it.
    current_person_id: Mapped[int | None] = mapped_column(BigId)
    created_at: Mapped[datetime] = mapped_column(Moment)
    # One kind answer a day to a number we do not know (and to a robot that answers us).
    stranger_answered_at: Mapped[datetime | None] = mapped_column(Moment)
    # WRONG: the number changed hands. Nothing is sent to a detached phone until somebody joins from it.
    detached_at: Mapped[datetime | None] = mapped_column(Moment)


class Person(Base):
    """Somebody who uses a phone. Two sisters on one phone are two people."""

    __tablename__ = "people"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    phone_id: Mapped[int] = mapped_column(ForeignKey("phones.id", ondelete="CASCADE"), index=True)
    # What she called herself last, by text: it tells two people on one phone apart. Each collective has its own (Membership.name).
    name: Mapped[str | None] = mapped_column(SealedText("people.name"))
    # None: never said, so the collective's language and zone hold.
    language: Mapped[str | None] = mapped_column(String(8))
    timezone: Mapped[str | None] = mapped_column(String(64))
    # Her own quiet hours, local: they come on top of the collective's, and never take any of those away.
    quiet_from: Mapped[int | None]
    quiet_until: Mapped[int | None]
    # Whether name_words has her names as they stand; whoever changes one in a membership sets it back.
    name_indexed: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # Whether the hashes hold the collective in which a name was given: the version before had others, and knew of name_indexed alone.
    names_indexed: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    created_at: Mapped[datetime] = mapped_column(Moment)


class PhoneLine(Base):
    """What is known between one phone and one line. No row means: never spoke, never stopped."""

    __tablename__ = "phone_lines"
    __table_args__ = (UniqueConstraint("phone_id", "line_id"), Index("ix_phone_lines_line_id", "line_id"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    phone_id: Mapped[int] = mapped_column(ForeignKey("phones.id", ondelete="CASCADE"))
    line_id: Mapped[int] = mapped_column(ForeignKey("lines.id"))
    opted_out_at: Mapped[datetime | None] = mapped_column(Moment)
    # carrier (a Twilio word), word (one of ours or free text), 21610, sibling (STOP on another line of the same collective)
    opted_out_by: Mapped[str | None] = mapped_column(String(16))
    # A permanent refusal (21211, 21614, 30005 ...): nothing more is sent on this pair.
    refused_code: Mapped[int | None]
    # WhatsApp's 24-hour window opens here; also "the line she last wrote on".
    last_inbound_at: Mapped[datetime | None] = mapped_column(Moment)
