"""Which question an answer belongs to.

An open conversation has the floor. Otherwise the asking messages that were broadcast to her are candidates, and only those
whose first question her text answers: a broadcast question that nobody began to answer captures nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from bot.conversation.engine import first_question
from bot.conversation.steps import Choice, NotUnderstood, Question, Scale
from bot.conversation.talk import acting, begin, hearing_of, on_the_floor
from bot.conversation.turn import Handoff, Turn
from bot.delivery.lists import in_states
from models import Ballot, Broadcast, CheckIn, Conversation, Membership, Outbound, PeerRequest, Poll, Prepared

# An asking message leaves flight after a day; its poll stays votable until it closes.
IN_FLIGHT = timedelta(hours=24)
OPEN_AT_MOST = timedelta(days=30)
# Longer texts are no answers to a letter, a digit or a yes.
LONGEST_ANSWER = 120

_table = Outbound.__table__
_broadcasts = Broadcast.__table__
_asking = Prepared(
    sa.select(
        _table.c.id,
        _table.c.asks,
        _table.c.broadcast_id,
        _table.c.membership_id,
        _table.c.asked_at,
        _table.c.answered_at,
        _table.c.attempted_at,
        _broadcasts.c.alert_id,
    )
    .select_from(_table.outerjoin(_broadcasts, _broadcasts.c.id == _table.c.broadcast_id))
    .where(_table.c.person_id == sa.bindparam("person"), _table.c.asked_at > sa.bindparam("since"))
    .order_by(_table.c.asked_at.desc(), _table.c.id.desc())
    .limit(12)
)
_hers = sa.select(Membership.id).where(Membership.person_id == sa.bindparam("person"))
_ballots = Ballot.__table__
_VOTED_IN = Prepared(
    sa.select(_broadcasts.c.id.label("broadcast_id"), _ballots.c.membership_id, _ballots.c.cast_at)
    .join_from(_ballots, Poll, Poll.id == _ballots.c.poll_id)
    .join(_broadcasts, sa.and_(_broadcasts.c.poll_id == Poll.id, _broadcasts.c.kind == "poll"))
    .where(_ballots.c.membership_id.in_(_hers), Poll.closed_at.is_(None))
    .order_by(_broadcasts.c.id.desc())
    .limit(12)
)


@dataclass(frozen=True)
class Candidate:
    """An asking message and the question it put; or (``outbound_id`` None) a poll that never reached her, in which she voted by POLLS."""

    outbound_id: int | None
    membership_id: int
    flow: str
    arguments: dict[str, Any]
    question: Question


def _asked(turn: Turn) -> Sequence[Any]:
    """What was asked of her in the last month, the newest first; read once a turn."""
    if turn.asked is None:
        turn.asked = _asking.all(turn.session, {"person": turn.person_id, "since": turn.now - OPEN_AT_MOST})
    return turn.asked


def candidates(turn: Turn, *, in_flight: bool) -> list[Candidate]:
    """Her asking messages with a question still open: those in flight, or (``in_flight`` False) older or answered ones."""
    if turn.person_id is None:
        return []
    rows = _asked(turn)
    lines = {belonging.membership_id for belonging in turn.belongings}
    found = []
    called: set[int] = set()
    for row in rows:
        if turn.sent_at is not None and (row.attempted_at or row.asked_at) > turn.sent_at:
            continue  # she wrote before she was asked: a late text is no answer to a later question
        if row.alert_id in called:
            continue  # a newer text called to the same action, in better words: "yes" means that one
        if row.alert_id is not None:
            called.add(row.alert_id)
        entry = turn.flows.get(row.asks)
        flying = row.answered_at is None and row.asked_at > turn.now - IN_FLIGHT
        if entry is None or row.membership_id not in lines or flying is not in_flight or not (in_flight or entry.reanswered):
            continue
        arguments = {"broadcast_id": row.broadcast_id}
        question = first_question(entry.function, arguments, acting(turn))
        if question is not None:
            found.append(Candidate(row.id, row.membership_id, row.asks, arguments, question))
    return found if in_flight else [*found, *_voted_unasked(turn, lines)]


def _voted_unasked(turn: Turn, lines: set[int]) -> list[Candidate]:
    """Open polls that hold a vote of hers and never reached her (she joined later, and used POLLS): her next letter changes it, too."""
    asked = {row.broadcast_id for row in _asked(turn)}
    found = []
    for row in _VOTED_IN.all(turn.session, {"person": turn.person_id}):
        wrote_before = turn.sent_at is not None and row.cast_at > turn.sent_at
        if row.broadcast_id in asked or row.membership_id not in lines or wrote_before:
            continue
        arguments = {"broadcast_id": row.broadcast_id}
        question = first_question(turn.flows["poll"].function, arguments, acting(turn))
        if question is not None:
            found.append(Candidate(None, row.membership_id, "poll", arguments, question))
    return found


def answered_by(turn: Turn, text: str, found: list[Candidate]) -> list[Candidate]:
    """Those candidates whose question ``text`` answers. Digits mean a letter only while no scale is pending."""
    digits = not any(isinstance(candidate.question, Scale) for candidate in found)
    fitting = []
    for candidate in found:
        try:
            candidate.question.parse(text, hearing_of(turn, digits=digits or not isinstance(candidate.question, Choice)))
        except NotUnderstood:
            continue
        fitting.append(candidate)
    return fitting


def take_answer(turn: Turn, text: str, *, in_flight: bool) -> list[str] | None:
    """Give ``text`` to the broadcast question it answers; if it could belong to two, ask. None: it answers none."""
    if len(text) > LONGEST_ANSWER:
        return None
    found = candidates(turn, in_flight=in_flight)
    fitting = answered_by(turn, text, found)
    if not fitting:
        return None
    if len(fitting) == 1:
        return answer_candidate(turn, text, fitting[0])
    asked = [candidate.outbound_id for candidate in fitting if candidate.outbound_id is not None]
    voted = [candidate.arguments["broadcast_id"] for candidate in fitting if candidate.outbound_id is None]
    return begin(turn, turn.flows["which_question"], {"text": text, "asked": asked, "voted": voted})


def answer_candidate(turn: Turn, text: str, candidate: Candidate) -> list[str]:
    """Begin the conversation that ``candidate`` asked for, with ``text`` as its first answer."""
    turn.here = next(belonging for belonging in turn.belongings if belonging.membership_id == candidate.membership_id)
    return begin(turn, turn.flows[candidate.flow], candidate.arguments, text=text, outbound_id=candidate.outbound_id)


HARD_DAY = 2
# How long words beside a wish for a peer are taken for care.
CARE_LASTS = timedelta(days=7)

_since = sa.bindparam("since", type_=CheckIn.__table__.c.at.type)
_MOODS = Prepared(sa.select(CheckIn.mood).where(CheckIn.membership_id.in_(_hers), CheckIn.at > _since))


@cache
def _signs_of_care(private: tuple[str, ...]) -> Prepared:
    """One row for three signs, because every ordinary note pays for it: a question of care left unanswered within a day, a wish for a
    peer this week; and whether she said within a day how she is (sealed, so it is read only then)."""
    unanswered = sa.exists().where(
        Conversation.person_id == sa.bindparam("person"),
        in_states(Conversation.flow, *private),
        Conversation.state == "silent",
        Conversation.last_heard_at > _since,
    )
    wished = sa.exists().where(
        PeerRequest.membership_id.in_(_hers),
        PeerRequest.created_at > sa.bindparam("since_week", type_=PeerRequest.__table__.c.created_at.type),
    )
    told = sa.exists().where(CheckIn.membership_id.in_(_hers), CheckIn.at > _since)
    return Prepared(sa.select(sa.or_(unanswered, wished).label("is_care"), told.label("has_told")))


def may_be_care(turn: Turn) -> bool:
    """Whether what she writes now may be care.

    A question of care is open or was left unanswered within a day; she had a hard day; or she asked for a peer this week.
    """
    private = tuple(name for name, entry in turn.flows.items() if entry.private)
    open_question = on_the_floor(turn)
    if open_question is not None and open_question.flow in private:
        return True
    if any(row.asks in private and row.answered_at is None and row.asked_at > turn.now - IN_FLIGHT for row in _asked(turn)):
        return True
    since = {"person": turn.person_id, "since": turn.now - IN_FLIGHT}
    signs = _signs_of_care(private).one(turn.session, since | {"since_week": turn.now - CARE_LASTS})
    if signs.is_care or not signs.has_told:
        return bool(signs.is_care)
    return any(row.mood <= HARD_DAY for row in _MOODS.all(turn.session, since))


def find_candidate(turn: Turn, handoff: Handoff) -> Candidate | None:
    """The candidate she named, in flight or not; None when its question has closed meanwhile."""
    for candidate in (*candidates(turn, in_flight=True), *candidates(turn, in_flight=False)):
        if handoff.outbound_id is not None and candidate.outbound_id == handoff.outbound_id:
            return candidate
        # By its broadcast: the asking message may have reached her while we asked which.
        if handoff.broadcast_id is not None and candidate.arguments["broadcast_id"] == handoff.broadcast_id:
            return candidate
    return None
