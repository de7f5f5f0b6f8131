"""Finding members although names are sealed: by keyed hashes of the words of a name and of their beginnings, and by what else is known.

Whoever steals the database without its keys learns from the hashes how many people share the beginning of a name, and no name.
"""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from bot.deployment import Deployment
from bot.languages import fold
from bot.members.told import speaks, told_language
from models import (
    Broadcast,
    Collective,
    CollectiveLine,
    Group,
    GroupMember,
    Membership,
    NameWord,
    Person,
    PhoneLine,
    Role,
    Rsvp,
    SealBroken,
    Store,
    sqlite_or_postgres_insert,
)

# A beginning of two letters would find half of everybody; after eight it is as good as the whole word.
SHORTEST, LONGEST, MOST_WORDS = 3, 8, 6
CHUNK, PLACED = 500, 10_000
# How long one turn of the clock may take: it sweeps and hears timers in between.
TURN_SECONDS = 3.0
STATES = ("here", "paused", "stopped", "left")

# Not the complement of \w: Devanagari words hold vowel signs, which are no letters to a regular expression.
_BETWEEN = re.compile(r"[\s\-‐-―'’.,/()·]+")

_p: Any = Person.__table__
_w: Any = NameWord.__table__
_m: Any = Membership.__table__
_gm: Any = GroupMember.__table__
_r: Any = Role.__table__
_a: Any = Rsvp.__table__
_pl: Any = PhoneLine.__table__
_cl: Any = CollectiveLine.__table__

_PICK = (
    sa.select(_p.c.id)
    .where(sa.or_(_p.c.name_indexed.is_(sa.false()), _p.c.names_indexed.is_(sa.false())))
    .order_by(_p.c.id)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True, key_share=True)
)
# The names as they are stored, opened one by one: a broken one must not keep all others from being found.
_NAMES = sa.select(_m.c.person_id, _m.c.collective_id, sa.type_coerce(_m.c.name, sa.LargeBinary).label("name")).where(
    _m.c.person_id.in_(sa.bindparam("people", expanding=True)), _m.c.name.is_not(None)
)
# Ten rows a name: as two lists in one statement they cost PostgreSQL a third of what they cost one by one (measured).
_INSERT_LISTS = sa.insert(_w).from_select(
    ["hash", "person_id"],
    sa.select(*(sa.func.unnest(sa.bindparam(name, type_=ARRAY(sa.BigInteger))) for name in ("hashes", "people"))),
)


def split_name(text: str) -> list[str]:
    """The words of a name as they are compared: folded, at most six."""
    return [word for word in _BETWEEN.split(fold(text)) if word][:MOST_WORDS]


def hashes_of_name(key: bytes, collective_id: int, name: str) -> set[int]:
    """Under what a name is found in a collective: each of its words, and each beginning of three to eight letters."""
    beginnings = {word[:end] for word in split_name(name) for end in range(min(SHORTEST, len(word)), min(LONGEST, len(word)) + 1)}
    return {_hash(key, collective_id, word) for word in beginnings}


def hashes_of_search(key: bytes, collective_id: int, text: str) -> tuple[int, ...]:
    """What to look for: one hash (63 bits) for each word that was written. Empty when there is no word in it."""
    return tuple(dict.fromkeys(_hash(key, collective_id, word[:LONGEST]) for word in split_name(text)))


def _hash(key: bytes, collective_id: int, word: str) -> int:
    return int.from_bytes(hmac.digest(key, f"name|{collective_id}|{word}".encode(), "sha256")[:8], "big") >> 1


def index_names(session: Session, store: Store, limit: int) -> int:
    """Fill the hashes of up to ``limit`` people who are new or got a name; returns how many. What stood there before is gone."""
    connection = session.connection()
    ids = list(connection.execute(_PICK, {"most": limit}).scalars())
    if not ids:
        return 0
    key, names = store.index_key, connection.execute(_NAMES, {"people": ids}).all()
    hashes = ((row.person_id, number) for row in names for number in sorted(hashes_of_name(key, row.collective_id, _open(store, row))))
    rows = [{"hash": number, "person_id": person_id} for person_id, number in hashes]
    connection.execute(sa.delete(_w).where(_w.c.person_id.in_(ids)))
    if rows and store.is_sqlite:
        connection.execute(sa.insert(_w), rows)
    elif rows:
        connection.execute(_INSERT_LISTS, {"hashes": [row["hash"] for row in rows], "people": [row["person_id"] for row in rows]})
    connection.execute(sa.update(_p).where(_p.c.id.in_(ids)).values(name_indexed=True, names_indexed=True))
    return len(ids)


def _open(store: Store, row: Any) -> str:
    try:
        return store.keyring.open(bytes(row.name), "people.name").decode()
    except SealBroken:
        return ""  # told elsewhere (flask doctor); she is not found by name


def index_new_names(deployment: Deployment, seconds: float = TURN_SECONDS) -> int:
    """Index names in short transactions until none is left or ``seconds`` (real ones) are over; returns how many."""
    store, until, done = deployment.store, time.monotonic() + seconds, 0
    _ = store.index_key
    while True:
        with store.write() as session:
            count = index_names(session, store, CHUNK)
        done += count
        if count < CHUNK or time.monotonic() > until:
            return done


@dataclass(frozen=True)
class Wanted:
    """Whom to find; all of it must hold.

    ``words``: hashes of a name; ``answer``: an alert's id with yes, maybe or no; ``state``: one of STATES.
    """

    words: tuple[int, ...] = ()
    language: str | None = None
    group_id: int | None = None
    role: str | None = None
    answer: tuple[int, str] | None = None
    state: str = "here"

    @property
    def is_everybody(self) -> bool:
        """Nothing was chosen."""
        return self == Wanted()


