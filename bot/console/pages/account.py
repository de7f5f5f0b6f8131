"""What is hers alone: where she is logged in, and ending it."""

from __future__ import annotations

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.blueprint import page
from bot.console.forms import read_number
from bot.console.sessions import IDLE, end_session_of
from bot.console.views import deployment, now, refuse, say, show, viewer
from bot.members.numbers import pending_changes
from models import Audit, SecondFactor, WebSession


@page("/account")
def account() -> ResponseReturnValue:
    """Her sessions, her roles, and whether her app's code is set up."""
    with deployment().store.read() as session:
        sessions = session.scalars(
            sa.select(WebSession)
            .where(
                WebSession.person_id == viewer().person_id,
                WebSession.ended_at.is_(None),
                WebSession.expires_at > now(),
                WebSession.seen_at > now() - IDLE,
            )
            .order_by(WebSession.seen_at.desc())
        ).all()
        ids = [place.membership_id for place in viewer().places]
        factors = {
            factor.membership_id: factor
            for factor in session.scalars(sa.select(SecondFactor).where(SecondFactor.membership_id.in_(ids)))
        }
        changes = pending_changes(session, viewer().person_id)
    return show("account.html", sessions=sessions, factors=factors, change=changes[0] if changes else None)


@page("/account/sessions", methods=("POST",))
def end_session() -> ResponseReturnValue:
    """End one session of hers, or (``which`` = others) all but this one. A form that says neither ends none."""
    which = read_number(request, "which")
    if not which and request.form.get("which") != "others":
        return refuse(say("This form is too old."), say("Nothing was done. Go back, load the page again, and send it once more."), 400)
    with deployment().store.write() as session:
        if which:
            has_ended = end_session_of(session, now(), viewer().person_id, which)
        else:
            others = sa.update(WebSession).where(
                WebSession.person_id == viewer().person_id, WebSession.id != viewer().session_id, WebSession.ended_at.is_(None)
            )
            has_ended = bool(session.scalars(others.values(ended_at=now()).returning(WebSession.id)).all())
        if has_ended:
            trace_everywhere(session, "session ended")
    return redirect(url_for("console.account"), 303)


def trace_everywhere(session: Session, act: str) -> None:
    """What concerns all her roles is in the trail of each collective in which she has one."""
    for each in viewer().places:
        session.add(Audit(collective_id=each.collective_id, membership_id=each.membership_id, act=act, at=now()))
