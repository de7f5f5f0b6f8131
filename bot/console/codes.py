"""Logging in by phone: a six-digit code by text. Known and unknown numbers get the same answer after the same statements.

Six digits, ten minutes, one use, five tries; three codes in fifteen minutes to one number, ten an hour from one address, twenty a day
to one number, six of its own to a browser that she logged in with before (docs/safety.md; NIST SP 800-63B-4 lists codes by SMS as
restricted, so whatever sends asks for the app's code as well).
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.console.browsers import mark_browser, read_mark
from bot.delivery.bell import ring
from bot.delivery.logins import LASTS, make_code
from bot.delivery.logins import whoever_may as _whoever_may
from bot.deployment import Deployment
from bot.members.membership import NumberRefused, parse_number
from models import LoginCode, Store

TRIES = 5
PER_NUMBER, NUMBER_SPAN = 3, timedelta(minutes=15)
PER_DAY, DAY = 20, timedelta(days=1)
PER_ASKER, ASKER_SPAN = 10, timedelta(hours=1)
# A day's for a browser that logged in with this number before, counted anew from each login. No stranger can use it up.
PER_BROWSER = 6

_k: Any = LoginCode.__table__


@dataclass(frozen=True)
class Asked:
    """What came of asking for a code: ``ticket`` is what the next form carries (it says nothing about the number).

    ``why`` there is none: too_many, no_number.
    """

    ticket: str | None
    why: str | None = None


def ask_code(deployment: Deployment, number: str, asker: str | None, door: str, mark: str | None = None) -> Asked:
    """Have a code sent to this number, if somebody with a role has it: a worker looks (``bot.delivery.logins``), not this process.

    ``asker``: who asks (``askers``); only its hash is kept, for the limit. None: nobody can tell, and only the number's limits hold.
    ``door``: the token of the browser (``browsers``): in another one the ticket is worth nothing. ``mark``: its cookie that tells with
    which number it logged in before.
    """
    store, now = deployment.store, deployment.clock.now()
    try:
        number = parse_number(number)
    except NumberRefused:
        return Asked(None, "no_number")
    number_hash, seed = store.hash_number(number), secrets.token_bytes(16)
    known = read_mark(store, mark, number_hash)
    asker_hash = _hash_asker(store, f"known browser {known}" if known else asker or "")
    counted = asker_hash if known or asker else None
    with store.write() as session:
        _take_turns(session, number_hash, counted)
        if _too_many(session, now, number_hash, counted, is_known=known is not None):
            return Asked(None, "too_many")
        row = LoginCode(
            number_hash=number_hash, asker_hash=asker_hash, code_hash=_hash(store, number_hash, make_code(store, number_hash, seed)),
            seed=seed, asked_at=now, expires_at=now + LASTS,
        )  # fmt: skip
        session.add(row)
        session.flush()
        ticket = f"{row.id}.{_seal(store, row.id, door)}"
    ring(deployment)
    return Asked(ticket)


def check_code(deployment: Deployment, ticket: str, code: str, door: str) -> tuple[int | None, str | None]:
    """(whoever logs in, None) for the right code; else (None, wrong | over): over means that a new code is needed."""
    store, now = deployment.store, deployment.clock.now()
    row_id = _read_ticket(store, ticket, door)
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


def mark_of(deployment: Deployment, ticket: str, door: str) -> str | None:
    """The mark for the browser in which this ticket's code was right: it goes on getting codes for that number."""
    row_id = _read_ticket(deployment.store, ticket, door)
    with deployment.store.read() as session:
        row = session.get(LoginCode, row_id) if row_id is not None else None
    return mark_browser(deployment.store, row.number_hash) if row is not None else None


def _take_turns(session: Session, *hashes: bytes | None) -> None:
    """One request at a time for a number, and for an asker, until the transaction's end: a hundred at once must not count the same few.

    In the order of the keys, so that two requests never wait for each other. SQLite has one writer anyway.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        for key in sorted(int.from_bytes(each[:8], "big", signed=True) for each in hashes if each is not None):
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def _too_many(session: Session, now: datetime, number_hash: bytes, asker_hash: bytes | None, *, is_known: bool) -> bool:
    """Whether this request is one over the limits.

    Strangers can use up a number's codes of a day: the browser that she logged in with before has some of its own, whatever they do.
    """

    def asked(condition: Any, span: timedelta) -> int:
        return int(session.connection().execute(sa.select(sa.func.count()).where(condition, _k.c.asked_at > now - span)).scalar_one())

    of_number, of_asker = _k.c.number_hash == number_hash, _k.c.asker_hash == asker_hash
    if is_known and asked(of_asker, DAY) < PER_BROWSER:
        return False
    return (
        asked(of_number, NUMBER_SPAN) >= PER_NUMBER
        or asked(of_number, DAY) >= PER_DAY
        or (asker_hash is not None and asked(of_asker, ASKER_SPAN) >= PER_ASKER)
    )


def _hash_asker(store: Store, asker: str) -> bytes:
    return hmac.digest(store.token_key, b"asker|" + asker.encode(), "sha256")


def _hash(store: Store, number_hash: bytes, code: str) -> bytes:
    return hmac.digest(store.token_key, b"code|" + number_hash + code.encode(), "sha256")


def _seal(store: Store, row_id: int, door: str) -> str:
    return hmac.digest(store.token_key, f"ticket|{row_id}|{door}".encode(), "sha256").hex()[:24]


def _read_ticket(store: Store, ticket: str, door: str) -> int | None:
    row, _, seal = ticket.partition(".")
    if not (row.isascii() and row.isdecimal() and len(row) < 16):
        return None
    return int(row) if hmac.compare_digest(seal.encode(), _seal(store, int(row), door).encode()) else None
