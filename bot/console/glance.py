"""What the first page of a collective is made of: what waits for somebody, what is coming, how it goes. Read, not yet put into words.

The part that is polled reads small tables and indexes only; what must look at many rows is believed for some seconds (``memory``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.console.memory import memory
from bot.conversation.actions.drafts import DRAFT_LASTS
from bot.delivery.corrections import RESENDABLE, count_resendable
from models import (
    Alert,
    Broadcast,
    Collective,
    CollectiveLine,
    Line,
    Membership,
    Note,
    NumberChange,
    PeerRequest,
    Person,
    Phone,
    Poll,
    Role,
)
from models import broadcasts as states
from models.clock import real_seconds

# From so many rows on, what was counted is believed for some seconds.
MANY, NOTES_BELIEVED, ROWS_BELIEVED, MEMBERS_BELIEVED = 5_000, 5.0, 30.0, 60.0
# Everything that came in is read back from the carrier's list every five minutes: later than this, something is wrong with it.
READ_BACK_WITHIN = timedelta(minutes=30)
# A supporter is asked whether she is ON from the evening on; where a collective keeps no quiet hours, night is from nine to eight.
EVENING_HOURS, NIGHT = 3, (21, 8)
# Requests older than this are not listed under Care any more.
PEERS_SHOWN = timedelta(days=30)
RECENTLY = timedelta(days=30)
COMING = 8


@dataclass(frozen=True)
class Waiting:
    """Members who wrote and were not answered: how many people, how many calls for help (``note``: its number, if it is one)."""

    people: int
    calls: int
    note: int | None


@dataclass(frozen=True)
class Supporters:
    """Who is there for others: how many, how many of them are ON, and whether it is evening or night where the collective is."""

    number: int
    on_duty: int
    is_night: bool


@dataclass(frozen=True)
class Belonging:
    """Active members, and who came and went within RECENTLY."""

    active: int
    joined: int
    left: int


def read_open(session: Session, collective_id: int, now: datetime) -> list[Broadcast]:
    """Broadcasts that are drafts (young enough for a yes), booked, held or on their way, the newest first."""
    is_open = Broadcast.state.in_((states.DRAFT, states.SCHEDULED, states.HELD, states.SENDING))
    is_alive = sa.or_(Broadcast.state != states.DRAFT, Broadcast.created_at > now - DRAFT_LASTS)
    query = sa.select(Broadcast).where(Broadcast.collective_id == collective_id, is_open, is_alive)
    return list(session.scalars(query.order_by(Broadcast.number.desc())))


def read_notes(session: Session, collective_id: int) -> Waiting:
    """Who waits for an answer; of muted senders, who calls for help."""
    is_open = Note.state == "open"
    is_call = sa.and_(is_open, Note.kind == "sos")
    query = (
        sa.select(
            sa.func.count().label("all"),
            sa.func.count(sa.distinct(sa.case((is_open, Note.membership_id)))).label("people"),
            sa.func.count(sa.distinct(sa.case((is_call, Note.membership_id)))).label("calls"),
            sa.func.max(sa.case((is_call, Note.number))).label("note"),
        )
        .join(Membership, Membership.id == Note.membership_id)
        .where(Note.collective_id == collective_id, sa.or_(Membership.muted_at.is_(None), is_call))
    )
    row = memory().recall(
        ("home notes", collective_id), session.execute(query).one, lambda found: NOTES_BELIEVED if found.all > MANY else 0.0
    )
    return Waiting(row.people, row.calls, row.note if row.calls == 1 else None)


def count_peer_requests(session: Session, collective_id: int, now: datetime) -> int:
    """Who would like to talk and was not answered. For supporters alone."""
    mine = sa.select(sa.func.count()).where(PeerRequest.collective_id == collective_id, PeerRequest.answered_at.is_(None))
    return session.scalar(mine.where(PeerRequest.created_at > now - PEERS_SHOWN)) or 0


def read_supporters(session: Session, collective: Collective, here: datetime) -> Supporters:
    """``here``: this moment on the collective's clocks."""
    query = (
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.case((Membership.on_duty, 1), else_=0)), 0))
        .join(Role, Role.membership_id == Membership.id)
        .join(Person, Person.id == Membership.person_id)
        .join(Phone, Phone.id == Person.phone_id)
        .where(Role.role == "supporter", Membership.collective_id == collective.id, Membership.state == "active")
        .where(Phone.detached_at.is_(None))
    )
    number, on_duty = session.execute(query).one()
    begins, ends = (collective.quiet_from, collective.quiet_until) if collective.quiet_from is not None else NIGHT
    return Supporters(number, int(on_duty), _is_between(here.hour, (int(begins or 0) - EVENING_HOURS) % 24, int(ends or 0)))


def _is_between(hour: int, begins: int, ends: int) -> bool:
    return begins <= hour < ends if begins < ends else hour >= begins or hour < ends


def read_lines(session: Session, collective_id: int) -> Sequence[Any]:
    """The collective's lines: address, held_until, held_code, read_through."""
    query = (
        sa.select(Line.address, Line.held_until, Line.held_code, Line.read_through)
        .join(CollectiveLine, CollectiveLine.line_id == Line.id)
        .where(CollectiveLine.collective_id == collective_id)
        .order_by(CollectiveLine.position)
    )
    return session.execute(query).all()


