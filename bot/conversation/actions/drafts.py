"""Which draft an organizer means: her newest, the one of a number, and whether a one-time code without a number can mean but one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bot.conversation.turn import Turn
from bot.delivery.broadcasts import read_texts, take_number
from models import Audit, Broadcast
from models.broadcasts import DRAFT

# A draft is meant for now: after this time its words may be about a rally that is over.
DRAFT_LASTS = timedelta(hours=12)
START = 30
# What the audit says of a draft whose hour was set; of new or changed words it says "notice drafted", "change of 47 drafted".
HOUR_SET = "hour set"


def newest_draft(turn: Turn, number: int | None = None) -> Broadcast | None:
    """The speaker's own draft that is still fresh; where she organizes several collectives here, the newest one says which is meant.

    ``number``: only the one that has it.
    """
    mine = [turn.here] if turn.here is not None else turn.belongings
    drafts = sa.select(Broadcast).where(
        Broadcast.author_id.in_([belonging.membership_id for belonging in mine]),
        Broadcast.state == DRAFT,
        Broadcast.created_at > turn.now - DRAFT_LASTS,
    )
    if number is not None:
        drafts = drafts.where(Broadcast.number == number)
    # Locked: its words must not change while somebody approves them.
    draft = turn.session.scalars(drafts.order_by(Broadcast.id.desc()).limit(1).with_for_update(key_share=True)).first()
    if draft is not None:
        turn.here = next(belonging for belonging in mine if belonging.membership_id == draft.author_id)
    return draft


_drafting = sa.or_(Audit.act.like("%drafted"), Audit.act == HOUR_SET)


def _drafted_since(turn: Turn, draft: Broadcast) -> Any:
    """The audit's rows of everything that drafted or changed something under her name since 12 hours before this draft was begun: what
    lay about then, she may have in mind. Wherever she organizes on this line, because a forged text may answer "which group?", too."""
    hers = [belonging.membership_id for belonging in turn.belongings]
    return sa.and_(Audit.membership_id.in_(hers), _drafting, Audit.at >= draft.created_at - DRAFT_LASTS)


def is_only_draft(turn: Turn, draft: Broadcast) -> bool:
    """Whether she can mean no other words: one draft in 12 hours, never changed."""
    turn.session.flush()
    return (turn.session.scalar(sa.select(sa.func.count()).select_from(Audit).where(_drafted_since(turn, draft))) or 0) <= 1


def is_number_elsewhere(turn: Turn, draft: Broadcast) -> bool:
    """Whether a draft of hers in another collective on this line had the same number."""
    other = sa.and_(Audit.subject == f"broadcast {draft.number}", Audit.collective_id != draft.collective_id)
    return turn.session.scalar(sa.select(Audit.id).where(_drafted_since(turn, draft), other).limit(1)) is not None


def start_of(turn: Turn, draft: Broadcast) -> str:
    """How its first words begin."""
    first = next(iter(read_texts(turn.session, draft.id).values())).body
    return first if len(first) <= START else first[:START] + "..."


def renumber(turn: Turn, draft: Broadcast) -> None:
    """A new number with every change: an OK that is on its way to the old words, or the old hour, finds nothing under it."""
    draft.number = take_number(turn.session, draft.collective_id)
