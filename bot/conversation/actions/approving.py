"""Organizers let a draft go, or hold it. A sender can be forged, so nothing leaves on one text alone."""

from __future__ import annotations

import math
from typing import Any

import sqlalchemy as sa

from bot.conversation.actions.acting import action
from bot.conversation.actions.drafting import audit, digits_of, find_by_number, leaves_at, say_moment
from bot.conversation.actions.drafts import DRAFT_LASTS, is_number_elsewhere, is_only_draft, newest_draft, start_of
from bot.conversation.turn import Turn
from bot.delivery.broadcasts import approve_broadcast, hold_broadcast, is_over, refuse_reason, release_broadcast
from bot.delivery.second_factor import check_factor
from bot.languages import count_words
from models import Broadcast, Collective, Membership, Person
from models.broadcasts import DRAFT, HELD, SCHEDULED, SENDING

_LEFT: tuple[dict[str, Any], ...] = (
    {"sent": True, "number": 47, "why": "", "span": "", "when": ""},
    {"sent": True, "number": 47, "why": "", "span": "20 seconds", "when": ""},
    {"sent": True, "number": 47, "why": "", "span": "", "when": "Mon 13 Apr, 9:00 am (UTC)"},
)


@action(
    outcomes=[
        *_LEFT,
        *(
            {"sent": False, "number": 47, "why": why}
            for why in ("no_draft", "gone", "no_code", "no_factor", "not_yet", "wrong_code", "locked", "refused", "held")
        ),
        {"sent": False, "number": 47, "why": "which", "start": "We meet at six"},
    ]
)
def send_with_code(turn: Turn, code: str | None, number: str | None = None) -> dict[str, Any]:
    """SEND 47 123456: her draft 47 leaves, if the one-time code is right. Each code works once; five wrong ones lock it.

    A code must name what it is for. Whoever forges her number may draft something, or change her draft, while she looks at her code:
    every change takes a new number. Without a number it counts only where it can mean nothing else; else gives why: which, and start.
    """
    here = turn.with_role("organizer")
    named = digits_of(number) if number is not None else None
    draft = newest_draft(turn, named)
    if draft is None:
        return {"sent": False, "number": named or 0, "why": "no_draft" if named is None else "gone"}
    refusal = {"sent": False, "number": draft.number}
    if draft.holder_id is not None:
        return refusal | {"why": "held"}
    ready = check_factor(turn.session, turn.now, here.membership_id, None)
    if ready != "no_code" or not code:
        return refusal | {"why": ready}
    if named is None and not is_only_draft(turn, draft):
        return refusal | {"why": "which", "start": start_of(turn, draft)}
    if named is not None and is_number_elsewhere(turn, draft):
        return refusal | {"why": "no_factor"}
    verdict = check_factor(turn.session, turn.now, here.membership_id, code)
    return approve_own(turn, draft) if verdict == "right" else refusal | {"why": verdict}


def approve_own(turn: Turn, draft: Broadcast) -> dict[str, Any]:
    """The author's own word, after a code of her app was checked: in her SEND, or by the console a moment ago. ``draft``: locked, hers."""
    refusal = {"sent": False, "number": draft.number}
    if draft.state != DRAFT or draft.created_at <= turn.now - DRAFT_LASTS:
        return refusal | {"why": "gone"}
    if draft.author_id != turn.with_role("organizer").membership_id:
        return refusal | {"why": "own"}
    if draft.holder_id is not None:
        return refusal | {"why": "held"}
    if refuse_reason(turn.session, leaves_at(turn, draft), draft) is not None:
        return refusal | {"why": "refused"}
    return _approve(turn, draft, how="code")


def _approve(turn: Turn, draft: Broadcast, how: str) -> dict[str, Any]:
    here = turn.with_role("organizer")
    if not approve_broadcast(turn.session, turn.now, draft, how=how, approver_id=here.membership_id):
        return {"sent": False, "number": draft.number, "why": "gone"}
    audit(turn, f"approved by {how}", draft)
    turn.rings = True
    return {"sent": True, "number": draft.number, "why": ""} | _departure(turn, draft)


def _departure(turn: Turn, broadcast: Broadcast) -> dict[str, str]:
    """When it leaves, in words: span (its cool-down), or when (its hour); both empty for now."""
    wait = leaves_at(turn, broadcast) - turn.now
    seconds = math.ceil(wait.total_seconds())
    if seconds <= 0:
        return {"span": "", "when": ""}
    if seconds <= turn.session.get_one(Collective, broadcast.collective_id).cool_down_seconds:
        return {"span": count_words(turn.language, "1 second", "{n} seconds", seconds), "when": ""}
    return {"span": "", "when": say_moment(turn, turn.now + wait, turn.language)}


