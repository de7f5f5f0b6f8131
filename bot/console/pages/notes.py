"""What members wrote that no flow took, as threads under aliases: claimed, answered, closed by two organizers at once without harm."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.acting import act_as_viewer
from bot.console.aliases import alias_of
from bot.console.blueprint import page
from bot.console.forms import read_number, read_text
from bot.console.pages.members import trace
from bot.console.views import deployment, now, place, refuse, say, show
from bot.conversation.actions import reply_to_note
from models import Membership, Note, NoteAnswer

PAGE = 30
LONGEST_ANSWER = 600
# Whoever claimed a thread and did not answer for so long has let it go.
CLAIM_LASTS = timedelta(hours=4)
OPEN = "open"


@dataclass(frozen=True)
class Thread:
    """One member's notes. ``newest`` is the id of the last one, by which the list is paged."""

    membership_id: int
    alias: str
    newest: int
    waiting: int
    is_urgent: bool
    last_at: datetime
    words: str
    claimed_by: str | None


@page("/<word>/notes")
def notes() -> ResponseReturnValue:
    """The threads, those that wait first."""
    everything = request.args.get("all") == "1"
    before = read_number(request, "before")
    with deployment().store.read() as session:
        threads = _threads(session, everything, before)
    older = threads[PAGE - 1].newest if len(threads) > PAGE else None
    return show("notes.html", threads=threads[:PAGE], older=older, everything=everything)


def _threads(session: Session, everything: bool, before: int) -> list[Thread]:
    latest = (
        sa.select(
            Note.membership_id,
            sa.func.max(Note.id).label("newest"),
            sa.func.sum(sa.case((Note.state == OPEN, 1), else_=0)).label("waiting"),
            sa.func.max(sa.case((sa.and_(Note.state == OPEN, Note.kind == "sos"), 1), else_=0)).label("urgent"),
        )
        .join(Membership, Membership.id == Note.membership_id)
        .where(Note.collective_id == place().collective_id, Membership.muted_at.is_(None))
        .group_by(Note.membership_id)
    )
    if not everything:
        latest = latest.having(sa.func.sum(sa.case((Note.state == OPEN, 1), else_=0)) > 0)
    if before:
        latest = latest.having(sa.func.max(Note.id) < before)
    found = latest.order_by(sa.func.max(Note.id).desc()).limit(PAGE + 1).subquery()
    rows = session.execute(
        sa.select(found, Note).join(Note, Note.id == found.c.newest).order_by(found.c.urgent.desc(), found.c.newest.desc())
    ).all()
    names = _names(session, {row.Note.claimed_by for row in rows if row.Note.claimed_by})
    return [
        Thread(
            row.membership_id,
            alias_of(deployment().store, row.membership_id),
            row.newest,
            row.waiting,
            bool(row.urgent),
            row.Note.created_at,
            row.Note.body or "",
            names.get(row.Note.claimed_by) if _is_claimed(row.Note) else None,
        )
        for row in rows
    ]


@page("/<word>/notes/<int:thread>")
def note_thread(thread: int) -> ResponseReturnValue:
    """One member's notes and what was answered, the oldest first."""
    with deployment().store.read() as session:
        found = _notes_of(session, thread)
        if not found:
            return refuse(say("This thread is not here any more."), say("Go back to the notes."), 404)
        answers = session.scalars(
            sa.select(NoteAnswer).where(NoteAnswer.note_id.in_([note.id for note in found])).order_by(NoteAnswer.id)
        ).all()
        ids = {answer.author_id for answer in answers} | {note.claimed_by for note in found}
        names = _names(session, {number for number in ids if number})
    lines = sorted(
        [(note.created_at, 0, note, None) for note in found] + [(answer.answered_at, 1, None, answer) for answer in answers],
        key=lambda line: line[:2],
    )
    last = found[-1]
    return show(
        "note_thread.html",
        thread=thread,
        alias=alias_of(deployment().store, thread),
        lines=lines,
        names=names,
        last=last,
        waiting=[note for note in found if note.state == OPEN],
        claimed_by=last.claimed_by if _is_claimed(last) else None,
        trouble=request.args.get("trouble"),
        longest=LONGEST_ANSWER,
    )


