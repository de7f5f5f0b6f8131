"""Who did what: every power leaves a trace, without content, and every organizer may read it."""

from __future__ import annotations

import sqlalchemy as sa
from flask import request
from flask.typing import ResponseReturnValue

from bot.console.blueprint import page
from bot.console.forms import read_number
from bot.console.traces import say_about, say_act
from bot.console.views import deployment, place, show
from models import Audit, Membership

PAGE = 50


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
    if before:
        query = query.where(Audit.id < before)
    with deployment().store.read() as session:
        rows = session.execute(query).all()
    older = rows[PAGE - 1].id if len(rows) > PAGE else None
    return show("audit.html", rows=rows[:PAGE], older=older, say_act=say_act, say_about=say_about)
