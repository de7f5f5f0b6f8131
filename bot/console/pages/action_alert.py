"""Calls to an action: the list, who comes to one, and the way to a new one (compose)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from flask import request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.blueprint import page
from bot.console.forms import read_number
from bot.console.views import deployment, language, place, refuse, say, show
from bot.delivery.broadcasts import read_texts
from bot.delivery.wording import choose
from models import Alert, Broadcast, Membership, Outbound, Rsvp
from models.messages import EXPIRED, STOPPED, SUPPRESSED

PAGE = 30
NAMES = 100
ANSWERS = ("yes", "maybe", "no")


@dataclass(frozen=True)
class Action:
    """One alert as the pages show it: who was asked, and how many answered what."""

    number: int
    alert_id: int
    state: str
    text: str
    starts_at: datetime | None
    asked: int
    counts: dict[str, int]

    @property
    def silent(self) -> int:
        return max(0, self.asked - sum(self.counts.values()))


@page("/<word>/actions")
def actions() -> ResponseReturnValue:
    """The newest first."""
    before = read_number(request, "before")
    query = sa.select(Broadcast).where(Broadcast.collective_id == place().collective_id, Broadcast.kind == "alert")
    # A correction stands for the same action as what it corrects: the newest one speaks for both.
    query = query.where(
        Broadcast.id.in_(sa.select(sa.func.max(Broadcast.id)).where(Broadcast.kind == "alert").group_by(Broadcast.alert_id))
    )
    if before:
        query = query.where(Broadcast.id < before)
    with deployment().store.read() as session:
        found = session.scalars(query.order_by(Broadcast.id.desc()).limit(PAGE + 1)).all()
        listed = [read_action(session, broadcast) for broadcast in found[:PAGE]]
    return show("actions.html", actions=listed, older=found[PAGE - 1].id if len(found) > PAGE else None)


@page("/<word>/actions/<int:number>")
def action(number: int) -> ResponseReturnValue:
    """One action: the headcount."""
    return _show(number, "action.html")


@page("/<word>/actions/<int:number>/headcount")
def headcount(number: int) -> ResponseReturnValue:
    """The live part: how many come."""
    return _show(number, "action_headcount.html")


def _show(number: int, template: str) -> ResponseReturnValue:
    with deployment().store.read() as session:
        broadcast = _find(session, number)
        found = read_action(session, broadcast) if broadcast is not None else None
    return _not_here() if found is None else show(template, action=found)


@page("/<word>/actions/<int:number>/names")
def rsvps(number: int) -> ResponseReturnValue:
    """Who said what, by name, in pages by id."""
    after = read_number(request, "after")
    chosen = request.args.get("answer")
    chosen = chosen if chosen in ANSWERS else "yes"
    with deployment().store.read() as session:
        broadcast = _find(session, number)
        if broadcast is None:
            return _not_here()
        found = read_action(session, broadcast)
        coming = session.execute(
            sa.select(Membership.id, Membership.name)
            .join(Rsvp, Rsvp.membership_id == Membership.id)
            .where(Rsvp.alert_id == found.alert_id, Rsvp.answer == chosen, Membership.id > after)
            .order_by(Membership.id)
            .limit(NAMES + 1)
        ).all()
    more = coming[NAMES - 1].id if len(coming) > NAMES else None
    return show("action_names.html", action=found, coming=coming[:NAMES], more=more, chosen=chosen, answers=ANSWERS)


def _find(session: Session, number: int) -> Broadcast | None:
    mine = sa.select(Broadcast).where(Broadcast.collective_id == place().collective_id, Broadcast.kind == "alert")
    return session.scalars(mine.where(Broadcast.number == number)).one_or_none()


def _not_here() -> ResponseReturnValue:
    return refuse(say("There is no call to an action with this number."), say("Choose one from the list."), 404)


def read_action(session: Session, broadcast: Broadcast) -> Action:
    """The headcount of the action that this alert, its corrections included, calls to."""
    texts = read_texts(session, broadcast.id)
    alert = session.get_one(Alert, broadcast.alert_id)
    rows = session.execute(sa.select(Rsvp.answer, sa.func.count()).where(Rsvp.alert_id == alert.id).group_by(Rsvp.answer)).all()
    asked = session.scalar(
        sa.select(sa.func.count(sa.distinct(Outbound.phone_id)))
        .join(Broadcast, Broadcast.id == Outbound.broadcast_id)
        .where(Broadcast.alert_id == alert.id, Outbound.state.not_in((SUPPRESSED, EXPIRED, STOPPED)))
    )
    counts = dict.fromkeys(ANSWERS, 0) | {row[0]: row[1] for row in rows}
    text = choose(language(), place().language, texts)[1].body if texts else ""
    return Action(broadcast.number, alert.id, broadcast.state, text, alert.starts_at, max(asked or 0, sum(counts.values())), counts)
