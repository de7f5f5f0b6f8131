"""What needs a hand now, what is coming, how the collective is doing. Each card leads to one act, and only to what her roles allow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from flask import Response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.acting import act_as_viewer
from bot.console.blueprint import page
from bot.console.glance import (
    COMING,
    Belonging,
    has_asked,
    has_only_its_helpers,
    has_written,
    read_belonging,
    read_closing_polls,
    read_coming_actions,
    read_last,
)
from bot.console.hands import Card, find_open, may_open, read_cards, recognise
from bot.console.looks import say_when
from bot.console.pages.members import trace
from bot.console.pages.poll import read_vote
from bot.console.standings import SHORTLY, read_progress
from bot.console.views import deployment, language, now, place, say, show
from bot.conversation.actions import go_on_duty
from models import Membership
from models import broadcasts as states


@dataclass(frozen=True)
class Coming:
    """Something with an hour; ``when`` says it in words."""

    at: datetime
    when: str
    what: str
    words: str
    link: str


@dataclass(frozen=True)
class Doing:
    """How it goes. ``arrived``: (of how many, how many, the broadcast's link); ``turnout``: the same of the last vote."""

    members: Belonging
    arrived: tuple[int, int, str] | None
    turnout: tuple[int, int, str] | None


@page("/<word>/")
def home() -> ResponseReturnValue:
    """The first page of a collective."""
    with deployment().store.read() as session:
        cards = read_cards(session)
        is_fresh = not has_written(session, place().collective_id)
        coming, doing = _coming(session), _doing(session)
        on_duty = session.scalar(sa.select(Membership.on_duty).where(Membership.id == place().membership_id))
        following = _next(session, is_fresh=is_fresh)
    return show(
        "home.html", cards=cards, seen=_digest(cards), coming=coming, doing=doing, on_duty=on_duty, is_fresh=is_fresh, following=following
    )


@page("/<word>/now")
def home_now() -> ResponseReturnValue:
    """The live part. Nothing is sent when it is as she sees it: a page that is read aloud, or has the focus in it, stays as it is."""
    with deployment().store.read() as session:
        cards = read_cards(session)
        digest = _digest(cards)
        if request.args.get("seen") == digest:
            return Response(status=204)
        following = _next(session, is_fresh=not has_written(session, place().collective_id))
    return show("home_now.html", cards=cards, seen=digest, following=following)


@page("/<word>/duty", methods=("POST",))
def take_duty() -> ResponseReturnValue:
    """A supporter is ON (calls reach her at night too) or OFF, as by text."""
    is_on = request.form.get("on") == "yes"
    mine = sa.select(Membership.on_duty).where(Membership.id == place().membership_id)
    with act_as_viewer() as turn:
        if turn.session.scalar(mine.with_for_update(key_share=True)) is not is_on:
            go_on_duty(turn, is_on)
            turn.session.add(trace("on duty" if is_on else "off duty", ""))
    return redirect(url_for("console.home"), 303)


def _digest(cards: list[Card]) -> str:
    return hashlib.sha256(repr((language(), cards)).encode()).hexdigest()[:16]


def _coming(session: Session) -> list[Coming]:
    found: list[Coming] = []
    mine = place().collective_id
    if may_open("console.broadcast"):
        for broadcast in find_open(session):
            if broadcast.state == states.SCHEDULED and broadcast.due_at is not None and broadcast.due_at > now() + SHORTLY:
                what = say("Text {number} leaves", number=broadcast.number)
                link = url_for("console.broadcast", number=broadcast.number)
                found.append(Coming(broadcast.due_at, say_when(broadcast.due_at), what, recognise(session, broadcast.id), link))
    if may_open("console.poll"):
        for row in read_closing_polls(session, mine, now()):
            link = url_for("console.poll", number=row.number)
            found.append(
                Coming(row.at, say_when(row.at), say("Vote {number} closes", number=row.number), recognise(session, row.broadcast_id), link)
            )
    if may_open("console.action"):
        for row in read_coming_actions(session, mine, now()):
            link = url_for("console.action", number=row.number)
            found.append(
                Coming(
                    row.at, say_when(row.at), say("Action {number} begins", number=row.number), recognise(session, row.broadcast_id), link
                )
            )
    return sorted(found, key=lambda each: each.at)[:COMING]


def _doing(session: Session) -> Doing:
    mine = place().collective_id
    arrived = turnout = None
    last = read_last(session, mine, ("notice", "alert", "poll", "result")) if may_open("console.broadcast") else None
    if last is not None:
        progress = read_progress(session, last)
        arrived = (progress.left, progress.arrived, url_for("console.broadcast", number=last.number))
    vote = read_last(session, mine, ("poll",)) if may_open("console.poll") else None
    if vote is not None:
        read = read_vote(session, vote)
        turnout = (read.asked, read.voted, url_for("console.poll", number=vote.number))
    return Doing(read_belonging(session, mine, now()), arrived, turnout)


def _next(session: Session, *, is_fresh: bool) -> tuple[str, str] | None:
    """The one useful thing to do when nothing needs a hand: (what, link). None: nothing that she may do."""
    mine = place().collective_id
    steps = (
        (is_fresh, "console.compose", say("Write the first text")),
        (has_only_its_helpers(session, mine), "console.poster", say("Print a poster, so that members can join")),
        (not has_asked(session, mine), "console.new_vote", say("Ask everyone a question")),
        (True, "console.compose", say("Write a text")),
        (True, "console.care", say("See how we are, by week")),
        (True, "console.broadcasts", say("See the last texts")),
        (True, "console.members", say("See the members")),
        (True, "console.flows", say("Read what Chorus says to members")),
    )
    return next(((what, url_for(endpoint)) for fits, endpoint, what in steps if fits and may_open(endpoint)), None)
