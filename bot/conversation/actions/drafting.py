"""Organizers write from a phone: drafts, their preview, and the page that asks another organizer to read and agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot.conversation.actions.acting import action
from bot.conversation.actions.drafts import newest_draft, renumber, start_of
from bot.conversation.actions.reaching import those_with_role, write_to
from bot.conversation.turn import Turn
from bot.delivery.broadcasts import (
    add_text,
    draft_broadcast,
    record_act,
    refuse_reason,
)
from bot.delivery.caps import format_money
from bot.delivery.corrections import say_change
from bot.delivery.costs import estimate_cost
from bot.delivery.kinds import AFTER_THE_START
from bot.delivery.previews import preview_broadcast
from bot.delivery.quiet import NOON
from bot.languages import count_words, fold, words
from bot.languages.days import say_day
from bot.languages.moments import find_moment
from bot.languages.stop_phrases import STOP_WORDS
from models import Alert, Broadcast, Poll

ALERT_LASTS = timedelta(hours=24)
# Whoever says OK reads the whole text first, in one message.
LONGEST_DRAFT = 450
MOST_OPTIONS = 8
WORTH_TELLING = 1_000_000  # millionths

_DRAFT = {
    "number": 47,
    "people": "214 people",
    "segments": 1,
    "fallback": "",
    "held": 0,
    "refused": None,
    "leaves": "",
    "cost": "",
    "over_cap": False,
}
PREVIEWS: tuple[dict[str, Any], ...] = (
    _DRAFT,
    _DRAFT | {"cost": "4.30"},
    _DRAFT | {"fallback": "Hindi 12", "held": 83},
    _DRAFT | {"over_cap": True},
    *(
        _DRAFT | {"people": "0 people", "refused": why}
        for why in ("nobody", "no_words", "no_line", "one_way", "too_late", "too_long_by_text")
    ),
    _DRAFT | {"segments": 11, "refused": "too_long"},
)

LANGUAGE_NAMES = {"en": "English", "es": "Spanish", "hi": "Hindi", "hi-Latn": "Hindi in Latin letters"}


def leaves_at(turn: Turn, broadcast: Broadcast) -> datetime:
    """When it would go if it were approved now."""
    return max(turn.now, broadcast.due_at or turn.now)


def say_moment(turn: Turn, moment: datetime, language: str) -> str:
    """A moment in words, in the speaker's zone, which is named: whoever reads it may live in another."""
    local = moment.astimezone(turn.local_now.tzinfo)
    return f"{say_day(local, language, today=turn.local_now.date())} ({turn.zone})"


def _preview(turn: Turn, broadcast: Broadcast) -> dict[str, Any]:
    turn.session.flush()
    moment = leaves_at(turn, broadcast)
    preview = preview_broadcast(turn.session, moment, broadcast)
    fallback = ", ".join(f"{words(turn.language, LANGUAGE_NAMES[code])} {count}" for code, count in preview.fallback.items() if count)
    held = preview.held.get("quiet_hours", 0)
    cost = estimate_cost(turn.deployment.store, turn.session, moment, broadcast)
    # Small change is told to nobody, and the rest only where it leaves the answer in one segment.
    tells_cost = cost.micros >= WORTH_TELLING and not fallback and not held and moment == turn.now
    return {
        "number": broadcast.number,
        "people": count_words(turn.language, "1 person", "{n} people", preview.recipients),
        "segments": preview.segments,
        "fallback": fallback,
        "held": held,
        "refused": refuse_reason(turn.session, moment, broadcast),
        "leaves": say_moment(turn, moment, turn.language) if moment > turn.now else "",
        "cost": format_money(cost.micros) if tells_cost else "",
        "over_cap": not cost.fits,
    }


def ask_others(turn: Turn, broadcast: Broadcast, body: str) -> int:
    """The other organizers read the whole text, and when it would leave, before one of them says OK. Returns how many are asked."""
    here = turn.with_role("organizer", "broadcaster")
    moment, asked_now = leaves_at(turn, broadcast), 0
    for organizer in those_with_role(turn, here.collective_id, ["organizer"]):
        if organizer.membership_id == here.membership_id:
            continue
        asked: dict[str, Any] = {
            "kind": "page",
            # A notice can wait for her morning; a call to an action may be for today.
            "unprompted": broadcast.kind != "alert",
            "about": turn.member().membership_id,
            "number": broadcast.number,
            "body": body,
        }
        if moment > turn.now:
            put = write_to(
                turn,
                organizer,
                "An organizer wants to send on {when} ({number}): {body}\nReply OK {number} to send it, HOLD {number} to stop it.",
                when=say_moment(turn, moment, organizer.language),
                **asked,
            )
        else:
            put = write_to(
                turn,
                organizer,
                "An organizer wants to send ({number}): {body}\nReply OK {number} to send it, HOLD {number} to stop it.",
                **asked,
            )
        asked_now += put is not None
    return asked_now


