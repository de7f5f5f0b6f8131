"""What the clock does to conversations: patience runs out, idle talks end, polls close. Each under the phone's lock, each once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bot.conversation import talk
from bot.conversation.actions.votes import close_poll
from bot.conversation.speakers import lock_phone_of, meet, read_line
from bot.conversation.steps import FlowEntry
from bot.delivery.bell import ring
from bot.delivery.outbox import Letter, put
from bot.deployment import Deployment
from bot.schedule.timers import DueTimer
from models import Conversation, Poll

# What follows a silence is news for so long; then it would only puzzle her.
AFTER_SILENCE_LASTS = timedelta(hours=1)

_table: Any = Conversation.__table__


def run_out_patience(deployment: Deployment, timer: DueTimer, flows: Mapping[str, FlowEntry]) -> None:
    """The question's patience is over: the flow goes on with Silence, if that very question is still open and on the floor.

    A question beneath another conversation is not touched: it is put again, with new patience, when its turn comes.
    """
    turn_number = int(timer.key.rsplit(":", 1)[1])
    with deployment.store.write() as session:
        row = session.execute(
            sa.select(_table).where(_table.c.id == timer.subject_id, _table.c.state == "open", _table.c.turn == turn_number)
        ).first()
        if row is None:
            return
        phone = lock_phone_of(session, row.person_id)
        if phone is None:
            return
        now = deployment.clock.now()
        turn = meet(deployment, session, now, read_line(session, row.line_id), phone, flows)
        turn.here = next((belonging for belonging in turn.belongings if belonging.collective_id == row.collective_id), turn.here)
        conversation = talk.on_the_floor(turn, idle=False)
        if conversation is None or conversation.id != row.id or conversation.turn != turn_number or conversation.flow not in flows:
            return
        body = "\n".join(talk.run_out(turn, conversation)).strip()
        if body and not turn.forgotten:
            put(
                session,
                now,
                Letter(
                    kind="reply",
                    body=body,
                    language=turn.language,
                    line_id=turn.line.id,
                    phone_id=turn.phone_id,
                    person_id=turn.person_id,
                    membership_id=turn.here.membership_id if turn.here else None,
                    collective_id=turn.here.collective_id if turn.here else None,
                    expires_at=now + AFTER_SILENCE_LASTS,
                ),
            )
    ring(deployment)


def close_due_poll(deployment: Deployment, timer: DueTimer) -> None:
    """The poll's time is over: close it once, and tell everybody asked."""
    with deployment.store.write() as session:
        poll = session.get(Poll, timer.subject_id)
        if poll is not None:
            close_poll(session, poll.id, deployment.clock.now())
    ring(deployment)


def end_idle_conversations(deployment: Deployment) -> int:
    """End what nobody has answered for a day, and forget what was said in it. Gives how many ended."""
    with deployment.store.write() as session:
        since = talk.idle_since(deployment.clock.now())
        result = session.execute(
            _table.update()
            .where(_table.c.state == "open", _table.c.last_heard_at <= since)
            .values(state="ended", session=None, question=None)
        )
        return int(result.rowcount)  # type: ignore[attr-defined]
