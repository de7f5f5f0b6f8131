"""Action alerts: who is coming."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bot.conversation.actions.acting import action
from bot.conversation.actions.drafting import digits_of
from bot.conversation.actions.votes import words_for
from bot.conversation.turn import Turn
from bot.delivery.broadcasts import broadcast_status
from bot.delivery.corrections import find_correction
from bot.delivery.wording import render
from bot.languages import mark, words
from bot.languages.content import render_alert
from models import Broadcast, Rsvp, sqlite_or_postgres_insert
from models.broadcasts import DRAFT, HELD, STOPPED


@action(
    outcomes=lambda language: [{"open": True, "text": render_alert(language, "Sangha", "Rally today 10am.")}, {"open": False}],
    reads=True,
)
def read_alert(turn: Turn, broadcast_id: int) -> dict[str, Any]:
    """An alert as the speaker reads it; open: whether answers still help."""
    broadcast = _as_it_stands(turn, broadcast_id)
    if broadcast is None or broadcast.state in (DRAFT, STOPPED) or (broadcast.expires_at is not None and broadcast.expires_at <= turn.now):
        return {"open": False}
    here = next((b for b in turn.belongings if b.collective_id == broadcast.collective_id), None)
    if here is None:
        return {"open": False}
    text = words_for(turn.session, broadcast.id, turn.language, here.language)
    return {"open": True, "text": render("alert", text.language, here.collective, text.body)}


def _as_it_stands(turn: Turn, broadcast_id: int) -> Broadcast | None:
    """The alert she was asked about, in its newest words: a correction calls to the same action."""
    asked = newer = turn.session.get(Broadcast, broadcast_id)
    while newer is not None:
        newer = find_correction(turn.session, newer)
        if newer is not None and newer.state != STOPPED:
            asked = newer
    return asked


@action(outcomes=[{"kept": True, "yes": 1}, {"kept": True, "yes": 14}, {"kept": False, "yes": 0}])
def keep_rsvp(turn: Turn, broadcast_id: int, answer: str) -> dict[str, Any]:
    """Keep or change her answer. Gives kept, and how many say yes by now (herself among them)."""
    broadcast = _as_it_stands(turn, broadcast_id) or turn.session.get_one(Broadcast, broadcast_id)
    here = next((belonging for belonging in turn.belongings if belonging.collective_id == broadcast.collective_id), None)
    if here is None or broadcast.alert_id is None or (broadcast.expires_at is not None and broadcast.expires_at <= turn.now):
        return {"kept": False, "yes": 0}
    values = {"answer": answer, "answered_at": turn.now}
    insert = sqlite_or_postgres_insert(turn.deployment.store, Rsvp.__table__).values(
        alert_id=broadcast.alert_id, membership_id=here.membership_id, **values
    )
    turn.session.execute(insert.on_conflict_do_update(index_elements=["alert_id", "membership_id"], set_=values))
    yes = turn.session.scalar(sa.select(sa.func.count()).where(Rsvp.alert_id == broadcast.alert_id, Rsvp.answer == "yes"))
    return {"kept": True, "yes": int(yes or 0)}


_SENDING: dict[str, Any] = {"number": 48, "sent": 120, "total": 214, "state": "sending", "failed": 0, "unknown": 0, "why": ""}
_ALERT = {"number": 47, "yes": 14, "maybe": 3, "no": 5}
# What holds a broadcast, in words for an organizer.
HOLDS = {
    "organizer": mark("by an organizer"),
    "line": mark("the line needs repair"),
    "filtered": mark("carriers take it for spam"),
    "cap": mark("this month's money is spent"),
}


@action(
    outcomes=[
        {"alert": _ALERT, "sending": _SENDING},
        {"alert": None, "sending": _SENDING | {"state": "draft"}},
        {"alert": None, "sending": _SENDING | {"failed": 3, "unknown": 1}},
        {"alert": _ALERT, "sending": _SENDING | {"state": "held", "why": "carriers take it for spam"}},
        {"alert": _ALERT, "sending": None},
        {"alert": None, "sending": None},
    ],
    reads=True,
)
def read_headcount(turn: Turn, number: str | None = None) -> dict[str, Any]:
    """STATUS: the headcount of the newest alert, and how far the newest broadcast is; STATUS 47: of that one."""
    here = turn.with_role("organizer")
    ours = sa.select(Broadcast).where(Broadcast.collective_id == here.collective_id).order_by(Broadcast.id.desc()).limit(1)
    if number is not None:
        last = turn.session.scalars(ours.where(Broadcast.number == digits_of(number))).first()
        last_alert = last if last is not None and last.kind == "alert" and last.state != DRAFT else None
    else:
        last_alert = turn.session.scalars(ours.where(Broadcast.kind == "alert", Broadcast.state.not_in((DRAFT, STOPPED)))).first()
        # What was let go last, not what was written last; a draft only where nothing ever left.
        gone_last = sa.select(Broadcast).where(Broadcast.collective_id == here.collective_id, Broadcast.state != DRAFT)
        last = turn.session.scalars(gone_last.order_by(Broadcast.due_at.desc(), Broadcast.id.desc()).limit(1)).first()
        last = last or turn.session.scalars(ours).first()
    return {"alert": _count_answers(turn, last_alert), "sending": _count_sent(turn, last)}


def _count_answers(turn: Turn, alert: Broadcast | None) -> dict[str, int] | None:
    if alert is None:
        return None
    rows = turn.session.execute(sa.select(Rsvp.answer, sa.func.count()).where(Rsvp.alert_id == alert.alert_id).group_by(Rsvp.answer)).all()
    counts: dict[str, int] = {row[0]: row[1] for row in rows}
    return {"number": alert.number} | {answer: counts.get(answer, 0) for answer in ("yes", "maybe", "no")}


def _count_sent(turn: Turn, broadcast: Broadcast | None) -> dict[str, Any] | None:
    if broadcast is None:
        return None
    status = broadcast_status(turn.session, broadcast.id)
    counts = status["counts"]
    return {
        "number": broadcast.number,
        "sent": sum(counts[state] for state in ("accepted", "sent", "delivered", "undelivered")),
        "total": status["total"],
        "state": status["state"],
        "failed": counts["undelivered"] + counts["failed"],
        "unknown": counts["unknown"],
        "why": words(turn.language, HOLDS[broadcast.hold_reason or "organizer"]) if broadcast.state == HELD else "",
    }
