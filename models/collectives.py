"""Collectives, the lines they speak through, and who belongs to them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, BigId, Moment
from .sealing import SealedText


class Collective(Base):
    """A group that decides and acts together, and the word that opens its door."""

    __tablename__ = "collectives"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    # Case-folded and unique in the deployment: JOIN SANGHA means one collective, whichever line it arrives on.
    word: Mapped[str] = mapped_column(String(40), unique=True)
    # A word that is not public is never suggested by "did you mean".
    public: Mapped[bool] = mapped_column(default=True)
    # One line for HELP: what this collective is.
    about: Mapped[str] = mapped_column(String(120), default="")
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    language: Mapped[str] = mapped_column(String(8), default="en")
    # Local hours between which nothing unprompted is sent ("21-8"); both None: no quiet hours.
    quiet_from: Mapped[int | None]
    quiet_until: Mapped[int | None]
    next_number: Mapped[int] = mapped_column(default=1)
    # What a month may cost, in millionths of the account's currency; None: no cap.
    monthly_cap_micros: Mapped[int | None] = mapped_column(BigInteger)
    # Seconds between the approval and the first message, in which any organizer may still call it back.
    cool_down_seconds: Mapped[int] = mapped_column(default=20, server_default="20")
    created_at: Mapped[datetime] = mapped_column(Moment)


class Line(Base):
    """A number, sender or Messaging Service that carries messages; several collectives may share it.

    The lease columns make sure that one pump serves a line at a time; ``fence`` grows with every new holder, and a pump whose
    fence is old can change nothing. ``next_slot`` is the pace: the real time (epoch seconds) before which nothing may leave.
    """

    __tablename__ = "lines"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    channel: Mapped[str] = mapped_column(String(10))  # sms | whatsapp
    address: Mapped[str] = mapped_column(String(64), unique=True)  # +1555…, whatsapp:+1555…, MG…
    country: Mapped[str | None] = mapped_column(String(2))
    two_way: Mapped[bool] = mapped_column(default=True)
    # Whether the carrier answers STOP and START itself (SMS by default), and HELP (only with Advanced Opt-Out).
    carrier_answers_stop: Mapped[bool] = mapped_column(default=True)
    mps: Mapped[float] = mapped_column(default=1.0)  # segments per second
    fence: Mapped[int] = mapped_column(default=0)
    lease_holder: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[float] = mapped_column(default=0.0)
    next_slot: Mapped[float] = mapped_column(default=0.0)
    # A configuration error (21606, 30034 ...) or the carrier's back-off holds the line until then; the code says why.
    held_until: Mapped[datetime | None] = mapped_column(Moment)
    held_code: Mapped[int | None]
    # When a message on it was last known to be delivered: a line without such proof sends a canary first.
    proven_at: Mapped[datetime | None] = mapped_column(Moment)
    # Twilio's list of what came in on this line has been read up to here (back-fill after an outage).
    read_through: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)


class CollectiveLine(Base):
    """Which lines a collective speaks through, in the order its organizers gave."""

    __tablename__ = "collective_lines"

    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"), primary_key=True)
    line_id: Mapped[int] = mapped_column(ForeignKey("lines.id"), primary_key=True, index=True)
    position: Mapped[int] = mapped_column(default=0)


class Membership(Base):
    """One person in one collective. JOIN itself makes it active; LEAVE ends it; PAUSE silences it."""

    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("person_id", "collective_id"), Index("ix_memberships_collective_id_id", "collective_id", "id"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"))
    # What this collective calls her: as she said here by text, else as its own list has it. What she, or a list, says elsewhere is not
    # told here. Sealed like the names of people, from where the first of them were copied; whoever changes it sets name_indexed back.
    name: Mapped[str | None] = mapped_column(SealedText("people.name"))
    state: Mapped[str] = mapped_column(String(8), default="active")  # active | left
    # The line she last wrote on; None: the collective's first two-way line.
    line_id: Mapped[int | None] = mapped_column(ForeignKey("lines.id"))
    paused_until: Mapped[datetime | None] = mapped_column(Moment)
    joined_at: Mapped[datetime] = mapped_column(Moment)
    left_at: Mapped[datetime | None] = mapped_column(Moment)
    # Supporters only: ON lets pages reach her at night too; OFF works at once.
    on_duty: Mapped[bool] = mapped_column(default=False)
    # She agreed to texts before quiet hours end, on the morning of an action.
    early_texts: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # What WhatsApp can not deliver may come to her by SMS, which others can read more easily: only if she said so.
    sms_fallback: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # The import that brought her, so that it can be taken back.
    import_id: Mapped[int | None] = mapped_column(BigId, index=True)
    # What she writes is put before nobody any more (a harmful sender); her own words STOP, SOS and FORGET go on working.
    muted_at: Mapped[datetime | None] = mapped_column(Moment)


class Role(Base):
    """What a membership may do beyond being a member: organizer, supporter (more come with the console)."""

    __tablename__ = "roles"

    membership_id: Mapped[int] = mapped_column(ForeignKey("memberships.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(16), primary_key=True)


class SecondFactor(Base):
    """A member's one-time-code secret (TOTP, RFC 6238). ``last_step`` makes each code good once."""

    __tablename__ = "second_factors"

    membership_id: Mapped[int] = mapped_column(ForeignKey("memberships.id", ondelete="CASCADE"), primary_key=True)
    secret: Mapped[str] = mapped_column(SealedText("second_factors.secret"))
    last_step: Mapped[int] = mapped_column(default=0)
    wrong_tries: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None] = mapped_column(Moment)
    # One that was set up in the console counts from then on (a day later): whoever stole a phone sets up nothing that sends today.
    good_from: Mapped[datetime | None] = mapped_column(Moment)
    # Another one that was set up in its place, and from when it counts; until then this one does.
    next_secret: Mapped[str | None] = mapped_column(SealedText("second_factors.next_secret"))
    next_from: Mapped[datetime | None] = mapped_column(Moment)


class Consent(Base):
    """That somebody agreed: to what, when, how, in which language. Kept as a record; withdrawn, never deleted, except by FORGET."""

    __tablename__ = "consents"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    membership_id: Mapped[int] = mapped_column(ForeignKey("memberships.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(12))  # join | import | check_ins
    how: Mapped[str | None] = mapped_column(SealedText("consents.how"))
    text_version: Mapped[str] = mapped_column(String(16))
    language: Mapped[str] = mapped_column(String(8))
    given_at: Mapped[datetime] = mapped_column(Moment)
    withdrawn_at: Mapped[datetime | None] = mapped_column(Moment)


class Group(Base):
    """A named part of a collective ("drivers"): an audience for broadcasts."""

    __tablename__ = "groups"
    __table_args__ = (UniqueConstraint("collective_id", "name"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(40))  # case-folded


class GroupMember(Base):
    __tablename__ = "group_members"

    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    membership_id: Mapped[int] = mapped_column(ForeignKey("memberships.id", ondelete="CASCADE"), primary_key=True, index=True)


class SealedKey(Base):
    """Random keys of the deployment (phone index, callback tokens), sealed under DATA_KEYS; a rotation rewraps them."""

    __tablename__ = "keys"

    purpose: Mapped[str] = mapped_column(String(16), primary_key=True)
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)
