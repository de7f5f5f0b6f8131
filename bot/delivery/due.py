"""Write down work that is due later, each occurrence once.

It stands on delivery's floor, below ``bot.schedule`` which claims the work, because approving a broadcast books its own fan-out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models import Timer

_timers: Any = Timer.__table__
_INSERT = {
    "sqlite": sqlite.insert(_timers).on_conflict_do_nothing(index_elements=["key"]),
    "postgresql": postgresql.insert(_timers).on_conflict_do_nothing(index_elements=["key"]),
}
# PostgreSQL counts no rows of an insert that gives back the new id; the id itself says whether there is one.
_HAPPENS = {dialect: statement.returning(_timers.c.id) for dialect, statement in _INSERT.items()}
_CANCEL = sa.delete(_timers).where(
    _timers.c.kind == sa.bindparam("of_kind"), _timers.c.subject_id == sa.bindparam("of_subject"), _timers.c.done_at.is_(None)
)


def set_timer(session: Session, kind: str, subject_id: int, key: str, due_at: datetime) -> None:
    """Book one occurrence. ``key`` names it (at most 80 characters): booking it again changes nothing, also after it was done."""
    connection = session.connection()
    row = {"kind": kind, "subject_id": subject_id, "key": key, "due_at": due_at, "lease_until": 0.0, "attempts": 0}
    connection.execute(_INSERT[connection.dialect.name], row)


def happens_first(session: Session, now: datetime, kind: str, subject_id: int, key: str) -> bool:
    """Write down that ``key`` (at most 80 characters) has happened. False: it had already, or is happening in another transaction."""
    connection = session.connection()
    row = {"kind": kind, "subject_id": subject_id, "key": key, "due_at": now, "lease_until": 0.0, "attempts": 0, "done_at": now}
    return connection.execute(_HAPPENS[connection.dialect.name], row).first() is not None


def cancel_timers(session: Session, kind: str, subject_id: int) -> None:
    """Take back what is booked of this kind for this subject and not done yet."""
    session.connection().execute(_CANCEL, {"of_kind": kind, "of_subject": subject_id})
