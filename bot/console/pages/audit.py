"""Who did what: every power leaves a trace, without content, and every organizer may read it."""

from __future__ import annotations

import sqlalchemy as sa
from flask import request
from flask.typing import ResponseReturnValue

from bot.console.blueprint import page
from bot.console.forms import read_number
from bot.console.pages.broadcasts import CARE_KINDS, MAY_READ_OF_CARE
from bot.console.traces import say_about, say_act
from bot.console.views import deployment, place, show
from models import Audit, Broadcast, Membership

PAGE = 50
PEER_ANSWERED = "peer answered"


@page("/<word>/audit")
def audit() -> ResponseReturnValue:
    """The newest first, in pages by id."""
    before = read_number(request, "before")
    query = (
        sa.select(Audit.id, Audit.act, Audit.subject, Audit.at, Audit.membership_id, Membership.name)
        .outerjoin(Membership, Membership.id == Audit.membership_id)
        .where(Audit.collective_id == place().collective_id)
        .order_by(Audit.id.desc())
        .limit(PAGE + 1)
    )
    if not place().roles & MAY_READ_OF_CARE:
        query = query.where(~_is_of_care())
    if before:
        query = query.where(Audit.id < before)
    with deployment().store.read() as session:
        rows = session.execute(query).all()
    older = rows[PAGE - 1].id if len(rows) > PAGE else None
    return show("audit.html", rows=rows[:PAGE], older=older, say_act=say_act, say_about=say_about)


def _is_of_care() -> sa.ColumnElement[bool]:
    """Rows that tell that somebody is asked how she is, or asked for a peer."""
    number = sa.literal("broadcast ") + sa.cast(Broadcast.number, sa.String)
    asked = sa.select(number).where(Broadcast.collective_id == place().collective_id, Broadcast.kind.in_(CARE_KINDS))
    drafted = (Audit.act.startswith(f"{kind} ", autoescape=True) for kind in CARE_KINDS)
    return sa.or_(Audit.subject.in_(asked), Audit.act == PEER_ANSWERED, *drafted)
