"""Check-ins, for supporters alone: who would like to talk, an answer to her, and how the collective is, in numbers of five or more."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.pages.members import trace
from bot.console.acting import act_as_viewer
from bot.console.blueprint import page
from bot.console.drafts import keep_draft
from bot.console.forms import new_key, read_text
from bot.console.views import deployment, now, place, refuse, say, show
from bot.conversation.actions import reply_to_note
from models import CheckIn, PeerRequest

# Fewer answers than this in a week would tell on somebody: such a week shows no number at all.
LEAST = 5
WEEKS = 12
SHOWN = timedelta(days=30)
LONGEST_ANSWER = 600


@dataclass(frozen=True)
class Week:
    """One week (its Monday, on the collective's calendar). ``answers`` and ``share_hard`` are None where fewer than LEAST answered."""

    begins: date
    answers: int | None
    mean: float | None
    share_hard: float | None


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
        weeks = read_weeks(session, place().collective_id, now(), place().timezone)
    return show(
        "care.html", requests=requests, weeks=weeks, least=LEAST, key=new_key(), longest=LONGEST_ANSWER, trouble=request.args.get("trouble")
    )


@page("/<word>/care/<int:number>/answer", methods=("POST",))
def answer_peer(number: int) -> ResponseReturnValue:
    """Write to whoever asked: she reads it from the collective's number."""
        if sent:
            # Not the request's number: the numbers of notes run through it, and would tell when she asked.
            turn.session.add(trace("peer answered", ""))
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
    return redirect(url_for("console.care", trouble=None if sent else "unreachable"), 303)


@page("/<word>/care/ask", methods=("POST",))
def ask_how_they_are() -> ResponseReturnValue:
    """A check-in for everybody who agreed to them: a draft, approved like any other text."""
    with deployment().store.write() as session:
        keep_draft(session, "check_in", {}, request.form.get("key"))
    return redirect(url_for("console.care", trouble="prepared"), 303)


def read_weeks(session: Session, collective_id: int, moment: datetime, zone: str) -> list[Week]:
    """The last weeks, the oldest first. Moods are sealed one by one, and only their sums leave this function."""
    since = moment - timedelta(weeks=WEEKS)
    moods: dict[date, Counter[int]] = {}
    rows = session.execute(sa.select(CheckIn.at, CheckIn.mood).where(CheckIn.collective_id == collective_id, CheckIn.at > since))
    for at, mood in rows:
        day = at.astimezone(ZoneInfo(zone)).date()
        moods.setdefault(day - timedelta(days=day.weekday()), Counter())[mood] += 1
    today = moment.astimezone(ZoneInfo(zone)).date()
    first = today - timedelta(days=today.weekday()) - timedelta(weeks=WEEKS - 1)
    weeks = []
    for number in range(WEEKS):
        begins = first + timedelta(weeks=number)
        counted = moods.get(begins, Counter())
        answers = counted.total()
        if answers < LEAST:
            weeks.append(Week(begins, None, None, None))
            continue
        mean = sum(mood * times for mood, times in counted.items()) / answers
        weeks.append(Week(begins, answers, round(mean, 1), (counted[1] + counted[2]) / answers))
    return weeks
