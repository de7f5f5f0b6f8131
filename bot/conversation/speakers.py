"""Who is speaking: the phone, locked; its people and memberships. Prebuilt statements, because every message pays for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bot.conversation.steps import FlowEntry
from bot.conversation.turn import Belonging, LineFacts, Turn
from bot.delivery.lists import in_states
from bot.delivery.sweep import release_window
from bot.deployment import Deployment
from models import (
    Collective,
    CollectiveLine,
    Conversation,
    Line,
    Membership,
    Outbound,
    Person,
    Phone,
    PhoneLine,
    Prepared,
    Role,
    Store,
    sqlite_or_postgres_insert,
)

_phone: Any = Phone.__table__
_find_phone = (
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
_FIND_PHONE = Prepared(_find_phone)
_LOCK_PHONE_OF = (
    sa.select(_phone.c.id, _phone.c.current_person_id, _phone.c.stranger_answered_at, _phone.c.detached_at)
    .where(_phone.c.current_person_id == sa.bindparam("person"), _phone.c.detached_at.is_(None))
    .with_for_update(key_share=True)
)
_m: Any = Membership.__table__
_p: Any = Person.__table__
_c: Any = Collective.__table__
_cl: Any = CollectiveLine.__table__
_r: Any = Role.__table__
_pl: Any = PhoneLine.__table__
_t: Any = Conversation.__table__
_o: Any = Outbound.__table__
# Most texts come when nothing is open and nothing was asked; saying so here spares them two statements.
_floor_taken = sa.exists().where(_t.c.person_id == sa.bindparam("person"), in_states(_t.c.state, "open"))
_was_asked = sa.exists().where(_o.c.person_id == sa.bindparam("person"), _o.c.asked_at.is_not(None))
_belongings = (
    sa.select(
        _m.c.id,
        _m.c.collective_id,
        _m.c.line_id,
        _c.c.name,
        _c.c.language,
        _c.c.timezone,
        _p.c.language.label("her_language"),
        _p.c.timezone.label("her_timezone"),
        _r.c.role,
        _floor_taken.label("floor_taken"),
        _was_asked.label("was_asked"),
    )
    .select_from(
        _m.join(_p, _p.c.id == _m.c.person_id)
        .join(_c, _c.c.id == _m.c.collective_id)
        .join(_cl, sa.and_(_cl.c.collective_id == _m.c.collective_id, _cl.c.line_id == sa.bindparam("line")))
        .outerjoin(_r, _r.c.membership_id == _m.c.id)
    )
    .where(_m.c.person_id == sa.bindparam("person"), _m.c.state == "active")
    .order_by(_m.c.id)
)
_BELONGINGS = Prepared(_belongings)
_PERSON = Prepared(sa.select(_p.c.language, _p.c.timezone).where(_p.c.id == sa.bindparam("person")))
_LINE_SPEAKS = Prepared(sa.select(_c.c.language, _c.c.timezone).where(_c.c.id == sa.bindparam("collective")))
_HEARD_ON = Prepared(sa.update(_m).where(_m.c.id == sa.bindparam("membership")).values(line_id=sa.bindparam("line")))
_OPTED_OUT = Prepared(
    sa.select(_pl.c.id).where(
        _pl.c.phone_id == sa.bindparam("phone"), _pl.c.line_id == sa.bindparam("line"), _pl.c.opted_out_at.is_not(None)
    )
)


def _write_on(insert: Any) -> Any:
    """The statement of ``note_line``, in one dialect."""
    new = insert(_pl)
    sibling = _pl.c.opted_out_by == "sibling"
    return new.on_conflict_do_update(
        index_elements=["phone_id", "line_id"],
        # STOP on another line of the same collective silenced this one too, until she writes here.
        set_={
            "last_inbound_at": new.excluded.last_inbound_at,
            "opted_out_at": sa.case((sibling, sa.null()), else_=_pl.c.opted_out_at),
            "opted_out_by": sa.case((sibling, sa.null()), else_=_pl.c.opted_out_by),
        },
    ).returning(_pl.c.opted_out_by)


def _wrote_late_on(insert: Any) -> Any:
    """The same for a text read from the carrier's list: older than what is known, it opens nothing anew and lifts no STOP."""
    new = insert(_pl)
    later = sa.func.coalesce(_pl.c.last_inbound_at >= new.excluded.last_inbound_at, sa.false())
    return new.on_conflict_do_update(
        index_elements=["phone_id", "line_id"],
        set_={"last_inbound_at": sa.case((later, _pl.c.last_inbound_at), else_=new.excluded.last_inbound_at)},
    ).returning(_pl.c.opted_out_by)


