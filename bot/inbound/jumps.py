"""The simulator's door to the clock: what time it is here, what is due next, and a jump ahead.

`create_app` opens it only where a simulator on this machine is the carrier; elsewhere the path does not exist. The simulator signs as
Twilio does. The jump is a row (`clock_jump`), so that the worker, whose clock reads it every second, jumps too; a second web process
follows at its own next request here.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from flask import Blueprint, Response, current_app, jsonify
from sqlalchemy.orm import Session

from bot.deployment import Deployment
from bot.inbound.webhooks import signed_by_twilio
from models import ClockJump, Collective, Outbound, Timer
from models.messages import HELD, QUEUED

blueprint = Blueprint("clock", __name__, url_prefix="/twilio")

FARTHEST = timedelta(days=400)
MORNING = time(9)
# Kinds of timers in words. What comes again (subject 0: sweeping, prices) is nothing that anybody waits for.
KINDS = {
    "broadcast": "a broadcast leaves",
    "poll_close": "a poll closes",
    "patience": "a question that nobody answered is let go",
    "report": "organizers are told how a broadcast went",
    "number_change": "a changed number counts",
}
WAITING = "texts that wait leave (quiet hours, or a later hour)"
SOMETHING, NOTHING = "something is due", "nothing is due"

_t: Any = Timer.__table__
_o: Any = Outbound.__table__
_NEXT_TIMER = (
    sa.select(_t.c.due_at, _t.c.kind)
    .where(_t.c.done_at.is_(None), _t.c.due_at > sa.bindparam("now"), _t.c.subject_id != 0)
    .order_by(_t.c.due_at)
    .limit(1)
)
_NEXT_TEXT = sa.select(sa.func.min(_o.c.due_at)).where(_o.c.state.in_((QUEUED, HELD)), _o.c.due_at > sa.bindparam("now"))
_ZONE = sa.select(Collective.timezone).order_by(Collective.id).limit(1)


@blueprint.post("/clock")
@signed_by_twilio
def clock(parameters: Any) -> Response:
    """`Jump` is empty (only tell), a number of seconds, `morning` (the next 9:00 of the first collective) or `next` (what is due next).

    Answers JSON {now, zone, ahead (seconds), next: {at, what} or null}; 400 with {error} when it can not be obeyed.
    """
    deployment: Deployment = current_app.extensions["chorus"]
    store, asked = deployment.store, str(parameters.get("Jump") or "")
    if asked:
        with store.write() as session:
            _follow(session, deployment)
            span = _read_jump(session, deployment.clock.now(), asked)
            if span is None:
                return _refuse(NOTHING if asked == "next" else "Jump is a number of seconds above 0, morning or next")
            jump = session.scalars(sa.select(ClockJump).with_for_update()).one_or_none() or ClockJump(id=1, seconds=0)
            jump.seconds += math.ceil(span.total_seconds())
            session.add(jump)
    with store.read() as session:
        _follow(session, deployment)
        now = deployment.clock.now()
        ahead = int(deployment.clock.offset.total_seconds())
        return jsonify(now=now.isoformat(), zone=_zone(session), ahead=ahead, next=_next(session, now))


def _follow(session: Session, deployment: Deployment) -> None:
    """Take over what was jumped so far. Without a row nothing was, and a clock that a test set stays."""
    seconds = session.scalar(sa.select(ClockJump.seconds))
    if seconds is not None:
        deployment.clock.offset = timedelta(seconds=seconds)


def _read_jump(session: Session, now: datetime, asked: str) -> timedelta | None:
    if asked == "next":
        due = _next(session, now)
        # A second more: what is due at this moment is due for whoever looks a little later.
        return datetime.fromisoformat(due["at"]) - now + timedelta(seconds=1) if due else None
    if asked == "morning":
        here = now.astimezone(ZoneInfo(_zone(session)))
        day = here.date() if here.time() < MORNING else here.date() + timedelta(days=1)
        return datetime.combine(day, MORNING, here.tzinfo).astimezone(UTC) - now
    if asked.isascii() and asked.isdecimal() and len(asked) < 10 and timedelta(0) < timedelta(seconds=int(asked)) <= FARTHEST:
        return timedelta(seconds=int(asked))
    return None


def _next(session: Session, now: datetime) -> dict[str, str] | None:
    connection = session.connection()
    timer = connection.execute(_NEXT_TIMER, {"now": now}).first()
    text = connection.execute(_NEXT_TEXT, {"now": now}).scalar()
    found = [(timer.due_at, KINDS.get(timer.kind, SOMETHING))] if timer is not None else []
    found += [(text, WAITING)] if text is not None else []
    if not found:
        return None
    due, what = min(found)
    return {"at": due.isoformat(), "what": what}


def _zone(session: Session) -> str:
    return str(session.scalar(_ZONE) or "UTC")


def _refuse(why: str) -> Response:
    answer = jsonify(error=why)
    answer.status_code = 400
    return answer
