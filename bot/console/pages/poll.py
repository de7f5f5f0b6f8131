"""Votes: the list, one vote with its turnout, its outcome as a chart once it is closed, and a new one.

While a vote is open nobody sees how it stands, only how many took part: a tally that is watched moves votes, and in a small group two
looks tell who voted in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.acting import act_as_viewer
from bot.console.blueprint import page
from bot.console.drafts import find_made, keep_draft, order_languages, read_texts_of_form, say_made_before
from bot.console.forms import new_key, read_number
from bot.console.views import deployment, language, now, place, refuse, say, show
from bot.conversation.actions import close_poll_now
from bot.conversation.actions.drafting import MOST_OPTIONS, read_poll_text
from bot.conversation.actions.votes import is_open, tally
from bot.delivery.broadcasts import read_texts
from bot.delivery.wording import choose
from models import Ballot, Broadcast, Outbound, Poll
from models.broadcasts import DRAFT, STOPPED
from models.messages import EXPIRED, SUPPRESSED
from models.messages import STOPPED as NEVER_LEFT

PAGE = 30
HOURS = (6, 12, 24, 48, 72, 168)


@dataclass(frozen=True)
class Vote:
    """One poll as the pages show it. ``outcome``: votes by option, only when it is closed. ``asked``: how many were asked."""

    number: int
    question: str
    options: tuple[str, ...]
    state: str  # draft | open | closed | stopped
    asked: int
    voted: int
    closes_at: datetime | None
    outcome: tuple[int, ...] | None


@page("/<word>/polls")
def polls() -> ResponseReturnValue:
    """The newest first."""
    before = read_number(request, "before")
    query = (
        sa.select(Broadcast).where(Broadcast.collective_id == place().collective_id, Broadcast.kind == "poll").order_by(Broadcast.id.desc())
    )
    if before:
        query = query.where(Broadcast.id < before)
    with deployment().store.read() as session:
        found = session.scalars(query.limit(PAGE + 1)).all()
        votes = [read_vote(session, broadcast) for broadcast in found[:PAGE]]
    return show("polls.html", votes=votes, older=found[PAGE - 1].id if len(found) > PAGE else None)


@page("/<word>/polls/<int:number>")
def poll(number: int) -> ResponseReturnValue:
    """One vote."""
    return _show(number, "poll.html")


@page("/<word>/polls/<int:number>/turnout")
def poll_turnout(number: int) -> ResponseReturnValue:
    """The live part of an open vote: how many took part."""
    return _show(number, "poll_turnout.html")


def _show(number: int, template: str) -> ResponseReturnValue:
    with deployment().store.read() as session:
        broadcast = find_poll(session, number)
        vote = read_vote(session, broadcast) if broadcast is not None else None
    if vote is None:
        return refuse(say("There is no vote with this number."), say("Choose one from the list."), 404)
    return show(template, vote=vote, share=vote.voted / vote.asked if vote.asked else 0)


@page("/<word>/polls/<int:number>/close", methods=("POST",))
def close_vote(number: int) -> ResponseReturnValue:
    """End it early: the result goes to everybody who was asked."""
    with act_as_viewer() as turn:
        close_poll_now(turn, str(number))
    return redirect(url_for("console.poll", number=number), 303)


@page("/<word>/polls/new", methods=("GET", "POST"))
def new_vote() -> ResponseReturnValue:
    """Write a vote. It becomes a draft, which is previewed and approved like any other text."""
    if request.method == "GET":
        return _ask_for_words({}, None)
    texts = read_texts_of_form(request)
    hours = read_number(request, "hours", 48)
    parsed = {code: read_poll_text(text) for code, text in texts.items()}
    problem = None
    if not texts:
        problem = say("Write the question and its options first.")
    elif None in parsed.values():
        problem = say(
            "Write the question, and each option on a line of its own: two to eight, all different, none of them STOP or its kin."
        )
    elif len({len(each[1]) for each in parsed.values() if each}) > 1:
        problem = say("Every language needs the same number of options, in the same order.")
    if problem is not None or hours not in HOURS:
        return _ask_for_words(texts, problem)
    read = {code: each for code, each in parsed.items() if each}
    with deployment().store.write() as session:
        first = find_made(session, request.form.get("key"))
        if first is not None and {code: (text.body, text.options) for code, text in read_texts(session, first.id).items()} != read:
            return _ask_for_words(texts, say_made_before(first))
        made = Poll(collective_id=place().collective_id, options=len(next(iter(read.values()))[1]), open_hours=hours, created_at=now())
        draft = keep_draft(
            session,
            "poll",
            {code: each[0] for code, each in read.items()},
            request.form.get("key"),
            options={code: each[1] for code, each in read.items()},
            poll=made,
        )
        number = draft.number
    return redirect(url_for("console.broadcast", number=number), 303)


def _ask_for_words(texts: dict[str, str], problem: str | None) -> ResponseReturnValue:
    tongues = order_languages(place().language)
    return show(
        "new_vote.html",
        400 if problem else 200,
        texts=texts, tongues=tongues, hours=HOURS, chosen=48, key=new_key(), problem=problem, most=MOST_OPTIONS,
    )  # fmt: skip


def find_poll(session: Session, number: int) -> Broadcast | None:
    """The collective's poll of this number."""
    return session.scalars(
        sa.select(Broadcast).where(Broadcast.collective_id == place().collective_id, Broadcast.number == number, Broadcast.kind == "poll")
    ).one_or_none()


def read_vote(session: Session, broadcast: Broadcast) -> Vote:
    """One poll with its turnout; the tally only once it is closed."""
    made = session.get_one(Poll, broadcast.poll_id)
    texts = read_texts(session, broadcast.id)
    text = choose(language(), place().language, texts)[1] if texts else None
    voted = session.scalar(sa.select(sa.func.count()).where(Ballot.poll_id == made.id)) or 0
    never = (SUPPRESSED, EXPIRED, NEVER_LEFT)
    asked = session.scalar(sa.select(sa.func.count()).where(Outbound.broadcast_id == broadcast.id, Outbound.state.not_in(never))) or 0
    if broadcast.state == DRAFT:
        state = "draft"
    elif broadcast.state == STOPPED:
        state = "stopped"
    else:
        state = "open" if is_open(made, now()) else "closed"
    outcome = tuple(tally(session, made.id, made.options)) if made.closed_at is not None else None
    options = tuple(text.options or ()) if text is not None else ()
    return Vote(broadcast.number, text.body if text else "", options, state, max(asked, voted), voted, made.closes_at, outcome)
