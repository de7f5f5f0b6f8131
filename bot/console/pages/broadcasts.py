"""Texts to many: the list, and one text from its draft over the yes and the way out to its end. What may be done to it: ``steering``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import Response, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.acting import turn_of_viewer
from bot.console.blueprint import blueprint, page
from bot.console.forms import read_number
from bot.console.looks import REFUSALS, Look, find_reach, hidden_groups, is_large, look_at, say_when, say_why
from bot.console.meters import Meter, measure, whole_text
from bot.console.standings import KIND_NAMES, STATE_NAMES, read_progress
from bot.console.views import deployment, language, now, place, refuse, say, show
from bot.console.words import mark
from bot.console.written import KINDS, LANGUAGE_WORDS
from bot.conversation.actions.approving import is_held_by_chorus, is_same_phone
from bot.conversation.actions.drafting import LONGEST_DRAFT
from bot.conversation.actions.drafts import DRAFT_LASTS
from bot.delivery.broadcasts import read_texts, refuse_reason
from bot.delivery.corrections import count_resendable, find_correction, why_not_correct
from bot.delivery.wording import choose
from bot.languages import LANGUAGES
from models import Alert, Audit, Broadcast, BroadcastText, Group, Membership, Role, SecondFactor
from models.broadcasts import DONE, DRAFT, HELD, SCHEDULED, SENDING, STOPPED

PAGE = 30
# Who sees that somebody is asked how she is: those who say yes to it, and no others.
CARE_KINDS, MAY_SEE_CARE = ("check_in",), frozenset({"organizer"})
# What is left of it in the trail, supporters may read as well.
MAY_READ_OF_CARE = MAY_SEE_CARE | {"supporter"}
ASKED = "yes asked for"

WHY_NOT = {
    "own": mark("You wrote this text, or somebody did on your phone: another organizer says yes, on a phone of her own."),
    "held": mark("This text is held: somebody who neither wrote nor held it lets it go."),
    "holder": mark("You hold this text: another organizer lets it go."),
    "refused": mark("This text can not be sent now; below stands why."),
    "too_old": mark("This draft is over twelve hours old. Open it, read it again, and keep it: then it can be approved."),
    "dropped": mark("This text was stopped: nothing more of it leaves."),
    "approved": mark("Somebody was first: it is approved already. Nothing was done twice."),
    "no_hold": mark("There is nothing left to hold: it is over."),
    "nothing_again": mark("There is nothing to send again: what was not certain is looked up, or went again already."),
    "asked": mark("The others were asked already."),
    "moved": mark("Something changed since you looked: see below how it stands now, and decide again."),
}


@dataclass(frozen=True)
class Row:
    """A text in the list. ``words``: in the page's language where it has them."""

    id: int
    number: int
    kind: str
    state: str
    words: str
    due_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class Hand:
    """What the viewer may do to a text now, and why not. ``asked``: the other organizers were asked for their yes; ``alone``: there are
    no others; ``too_long_to_ask``: it does not fit into one text."""

    is_mine: bool
    may_approve: bool
    may_release: bool
    why_not: str | None
    has_app: bool
    asked: bool
    alone: bool
    too_long_to_ask: bool
    may_hold: bool
    may_edit: bool
    may_correct: bool
    resendable: int


@blueprint.context_processor
def _words_for_templates() -> dict[str, object]:
    return {"when": say_when, "why": say_why, "kinds": KIND_NAMES, "states": STATE_NAMES, "language_words": LANGUAGE_WORDS}


@page("/<word>/broadcasts")
def broadcasts() -> ResponseReturnValue:
    """The newest first."""
    before = read_number(request, "before")
    query = sa.select(Broadcast).where(Broadcast.collective_id == place().collective_id).order_by(Broadcast.id.desc())
    if not place().roles & MAY_SEE_CARE:
        query = query.where(Broadcast.kind.not_in(CARE_KINDS))
    if before:
        query = query.where(Broadcast.id < before)
    with deployment().store.read() as session:
        found = session.scalars(query.limit(PAGE + 1)).all()
        rows = [
            Row(each.id, each.number, each.kind, each.state, _words(session, each), each.due_at, each.created_at) for each in found[:PAGE]
        ]
    older = rows[-1].id if len(found) > PAGE else None
    return show("broadcasts.html", rows=rows, older=older)