def minutes_behind(line: Any) -> int | None:
    """How long ago the list of what came in on this line was read, when that is too long. Both moments are real time, not people's."""
    if line.read_through is None:
        return None
    behind = datetime.fromtimestamp(real_seconds(), UTC) - line.read_through
    return int(behind.total_seconds() // 60) if behind > READ_BACK_WITHIN else None


def read_uncertain(session: Session, collective_id: int, now: datetime) -> list[tuple[Broadcast, int]]:
    """Broadcasts with messages of which nobody can tell what became of them, and that a person may send again: (broadcast, how many)."""
    worth = sa.or_(Broadcast.expires_at.is_(None), Broadcast.expires_at > now)
    query = sa.select(Broadcast).where(
        Broadcast.collective_id == collective_id, Broadcast.state.in_((states.SENDING, states.DONE)), Broadcast.kind.in_(RESENDABLE), worth
    )
    found = session.scalars(query.order_by(Broadcast.id.desc())).all()
    counted = [(broadcast, _count_resendable(session, now, broadcast)) for broadcast in found]
    return [(broadcast, number) for broadcast, number in counted if number]


def _count_resendable(session: Session, now: datetime, broadcast: Broadcast) -> int:
    believed = ROWS_BELIEVED if broadcast.total > MANY else 0.0
    key = ("home uncertain", broadcast.id, broadcast.state)
    return memory().recall(key, lambda: count_resendable(session, now, broadcast), lambda _: believed)


def read_number_changes(session: Session, collective_id: int) -> Sequence[Any]:
    """Numbers that are about to change because this collective booked it: membership id, name, due_at."""
    query = (
        sa.select(Membership.id, Membership.name, NumberChange.due_at)
        .join(NumberChange, NumberChange.person_id == Membership.person_id)
        .where(NumberChange.done_at.is_(None), NumberChange.cancelled_at.is_(None))
        .where(NumberChange.collective_id == collective_id, Membership.collective_id == collective_id)
        .order_by(NumberChange.due_at)
    )
    return session.execute(query).all()


def read_closing_polls(session: Session, collective_id: int, now: datetime) -> Sequence[Any]:
    """Open votes by their close: number, at, broadcast_id."""
    went = Broadcast.state.in_((states.SCHEDULED, states.SENDING, states.HELD, states.DONE))
    query = (
        sa.select(Broadcast.number, Poll.closes_at.label("at"), Broadcast.id.label("broadcast_id"))
        .join(Poll, Poll.id == Broadcast.poll_id)
        .where(Broadcast.collective_id == collective_id, Broadcast.kind == "poll", went)
        .where(Poll.closed_at.is_(None), Poll.closes_at > now)
        .order_by(Poll.closes_at)
    )
    return session.execute(query.limit(COMING)).all()


def read_coming_actions(session: Session, collective_id: int, now: datetime) -> Sequence[Any]:
    """Actions by their beginning: number and broadcast_id of the newest words that call to it, at."""
    went = Broadcast.state.in_((states.SCHEDULED, states.SENDING, states.HELD, states.DONE))
    query = (
        sa.select(
            sa.func.max(Broadcast.number).label("number"), Alert.starts_at.label("at"), sa.func.max(Broadcast.id).label("broadcast_id")
        )
        .join(Alert, Alert.id == Broadcast.alert_id)
        .where(Broadcast.collective_id == collective_id, Broadcast.kind == "alert", went, Alert.starts_at > now)
        .group_by(Alert.id, Alert.starts_at)
        .order_by(Alert.starts_at)
    )
    return session.execute(query.limit(COMING)).all()


def read_last(session: Session, collective_id: int, kinds: Sequence[str]) -> Broadcast | None:
    """The newest broadcast of these kinds that has left, or is leaving."""
    query = sa.select(Broadcast).where(Broadcast.collective_id == collective_id, Broadcast.kind.in_(kinds))
    return session.scalars(
        query.where(Broadcast.state.in_((states.SENDING, states.DONE))).order_by(Broadcast.number.desc()).limit(1)
    ).first()


def has_written(session: Session, collective_id: int) -> bool:
    """Whether anything was ever written to this collective's members, a draft included."""
    return session.scalar(sa.select(Broadcast.id).where(Broadcast.collective_id == collective_id).limit(1)) is not None


def has_asked(session: Session, collective_id: int) -> bool:
    """Whether the collective ever voted."""
    return session.scalar(sa.select(Poll.id).where(Poll.collective_id == collective_id).limit(1)) is not None


def has_only_its_helpers(session: Session, collective_id: int) -> bool:
    """Whether nobody is a member but those who have a role."""
    other = sa.select(Membership.id).where(Membership.collective_id == collective_id, Membership.state == "active")
    return session.scalar(other.where(~sa.exists().where(Role.membership_id == Membership.id)).limit(1)) is None


def read_belonging(session: Session, collective_id: int, now: datetime) -> Belonging:
    """In one look at the memberships: at 100,000 of them it takes the database a twentieth of a second."""
    active = Membership.state == "active"
    since = now - RECENTLY

    def counted(condition: Any) -> Any:
        return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)

    query = sa.select(
        counted(active),
        counted(sa.and_(active, Membership.joined_at > since)),
        counted(sa.and_(~active, Membership.left_at > since)),
    ).where(Membership.collective_id == collective_id)

    def read() -> Belonging:
        numbers = session.execute(query).one()
        return Belonging(*(int(number) for number in numbers))

    return memory().recall(("home members", collective_id), read, lambda found: MEMBERS_BELIEVED if found.active > MANY else 0.0)
