"""What a collective is told of a member who belongs to another one, too.

Her name it knows by itself (``Membership.name``). Language and zone are hers, and the same everywhere: she, or the list of the collective
that had her first, said them. Whoever put her bare number on a list later learns neither, and changes neither: docs/decisions/0019.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import Consent, Membership, Person

_m: Any = Membership.__table__
_p: Any = Person.__table__
_co: Any = Consent.__table__
_before: Any = Membership.__table__.alias("before")


def is_told() -> Any:
    """SQL over memberships: whether the collective may see language and zone: it had her first, or she came by her own JOIN."""
    first = ~sa.exists().where(_before.c.person_id == _m.c.person_id, _before.c.id < _m.c.id, _before.c.state == "active").correlate(_m)
    joined = sa.exists().where(_co.c.membership_id == _m.c.id, _co.c.kind == "join", _co.c.withdrawn_at.is_(None)).correlate(_m)
    return sa.or_(first, joined)


def told_language() -> Any:
    """SQL over memberships and people: her language as far as the collective is told it; null: as the collective."""
    return sa.case((is_told(), _p.c.language), else_=sa.null())


def speaks(language: str, *, is_default: bool) -> Any:
    """SQL over memberships and people: whether ``told_language`` is this one. ``is_default``: it is the collective's, and stands for none.

    Her language comes first: it costs the database nothing, and leaves the question who may be told of it to few.
    """
    hers = sa.and_(_p.c.language == language, is_told())
    return sa.or_(hers, _p.c.language.is_(None), sa.not_(is_told())) if is_default else hers


def told_zone() -> Any:
    """SQL over memberships and people: the same of her zone."""
    return sa.case((is_told(), _p.c.timezone), else_=sa.null())


def belongs_elsewhere(person_id: Any, collective_id: int) -> Any:
    """SQL: whether this person (an id, or a column of ids) is an active member of another collective."""
    other = Membership.__table__.alias("elsewhere")
    return sa.exists().where(other.c.person_id == person_id, other.c.collective_id != collective_id, other.c.state == "active")


def may_be_described(session: Session, member: Membership) -> bool:
    """Whether this collective may say her language and zone for her: they count for every collective she belongs to."""
    return not session.scalar(sa.select(belongs_elsewhere(member.person_id, member.collective_id)))
