"""Who is looking: a browser's session, the person behind it, her roles in each collective.

The cookie holds a random token and nothing else; the table holds its hash. Roles are read anew with every request, so that a role
taken away is gone with the next click.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import Collective, Membership, Person, Role, Store, WebSession

COOKIE = "chorus_console"
# A session ends by itself, sooner when nobody looks: the phone may be shared, or lost (docs/safety.md).
LASTS, IDLE = timedelta(hours=12), timedelta(hours=2)
# How long one code of the app counts: a broadcast takes a few clicks.
PROOF_LASTS = timedelta(minutes=10)
SEEN_EVERY = timedelta(minutes=1)

_s: Any = WebSession.__table__
_p: Any = Person.__table__
_m: Any = Membership.__table__
_c: Any = Collective.__table__
_r: Any = Role.__table__

_FIND = (
    sa.select(_s.c.id, _s.c.person_id, _s.c.seen_at, _s.c.expires_at, _s.c.proven_until, _s.c.proven_for, _p.c.language)
    .join(_p, _p.c.id == _s.c.person_id)
    .where(_s.c.token_hash == sa.bindparam("hash"), _s.c.ended_at.is_(None))
)
_MINE = (
    sa.select(_m.c.id, _m.c.collective_id, _c.c.name, _c.c.word, _c.c.language, _c.c.timezone, _r.c.role)
    .join(_c, _c.c.id == _m.c.collective_id)
    .join(_r, _r.c.membership_id == _m.c.id)
    .where(_m.c.person_id == sa.bindparam("person"), _m.c.state == "active")
    .order_by(_c.c.name, _m.c.id)
)


@dataclass(frozen=True)
class Place:
    """One collective that she has a role in."""

    membership_id: int
    collective_id: int
    name: str
    word: str
    language: str
    timezone: str
    roles: frozenset[str]


@dataclass(frozen=True)
class Viewer:
    """Whoever looks at a page. ``csrf`` goes into every form."""

    session_id: int
    person_id: int
    language: str | None
    proven_until: datetime | None
    proven_for: int | None
    csrf: str
    places: tuple[Place, ...] = field(default=())

    def place(self, word: str) -> Place | None:
        """Her place in the collective of this word; None where she has no role."""
        return next((place for place in self.places if place.word == word.casefold()), None)

    def has_proof(self, now: datetime, membership_id: int) -> bool:
        """Whether a code of this membership's own app was given a moment ago: another collective's says nothing here."""
        return self.proven_for == membership_id and self.proven_until is not None and self.proven_until > now


def _hash(store: Store, token: str) -> bytes:
    return hmac.digest(store.token_key, b"console|" + token.encode(), "sha256")


def csrf_of(store: Store, token: str) -> str:
    """What a form of this session must carry: derived from the token, so another session's form is worth nothing here."""
    return hmac.digest(store.token_key, b"csrf|" + token.encode(), "sha256").hex()[:32]


def open_session(store: Store, session: Session, now: datetime, person_id: int, device: str) -> str:
    """Log a person in; returns the token for the cookie."""
    token = secrets.token_urlsafe(32)
    session.add(
        WebSession(
            token_hash=_hash(store, token), person_id=person_id, device=device[:40], made_at=now, seen_at=now, expires_at=now + LASTS
        )
    )
    return token


def find_viewer(store: Store, now: datetime, token: str | None, *, by_itself: bool = False) -> Viewer | None:
    """The viewer whose cookie this is; None when it is nobody's, too old, or ended.

    ``by_itself``: the page asks again by itself, which is no sign that anybody still looks at it.
    """
    if not token or len(token) > 100 or not token.isascii():
        return None
    with store.read() as session:
        row = session.connection().execute(_FIND, {"hash": _hash(store, token)}).first()
        if row is None or row.expires_at <= now or row.seen_at <= now - IDLE:
            return None
        places: dict[int, list[Any]] = {}
        for each in session.connection().execute(_MINE, {"person": row.person_id}):
            places.setdefault(each.id, []).append(each)
    mine = tuple(
        Place(
            rows[0].id, rows[0].collective_id, rows[0].name, rows[0].word, rows[0].language, rows[0].timezone,
            frozenset(each.role for each in rows),
        )
        for rows in places.values()
    )  # fmt: skip
    if row.seen_at <= now - SEEN_EVERY and not by_itself:
        with store.write() as session:
            session.connection().execute(sa.update(_s).where(_s.c.id == row.id).values(seen_at=now))
    return Viewer(row.id, row.person_id, row.language, row.proven_until, row.proven_for, csrf_of(store, token), mine)


def end_session_of(session: Session, now: datetime, person_id: int, session_id: int) -> bool:
    """End one of a person's own sessions. False when it is not hers, or over already."""
    mine = sa.update(_s).where(_s.c.id == session_id, _s.c.person_id == person_id, _s.c.ended_at.is_(None))
    return bool(session.connection().execute(mine.values(ended_at=now)).rowcount)


def prove(session: Session, now: datetime, session_id: int, membership_id: int) -> None:
    """A right code of this membership's app was given in this session."""
    proven = sa.update(_s).where(_s.c.id == session_id).values(proven_until=now + PROOF_LASTS, proven_for=membership_id)
    session.connection().execute(proven)


def name_device(user_agent: str) -> str:
    """ "Firefox on Android": what somebody recognises of her own devices, and nothing finer."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "A browser")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser


_BROWSERS = (("Firefox", "Firefox"), ("Edg", "Edge"), ("OPR", "Opera"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("KAIOS", "KaiOS"), ("Windows", "Windows"), ("Mac OS", "Mac"),
    ("Linux", "Linux"),
)  # fmt: skip
