"""What the organizers' console keeps: who is logged in, codes on their way, what undoes an import, why something was taken out."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, BigId, Moment
from .sealing import SealedText


class LoginCode(Base):
    """A one-time code that was asked for. Asked for an unknown number, the row is the same, so that both look alike from outside."""

    __tablename__ = "login_codes"
    __table_args__ = (
        Index("ix_login_codes_asker_hash_asked_at", "asker_hash", "asked_at"),
        Index("ix_login_codes_waiting", "id", postgresql_where=text("seed IS NOT NULL"), sqlite_where=text("seed IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    number_hash: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    # Keyed hash of the address it was asked from: a limit, and nobody's trail.
    asker_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    code_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    # What a worker makes the code from, with a key; gone as soon as it has looked whose number it is (``bot.delivery.logins``).
    seed: Mapped[bytes | None] = mapped_column(LargeBinary(16))
    # None: no worker has looked yet, or nobody here has that number, so no code left.
    person_id: Mapped[int | None] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    tries: Mapped[int] = mapped_column(SmallInteger, default=0)
    asked_at: Mapped[datetime] = mapped_column(Moment, index=True)
    expires_at: Mapped[datetime] = mapped_column(Moment)
    used_at: Mapped[datetime | None] = mapped_column(Moment)


class WebSession(Base):
    """One browser that is logged in. The cookie holds a random token, the table its hash."""

    __tablename__ = "web_sessions"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    # "Firefox on Android": enough to recognise one's own, no more.
    device: Mapped[str] = mapped_column(String(40), default="")
    made_at: Mapped[datetime] = mapped_column(Moment)
    seen_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime] = mapped_column(Moment)
    # Until when a one-time code of the app, given a moment ago, still counts for acts that send, export or change roles.
    proven_until: Mapped[datetime | None] = mapped_column(Moment)
    # The membership whose app gave it: in another collective of hers it counts for nothing.
    proven_for: Mapped[int | None] = mapped_column(BigId)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)


class NumberChange(Base):
    """Somebody with a role moves to a new number: only after a day, and her old number is told, so that a thief is noticed in time."""

    __tablename__ = "number_changes"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    number: Mapped[str | None] = mapped_column(SealedText("number_changes.number"))
    # The collective in which it was booked: there it is told, shown and cancelled, and nowhere else.
    collective_id: Mapped[int | None] = mapped_column(BigId)
    asked_by: Mapped[int] = mapped_column(BigId)  # membership
    asked_at: Mapped[datetime] = mapped_column(Moment)
    due_at: Mapped[datetime] = mapped_column(Moment)
    done_at: Mapped[datetime | None] = mapped_column(Moment)
    cancelled_at: Mapped[datetime | None] = mapped_column(Moment)


class NameWord(Base):
    """A keyed hash of a word of the name that a collective calls somebody by, or of its beginning: names are sealed, and can be found.

    The collective is in the hash: what one of them calls her finds her in no other.
    """

    __tablename__ = "name_words"

    hash: Mapped[int] = mapped_column(BigId, primary_key=True)  # 63 bits
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), primary_key=True, index=True)


class NoteAnswer(Base):
    """What organizers answered to a note, so that the other one sees that it was answered, and how."""

    __tablename__ = "note_answers"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    note_id: Mapped[int] = mapped_column(ForeignKey("notes.id", ondelete="CASCADE"), index=True)
    author_id: Mapped[int | None] = mapped_column(BigId)  # membership
    body: Mapped[str | None] = mapped_column(SealedText("note_answers.body"))
    answered_at: Mapped[datetime] = mapped_column(Moment)


class MemberImport(Base):
    """One list that was read in: what it added can be taken back as long as nobody of it has written."""

    __tablename__ = "member_imports"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"), index=True)
    membership_id: Mapped[int | None] = mapped_column(BigId)  # who did it
    added: Mapped[int] = mapped_column(default=0)
    made_at: Mapped[datetime] = mapped_column(Moment)
    undone_at: Mapped[datetime | None] = mapped_column(Moment)


class MemberExport(Base):
    """That the list of members was taken out, by whom and why."""

    __tablename__ = "member_exports"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    collective_id: Mapped[int] = mapped_column(ForeignKey("collectives.id", ondelete="CASCADE"), index=True)
    membership_id: Mapped[int | None] = mapped_column(BigId)
    reason: Mapped[str | None] = mapped_column(SealedText("member_exports.reason"))
    rows: Mapped[int] = mapped_column(default=0)
    made_at: Mapped[datetime] = mapped_column(Moment)
