"""Check-ins, for supporters alone: who would like to talk, an answer to her, how the collective is, in numbers of five or more people."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from bot.console.acting import act_as_viewer
from bot.console.blueprint import page
from bot.console.drafts import keep_draft
from bot.console.forms import new_key, read_text
from bot.console.pages.members import trace
from bot.console.views import deployment, now, place, refuse, say, show
from bot.console.weeks import LEAST, read_weeks
from bot.conversation.actions import reply_to_note
from models import PeerRequest

SHOWN = timedelta(days=30)
LONGEST_ANSWER = 600


@page("/<word>/care")
def care() -> ResponseReturnValue:
    """Who asked for a peer, and the trend."""
    with deployment().store.read() as session:
        requests = session.scalars(
            sa.select(PeerRequest)
            .where(PeerRequest.collective_id == place().collective_id, PeerRequest.created_at > now() - SHOWN)
            .order_by(PeerRequest.answered_at.is_not(None), PeerRequest.id.desc())
            .limit(100)
        ).all()
    weeks = read_weeks(deployment().store, place().collective_id, now(), place().timezone)
    return show(
        "care.html", requests=requests, weeks=weeks, least=LEAST, key=new_key(), longest=LONGEST_ANSWER, trouble=request.args.get("trouble")
    )


@page("/<word>/care/<int:number>/answer", methods=("POST",))
def answer_peer(number: int) -> ResponseReturnValue:
    """Write to whoever asked: she reads it from the collective's number."""
    words = " ".join(read_text(request, "words", LONGEST_ANSWER).split())
    seen = request.form.get("seen", "")
    if not words:
        return redirect(url_for("console.care", trouble="empty"), 303)
    with act_as_viewer() as turn:
        asked = turn.session.scalars(
            sa.select(PeerRequest)
            .where(PeerRequest.collective_id == place().collective_id, PeerRequest.number == number)
            .with_for_update(key_share=True)
        ).one_or_none()
        if asked is None:
            return refuse(say("This request is not here any more."), say("Go back to the list."), 404)
        if seen != (asked.answered_at.isoformat() if asked.answered_at else ""):
            # Two supporters at once, or a double click: the second one reads first what was answered.
            return redirect(url_for("console.care", trouble="answered"), 303)
        sent = reply_to_note(turn, f"{number} {words}")["sent"]
        if sent:
            # Not the request's number: the numbers of notes run through it, and would tell when she asked.
            turn.session.add(trace("peer answered", ""))
    return redirect(url_for("console.care", trouble=None if sent else "unreachable"), 303)


@page("/<word>/care/ask", methods=("POST",))
def ask_how_they_are() -> ResponseReturnValue:
    """A check-in for everybody who agreed to them: a draft, approved like any other text."""
    with deployment().store.write() as session:
        keep_draft(session, "check_in", {}, request.form.get("key"))
    return redirect(url_for("console.care", trouble="prepared"), 303)
