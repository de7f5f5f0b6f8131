"""Logging in by phone: a six-digit code by text. Known and unknown numbers get the same answer after the same work.

Six digits, ten minutes, one use, five tries; three codes in fifteen minutes to one number, ten an hour from one address, twenty a day
to one number (docs/safety.md; NIST SP 800-63B-4 lists codes by SMS as restricted, so whatever sends asks for the app's code as well).
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.bell import ring
from bot.delivery.outbox import Letter, put
from bot.delivery.routes import NoLine, line_for
from bot.deployment import Deployment
from bot.languages import words
from bot.members.membership import NumberRefused, parse_number
from models import LoginCode, Membership, Person, Phone, Role, Store

DIGITS, LASTS, TRIES = 6, timedelta(minutes=10), 5
PER_NUMBER, NUMBER_SPAN = 3, timedelta(minutes=15)
PER_DAY, DAY = 20, timedelta(days=1)
PER_ASKER, ASKER_SPAN = 10, timedelta(hours=1)

_k: Any = LoginCode.__table__


@dataclass(frozen=True)
class Asked:
    """What came of asking for a code: ``ticket`` is what the next form carries (it says nothing about the number).

    ``why`` there is none: too_many, no_number.
    """

    ticket: str | None
    why: str | None = None


def ask_code(deployment: Deployment, number: str, asker: str) -> Asked:
    """Send a code to this number, if somebody with a role has it. The answer is the same when nobody has.

    ``asker``: the address that asks; only its hash is kept, for the limit.
    """
    store, now = deployment.store, deployment.clock.now()
    try:
        number = parse_number(number)
    except NumberRefused:
        return Asked(None, "no_number")
    number_hash, asker_hash = store.hash_number(number), hmac.digest(store.token_key, b"asker|" + asker.encode(), "sha256")
    code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"
    with store.write() as session:
        if _too_many(session, now, number_hash, asker_hash):
            return Asked(None, "too_many")
        found = _whoever_may(session, number_hash)
        row = LoginCode(
            number_hash=number_hash, asker_hash=asker_hash, code_hash=_hash(store, number_hash, code),
            person_id=found.person_id if found else None, asked_at=now, expires_at=now + LASTS,
        )  # fmt: skip
        session.add(row)
        session.flush()
        if found is not None:
            _send(session, now, found, code)
        ticket = f"{row.id}.{_seal(store, row.id)}"
    ring(deployment)
    return Asked(ticket)


def check_code(deployment: Deployment, ticket: str, code: str) -> tuple[int | None, str | None]:
    """(whoever logs in, None) for the right code; else (None, wrong | over): over means that a new code is needed."""
    store, now = deployment.store, deployment.clock.now()
    row_id = _read_ticket(store, ticket)
    if row_id is None:
        return None, "over"
    with store.write() as session:
        row = session.get(LoginCode, row_id, with_for_update=True)
        if row is None or row.used_at is not None or row.expires_at <= now or row.tries >= TRIES:
            return None, "over"
        row.tries += 1
        digits = "".join(character for character in code if character.isdecimal())
        right = hmac.compare_digest(row.code_hash, _hash(store, row.number_hash, digits))
        holder = _whoever_may(session, row.number_hash)
        # Whoever else holds the phone by now asked for no code, and whoever asked for it holds the phone no more.
        if not right or row.person_id is None or holder is None or holder.person_id != row.person_id:
            return None, "over" if row.tries >= TRIES else "wrong"
        row.used_at = now
        return row.person_id, None


def _too_many(session: Session, now: datetime, number_hash: bytes, asker_hash: bytes) -> bool:
    def asked(condition: Any, span: timedelta) -> int:
        return int(session.connection().execute(sa.select(sa.func.count()).where(condition, _k.c.asked_at > now - span)).scalar_one())

    return (
        asked(_k.c.number_hash == number_hash, NUMBER_SPAN) >= PER_NUMBER
        or asked(_k.c.number_hash == number_hash, DAY) >= PER_DAY
        or asked(_k.c.asker_hash == asker_hash, ASKER_SPAN) >= PER_ASKER
    )


def _whoever_may(session: Session, number_hash: bytes) -> Any:
    """The person who holds this phone now and has a role somewhere: person_id, phone_id, membership_id, language. None: nobody."""
    return session.execute(
        sa.select(Person.id.label("person_id"), Phone.id.label("phone_id"), Membership.id.label("membership_id"), Person.language)
        .join(Phone, sa.and_(Phone.current_person_id == Person.id, Phone.detached_at.is_(None)))
        .join(Membership, sa.and_(Membership.person_id == Person.id, Membership.state == "active"))
        .join(Role, Role.membership_id == Membership.id)
        .where(Phone.number_hash == number_hash)
        .order_by(Membership.id)
        .limit(1)
    ).first()


def _send(session: Session, now: datetime, found: Any, code: str) -> None:
    language = found.language or "en"
    try:
        line_id = line_for(session, found.membership_id)
    except NoLine:
        return
    body = words(language, "Your code for the console: {code}. It is good for 10 minutes. Nobody will ever ask you for it.", code=code)
    put(
        session,
        now,
        Letter(
            "code", body, language, line_id, found.phone_id, person_id=found.person_id, membership_id=found.membership_id,
            unprompted=False, expires_at=now + LASTS,
        ),
    )  # fmt: skip


def _hash(store: Store, number_hash: bytes, code: str) -> bytes:
    return hmac.digest(store.token_key, b"code|" + number_hash + code.encode(), "sha256")


def _seal(store: Store, row_id: int) -> str:
    return hmac.digest(store.token_key, f"ticket|{row_id}".encode(), "sha256").hex()[:24]


def _read_ticket(store: Store, ticket: str) -> int | None:
    row, _, seal = ticket.partition(".")
    if not (row.isascii() and row.isdecimal() and len(row) < 16) or not hmac.compare_digest(seal.encode(), _seal(store, int(row)).encode()):
        return None
    return int(row)
