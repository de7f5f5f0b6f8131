"""What members wrote that no flow took, as threads under aliases: claimed, answered, closed by two organizers at once without harm."""

from __future__ import annotations

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.acting import act_as_viewer
from bot.console.blueprint import page
from bot.console.forms import read_number, read_text
from bot.console.pages.members import trace
from bot.console.threads import CALL, EVERYTHING, MUTED, PAGE, WAITING, Thread, find_thread, list_threads, names_of
from bot.console.views import deployment, now, place, refuse, say, show
from bot.conversation.actions import reply_to_note
from bot.conversation.turn import Turn
from models import Membership, NoteAnswer

LONGEST_ANSWER = 600


@page("/<word>/notes")
def notes() -> ResponseReturnValue:
    """The threads: calls for help first, then those that wait."""
    which = MUTED if request.args.get("muted") == "1" else EVERYTHING if request.args.get("all") == "1" else WAITING
    with deployment().store.read() as session:
        threads = list_threads(session, which, read_number(request, "before"))
    calm = [thread for thread in threads if not thread.is_urgent]
    is_more = len(calm) > PAGE
    return show("notes.html", threads=threads[:-1] if is_more else threads, older=calm[PAGE - 1].newest if is_more else None, which=which)


@page("/<word>/notes/<int:number>")
def note_thread(number: int) -> ResponseReturnValue:
    """One member's notes and what was answered, the oldest first."""
    return _show_thread(number, request.args.get("trouble"))


def _show_thread(number: int, trouble: str | None, words: str = "") -> ResponseReturnValue:
    """The thread as it stands. ``trouble``: why nothing was done; ``words``: what she wrote must not be lost by it."""
    with deployment().store.read() as session:
        thread = find_thread(session, number)
        if thread is None:
            return _gone()
        answers = _answers_of(session, thread)
        names = names_of(session, {answer.author_id for answer in answers} | {thread.holder})
    lines = sorted(
        [(note.created_at, 0, note, None) for note in thread.notes] + [(answer.answered_at, 1, None, answer) for answer in answers],
        key=lambda line: line[:2],
    )
    return show(
        "note_thread.html",
        409 if trouble and request.method == "POST" else 200,
        number=number,
        thread=thread,
        lines=lines,
        names=names,
        answered=answers[-1].id if answers else 0,
        trouble=trouble,
        words=words,
        heard=request.args.get("done") == "heard",
        longest=LONGEST_ANSWER,
    )


@page("/<word>/notes/<int:number>/claim", methods=("POST",))
def claim_thread(number: int) -> ResponseReturnValue:
    """Say "I am at it", or let it go. Whoever claimed it first keeps it."""
    me = place().membership_id
    with deployment().store.write() as session:
        thread = find_thread(session, number, lock=True)
        if thread is None:
            return _gone()
        holder = thread.holder
        if holder not in (None, me):
            return _back(number, trouble="claimed")
        letting_go = request.form.get("let_go") == "yes"
        if thread.waiting and (holder == me) is letting_go:
            session.add(trace("note let go" if letting_go else "note claimed", f"note {thread.notes[-1].number}"))
        for note in thread.waiting:
            note.claimed_by, note.claimed_at = (None, None) if letting_go else (me, now())
    return _back(number)


@page("/<word>/notes/<int:number>/answer", methods=("POST",))
def answer_thread(number: int) -> ResponseReturnValue:
    """Answer what was read: her phone gets it from the collective's number, nobody's own."""
    words = " ".join(read_text(request, "words", LONGEST_ANSWER).split())
    if not words:
        return _back(number, trouble="empty")
    with act_as_viewer() as turn:
        trouble = _answer(turn, number, words)
    return _show_thread(number, trouble, words) if trouble else _back(number)


def _answer(turn: Turn, number: int, words: str) -> str | None:
    """Send it and close what it answers; why not, if not."""
    thread = find_thread(turn.session, number, lock=True)
    if thread is None or not thread.notes:
        return "gone"
    answers = _answers_of(turn.session, thread)
    if answers and answers[-1].id > read_number(request, "answered"):
        # A second click on the same button; or somebody else answered while she wrote, and she sees it first.
        is_hers = answers[-1].author_id == place().membership_id and answers[-1].body == words
        return None if is_hers else "answered"
    if thread.has_unseen(read_number(request, "seen")):
        return "unseen"
    if not reply_to_note(turn, f"{thread.asked.number} {words}")["sent"]:
        return "unreachable"
    turn.session.add(trace("note answered", f"note {thread.notes[-1].number}"))
    for note in thread.waiting:
        note.state = "answered"
    return None


@page("/<word>/notes/<int:number>/close", methods=("POST",))
def close_thread(number: int) -> ResponseReturnValue:
    """Nothing to answer in what was read: it waits no longer."""
    with deployment().store.write() as session:
        thread = find_thread(session, number, lock=True)
        if thread is None:
            return _gone()
        is_unseen = thread.has_unseen(read_number(request, "seen"))
        if thread.waiting and not is_unseen:
            session.add(trace("note closed", f"note {thread.notes[-1].number}"))
            for note in thread.waiting:
                note.state = "closed"
    return _show_thread(number, "unseen") if is_unseen else redirect(url_for("console.notes"), 303)


@page("/<word>/notes/<int:number>/mute", methods=("POST",))
def mute_thread(number: int) -> ResponseReturnValue:
    """A harmful sender: what is written from there is put before nobody any more, in one act; except a call for help, whenever it came."""
    with deployment().store.write() as session:
        thread = find_thread(session, number, lock=True)
        if thread is None:
            return _gone()
        member = _lock_sender(session, thread)
        if member.muted_at is None:
            member.muted_at = now()
            for note in thread.waiting:
                note.state = note.state if note.kind == CALL else "closed"
            session.add(trace("member muted", f"note {number}"))
    return redirect(url_for("console.notes"), 303)


@page("/<word>/notes/<int:number>/unmute", methods=("POST",))
def unmute_thread(number: int) -> ResponseReturnValue:
    """What this sender writes, and wrote meanwhile, is put before organizers again."""
    with deployment().store.write() as session:
        thread = find_thread(session, number, lock=True)
        if thread is None:
            return _gone()
        member = _lock_sender(session, thread)
        if member.muted_at is not None:
            member.muted_at = None
            session.add(trace("member unmuted", f"note {number}"))
    return _back(number, done="heard")


def _lock_sender(session: Session, thread: Thread) -> Membership:
    return session.get_one(Membership, thread.membership_id, with_for_update={"key_share": True}, populate_existing=True)


def _answers_of(session: Session, thread: Thread) -> list[NoteAnswer]:
    ids = [note.id for note in thread.notes]
    return list(session.scalars(sa.select(NoteAnswer).where(NoteAnswer.note_id.in_(ids)).order_by(NoteAnswer.id)))


def _gone() -> ResponseReturnValue:
    return refuse(say("This thread is not here any more."), say("Go back to the notes."), 404)


def _back(number: int, *, trouble: str | None = None, done: str | None = None) -> ResponseReturnValue:
    return redirect(url_for("console.note_thread", number=number, trouble=trouble, done=done), 303)
