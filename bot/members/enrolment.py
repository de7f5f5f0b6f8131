"""Many members at once: what an import would do, and doing it, in one transaction or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from bot.members.membership import find_anew
from bot.members.roster import RosterRow
from bot.members.search import stopped_on
from bot.members.told import belongs_elsewhere, told_language, told_zone
from models import Audit, Collective, Consent, Group, GroupMember, Membership, Person, Phone, PhoneLine, Store, sqlite_or_postgres_insert

CHUNK = 500


@dataclass
class Forecast:
    """What an import would do. The lists hold row numbers."""

    new: int = 0
    known: int = 0
    stopped: int = 0  # have texted STOP on a line of this collective: they stay stopped there
    left: list[int] = field(default_factory=list)
    detached: list[int] = field(default_factory=list)
    unreachable: list[int] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    new_groups: list[str] = field(default_factory=list)


@contextmanager
def long_transaction(store: Store) -> Iterator[Session]:
    """One transaction for work of many statements. ``Store.write`` ends a transaction after eight seconds, which is right for a
    webhook and wrong for 100,000 members; each statement here still has its own limit."""
    with Session(store.engine, expire_on_commit=False) as session, session.begin():
        yield session


def forecast_enrolment(store: Store, collective: Collective, rows: Sequence[RosterRow]) -> Forecast:
    """What ``enrol`` would do with these rows. Reads only."""
    forecast = Forecast()
    forecast.languages.update(row.language or collective.language for row in rows)
    forecast.groups.update(group for row in rows for group in row.groups)
    with Session(store.reader) as session:
        existing = set(session.scalars(sa.select(Group.name).where(Group.collective_id == collective.id)))
        forecast.new_groups = sorted(forecast.groups.keys() - existing)
        for chunk in _chunks(rows):
            by_hash = {store.hash_number(row.number): row for row in chunk}
            known = {found.number_hash: found for found in session.execute(standing(collective.id, list(by_hash)))}
            for hashed, row in by_hash.items():
                _count(forecast, row, known.get(hashed))
    return forecast


def standing(collective_id: int, hashes: list[bytes]) -> Any:
    """How the numbers of these hashes stand with the collective, and no more than that: number_hash, state (of the membership), stopped
    (on a line of this collective), detached (said to be a wrong number by somebody whom this collective wrote to),
    unreachable (so it is, and why is nobody's business here).
    """
    stopped = sa.exists().where(PhoneLine.phone_id == Phone.id, *stopped_on(collective_id))
    membership = sa.and_(Membership.person_id == Phone.current_person_id, Membership.collective_id == collective_id)
    was = aliased(Membership)
    was_here = sa.exists().where(Person.phone_id == Phone.id, was.person_id == Person.id, was.collective_id == collective_id)
    is_detached = Phone.detached_at.is_not(None)
    return (
        sa.select(
            Phone.number_hash,
            Membership.state,
            stopped.label("stopped"),
            sa.and_(is_detached, was_here).label("detached"),
            sa.and_(is_detached, ~was_here).label("unreachable"),
        )
        .outerjoin(Membership, membership)
        .where(Phone.number_hash.in_(hashes))
    )


def _count(forecast: Forecast, row: RosterRow, found: Any) -> None:
    if found is None:
        forecast.new += 1
        return
    if found.unreachable:
        forecast.unreachable.append(row.row)
        return
    forecast.stopped += bool(found.stopped)
    if found.detached:
        forecast.detached.append(row.row)
    elif found.state == "left":
        forecast.left.append(row.row)
    elif found.state == "active":
        forecast.known += 1
    else:
        forecast.new += 1


def enrol(
    store: Store,
    collective: Collective,
    rows: Sequence[RosterRow],
    *,
    how: str,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Make the rows members of the collective, all in one transaction; returns how many are new.

    ``how`` says how and when they agreed, and is kept (sealed) with each consent. Members are active at once and get ordinary
    broadcasts; care (check-ins) needs a consent of its own, which nobody can import. Who left stays away; who is a member already
    keeps what she said of herself, and only blanks are filled. Raises what the database raises; then nothing was written.
    """
    now = store.clock.now()
    with long_transaction(store) as session:
        added = enrol_within(session, store, collective, rows, how=how, now=now, progress=progress)
        session.add(Audit(collective_id=collective.id, act="members imported", subject=str(added), at=now))
    return added


def enrol_within(
    session: Session,
    store: Store,
    collective: Collective,
    rows: Sequence[RosterRow],
    *,
    how: str,
    now: datetime,
    import_id: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """``enrol`` inside a transaction of the caller's. ``import_id``: the import that each new membership is marked with (undo)."""
    groups = _find_or_add_groups(session, store, collective.id, sorted({group for row in rows for group in row.groups}))
    added = done = 0
    for chunk in _chunks(rows):
        added += _enrol_chunk(session, store, collective, chunk, groups, how, now, import_id)
        done += len(chunk)
        if progress:
            progress(done, len(rows))
    return added


def _find_or_add_groups(session: Session, store: Store, collective_id: int, names: list[str]) -> dict[str, int]:
    if names:
        insert = sqlite_or_postgres_insert(store, Group.__table__).on_conflict_do_nothing()
        session.execute(insert, [{"collective_id": collective_id, "name": name} for name in names])
    return {name: id for name, id in session.execute(sa.select(Group.name, Group.id).where(Group.collective_id == collective_id))}


def _enrol_chunk(
    session: Session,
    store: Store,
    collective: Collective,
    chunk: Sequence[RosterRow],
    groups: dict[str, int],
    how: str,
    now: datetime,
    import_id: int | None,
) -> int:
    by_hash = {store.hash_number(row.number): row for row in chunk}
    insert_phone = sqlite_or_postgres_insert(store, Phone.__table__).on_conflict_do_nothing()
    session.execute(insert_phone, [{"number": row.number, "number_hash": hashed, "created_at": now} for hashed, row in by_hash.items()])
    # In the order of ids, so that two imports at once wait for each other instead of deadlocking.
    locked = sa.select(Phone.id, Phone.number_hash, Phone.current_person_id, Phone.detached_at).where(Phone.number_hash.in_(list(by_hash)))
    phones = session.execute(locked.order_by(Phone.id).with_for_update(key_share=True)).all()
    reachable = {phone.id: by_hash[phone.number_hash] for phone in phones if phone.detached_at is None}
    person_of = {phone.id: phone.current_person_id for phone in phones if phone.current_person_id is not None}
    _fill_blanks(session, collective.id, {person_of[phone]: row for phone, row in reachable.items() if phone in person_of})
    strangers = [
        {"phone_id": phone, "language": row.language, "timezone": row.timezone, "created_at": now}
        for phone, row in reachable.items()
        if phone not in person_of
    ]
    if strangers:
        made = session.execute(sa.insert(Person).returning(Person.phone_id, Person.id), strangers).all()
        person_of |= {phone_id: person_id for phone_id, person_id in made}
        holders = [{"phone": phone_id, "person": person_id} for phone_id, person_id in made]
        table: Any = Phone.__table__
        session.connection().execute(
            sa.update(table).where(table.c.id == sa.bindparam("phone")).values(current_person_id=sa.bindparam("person")), holders
        )
    rows = {person_of[phone]: row for phone, row in reachable.items()}
    return _add_memberships(session, store, collective, rows, groups, how, now, import_id)


def _fill_blanks(session: Session, collective_id: int, rows: dict[int, RosterRow]) -> None:
    """What a member said of herself stays; what nobody said yet is taken from the file: her language and zone only where no other
    collective writes to her by them."""
    known = sa.select(Person).where(Person.id.in_(rows), ~belongs_elsewhere(Person.id, collective_id))
    for person in session.scalars(known):
        row = rows[person.id]
        person.language, person.timezone = person.language or row.language, person.timezone or row.timezone
    here = sa.select(Membership).where(Membership.collective_id == collective_id, Membership.person_id.in_(rows))
    nameless = session.scalars(here.where(Membership.state == "active", Membership.name.is_(None))).all()
    for member in nameless:
        member.name = rows[member.person_id].name
    find_anew(session, [member.person_id for member in nameless if member.name])


def _add_memberships(
    session: Session,
    store: Store,
    collective: Collective,
    rows: dict[int, RosterRow],
    groups: dict[str, int],
    how: str,
    now: datetime,
    import_id: int | None,
) -> int:
    mine = sa.select(Membership.person_id, Membership.id, Membership.state)
    found_here = session.execute(mine.where(Membership.collective_id == collective.id, Membership.person_id.in_(rows))).all()
    membership_of = {found.person_id: found.id for found in found_here if found.state == "active"}
    known = {found.person_id for found in found_here}
    wanted = [
        {
            "person_id": person, "collective_id": collective.id, "name": row.name, "state": "active", "joined_at": now,
            "import_id": import_id,
        }  # fmt: skip
        for person, row in rows.items()
        if person not in known
    ]
    if wanted:
        made = session.execute(sa.insert(Membership).returning(Membership.person_id, Membership.id), wanted).all()
        membership_of |= {person_id: membership_id for person_id, membership_id in made}
        find_anew(session, [person for person in membership_of if person not in known and rows[person].name])
        consents = [
            {
                "membership_id": membership_id,
                "kind": "import",
                "how": how,
                "text_version": "given elsewhere",
                "language": rows[person_id].language or collective.language,
                "given_at": now,
            }
            for person_id, membership_id in made
        ]
        session.execute(sa.insert(Consent), consents)
    placed = [
        {"group_id": groups[group], "membership_id": membership_of[person]}
        for person, row in rows.items()
        if person in membership_of
        for group in row.groups
    ]
    if placed:
        session.execute(sqlite_or_postgres_insert(store, GroupMember.__table__).on_conflict_do_nothing(), placed)
    return len(wanted)


def list_members(session: Session, collective_id: int, *, without: Collection[int] = ()) -> Iterator[RosterRow]:
    """The active members of a collective as rows of a members file, in the order they joined. ``without``: groups that are not told."""
    groups: dict[int, list[str]] = {}
    placed = sa.select(GroupMember.membership_id, Group.name).join(Group).where(Group.collective_id == collective_id)
    for membership_id, name in session.execute(placed.where(Group.id.not_in(without)).order_by(Group.name)):
        groups.setdefault(membership_id, []).append(name)
    members = (
        sa.select(
            Membership.id, Phone.number, Membership.name, told_language().label("language"), told_zone().label("timezone")
        )
        .join(Person, Person.id == Membership.person_id)
        .join(Phone, Phone.id == Person.phone_id)
        .where(Membership.collective_id == collective_id, Membership.state == "active", Phone.number.is_not(None))
        .order_by(Membership.id)
    )
    for place, found in enumerate(session.execute(members.execution_options(yield_per=1000))):
        yield RosterRow(place + 2, found.number, found.name, found.language, found.timezone, tuple(groups.get(found.id, ())))


def _chunks(rows: Sequence[RosterRow]) -> Iterator[Sequence[RosterRow]]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]
