"""Codes for logging in: the web process writes down that one was asked for, a worker sends it to whoever has the number and a role.

So the web process does the same for every number, in the same time, and learns itself nothing of who is known. The pump looks here
before it looks for lines with work; a lost bell is made good by the clock, which rings again for what waits.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.outbox import Letter, put
from bot.delivery.routes import NoLine, line_for
from bot.languages import words
from models import LoginCode, Membership, Person, Phone, Role, Store

DIGITS, LASTS = 6, timedelta(minutes=10)
# Of one transaction: a flood of requests must not become one long one.
MOST = 200

_k: Any = LoginCode.__table__
_waiting = _k.c.seed.is_not(None)
_ANY = sa.select(_k.c.id).where(_waiting).limit(1)
# Two workers never take the same one: each code is sent once.
_TAKE = sa.select(_k).where(_waiting).order_by(_k.c.id).limit(MOST).with_for_update(skip_locked=True)
_TAKEN = sa.update(_k).where(_k.c.id == sa.bindparam("taken")).values(seed=None, person_id=sa.bindparam("person"))
# The person who holds this phone now and has a role somewhere.
_WHO = (
    sa.select(Person.id.label("person_id"), Phone.id.label("phone_id"), Membership.id.label("membership_id"), Person.language)
    .join(Phone, sa.and_(Phone.current_person_id == Person.id, Phone.detached_at.is_(None)))
    .join(Membership, sa.and_(Membership.person_id == Person.id, Membership.state == "active"))
    .join(Role, Role.membership_id == Membership.id)
    .where(Phone.number_hash == sa.bindparam("number_hash"))
    .order_by(Membership.id)
    .limit(1)
)


def whoever_may(session: Session, number_hash: bytes) -> Any:
    """The person who holds this phone now and has a role somewhere: person_id, phone_id, membership_id, language. None: nobody."""
    return session.execute(_WHO, {"number_hash": number_hash}).first()


def make_code(store: Store, number_hash: bytes, seed: bytes) -> str:
    """The digits that belong to a seed. They stand nowhere: the seed lies in the table until the text is written, the key sealed."""
    drawn = hmac.digest(store.token_key, b"digits|" + number_hash + seed, "sha256")
    return f"{int.from_bytes(drawn, 'big') % 10**DIGITS:0{DIGITS}d}"


def is_code_waiting(session: Session) -> bool:
    """Whether somebody asked for a code and no worker has looked at that yet."""
    return session.connection().execute(_ANY).first() is not None


def write_codes(store: Store) -> int:
    """Put the codes that were asked for into the outbox, for the numbers that are known; returns how many requests were looked at."""
    with store.read() as session:
        if not is_code_waiting(session):
            return 0
    now = store.clock.now()
    with store.write() as session:
        taken = session.connection().execute(_TAKE).all()
        for row in taken:
            found = whoever_may(session, row.number_hash) if row.expires_at > now else None
            if found is not None:
                _put_code(session, now, found, make_code(store, row.number_hash, row.seed), row.expires_at)
            session.connection().execute(_TAKEN, {"taken": row.id, "person": found.person_id if found else None})
    return len(taken)


def _put_code(session: Session, now: datetime, found: Any, code: str, expires_at: datetime) -> None:
    language = found.language or "en"
    try:
        line_id = line_for(session, found.membership_id)
    except NoLine:
        return
    body = words(language, "Your code for the console: {code}. It is good for 10 minutes. Nobody will ever ask you for it.", code=code)
    letter = Letter(
        "code", body, language, line_id, found.phone_id, found.person_id, found.membership_id, unprompted=False, expires_at=expires_at
    )
    put(session, now, letter)
