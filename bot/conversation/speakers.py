"""Who is speaking: the phone, locked; its people and memberships. Prebuilt statements, because every message pays for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.conversation.steps import FlowEntry
from bot.conversation.turn import Belonging, LineFacts, Turn
from bot.delivery.sweep import release_window
from bot.deployment import Deployment
from models import Collective, CollectiveLine, Line, Membership, Person, Phone, PhoneLine, Role, Store, sqlite_or_postgres_insert

_phone: Any = Phone.__table__
_FIND_PHONE = (
    sa.select(
        _phone.c.id,
        _phone.c.current_person_id,
        _phone.c.stranger_answered_at,
        _phone.c.detached_at,
        _phone.c.number.is_(None).label("nameless"),
    )
    .where(_phone.c.number_hash == sa.bindparam("hash"))
    # Plain FOR UPDATE deadlocks with the foreign keys' own checks; this lock does not (measured).
    .with_for_update(key_share=True)
)
_LOCK_PHONE_OF = (
    sa.select(_phone.c.id, _phone.c.current_person_id, _phone.c.stranger_answered_at, _phone.c.detached_at)
    .where(_phone.c.current_person_id == sa.bindparam("person"), _phone.c.detached_at.is_(None))
    .with_for_update(key_share=True)
)
_BELONGINGS = (
    sa.select(
        Membership.id,
        Membership.collective_id,
        Membership.line_id,
        Collective.name,
        Collective.language,
        Collective.timezone,
        Person.language.label("her_language"),
        Person.timezone.label("her_timezone"),
        Role.role,
    )
    .join(Person, Person.id == Membership.person_id)
    .join(Collective, Collective.id == Membership.collective_id)
    .join(CollectiveLine, (CollectiveLine.collective_id == Membership.collective_id) & (CollectiveLine.line_id == sa.bindparam("line")))
    .outerjoin(Role, Role.membership_id == Membership.id)
    .where(Membership.person_id == sa.bindparam("person"), Membership.state == "active")
    .order_by(Membership.id)
)
_PERSON = sa.select(Person.language, Person.timezone).where(Person.id == sa.bindparam("person"))
_HEARD_ON = sa.update(Membership).where(Membership.id == sa.bindparam("membership")).values(line_id=sa.bindparam("line"))


@dataclass(frozen=True)
class PhoneFacts:
    """The locked phone row."""

    id: int
    current_person_id: int | None
    stranger_answered_at: datetime | None
    detached_at: datetime | None


def lock_phone(store: Store, session: Session, number: str, now: datetime) -> PhoneFacts:
    """Find or make the phone, and hold its lock until the transaction ends: one message of a phone at a time."""
    hashed = store.hash_number(number)
    row = session.execute(_FIND_PHONE, {"hash": hashed}).first()
    if row is None:
        insert = sqlite_or_postgres_insert(store, _phone).values(number=number, number_hash=hashed, created_at=now)
        session.execute(insert.on_conflict_do_nothing(index_elements=["number_hash"]))
        row = session.execute(_FIND_PHONE, {"hash": hashed}).one()
    elif row.nameless:
        # Forgotten, but kept as a hash because of a STOP: she writes again, so she can be answered again.
        session.execute(_phone.update().where(_phone.c.id == row.id).values(number=number))
    return PhoneFacts(row.id, row.current_person_id, row.stranger_answered_at, row.detached_at)


def meet(
    deployment: Deployment, session: Session, now: datetime, line: LineFacts, phone: PhoneFacts, flows: Mapping[str, FlowEntry]
) -> Turn:
    """The turn of whoever holds the phone now: her memberships on this line, her language and zone."""
    belongings: dict[int, Belonging] = {}
    roles: dict[int, set[str]] = {}
    language, zone = None, None
    if phone.current_person_id is not None:
        for row in session.execute(_BELONGINGS, {"person": phone.current_person_id, "line": line.id}):
            roles.setdefault(row.id, set()).update([row.role] if row.role else [])
            belongings[row.id] = Belonging(
                row.id, row.collective_id, row.name, row.language, row.timezone, frozenset(roles[row.id]), row.line_id
            )
            language, zone = row.her_language, row.her_timezone
        if not belongings:
            person = session.execute(_PERSON, {"person": phone.current_person_id}).first()
            language, zone = (person.language, person.timezone) if person else (None, None)
    mine = tuple(belongings.values())
    here = mine[0] if len(mine) == 1 else None
    if mine:
        language, zone = language or mine[0].language, zone or mine[0].timezone
    else:
        theirs = _of_the_line(session, line)
        language, zone = language or theirs[0], zone or theirs[1]
    return Turn(deployment, session, now, line, phone.id, phone.current_person_id, language, zone, flows, mine, here)


def _of_the_line(session: Session, line: LineFacts) -> tuple[str, str]:
    """A stranger is answered in the language of the line's first collective."""
    if not line.collective_ids:
        return "en", "UTC"
    row = session.execute(sa.select(Collective.language, Collective.timezone).where(Collective.id == line.collective_ids[0])).one()
    return row.language, row.timezone


def note_line(store: Store, turn: Turn) -> str | None:
    """Remember that she wrote on this line just now: it opens WhatsApp's window, and it is her line from now on.

    Gives who stopped this phone on this line (carrier, word, 21610), None when nobody did.
    """
    table: Any = PhoneLine.__table__
    insert = sqlite_or_postgres_insert(store, table).values(phone_id=turn.phone_id, line_id=turn.line.id, last_inbound_at=turn.now)
    sibling = table.c.opted_out_by == "sibling"
    stopped_by = turn.session.scalar(
        insert.on_conflict_do_update(
            index_elements=["phone_id", "line_id"],
            # STOP on another line of the same collective silenced this one too, until she writes here.
            set_={
                "last_inbound_at": turn.now,
                "opted_out_at": sa.case((sibling, sa.null()), else_=table.c.opted_out_at),
                "opted_out_by": sa.case((sibling, sa.null()), else_=table.c.opted_out_by),
            },
        ).returning(table.c.opted_out_by)
    )
    if turn.line.channel == "whatsapp" and turn.phone_id is not None:
        turn.rings = bool(release_window(turn.session, turn.phone_id, turn.line.id)) or turn.rings
    for belonging in turn.belongings:
        if belonging.line_id != turn.line.id:
            turn.session.execute(_HEARD_ON, {"membership": belonging.membership_id, "line": turn.line.id})
    return stopped_by


def is_opted_out(session: Session, phone_id: int | None, line_id: int) -> bool:
    """Whether this phone said STOP on this line."""
    return bool(
        session.scalar(
            sa.select(PhoneLine.id).where(PhoneLine.phone_id == phone_id, PhoneLine.line_id == line_id, PhoneLine.opted_out_at.is_not(None))
        )
    )


def read_line(session: Session, line_id: int) -> LineFacts:
    """What a turn needs to know of one line."""
    line = session.get_one(Line, line_id)
    shared = session.scalars(
        sa.select(CollectiveLine.collective_id).where(CollectiveLine.line_id == line_id).order_by(CollectiveLine.collective_id)
    ).all()
    return LineFacts(line.id, line.channel, line.address, line.two_way, line.carrier_answers_stop, tuple(shared))


def lock_phone_of(session: Session, person_id: int) -> PhoneFacts | None:
    """Lock the phone of a person for what a timer does to her; None when she is gone, or somebody else holds the phone now."""
    row = session.execute(_LOCK_PHONE_OF, {"person": person_id}).first()
    return None if row is None else PhoneFacts(row.id, row.current_person_id, row.stranger_answered_at, row.detached_at)