def _words(session: Session, broadcast: Broadcast) -> str:
    texts = read_texts(session, broadcast.id)
    return choose(language(), place().language, texts)[1].body if texts else ""


@page("/<word>/broadcasts/<int:number>")
def broadcast(number: int) -> ResponseReturnValue:
    """One text."""
    return show_broadcast(number)


def show_broadcast(number: int, trouble: str | None = None) -> ResponseReturnValue:
    """The page of a text; ``trouble``: what was just asked for and could not be done (a key of WHY_NOT)."""
    with deployment().store.read() as session:
        found = find_broadcast(session, number)
        if found is None:
            return no_such_text()
        large = found.state == DRAFT and "look" not in request.args and is_large(session)
        return show("broadcast.html", 409 if trouble else 200, **_everything(session, found, waits=large), trouble=trouble)


@page("/<word>/broadcasts/<int:number>/live")
def broadcast_live(number: int) -> ResponseReturnValue:
    """The part that changes by itself. When the state does, the whole page is loaded anew: other buttons belong to it."""
    with deployment().store.read() as session:
        found = find_broadcast(session, number)
        if found is None or request.args.get("seen") not in (None, found.state):
            return Response(status=204, headers={"HX-Refresh": "true"})
        progress = None if found.state == DRAFT else read_progress(session, found)
        return show("broadcast_live.html", broadcast=found, progress=progress, fragment=True)


@page("/<word>/broadcasts/<int:number>/ahead")
def broadcast_ahead(number: int) -> ResponseReturnValue:
    """Who would get a draft and what it would cost, where a look at all members takes too long for the page to wait."""
    with deployment().store.read() as session:
        found = find_broadcast(session, number)
        if found is None:
            return Response(status=204, headers={"HX-Refresh": "true"})
        _meters, look = _look(session, found, read_texts(session, found.id))
        return show("broadcast_ahead.html", look=look, fragment=True)


def find_broadcast(session: Session, number: int) -> Broadcast | None:
    """The collective's text of this number, if the viewer may know of it."""
    query = sa.select(Broadcast).where(Broadcast.collective_id == place().collective_id, Broadcast.number == number)
    found = session.scalars(query).one_or_none()
    return found if found is not None and may_know_of(found) else None


def may_know_of(found: Broadcast) -> bool:
    """Whether the viewer may know of this text of the collective: that somebody is asked how she is, not everybody may."""
    return found.kind not in CARE_KINDS or bool(place().roles & MAY_SEE_CARE)


def no_such_text() -> ResponseReturnValue:
    """Nothing has this number, or what had it was changed since."""
    what_to_do = say("A changed draft has a new number: look for it in the list of texts.")
    return refuse(say("There is no text with this number."), what_to_do, 404)


def standing_of(found: Broadcast) -> str:
    """What somebody who decides has seen: its state, and who holds it. A yes carries it, and counts only while it is true."""
    return f"{found.state}:{found.holder_id or ''}"


def why_gone(found: Broadcast) -> str:
    """Why a yes comes too late (a key of WHY_NOT)."""
    if found.state == STOPPED:
        return "dropped"
    return "too_old" if found.state == DRAFT else "approved"


def _everything(session: Session, found: Broadcast, *, waits: bool) -> dict[str, Any]:
    texts = read_texts(session, found.id)
    is_draft = found.state == DRAFT
    refused = refuse_reason(session, max(found.due_at or now(), now()), found) if is_draft else None
    look = _look(session, found, texts)[1] if is_draft and not waits else None
    alert = session.get(Alert, found.alert_id) if found.alert_id is not None else None
    corrected = session.get(Broadcast, found.corrects_id) if found.corrects_id is not None else None
    correction = find_correction(session, found)
    settings = deployment().settings
    return {
        "broadcast": found,
        "phones": [(code, whole_text(found.kind, code, place().name, text.body, options=text.options)) for code, text in _in_order(texts)],
        "look": look,
        "waits": waits,
        "refused": say(REFUSALS[refused]) if refused is not None else None,
        "hand": read_hand(session, found, texts),
        "people": _people(session, found),
        "group": session.scalar(sa.select(Group.name).where(Group.id == found.group_id, Group.id.not_in(hidden_groups(session)))),
        "starts_at": found.starts_at or (alert.starts_at if alert is not None else None),
        "corrects": corrected.number if corrected is not None else None,
        "corrected_by": correction.number if correction is not None else None,
        "progress": None if is_draft else read_progress(session, found),
        "why_not": WHY_NOT,
        "standing": standing_of(found),
        "demo": settings.twilio_api_url + "/" if settings.has_simulator else None,
        "fragment": False,
    }


