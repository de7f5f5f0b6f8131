"""Which line speaks to whom: the one she last wrote on, else the collective's first two-way line, else its first line."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import CollectiveLine, Line, Membership

_cl: Any = CollectiveLine.__table__
_l: Any = Line.__table__
_m: Any = Membership.__table__

_FIRST_LINE = (
    sa.select(_cl.c.line_id)
    .join(_l, _l.c.id == _cl.c.line_id)
    .where(_cl.c.collective_id == sa.bindparam("collective"))
    .order_by(_l.c.two_way.desc(), _cl.c.position, _cl.c.line_id)
    .limit(1)
)
_MEMBER = sa.select(_m.c.line_id, _m.c.collective_id).where(_m.c.id == sa.bindparam("member"))


class NoLine(LookupError):
    """The collective speaks through no line at all."""


def default_line(session: Session, collective_id: int) -> int | None:
    """The collective's first two-way line, else its first line; None when it has none."""
    return session.connection().execute(_FIRST_LINE, {"collective": collective_id}).scalar()


def line_for(session: Session, membership_id: int) -> int:
    """The line that speaks to this member. Raises NoLine, and LookupError for a membership that does not exist."""
    row = session.connection().execute(_MEMBER, {"member": membership_id}).one_or_none()
    if row is None:
        raise LookupError(f"there is no membership {membership_id}")
    line: int | None = row.line_id if row.line_id is not None else default_line(session, row.collective_id)
    if line is None:
        raise NoLine(f"collective {row.collective_id} has no line")
    return line