@page("/<word>/notes/<int:thread>/claim", methods=("POST",))
def claim_thread(thread: int) -> ResponseReturnValue:
    """Say "I am at it", or let it go. Whoever claimed it first keeps it."""
    with deployment().store.write() as session:
        found = _notes_of(session, thread, lock=True)
        waiting = [note for note in found if note.state == OPEN]
        holder = next((note.claimed_by for note in waiting if _is_claimed(note)), None)
        if holder not in (None, place().membership_id):
            return _back(thread, "claimed")
        letting_go = request.form.get("let_go") == "yes"
        for note in waiting:
            note.claimed_by, note.claimed_at = (None, None) if letting_go else (place().membership_id, now())
    return _back(thread)


@page("/<word>/notes/<int:thread>/answer", methods=("POST",))
def answer_thread(thread: int) -> ResponseReturnValue:
    """Answer the newest note: her phone gets it from the collective's number, nobody's own."""
    words = " ".join(read_text(request, "words", LONGEST_ANSWER).split())
    seen = read_number(request, "seen")
    if not words:
        return _back(thread, "empty")
    with act_as_viewer() as turn:
        found = _notes_of(turn.session, thread, lock=True)
        if not found:
            return refuse(say("This thread is not here any more."), say("Go back to the notes."), 404)
        last = found[-1]
        answered = turn.session.scalar(sa.select(sa.func.max(NoteAnswer.id)).where(NoteAnswer.note_id.in_([note.id for note in found])))
        if (answered or 0) > seen:
            # Somebody else answered while she wrote: she sees it first. (A double click ends here, too.)
            return _back(thread, "answered")
        if not reply_to_note(turn, f"{last.number} {words}")["sent"]:
            return _back(thread, "unreachable")
        for note in found:
            note.state = "answered" if note.state == OPEN else note.state
        turn.session.add(trace("note answered", f"note {last.number}"))
    return _back(thread)


@page("/<word>/notes/<int:thread>/close", methods=("POST",))
def close_thread(thread: int) -> ResponseReturnValue:
    """Nothing to answer: it waits no longer."""
    with deployment().store.write() as session:
        found = _notes_of(session, thread, lock=True)
        for note in found:
            note.state = "closed" if note.state == OPEN else note.state
        if found:
            session.add(trace("note closed", f"note {found[-1].number}"))
    return redirect(url_for("console.notes"), 303)


@page("/<word>/notes/<int:thread>/mute", methods=("POST",))
def mute_thread(thread: int) -> ResponseReturnValue:
    """A harmful sender: what is written from there is put before nobody any more, in one act. It can be taken back under Members."""
    with deployment().store.write() as session:
        member = session.get(Membership, thread, with_for_update=True)
        if member is None or member.collective_id != place().collective_id:
            return refuse(say("This thread is not here any more."), say("Go back to the notes."), 404)
        member.muted_at = member.muted_at or now()
        for note in _notes_of(session, thread, lock=True):
            note.state = "closed" if note.state == OPEN else note.state
        session.add(trace("member muted", ""))
    return redirect(url_for("console.notes"), 303)


def _notes_of(session: Session, thread: int, *, lock: bool = False) -> list[Note]:
    query = sa.select(Note).where(Note.collective_id == place().collective_id, Note.membership_id == thread).order_by(Note.id)
    return list(session.scalars(query.with_for_update(key_share=True) if lock else query))


def _is_claimed(note: Note) -> bool:
    return note.claimed_at is not None and note.claimed_at > now() - CLAIM_LASTS


def _names(session: Session, members: set[Any]) -> dict[Any, str]:
    rows = session.execute(sa.select(Membership.id, Membership.name).where(Membership.id.in_(members))) if members else ()
    return {row.id: row.name or say("no name") for row in rows}


def _back(thread: int, trouble: str | None = None) -> ResponseReturnValue:
    return redirect(url_for("console.note_thread", thread=thread, trouble=trouble), 303)
