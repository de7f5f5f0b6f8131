"""Writing to many: who, in which words, when; with one counter (the server's) for what it costs and who gets it. Also changing a draft."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.acting import act_as_viewer
from bot.console.blueprint import page
from bot.console.drafts import find_made, keep_draft, order_languages, say_made_before
from bot.console.forms import new_key, read_number, read_whole
from bot.console.looks import Groups, find_reach, is_large, look_at, read_groups
from bot.console.meters import measure
from bot.console.pages.broadcasts import find_broadcast, may_know_of
from bot.console.views import deployment, now, place, refuse, say, show
from bot.console.words import mark
from bot.console.written import KINDS, Written, read_written, write_correction, write_down
from bot.conversation.actions.drafting import audit, find_by_number, renumber
from bot.conversation.turn import Turn
from bot.delivery.broadcasts import add_text, read_texts
from bot.delivery.corrections import draft_correction, why_not_correct
from models import Alert, Broadcast, BroadcastText
from models.broadcasts import DRAFT

NOT_CORRECTED = {
    "a_draft": mark("It has not left. Change the draft instead."),
    "a_poll": mark("The words of a vote can not change under the votes that were cast. Stop it, and ask anew."),
    "no_words_of_ours": mark("Nobody wrote its words, so nobody can correct them."),
    "corrected": mark("It was corrected already. Correct that correction."),
}


@page("/<word>/compose", methods=("GET", "POST"))
def compose() -> ResponseReturnValue:
    """Write a text to many. It becomes a draft, which is looked at and approved on its own page."""
    with deployment().store.read() as session:
        groups = read_groups(session)
        if request.method == "GET":
            kind = request.args.get("kind", "")
            group_id = read_number(request, "group")
            written = Written(kind=kind if kind in KINDS else "notice", group_id=group_id if group_id in groups else None)
            return _form(session, groups, written, new_key(), waits=is_large(session))
        written = _read(groups)
        if written.problems or "look" in request.form:
            return _form(session, groups, written, request.form.get("key") or new_key())
    with deployment().store.write() as session:
        first = find_made(session, request.form.get("key"))
        if first is not None and not _is_same(written, _read_kept(session, first)):
            # The back button, or a second tab: what she sees is not what was kept.
            written.problems.append(say_made_before(first))
            return _form(session, groups, written, new_key())
        alert = None
        if written.kind == "alert":
            alert = Alert(collective_id=place().collective_id, starts_at=written.starts_at, created_at=now())
        draft = keep_draft(
            session,
            written.kind,
            written.texts,
            request.form.get("key"),
            group_id=written.group_id,
            alert=alert,
            due_at=written.due_at,
            expires_at=written.expires_at,
            early=written.early and written.kind == "alert",
        )
        number = draft.number
    return redirect(url_for("console.broadcast", number=number), 303)


@page("/<word>/compose/look", methods=("POST",))
def compose_look() -> ResponseReturnValue:
    """The live part of the form: meters, phones, who gets it. ``?change=47``: of a correction of 47."""
    with deployment().store.read() as session:
        groups = read_groups(session)
        change = read_whole(request.args.get("change"))
        old = find_broadcast(session, change) if change is not None else None
        written = _read({} if old is not None else groups, is_change=old is not None, kind=old.kind if old is not None else None)
        return show("compose_look.html", **_ahead(session, written, old), fragment=True)


@page("/<word>/broadcasts/<int:number>/edit", methods=("GET", "POST"))
def edit_draft(number: int) -> ResponseReturnValue:
    """Change a draft: its author alone. With every change it gets a new number, so that no yes reaches words that nobody saw."""
    row_id = read_number(request, "draft") if request.method == "POST" else 0
    with deployment().store.read() as session:
        draft = find_broadcast(session, number) or _find_row(session, row_id)
        trouble = _why_not_edit(draft)
        if draft is None or trouble is not None:
            return refuse(say("This text can not be changed."), trouble or _gone(), 404 if draft is None else 409)
        groups, kept = read_groups(session), _read_kept(session, draft)
        if request.method == "GET":
            if kept.group_id is not None and kept.group_id not in groups:
                # The form would offer everyone instead.
                kept.problems.append(say("This group is not there any more. Choose another one."))
            return _form(session, groups, kept, "", draft=draft, waits=is_large(session))
        written = _read(groups, kind=draft.kind)
        if draft.number != number and _is_same(written, kept):
            return redirect(url_for("console.broadcast", number=draft.number), 303)  # a second click on the same button
        if draft.number != number:
            written.problems.insert(0, say("This draft was changed in the meantime. Keep your words below to replace the others."))
        if written.problems or "look" in request.form:
            return _form(session, groups, written, "", draft=draft)
    with act_as_viewer() as turn:
        locked = find_by_number(turn, str(number))
        if locked is None or locked.state != DRAFT:
            return refuse(say("This text can not be changed."), _gone(), 409)
        _rewrite(turn, locked, written)
        number = locked.number
    return redirect(url_for("console.broadcast", number=number), 303)


def _rewrite(turn: Turn, draft: Broadcast, written: Written) -> None:
    renumber(turn, draft)
    # Its words are of now again: a yes to them is not too late.
    draft.created_at = turn.now
    draft.group_id, draft.due_at, draft.expires_at = written.group_id, written.due_at, written.expires_at
    draft.early = written.early and draft.kind == "alert"
    if draft.alert_id is not None:
        turn.session.get_one(Alert, draft.alert_id).starts_at = written.starts_at
    kept = read_texts(turn.session, draft.id)
    for code in kept.keys() - written.texts.keys():
        turn.session.execute(sa.delete(BroadcastText).where(BroadcastText.broadcast_id == draft.id, BroadcastText.language == code))
    for code, body in written.texts.items():
        add_text(turn.session, draft, code, body)
    audit(turn, f"{draft.kind} changed", draft)


@page("/<word>/broadcasts/<int:number>/correct", methods=("GET", "POST"))
def correct_broadcast(number: int) -> ResponseReturnValue:
    """New words for whoever got the old ones, may have got them, or would have. What is unsent of the old text is held meanwhile."""
    with deployment().store.read() as session:
        old = find_broadcast(session, number)
        if old is None:
            return refuse(say("There is no text with this number."), _gone(), 404)
        reason = why_not_correct(session, old)
        if reason is not None:
            return refuse(say("This text can not be corrected."), say(NOT_CORRECTED[reason]), 409)
        texts = {code: text.body for code, text in read_texts(session, old.id).items()}
        if request.method == "GET":
            return _form(session, {}, write_correction(session, old, texts), new_key(), old=old, waits=is_large(session))
        written = _read({}, is_change=True, kind=old.kind)
        if written.problems or "look" in request.form:
            return _form(session, {}, written, request.form.get("key") or new_key(), old=old)
    with act_as_viewer() as turn:
        locked = find_by_number(turn, str(number))
        made = find_made(turn.session, request.form.get("key"))
        if made is None:
            if locked is None or why_not_correct(turn.session, locked) is not None:
                return refuse(say("This text can not be corrected."), say(NOT_CORRECTED["corrected"]), 409)
            key = (request.form.get("key") or "")[:64] or None
            made = draft_correction(
                turn.session,
                turn.now,
                locked,
                written.texts,
                author_id=place().membership_id,
                request_key=key,
                starts_at=written.starts_at,
            )
            audit(turn, f"change of {locked.number} drafted", made)
        number = made.number
    return redirect(url_for("console.broadcast", number=number), 303)


def _read_kept(session: Session, draft: Broadcast) -> Written:
    texts = {code: text.body for code, text in read_texts(session, draft.id).items()}
    return write_down(draft, texts, session.get(Alert, draft.alert_id) if draft.alert_id is not None else None)


def _read(groups: Groups, *, is_change: bool = False, kind: str | None = None) -> Written:
    return read_written(request, {number: name for number, (name, _) in groups.items()}, is_change=is_change, kind=kind)


def _form(
    session: Session,
    groups: Groups,
    written: Written,
    key: str,
    *,
    draft: Broadcast | None = None,
    old: Broadcast | None = None,
    waits: bool = False,
) -> ResponseReturnValue:
    """The form with what was written. ``draft``: it changes that; ``old``: it corrects that; ``waits``: its live part comes later."""
    ahead = _ahead(session, written, old, waits=waits)
    return show(
        "compose.html",
        400 if written.problems and request.method == "POST" else 200,
        groups=groups,
        tongues=order_languages(place().language),
        key=key,
        draft=draft,
        old=old,
        waits=waits,
        fragment=False,
        **ahead,
    )


def _ahead(session: Session, written: Written, old: Broadcast | None, *, waits: bool = False) -> dict[str, Any]:
    broadcast = written.as_broadcast()
    if old is not None:
        broadcast.corrects_id, broadcast.group_id, broadcast.alert_id, broadcast.early = old.id, old.group_id, old.alert_id, old.early
    reached = None if waits else find_reach(session, broadcast, written.due_at)
    readers = reached.preview.by_language if reached is not None else {}
    meters = measure(written.kind, place().name, place().language, written.texts, readers, is_change=written.is_change)
    look = look_at(session, broadcast, reached, meters) if reached is not None else None
    return {"written": written, "meters": meters, "look": look}


def _find_row(session: Session, row_id: int) -> Broadcast | None:
    """The draft that a form was opened for, whatever its number is by now."""
    found = session.get(Broadcast, row_id) if row_id else None
    return found if found is not None and found.collective_id == place().collective_id and may_know_of(found) else None


def _why_not_edit(draft: Broadcast | None) -> str | None:
    if draft is None:
        return None
    if draft.state != DRAFT:
        return say("It is no draft any more: somebody said yes to it, or stopped it. You may correct what has left.")
    if draft.corrects_id is not None:
        return say("This is a correction. Correct the first text once more, and this one is dropped.")
    if draft.kind not in KINDS:
        return say("Stop it, and write it anew.")
    if draft.author_id != place().membership_id:
        return say("Only who wrote it may change it. Hold it and talk, or write your own.")
    return None


def _gone() -> str:
    return say("A changed draft has a new number: look for it in the list of texts.")


def _is_same(written: Written, kept: Written) -> bool:
    fields = ("texts", "group_id", "due_at", "starts_at", "early")
    return all(getattr(written, name) == getattr(kept, name) for name in fields)