def tell_draft(turn: Turn, broadcast: Broadcast, body: str, act: str) -> dict[str, Any]:
    """Preview a draft for its author, and have the other organizers read it. ``act``: what the audit says was done."""
    preview = _preview(turn, broadcast)
    if preview["refused"] is None:
        ask_others(turn, broadcast, body)
    audit(turn, act, broadcast)
    return preview


def _drafted(turn: Turn, broadcast: Broadcast, body: str) -> dict[str, Any]:
    return tell_draft(turn, broadcast, body, f"{broadcast.kind} drafted")


def audit(turn: Turn, act: str, broadcast: Broadcast) -> None:
    """Every power leaves a trace: who did what, never its words."""
    record_act(turn.session, turn.now, broadcast, act, turn.with_role("organizer", "broadcaster", "steward").membership_id)


def find_by_number(turn: Turn, number: str) -> Broadcast | None:
    """The collective's broadcast of this number, locked."""
    return turn.session.scalars(
        sa.select(Broadcast)
        .where(Broadcast.collective_id == turn.member().collective_id, Broadcast.number == digits_of(number))
        .with_for_update(key_share=True)
    ).one_or_none()


def digits_of(text: str) -> int:
    """The number somebody wrote ("No. 47"); 0 for none."""
    return int("".join(character for character in text if character.isdecimal())[:9] or 0)


@action(outcomes=PREVIEWS)
def draft_notice(turn: Turn, text: str) -> dict[str, Any]:
    """Draft a notice in the organizer's language. Gives number, people (in words), segments, fallback, held, refused (a reason or None)."""
    if len(text) > LONGEST_DRAFT:
        return {"refused": "too_long_by_text"}
    here = turn.with_role("organizer")
    broadcast = draft_broadcast(
        turn.session, turn.now, here.collective_id, "notice", {turn.language: text.strip()}, author_id=here.membership_id
    )
    return _drafted(turn, broadcast, text.strip())


def say_begin(turn: Turn, starts_at: datetime | None) -> dict[str, Any]:
    """What the preview adds when the words name a day and an hour: whoever reads it sees what was understood."""
    return {} if starts_at is None else {"begins": say_moment(turn, starts_at, turn.language)}


@action(outcomes=[*PREVIEWS, _DRAFT | {"begins": "Sun 12 Apr, 5:00 pm (UTC)"}])
def draft_alert(turn: Turn, text: str) -> dict[str, Any]:
    """Draft a call to an action; everybody who gets it may answer YES, NO or MAYBE."""
    if len(text) > LONGEST_DRAFT:
        return {"refused": "too_long_by_text"}
    here = turn.with_role("organizer")
    starts_at = find_moment(text, turn.local_now)
    alert = Alert(collective_id=here.collective_id, starts_at=starts_at, created_at=turn.now)
    turn.session.add(alert)
    turn.session.flush()
    broadcast = draft_broadcast(
        turn.session, turn.now, here.collective_id, "alert", {turn.language: text.strip()}, author_id=here.membership_id, alert_id=alert.id
    )
    # A rally notice after the rally sends people to an empty square.
    broadcast.expires_at = turn.now + ALERT_LASTS if starts_at is None else starts_at + AFTER_THE_START
    # On the morning of the action, whoever agreed to that may hear of it before quiet hours end.
    broadcast.early = starts_at is not None and starts_at.astimezone(turn.local_now.tzinfo).hour < NOON
    return _drafted(turn, broadcast, text.strip()) | say_begin(turn, starts_at)


@action(outcomes=[*PREVIEWS, {"refused": "not_a_poll"}])
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


@action(
    outcomes=[
        *(preview | {"start": "Rally today"} for preview in PREVIEWS),
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
    if draft.corrects_id is not None:
        body = say_change(language, body)
    renumber(turn, draft)
    start = start_of(turn, draft)
    add_text(turn.session, draft, language, body, options)
    # Which draft these words were added to: the last one she wrote may have been refused.
    shown = body if draft.corrects_id is not None else text.strip()
    return _drafted(turn, draft, shown) | {"start": start}


@action(outcomes=[True, False], reads=True)
def has_draft(turn: Turn) -> bool:
    """Whether the speaker has a fresh draft (HI … is Hindi only then; else it is a greeting)."""
    return newest_draft(replace(turn)) is not None