def _in_order(texts: dict[str, BroadcastText]) -> list[tuple[str, BroadcastText]]:
    first = place().language
    return sorted(texts.items(), key=lambda item: (item[0] != first, LANGUAGES.index(item[0])))


def _look(session: Session, found: Broadcast, texts: dict[str, BroadcastText]) -> tuple[dict[str, Meter], Look]:
    reached = find_reach(session, found, found.due_at)
    bodies = {code: text.body for code, text in texts.items()}
    wholes = {code: text.options for code, text in texts.items()}
    meters = measure(found.kind, place().name, place().language, bodies, reached.preview.by_language, options=wholes)
    return meters, look_at(session, found, reached, meters)


def read_hand(session: Session, found: Broadcast, texts: dict[str, BroadcastText]) -> Hand:
    """What the viewer may do to it. The acts check all of it again."""
    me, roles = place().membership_id, place().roles
    turn = turn_of_viewer(session)
    is_mine, organizes = found.author_id == me, "organizer" in roles
    why_not = None
    if found.state == DRAFT and found.created_at <= now() - DRAFT_LASTS:
        why_not = "too_old"
    elif is_same_phone(turn, found.holder_id):
        why_not = "holder"
    elif not is_held_by_chorus(found) and is_same_phone(turn, found.author_id):
        why_not = "held" if found.state == HELD or found.holder_id is not None else "own"
    factor = session.get(SecondFactor, me)
    others = session.scalar(
        sa.select(sa.func.count())
        .select_from(Role)
        .join(Membership, Membership.id == Role.membership_id)
        .where(Role.role == "organizer", Membership.collective_id == place().collective_id)
        .where(Membership.state == "active", Membership.id != me)
    )
    asked = sa.select(Audit.id).where(
        Audit.collective_id == place().collective_id, Audit.act == ASKED, Audit.subject == f"broadcast {found.number}"
    )
    is_new_hold = found.holder_id is None and (found.state in (DRAFT, SCHEDULED, SENDING) or is_held_by_chorus(found))
    return Hand(
        is_mine=is_mine,
        may_approve=organizes and found.state == DRAFT and why_not is None,
        may_release=organizes and found.state == HELD and why_not is None,
        why_not=why_not,
        has_app=factor is not None and (factor.good_from is None or factor.good_from <= now()),
        asked=session.scalars(asked.limit(1)).first() is not None,
        alone=not others,
        too_long_to_ask=len(words_to_ask(texts)) > LONGEST_DRAFT,
        may_hold=bool(roles & {"organizer", "steward"}) and is_new_hold,
        may_edit=is_mine and found.state == DRAFT and found.kind in KINDS and found.corrects_id is None,
        may_correct=organizes and found.state != STOPPED and why_not_correct(session, found) is None,
        resendable=count_resendable(session, now(), found) if organizes and found.state in (SENDING, DONE) else 0,
    )


def words_to_ask(texts: dict[str, BroadcastText]) -> str:
    """All languages of a draft in one text: whoever says yes by text has read the whole of it."""
    return "\n".join(" / ".join([text.body, *(text.options or [])]) for _, text in _in_order(texts))


def _people(session: Session, found: Broadcast) -> dict[str, str]:
    """Author, approver and holder by name, for those who may read the audit; nobody for the others."""
    if not place().roles & {"organizer", "steward", "admin"}:
        return {}
    ids = {"author": found.author_id, "approver": found.approver_id, "holder": found.holder_id}
    known = [number for number in ids.values() if number is not None]
    query = sa.select(Membership.id, Membership.name).where(Membership.id.in_(known))
    names: dict[int, str | None] = {number: name for number, name in session.execute(query)} if known else {}
    return {part: names.get(number) or say("no name") for part, number in ids.items() if number is not None}