@action(
    outcomes=[
        *_LEFT,
        *({"sent": False, "number": 47, "why": why} for why in ("own", "gone", "refused", "holder", "held")),
    ]
)
def approve_by_other(turn: Turn, number: str) -> dict[str, Any]:
    """OK 47: another organizer's word lets a draft leave, or releases what somebody else held."""
    turn.with_role("organizer")
    broadcast = find_by_number(turn, number)
    if (
        broadcast is None
        or broadcast.state not in (DRAFT, HELD)
        or (broadcast.state == DRAFT and broadcast.created_at <= turn.now - DRAFT_LASTS)
    ):
        return {"sent": False, "number": digits_of(number), "why": "gone"}
    # By phone, not by name: whoever forges one sender must not undo what a second one did, before or after it left.
    # What Chorus itself held was approved before, and nobody disagreed: one organizer lets it go, its author too.
    if not is_held_by_chorus(broadcast) and is_same_phone(turn, broadcast.author_id):
        return {"sent": False, "number": broadcast.number, "why": "own" if broadcast.state == DRAFT else "held"}
    if is_same_phone(turn, broadcast.holder_id):
        return {"sent": False, "number": broadcast.number, "why": "holder"}
    if refuse_reason(turn.session, leaves_at(turn, broadcast), broadcast) is not None:
        return {"sent": False, "number": broadcast.number, "why": "refused"}
    if broadcast.state == HELD:
        if not release_broadcast(turn.session, turn.now, broadcast):
            return {"sent": False, "number": broadcast.number, "why": "gone"}
        audit(turn, "released", broadcast)
        turn.rings = True
        return {"sent": True, "number": broadcast.number, "why": ""} | _departure(turn, broadcast)
    return _approve(turn, broadcast, how="organizer")


def is_same_phone(turn: Turn, membership_id: int | None) -> bool:
    """Two organizers on one phone are one hand: the second factor must come from another phone."""
    if membership_id is None:
        return False
    return (
        turn.session.scalar(
            sa.select(Person.phone_id).join(Membership, Membership.person_id == Person.id).where(Membership.id == membership_id)
        )
        == turn.phone_id
    )


@action(outcomes=[{"held": True, "number": 47}, {"held": False, "number": 47}])
def hold(turn: Turn, number: str | None = None) -> dict[str, Any]:
    """HOLD 47: any one organizer (in the console a steward, too) may hold what is unsent; releasing it takes another."""
    here = turn.with_role("organizer", "steward")
    broadcast = find_by_number(turn, number) if number and digits_of(number) else _newest_unsent(turn)
    if broadcast is None or is_over(turn.session, broadcast):
        return {"held": False, "number": digits_of(number or "")}
    is_new = broadcast.holder_id is None and (broadcast.state != HELD or is_held_by_chorus(broadcast))
    if is_new:
        # A held draft stays a draft: it leaves when somebody who is neither its author nor its holder says OK.
        if broadcast.state == HELD:
            broadcast.hold_reason = "organizer"
        elif broadcast.state != DRAFT and not hold_broadcast(turn.session, turn.now, broadcast):
            return {"held": False, "number": broadcast.number}
        broadcast.holder_id = here.membership_id
        audit(turn, "held", broadcast)
    return {"held": True, "number": broadcast.number}


def is_held_by_chorus(broadcast: Broadcast) -> bool:
    """Held for what went wrong (a line, a filter, money), and by nobody's word."""
    return broadcast.state == HELD and broadcast.holder_id is None and broadcast.hold_reason not in (None, "organizer")


def _newest_unsent(turn: Turn) -> Broadcast | None:
    """What a bare HOLD means: what is leaving or about to, else the newest fresh draft."""
    mine = sa.select(Broadcast).where(Broadcast.collective_id == turn.member().collective_id)
    leaving = mine.where(Broadcast.state.in_((SCHEDULED, SENDING)))
    drafts = mine.where(Broadcast.state == DRAFT, Broadcast.created_at > turn.now - DRAFT_LASTS)
    for choice in (leaving, drafts):
        found = turn.session.scalars(choice.order_by(Broadcast.id.desc()).limit(1).with_for_update(key_share=True)).first()
        if found is not None:
            return found
    return None
