"""What is deleted when. Only retention protects what a seized server still holds, so nothing is kept for want of a rule.

The periods are the promise of the privacy page; ``purge`` keeps it, hourly by the worker's clock and by ``flask purge``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot.delivery.money import month_of
from bot.delivery.outbox import BETWEEN_PEOPLE_LASTS
from bot.deployment import Deployment
from models import (
    Audit,
    Broadcast,
    BroadcastText,
    CareWeek,
    CheckIn,
    Consent,
    Conversation,
    Inbound,
    LoginCode,
    MemberExport,
    MemberImport,
    Membership,
    Note,
    NoteAnswer,
    NumberChange,
    Outbound,
    PeerRequest,
    Person,
    Phone,
    PhoneLine,
    Poll,
    Role,
    Spending,
    Timer,
    WebSession,
)
from models.broadcasts import DONE, DRAFT, STOPPED
from models.messages import ATTEMPTING, CLAIMED, EXPIRED, HELD, QUEUED

ANSWER_KEPT = timedelta(hours=1)  # a repeated webhook gets its stored answer for ten minutes
CODE_KEPT = timedelta(minutes=10)
CARE_BODY_KEPT = BETWEEN_PEOPLE_LASTS
BODY_KEPT = timedelta(days=7)
STATUS_KEPT = timedelta(days=30)
SID_HASH_KEPT = timedelta(days=395)  # 13 months: a captured webhook, replayed, is still recognised
AUDIT_KEPT = timedelta(days=365)
# Codes are good for ten minutes, sessions for twelve hours; the rows stay for a day, because the limits count them.
LOGIN_KEPT = timedelta(days=1)
SPENDING_KEPT = timedelta(days=730)  # sums by collective and month, which name nobody
# The rows themselves; their words go sooner.
OPEN_NOTE_KEPT = timedelta(days=90)
ANSWERED_KEPT = timedelta(days=30)
MOOD_KEPT = timedelta(days=180)

CARE_KINDS = ("relay", "page", "check_in", "crisis")
WAITING = (HELD, QUEUED, CLAIMED, ATTEMPTING)
CHUNK = 2_000


@dataclass(frozen=True)
class Rule:
    """Rows of ``model`` for which ``where`` holds are changed to ``values``, or deleted when there are none."""

    name: str
    model: Any
    where: sa.ColumnElement[bool]
    values: dict[str, Any] | None = None


def retention_rules(now: datetime) -> list[Rule]:
    """Every rule, as it stands at ``now`` (people's time)."""
    in_care = (
        sa.select(CheckIn.membership_id)
        .union(sa.select(PeerRequest.membership_id), sa.select(Consent.membership_id).where(Consent.kind == "check_ins"))
        .scalar_subquery()
    )
    people_in_care = sa.select(Membership.person_id).where(Membership.id.in_(in_care)).scalar_subquery()
    supporters = (
        sa.select(Membership.person_id).join(Role, Role.membership_id == Membership.id).where(Role.role == "supporter").scalar_subquery()
    )
    # What she is told in a talk is care, whoever says it.
    of_care = sa.or_(Inbound.person_id.in_(people_in_care), sa.and_(Inbound.handled_as == "REPLY", Inbound.person_id.in_(supporters)))
    gone = {"body": None}
    over = sa.select(Broadcast.id).outerjoin(Poll, Poll.id == Broadcast.poll_id)
    over = over.where(
        sa.or_(
            sa.and_(Broadcast.state.in_((DONE, STOPPED)), sa.func.coalesce(Broadcast.done_at, Broadcast.created_at) < now - BODY_KEPT),
            sa.and_(Broadcast.state == DRAFT, Broadcast.created_at < now - BODY_KEPT),
        ),
        # A poll that is open can still be read and voted on.
        sa.or_(Poll.id.is_(None), Poll.closed_at < now - BODY_KEPT, Broadcast.state == DRAFT),
    )
    finished = Outbound.state.not_in(WAITING)
    return [
        Rule(
            "late care messages, never sent",
            Outbound,
            sa.and_(Outbound.kind.in_(("relay", "page")), Outbound.state.in_((HELD, QUEUED)), Outbound.created_at < now - CARE_BODY_KEPT),
            {"state": EXPIRED, "reason": "retention", "body": None, "done_at": now},
        ),
        Rule(
            "care messages: words",
            Outbound,
            sa.and_(Outbound.body.is_not(None), Outbound.kind.in_(CARE_KINDS), finished, Outbound.created_at < now - CARE_BODY_KEPT),
            gone,
        ),
        Rule(
            "one-time codes",
            Outbound,
            sa.and_(Outbound.body.is_not(None), Outbound.kind == "code", finished, Outbound.created_at < now - CODE_KEPT),
            gone,
        ),
        Rule("sent messages: words", Outbound, sa.and_(Outbound.body.is_not(None), finished, Outbound.created_at < now - BODY_KEPT), gone),
        Rule("stored answers", Inbound, sa.and_(Inbound.answer.is_not(None), Inbound.received_at < now - ANSWER_KEPT), {"answer": None}),
        Rule(
            "received in care: words",
            Inbound,
            sa.and_(Inbound.body.is_not(None), of_care, Inbound.received_at < now - CARE_BODY_KEPT),
            gone,
        ),
        Rule("received messages: words", Inbound, sa.and_(Inbound.body.is_not(None), Inbound.received_at < now - BODY_KEPT), gone),
        Rule("notes: words", Note, sa.and_(Note.body.is_not(None), Note.created_at < now - BODY_KEPT), gone),
        Rule(
            "notes, answered",
            Note,
            sa.and_(Note.state != "open", sa.func.coalesce(Note.answered_at, Note.created_at) < now - ANSWERED_KEPT),
        ),
        Rule("notes, open", Note, Note.created_at < now - OPEN_NOTE_KEPT),
        Rule("answers to notes: words", NoteAnswer, sa.and_(NoteAnswer.body.is_not(None), NoteAnswer.answered_at < now - BODY_KEPT), gone),
        Rule("check-ins", CheckIn, CheckIn.at < now - MOOD_KEPT),
        Rule("check-ins: weeks as they were shown", CareWeek, CareWeek.begins < (now - MOOD_KEPT).date()),
        Rule("peer requests", PeerRequest, sa.func.coalesce(PeerRequest.answered_at, PeerRequest.created_at) < now - ANSWERED_KEPT),
        Rule(
            "peer requests: words",
            PeerRequest,
            sa.and_(PeerRequest.good_time.is_not(None), PeerRequest.created_at < now - CARE_BODY_KEPT),
            {"good_time": None},
        ),
        Rule(
            "ended conversations: answers",
            Conversation,
            sa.and_(Conversation.session.is_not(None), Conversation.state != "open"),
            {"session": None},
        ),
        Rule("ended conversations", Conversation, sa.and_(Conversation.state != "open", Conversation.last_heard_at < now - STATUS_KEPT)),
        Rule("broadcasts: words", BroadcastText, BroadcastText.broadcast_id.in_(over)),
        Rule("sent messages: status", Outbound, sa.and_(finished, Outbound.created_at < now - STATUS_KEPT)),
        # After this an inbound row is a hash and a time: it says that something came, not from whom.
        Rule(
            "received messages: sender",
            Inbound,
            sa.and_(Inbound.phone_id.is_not(None), Inbound.received_at < now - STATUS_KEPT),
            {"phone_id": None, "person_id": None, "collective_id": None, "line_id": None},
        ),
        Rule("received messages: id", Inbound, Inbound.received_at < now - SID_HASH_KEPT),
        Rule(
            "numbers of strangers",
            Phone,
            sa.and_(
                Phone.created_at < now - STATUS_KEPT,
                ~sa.exists().where(Person.phone_id == Phone.id),
                # A STOP is kept for as long as the deployment stands.
                ~sa.exists().where(
                    PhoneLine.phone_id == Phone.id, sa.or_(PhoneLine.opted_out_at.is_not(None), PhoneLine.refused_code.is_not(None))
                ),
                ~sa.exists().where(Inbound.phone_id == Phone.id),
                ~sa.exists().where(Outbound.phone_id == Phone.id),
            ),
        ),
        Rule("login codes", LoginCode, LoginCode.asked_at < now - LOGIN_KEPT),
        Rule("sessions of the console", WebSession, sa.func.coalesce(WebSession.ended_at, WebSession.expires_at) < now - LOGIN_KEPT),
        Rule(
            "moves to a new number",
            NumberChange,
            sa.func.coalesce(NumberChange.done_at, NumberChange.cancelled_at) < now - ANSWERED_KEPT,
        ),
        Rule("imports", MemberImport, MemberImport.made_at < now - AUDIT_KEPT),
        Rule("exports", MemberExport, MemberExport.made_at < now - AUDIT_KEPT),
        Rule("timers", Timer, Timer.done_at < now - STATUS_KEPT),
        Rule("audit", Audit, Audit.at < now - AUDIT_KEPT),
        Rule("spending", Spending, Spending.month < month_of(now - SPENDING_KEPT)),
    ]


def purge(deployment: Deployment, progress: Callable[[str, int], None] | None = None) -> dict[str, int]:
    """Delete what is older than its period; returns how much by rule, without content. May be stopped and run again at any point.

    ``progress(rule, count so far)``. Works in short transactions, so that no message waits for it.
    """
    counts: dict[str, int] = {}
    for rule in retention_rules(deployment.clock.now()):
        counts[rule.name] = 0
        while changed := _apply(deployment, rule):
            counts[rule.name] += changed
            if progress:
                progress(rule.name, counts[rule.name])
    return counts


def _apply(deployment: Deployment, rule: Rule) -> int:
    """One chunk of one rule; returns how many rows it changed."""
    table = rule.model.__table__
    key = sa.tuple_(*table.primary_key.columns) if len(table.primary_key.columns) > 1 else next(iter(table.primary_key.columns))
    some = sa.select(*table.primary_key.columns).where(rule.where).limit(CHUNK)
    with deployment.store.write() as session:
        found = session.execute(some).all()
        if not found:
            return 0
        chosen = key.in_([tuple(row) if len(row) > 1 else row[0] for row in found])
        # The condition again: a row may have changed hands since it was read.
        statement = sa.delete(table) if rule.values is None else sa.update(table).values(rule.values)
        result = session.connection().execute(statement.where(chosen, rule.where))
        return int(result.rowcount)


def is_behind(deployment: Deployment) -> bool:
    """Whether words are still here a day after they should have gone."""
    limit = deployment.clock.now() - BODY_KEPT - timedelta(hours=24)
    with deployment.store.read() as session:
        return (
            session.execute(sa.select(Inbound.id).where(Inbound.body.is_not(None), Inbound.received_at < limit).limit(1)).first()
            is not None
        )