_WROTE_LATE_ON = Prepared({"sqlite": _wrote_late_on(sqlite.insert), "postgresql": _wrote_late_on(postgresql.insert)})
_WRITE_ON = Prepared({"sqlite": _write_on(sqlite.insert), "postgresql": _write_on(postgresql.insert)})


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
    row = _FIND_PHONE.first(session, {"hash": hashed})
    if row is None:
        insert = sqlite_or_postgres_insert(store, _phone).values(number=number, number_hash=hashed, created_at=now)
        session.execute(insert.on_conflict_do_nothing(index_elements=["number_hash"]))
        row = _FIND_PHONE.one(session, {"hash": hashed})
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
    floor_taken, was_asked = True, True  # that is, not known
    if phone.current_person_id is not None:
        for row in _BELONGINGS.all(session, {"person": phone.current_person_id, "line": line.id}):
            roles.setdefault(row.id, set()).update([row.role] if row.role else [])
            belongings[row.id] = Belonging(
                row.id, row.collective_id, row.name, row.language, row.timezone, frozenset(roles[row.id]), row.line_id
            )
            language, zone = row.her_language, row.her_timezone
            floor_taken, was_asked = row.floor_taken, row.was_asked
        if not belongings:
            person = _PERSON.first(session, {"person": phone.current_person_id})
            language, zone = (person.language, person.timezone) if person else (None, None)
    mine = tuple(belongings.values())
    here = mine[0] if len(mine) == 1 else None
    if mine:
        language, zone = language or mine[0].language, zone or mine[0].timezone
    else:
        theirs = _of_the_line(session, line)
        language, zone = language or theirs[0], zone or theirs[1]
    turn = Turn(deployment, session, now, line, phone.id, phone.current_person_id, language, zone, flows, mine, here)
    turn.empty_floor_of = None if floor_taken else phone.current_person_id
    turn.asked = None if was_asked else ()
    return turn


def _of_the_line(session: Session, line: LineFacts) -> tuple[str, str]:
    """A stranger is answered in the language of the line's first collective."""
    if not line.collective_ids:
        return "en", "UTC"
    row = _LINE_SPEAKS.first(session, {"collective": line.collective_ids[0]})
    return (row.language, row.timezone) if row else ("en", "UTC")


def note_line(store: Store, turn: Turn) -> str | None:
    """Remember that she wrote on this line just now: it opens WhatsApp's window, and it is her line from now on.

    Gives who stopped this phone on this line (carrier, word, 21610), None when nobody did.
    """
    wrote = {"phone_id": turn.phone_id, "line_id": turn.line.id, "last_inbound_at": turn.sent_at or turn.now}
    statement = _WRITE_ON if turn.sent_at is None else _WROTE_LATE_ON
    stopped_by: str | None = statement.scalar(turn.session, wrote)
    if turn.line.channel == "whatsapp" and turn.phone_id is not None:
        turn.rings = bool(release_window(turn.session, turn.now, turn.phone_id, turn.line.id)) or turn.rings
    for belonging in turn.belongings:
        if belonging.line_id != turn.line.id:
            _HEARD_ON.run(turn.session, {"membership": belonging.membership_id, "line": turn.line.id})
    return stopped_by


def is_opted_out(session: Session, phone_id: int | None, line_id: int) -> bool:
    """Whether this phone said STOP on this line."""
    return _OPTED_OUT.first(session, {"phone": phone_id, "line": line_id}) is not None


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
