"""A text that reached us late, read from the carrier's list after an outage: what still counts, and whether it is still answered.

What she asked for is done, as far as nothing newer says otherwise. What would reach others by an organizer's word is not: hours later it
may do harm, and she can say it again. An answer to a text of hours ago comes as a surprise, on a phone that anybody may hold by then: so
it keeps quiet hours, and what is private is said between 8 and 21 only, wherever she may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot.conversation.steps import Word
from bot.conversation.turn import Turn
from bot.delivery.quiet import Span, first_allowed, possible_zones
from bot.languages import words
from models import Collective, Inbound, Person

# Until when an answer is worth sending: to a text of just now, to one of hours ago, to a private one.
ANSWER_LASTS, LATE_ANSWER_LASTS, PRIVATE_ANSWER_LASTS = timedelta(hours=1), timedelta(hours=24), timedelta(hours=1)
# Nobody waits for an answer any more.
UNANSWERED_AFTER = timedelta(hours=48)
SAFE_UNTIL, SAFE_FROM = 21, 8
# Routes whose answer is private, whatever flow gives it.
PRIVATE_ROUTES = frozenset({"SOS", "care"})
# Harmless, and better late than never.
STILL_DONE = frozenset({"HOLD", "OFF"})

# What undoes what: the later of two wins, in whichever order they reach us. STOP and START hold for one line, the rest for her.
_UNDONE_BY = {
    "STOP": ("START",),
    "START": ("STOP",),
    "JOIN": ("LEAVE", "WRONG", "STOP"),
    "WRONG": ("JOIN",),
    "LEAVE": ("JOIN",),
    "PAUSE": ("BACK",),
    "BACK": ("PAUSE",),
    "ON": ("OFF",),
    "OFF": ("ON",),
}
_i: Any = Inbound.__table__
_NEWER = (
    sa.select(_i.c.id)
    .where(
        _i.c.phone_id == sa.bindparam("phone"),
        _i.c.handled_as.in_(sa.bindparam("words", expanding=True)),
        sa.func.coalesce(_i.c.sent_at, _i.c.received_at) > sa.bindparam("sent", type_=_i.c.sent_at.type),
        sa.or_(_i.c.handled_as.not_in(("STOP", "START")), _i.c.line_id == sa.bindparam("line")),
    )
    .limit(1)
)
_p: Any = Person.__table__
_c: Any = Collective.__table__
_HERS = sa.select(_p.c.timezone, _p.c.quiet_from, _p.c.quiet_until).where(_p.c.id == sa.bindparam("person"))
_THEIRS = sa.select(_c.c.timezone, _c.c.quiet_from, _c.c.quiet_until).where(_c.c.id.in_(sa.bindparam("collectives", expanding=True)))


@dataclass(frozen=True, slots=True)
class Terms:
    """How an answer may go out: ``unprompted`` ones keep quiet hours and pauses."""

    unprompted: bool
    expires_at: datetime


def is_undone(turn: Turn, handled_as: str) -> bool:
    """Whether she said the opposite later than this late text."""
    undone_by = _UNDONE_BY.get(handled_as)
    if turn.sent_at is None or undone_by is None:
        return False
    asked = {"phone": turn.phone_id, "line": turn.line.id, "words": list(undone_by), "sent": turn.sent_at}
    return turn.session.connection().execute(_NEWER, asked).first() is not None


def is_refused(turn: Turn, word: Word) -> bool:
    """Whether this word is an organizer's or a supporter's act that came too late to be done."""
    return turn.is_late and word.who not in ("anyone", "member") and word.name not in STILL_DONE


def say_refused(turn: Turn) -> list[str]:
    """She is told, with the hour she wrote: it may still hold, and then she says it again."""
    sent = (turn.sent_at or turn.now).astimezone(turn.local_now.tzinfo)
    text = "Your text of {time} reached us only now and was not carried out. If it still holds, send it again."
    return [words(turn.language, text, time=f"{sent:%H:%M}")]


def terms_of_answer(turn: Turn, handled_as: str, number: str) -> Terms | None:
    """How what was said in this turn may go out; None: not at all. ``number``: hers, E.164."""
    if turn.sent_at is None or not turn.is_late:
        return Terms(False, turn.now + ANSWER_LASTS)
    if turn.now - turn.sent_at > UNANSWERED_AFTER:
        return None
    # Of somebody we do not know no quiet hours are known either.
    private = turn.of_care or handled_as in PRIVATE_ROUTES or turn.here is None
    if not private:
        return Terms(True, turn.now + LATE_ANSWER_LASTS)
    return Terms(True, turn.now + PRIVATE_ANSWER_LASTS) if _is_safe_now(turn, number) else None


def _is_safe_now(turn: Turn, number: str) -> bool:
    """Whether it is day, and nobody's quiet hours, in her zone; where she never said it, in every zone she may be in."""
    connection = turn.session.connection()
    hers = connection.execute(_HERS, {"person": turn.person_id}).one_or_none()
    here = [turn.here.collective_id] if turn.here else [belonging.collective_id for belonging in turn.belongings]
    theirs = connection.execute(_THEIRS, {"collectives": here or list(turn.line.collective_ids)}).all()
    if hers is not None and hers.timezone is not None:
        zones: tuple[str | None, ...] = (hers.timezone,)
    else:
        zones = (*(each.timezone for each in theirs), *possible_zones(number)) or (turn.zone,)
    hours = [(SAFE_UNTIL, SAFE_FROM), *((each.quiet_from, each.quiet_until) for each in (*theirs, *([hers] if hers else [])))]
    return first_allowed(turn.now, (Span(zone, begins, ends) for zone in zones for begins, ends in hours)) is None
