"""Members' notes as threads under aliases: which of them wait, who is at one, and whose thread a note's number means.

A thread is called by the number of any of its notes, which organizers read anyway. The membership's own number is on no page of the notes:
the pages of the members have it, too, with her name. Of a muted sender calls for help are shown, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.console.aliases import alias_of
from bot.console.views import deployment, now, place, say
from models import Membership, Note

PAGE = 30
# Whoever claimed a thread and did not answer for so long has let it go.
CLAIM_LASTS = timedelta(hours=4)
OPEN, CALL = "open", "sos"
# What the list of threads shows: those that wait, also those that are done, those of muted senders.
WAITING, EVERYTHING, MUTED = "waiting", "everything", "muted"


@dataclass(frozen=True)
class Row:
    """A thread in the list. ``number`` and ``newest``: of its last note that is shown, its number and its id (the list is paged by it)."""

    number: int
    alias: str
    newest: int
    waiting: int
    is_urgent: bool
    is_muted: bool
    last_at: datetime
    words: str
    claimed_by: str | None


@dataclass(frozen=True)
class Thread:
    """One member's notes as far as they are shown, the oldest first."""

    membership_id: int
    is_muted: bool
    notes: Sequence[Note]

    @property
    def alias(self) -> str:
        """What she is called here."""
        return alias_of(deployment().store, self.membership_id)

    @property
    def waiting(self) -> list[Note]:
        """Those that nobody answered or closed."""
        return [note for note in self.notes if note.state == OPEN]

    @property
    def newest(self) -> int:
        """The id of the last note: what a form says that its page has shown."""
        return max((note.id for note in self.notes), default=0)

    @property
    def holder(self) -> int | None:
        """Who is at it (a membership): a claim of any note that waits is one of the thread, whatever came after it."""
        since = now() - CLAIM_LASTS
        held = [note for note in self.waiting if note.claimed_at is not None and note.claimed_at > since]
        return max(held, key=lambda note: (note.claimed_at, note.id)).claimed_by if held else None

    @property
    def asked(self) -> Note:
        """What an answer answers: a call for help that waits, else the last note. By a call's answer her quiet hours are not kept."""
        return next((note for note in reversed(self.waiting) if note.kind == CALL), self.notes[-1])

    def has_unseen(self, seen: int) -> bool:
        """Whether she wrote something that waits after the note ``seen`` (an id): whoever looked at the page then has not read it."""
        return any(note.id > seen for note in self.waiting)


def find_thread(session: Session, number: int, *, lock: bool = False) -> Thread | None:
    """The thread with the collective's note of this number; ``lock``: its notes, for changing them."""
    mine = Note.collective_id == place().collective_id
    whose = sa.select(Membership.id, Membership.muted_at).join(Note, Note.membership_id == Membership.id)
    row = session.execute(whose.where(mine, Note.number == number)).one_or_none()
    if row is None:
        return None
    query = sa.select(Note).where(mine, Note.membership_id == row.id).order_by(Note.id)
    notes = session.scalars(query.with_for_update(key_share=True) if lock else query).all()
    is_muted = row.muted_at is not None
    return Thread(row.id, is_muted, [note for note in notes if not is_muted or note.kind == CALL])


def list_threads(session: Session, which: str, before: int) -> list[Row]:
    """Those with a call for help first, every one of them on the first page; then up to PAGE + 1 others, the newest first.

    ``before``: only others whose last note is older than this id.
    """
    latest, is_urgent = _latest(which)
    newest = sa.func.max(Note.id)
    calls = [] if before else session.execute(latest.having(is_urgent == 1).order_by(newest.desc())).all()
    others = latest.having(is_urgent == 0)
    if before:
        others = others.having(newest < before)
    rows = [*calls, *session.execute(others.order_by(newest.desc()).limit(PAGE + 1)).all()]
    notes = {note.id: note for note in session.scalars(sa.select(Note).where(Note.id.in_([row.newest for row in rows])))}
    holders = _holders(session, [row.membership_id for row in rows])
    names = names_of(session, holders.values())
    return [
        Row(
            notes[row.newest].number, alias_of(deployment().store, row.membership_id), row.newest, row.waiting, bool(row.urgent),
            row.muted is not None, notes[row.newest].created_at, notes[row.newest].body or "",
            names[holders[row.membership_id]] if row.membership_id in holders else None,
        )
        for row in rows
    ]  # fmt: skip


def _latest(which: str) -> tuple[Any, Any]:
    """The threads, one row each, and by what those are known in which somebody calls for help."""
    is_open, is_heard = Note.state == OPEN, Membership.muted_at.is_(None)
    is_call = sa.and_(is_open, Note.kind == CALL)
    waiting = sa.func.sum(sa.case((is_open, 1), else_=0))
    is_urgent = sa.func.max(sa.case((is_call, 1), else_=0))
    query = (
        sa.select(
            Note.membership_id,
            sa.func.max(Note.id).label("newest"),
            waiting.label("waiting"),
            is_urgent.label("urgent"),
            sa.func.max(Membership.muted_at).label("muted"),
        )
        .join(Membership, Membership.id == Note.membership_id)
        .where(Note.collective_id == place().collective_id, ~is_heard if which == MUTED else sa.or_(is_heard, is_call))
        .group_by(Note.membership_id)
    )
    return query.having(waiting > 0) if which == WAITING else query, is_urgent


def _holders(session: Session, members: Sequence[int]) -> dict[int, int]:
    """Who is at each member's thread."""
    query = (
        sa.select(Note.membership_id, Note.claimed_by)
        .where(Note.collective_id == place().collective_id, Note.membership_id.in_(members), Note.state == OPEN)
        .where(Note.claimed_by.is_not(None), Note.claimed_at > now() - CLAIM_LASTS)
        .order_by(Note.claimed_at, Note.id)
    )
    return {row.membership_id: row.claimed_by for row in session.execute(query)}


def names_of(session: Session, organizers: Iterable[int | None]) -> dict[int | None, str]:
    """What those who answer are called; their names are no secret among them."""
    ids = {number for number in organizers if number is not None}
    rows = session.execute(sa.select(Membership.id, Membership.name).where(Membership.id.in_(ids))) if ids else ()
    known = {row.id: row.name for row in rows}
    return {number: known.get(number) or say("no name") for number in ids}
