"""Whom a correction is for: everyone who got what it corrects, may have got it, or would have got it. As conditions for the fan-out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import Broadcast, GroupMember, Outbound
from models.messages import EXPIRED, STOPPED

_o: Any = Outbound.__table__
_gm: Any = GroupMember.__table__


def find_corrected(session: Session, broadcast: Broadcast) -> tuple[Broadcast, ...]:
    """What ``broadcast`` corrects, what that one corrected, and so on; empty for an ordinary broadcast."""
    chain: list[Broadcast] = []
    while broadcast.corrects_id is not None:
        broadcast = session.get_one(Broadcast, broadcast.corrects_id)
        chain.append(broadcast)
    return tuple(chain)


def is_meant(corrected: Sequence[Broadcast], membership_id: Any, phone_id: Any) -> Any:
    """The condition that this membership, on this phone, should hear of the correction of ``corrected`` (never empty).

    Her row may stand under her sister's name when they share a phone, but a group's text stays within the group.
    """
    old, earlier = corrected[0], corrected[1:]
    in_group: Any = sa.true()
    if old.group_id is not None:
        in_group = membership_id.in_(sa.select(_gm.c.membership_id).where(_gm.c.group_id == old.group_id))
    # What was dropped before it left reached nobody; what this very correction stopped is still to be told.
    left = sa.and_(
        _o.c.broadcast_id == old.id,
        sa.or_(_o.c.state.not_in((STOPPED, EXPIRED)), sa.and_(_o.c.state == STOPPED, _o.c.reason == "corrected")),
    )
    meant = sa.or_(
        sa.exists().where(left, _o.c.membership_id == membership_id),
        sa.and_(in_group, sa.exists().where(left, _o.c.phone_id == phone_id)),
    )
    if old.planned_at is None:  # it was stopped in the middle of its fan-out: the rest would have got it
        rest = is_meant(earlier, membership_id, phone_id) if earlier else in_group
        meant = sa.or_(meant, sa.and_(membership_id > old.planned_through, rest))
    return meant
