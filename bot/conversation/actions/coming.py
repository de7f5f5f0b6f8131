"""Action alerts: who is coming."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bot.conversation.actions.acting import action
from bot.conversation.actions.votes import words_for
from bot.conversation.turn import Turn
from bot.delivery.broadcasts import broadcast_status
from bot.delivery.wording import render
from models import Broadcast, Rsvp, sqlite_or_postgres_insert
from models.broadcasts import DRAFT, STOPPED


@action(outcomes=[{"open": True, "text": "Sangha: Rally today 10am. Coming? Reply YES, NO or MAYBE."}, {"open": False}], reads=True)
def read_alert(turn: Turn, broadcast_id: int) -> dict[str, Any]:
    """An alert as the speaker reads it; open: whether answers still help."""
    broadcast = turn.session.get(Broadcast, broadcast_id)
    if broadcast is None or broadcast.state in (DRAFT, STOPPED) or (broadcast.expires_at is not None and broadcast.expires_at <= turn.now):
        return {"open": False}
    here = next((b for b in turn.belongings if b.collective_id == broadcast.collective_id), None)
    if here is None:
        return {"open": False}
    text = words_for(turn.session, broadcast_id, turn.language, here.language)
    return {"open": True, "text": render("alert", text.language, here.collective, text.body)}


@action(outcomes=[{"kept": True, "yes": 1}, {"kept": True, "yes": 14}, {"kept": False, "yes": 0}])
def keep_rsvp(turn: Turn, broadcast_id: int, answer: str) -> dict[str, Any]:
    """Keep or change her answer. Gives kept, and how many say yes by now (herself among them)."""
    broadcast = turn.session.get_one(Broadcast, broadcast_id)
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


@action(
    outcomes=[
        {"alert": {"number": 47, "yes": 14, "maybe": 3, "no": 5}, "sending": {"number": 48, "sent": 120, "total": 214, "state": "sending"}},
        {"alert": None, "sending": {"number": 48, "sent": 120, "total": 214, "state": "draft"}},
        {"alert": {"number": 47, "yes": 14, "maybe": 3, "no": 5}, "sending": None},
        {"alert": None, "sending": None},
    ],
    reads=True,
)
def read_headcount(turn: Turn) -> dict[str, Any]:
    """STATUS: the headcount of the newest alert, and how far the newest broadcast is."""
    here = turn.with_role("organizer")
    newest = sa.select(Broadcast).where(Broadcast.collective_id == here.collective_id).order_by(Broadcast.id.desc()).limit(1)
    alert = None
    last_alert = turn.session.scalars(newest.where(Broadcast.kind == "alert", Broadcast.state.not_in((DRAFT, STOPPED)))).first()
    if last_alert is not None:
        rows = turn.session.execute(
            sa.select(Rsvp.answer, sa.func.count()).where(Rsvp.alert_id == last_alert.alert_id).group_by(Rsvp.answer)
        ).all()
        counts: dict[str, int] = {row[0]: row[1] for row in rows}
        alert = {"number": last_alert.number} | {answer: counts.get(answer, 0) for answer in ("yes", "maybe", "no")}
    sending = None
    # What was let go last, not what was written last; a draft only where nothing ever left.
    gone_last = sa.select(Broadcast).where(Broadcast.collective_id == here.collective_id, Broadcast.state != DRAFT)
    last = turn.session.scalars(gone_last.order_by(Broadcast.due_at.desc(), Broadcast.id.desc()).limit(1)).first()
    last = last or turn.session.scalars(newest).first()
    if last is not None:
        status = broadcast_status(turn.session, last.id)
        gone = sum(status["counts"][state] for state in ("accepted", "sent", "delivered", "undelivered"))
        sending = {"number": last.number, "sent": gone, "total": status["total"], "state": status["state"]}
    return {"alert": alert, "sending": sending}
