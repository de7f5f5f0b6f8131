"""Organizers write from a phone: drafts, their preview, and the page that asks another organizer to read and agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bot.conversation.actions.acting import action
from bot.conversation.actions.reaching import those_with_role, write_to
from bot.conversation.turn import Turn
from bot.delivery.broadcasts import (
    add_text,
    draft_broadcast,
    preview_broadcast,
    read_texts,
    refuse_reason,
    take_number,
)
from bot.languages import count_words, fold, words
from bot.languages.stop_phrases import STOP_WORDS
from models import Alert, Audit, Broadcast, Poll
from models.broadcasts import DRAFT

# A draft is meant for now: after this time its words may be about a rally that is over.
DRAFT_LASTS = timedelta(hours=12)
ALERT_LASTS = timedelta(hours=24)
# Whoever says OK reads the whole text first, in one message.
LONGEST_DRAFT = 450
START = 30
MOST_OPTIONS = 8

_PREVIEWS: tuple[dict[str, Any], ...] = (
    {"number": 47, "people": "214 people", "segments": 1, "fallback": "", "held": 0, "refused": None},
    {"number": 47, "people": "214 people", "segments": 1, "fallback": "Hindi 12", "held": 83, "refused": None},
    {"number": 47, "people": "0 people", "segments": 1, "fallback": "", "held": 0, "refused": "nobody"},
    {"number": 47, "people": "214 people", "segments": 11, "fallback": "", "held": 0, "refused": "too_long"},
    *(
        {"number": 47, "people": "214 people", "segments": 1, "fallback": "", "held": 0, "refused": why}
        for why in ("no_words", "no_line", "one_way", "too_late", "too_long_by_text")
    ),
)

LANGUAGE_NAMES = {"en": "English", "es": "Spanish", "hi": "Hindi", "hi-Latn": "Hindi in Latin letters"}


def _preview(turn: Turn, broadcast: Broadcast) -> dict[str, Any]:
    turn.session.flush()
    preview = preview_broadcast(turn.session, turn.now, broadcast)
    fallback = ", ".join(f"{words(turn.language, LANGUAGE_NAMES[code])} {count}" for code, count in preview.fallback.items() if count)
    return {
        "number": broadcast.number,
        "people": count_words(turn.language, "1 person", "{n} people", preview.recipients),
        "segments": preview.segments,
        "fallback": fallback,
        "held": preview.held.get("quiet_hours", 0),
        "refused": refuse_reason(turn.session, turn.now, broadcast),
    }


def _ask_others(turn: Turn, broadcast: Broadcast, body: str) -> None:
    """The other organizers read the whole text before one of them says OK."""
    here = turn.with_role("organizer")
    for organizer in those_with_role(turn, here.collective_id, ["organizer"]):
        if organizer.membership_id != here.membership_id:
            write_to(
                turn,
                organizer,
                "An organizer wants to send ({number}): {body}\nReply OK {number} to send it, HOLD {number} to stop it.",
                kind="page",
                # A notice can wait for her morning; a call to an action may be for today.
                unprompted=broadcast.kind != "alert",
                about=turn.member().membership_id,
                number=broadcast.number,
                body=body,
            )


def _drafted(turn: Turn, broadcast: Broadcast, body: str) -> dict[str, Any]:
    preview = _preview(turn, broadcast)
    if preview["refused"] is None:
        _ask_others(turn, broadcast, body)
    audit(turn, f"{broadcast.kind} drafted", broadcast)
    return preview


def audit(turn: Turn, act: str, broadcast: Broadcast) -> None:
    """Every power leaves a trace: who did what, never its words."""
    here = turn.with_role("organizer")
    turn.session.add(
        Audit(
            collective_id=here.collective_id,
            membership_id=here.membership_id,
            act=act,
            subject=f"broadcast {broadcast.number}",
            at=turn.now,
        )
    )


@action(outcomes=_PREVIEWS)
def draft_notice(turn: Turn, text: str) -> dict[str, Any]:
    """Draft a notice in the organizer's language. Gives number, people (in words), segments, fallback, held, refused (a reason or None)."""
    if len(text) > LONGEST_DRAFT:
        return {"refused": "too_long_by_text"}
    here = turn.with_role("organizer")
    broadcast = draft_broadcast(
        turn.session, turn.now, here.collective_id, "notice", {turn.language: text.strip()}, author_id=here.membership_id
    )
    return _drafted(turn, broadcast, text.strip())