def conditions(collective: Collective, wanted: Wanted, now: datetime) -> list[Any]:
    """The conditions on memberships joined with people, in the order in which they narrow."""
    found: list[Any] = [_m.c.collective_id == collective.id, *_state(collective, wanted.state, now)]
    for number in wanted.words:
        found.append(_m.c.person_id.in_(sa.select(_w.c.person_id).where(_w.c.hash == number)))
    if wanted.language is not None:
        found.append(speaks(wanted.language, is_default=wanted.language == collective.language))
    if wanted.group_id is not None:
        found.append(_m.c.id.in_(sa.select(_gm.c.membership_id).where(_gm.c.group_id == wanted.group_id)))
    if wanted.role is not None:
        found.append(_m.c.id.in_(sa.select(_r.c.membership_id).where(_r.c.role == wanted.role)))
    if wanted.answer is not None:
        alert_id, answer = wanted.answer
        found.append(_m.c.id.in_(sa.select(_a.c.membership_id).where(_a.c.alert_id == alert_id, _a.c.answer == answer)))
    return found


def _state(collective: Collective, state: str, now: datetime) -> list[Any]:
    active = _m.c.state == "active"
    if state == "left":
        return [_m.c.state == "left"]
    if state == "paused":
        return [active, _m.c.paused_until > now]
    if state == "stopped":
        return [active, sa.exists().where(_pl.c.phone_id == _p.c.phone_id, *stopped_on(collective.id))]
    return [active]


def stopped_on(collective_id: int) -> tuple[Any, ...]:
    """Conditions on phone_lines: a STOP stands on a line of this collective."""
    lines = sa.select(_cl.c.line_id).where(_cl.c.collective_id == collective_id)
    return _pl.c.opted_out_at.is_not(None), _pl.c.line_id.in_(lines)


def care_groups(session: Session, collective_id: int) -> frozenset[int]:
    """The groups that were ever asked how they are, or will be: who is in them is care, and for supporters alone.

    Whatever else was written to such a group: else one notice to it, a draft even, would show who is asked.
    """
    asked = sa.select(Broadcast.group_id).where(Broadcast.collective_id == collective_id, Broadcast.kind == "check_in")
    return frozenset(number for number in session.scalars(asked.distinct()) if number is not None)


def list_page(collective: Collective, wanted: Wanted, now: datetime, *, before: int | None, limit: int) -> sa.Select[Any]:
    """One page of members, the newest first: by id, never by counting rows off."""
    query = (
        sa.select(
            _m.c.id, _m.c.state, _m.c.paused_until, _m.c.joined_at, _m.c.name, told_language().label("language"), _p.c.phone_id
        )
        .select_from(_m.join(_p, _p.c.id == _m.c.person_id))
        .where(*conditions(collective, wanted, now))
        .order_by(_m.c.id.desc())
        .limit(limit)
    )
    return query if before is None else query.where(_m.c.id < before)


def count_up_to(session: Session, collective: Collective, wanted: Wanted, now: datetime, most: int) -> int:
    """How many there are, counted no further than ``most``."""
    members = sa.select(_m.c.id).select_from(_m.join(_p, _p.c.id == _m.c.person_id))
    some = members.where(*conditions(collective, wanted, now)).limit(most).subquery()
    return int(session.connection().execute(sa.select(sa.func.count()).select_from(some)).scalar_one())


def save_as_group(store: Store, collective: Collective, wanted: Wanted, now: datetime, name: str) -> tuple[int, int]:
    """Put everybody who is found into the group of this (case-folded) name, made when it is new: (its id, how many came to it).

    In short transactions, so that a group of 100,000 holds nobody up; done again, it goes on where it ended.
    """
    groups: Any = Group.__table__
    with store.write() as session:
        connection = session.connection()
        connection.execute(sqlite_or_postgres_insert(store, groups).values(collective_id=collective.id, name=name).on_conflict_do_nothing())
        mine = sa.select(groups.c.id).where(groups.c.collective_id == collective.id, groups.c.name == name)
        group_id: int = connection.execute(mine).scalar_one()
    after, came = 0, 0
    while True:
        with store.write() as session:
            last, count = _place_some(session, store, collective, wanted, now, group_id, after)
        came += count
        if last is None:
            return group_id, came
        after = last


def _place_some(
    session: Session, store: Store, collective: Collective, wanted: Wanted, now: datetime, group_id: int, after: int
) -> tuple[int | None, int]:
    """The next ones after a membership: (the last of them, how many were not in the group); None when there are no more."""
    connection = session.connection()
    them = sa.select(_m.c.id).select_from(_m.join(_p, _p.c.id == _m.c.person_id)).where(*conditions(collective, wanted, now))
    some = them.where(_m.c.id > after).order_by(_m.c.id).limit(PLACED).subquery()
    last = connection.execute(sa.select(sa.func.max(some.c.id))).scalar()
    if last is None:
        return None, 0
    rows = sa.select(sa.literal(group_id, sa.BigInteger), them.where(_m.c.id > after, _m.c.id <= last).subquery().c.id).where(sa.true())
    insert = sqlite_or_postgres_insert(store, _gm).from_select(["group_id", "membership_id"], rows).on_conflict_do_nothing()
    return int(last), int(connection.execute(insert, execution_options={"preserve_rowcount": True}).rowcount)