@action(outcomes=_PREVIEWS)
def draft_alert(turn: Turn, text: str) -> dict[str, Any]:
    """Draft a call to an action; everybody who gets it may answer YES, NO or MAYBE."""
    if len(text) > LONGEST_DRAFT:
        return {"refused": "too_long_by_text"}
    here = turn.with_role("organizer")
    alert = Alert(collective_id=here.collective_id, created_at=turn.now)
    turn.session.add(alert)
    turn.session.flush()
    broadcast = draft_broadcast(
        turn.session, turn.now, here.collective_id, "alert", {turn.language: text.strip()}, author_id=here.membership_id, alert_id=alert.id
    )
    # A rally notice after the rally sends people to an empty square.
    broadcast.expires_at = turn.now + ALERT_LASTS
    return _drafted(turn, broadcast, text.strip())


@action(outcomes=[*_PREVIEWS, {"refused": "not_a_poll"}])
def draft_poll(turn: Turn, text: str) -> dict[str, Any]:
    """Draft a poll written "Question? / First / Second"."""
    if len(text) > LONGEST_DRAFT:
        return {"refused": "too_long_by_text"}
    here = turn.with_role("organizer")
    parsed = read_poll_text(text)
    if parsed is None:
        return {"refused": "not_a_poll"}
    question, options = parsed
    poll = Poll(collective_id=here.collective_id, options=len(options), created_at=turn.now)
    turn.session.add(poll)
    turn.session.flush()
    broadcast = draft_broadcast(
        turn.session,
        turn.now,
        here.collective_id,
        "poll",
        {turn.language: question},
        options={turn.language: options},
        author_id=here.membership_id,
        poll_id=poll.id,
    )
    return _drafted(turn, broadcast, f"{question} {' / '.join(options)}")


def read_poll_text(text: str) -> tuple[str, list[str]] | None:
    """A question and its options, from "Question? / First / Second" or a line for each. None when it is neither."""
    separator = "\n" if "\n" in text.strip() else "/"
    parts = [part.strip() for part in text.strip().split(separator)]
    if separator == "/" and len(parts) > 1 and "?" in parts[0] and not parts[0].endswith("?"):
        question, _, first = parts[0].rpartition("?")
        parts = [question.strip() + "?", first.strip(), *parts[1:]]
    parts = [part for part in parts if part]
    if not 3 <= len(parts) <= MOST_OPTIONS + 1 or len({part.casefold() for part in parts[1:]}) != len(parts) - 1:
        return None
    if any(fold(part) in STOP_WORDS for part in parts[1:]):
        return None  # whoever chose it would be opted out by her carrier
    return parts[0], [part[:40] for part in parts[1:]]


def newest_draft(turn: Turn) -> Broadcast | None:
    """The speaker's own draft that is still fresh; where she organizes several collectives here, the newest one says which is meant."""
    mine = [turn.here] if turn.here is not None else turn.belongings
    drafts = sa.select(Broadcast).where(
        Broadcast.author_id.in_([belonging.membership_id for belonging in mine]),
        Broadcast.state == DRAFT,
        Broadcast.created_at > turn.now - DRAFT_LASTS,
    )
    # Locked: its words must not change while somebody approves them.
    draft = turn.session.scalars(drafts.order_by(Broadcast.id.desc()).limit(1).with_for_update(key_share=True)).first()
    if draft is not None:
        turn.here = next(belonging for belonging in mine if belonging.membership_id == draft.author_id)
    return draft


@action(
    outcomes=[
        *(preview | {"start": "Rally today"} for preview in _PREVIEWS),
        {"refused": "no_draft"},
        {"refused": "other_options", "code": "HI"},
    ]
)
def add_language(turn: Turn, language: str, text: str) -> dict[str, Any]:
    """HI … or ES …: the draft's words in another language. Each member then reads her own."""
    draft = newest_draft(turn)
    if draft is None:
        return {"refused": "no_draft"}
    options = None
    body = text.strip()
    if draft.poll_id is not None:
        parsed = read_poll_text(text)
        if parsed is None or len(parsed[1]) != turn.session.get_one(Poll, draft.poll_id).options:
            return {"refused": "other_options", "code": language.replace("-", "").upper()}
        body, options = parsed
    if len(text) > LONGEST_DRAFT:
        return {"refused": "too_long_by_text"}
    # A new number with every change: an OK that is on its way to the old words finds nothing under it.
    draft.number = take_number(turn.session, draft.collective_id)
    first = next(iter(read_texts(turn.session, draft.id).values())).body
    add_text(turn.session, draft, language, body, options)
    # Which draft these words were added to: the last one she wrote may have been refused.
    return _drafted(turn, draft, text.strip()) | {"start": first if len(first) <= START else first[:START] + "..."}


@action(outcomes=[True, False], reads=True)
def has_draft(turn: Turn) -> bool:
    """Whether the speaker has a fresh draft (HI … is Hindi only then; else it is a greeting)."""
    return newest_draft(replace(turn)) is not None
