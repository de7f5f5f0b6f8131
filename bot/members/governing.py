"""Who may change the collective itself (an admin; where there is none, an organizer), and giving and taking roles."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.members.membership import give_role
from models import Audit, Collective, Membership, Role, SecondFactor, Store

ADMIN, ORGANIZER = "admin", "organizer"


class RoleRefused(ValueError):
    """The roles can not be changed like this; ``reason``: last_organizer (nobody would be left to send) | left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def holders(session: Session, collective_id: int, role: str) -> list[int]:
    """The active memberships that have this role."""
    mine = sa.select(Role.membership_id).join(Membership, Membership.id == Role.membership_id)
    return list(session.scalars(mine.where(Membership.collective_id == collective_id, Membership.state == "active", Role.role == role)))


def lock_roles(session: Session, collective_id: int) -> None:
    """Whoever changes who has a role in a collective does so one at a time: else two who take each other's leave nobody."""
    session.execute(sa.select(Collective.id).where(Collective.id == collective_id).with_for_update(key_share=True))


def may_govern(session: Session, collective_id: int, roles: Collection[str]) -> bool:
    """Whether somebody with these roles may change settings, money and roles."""
    return ADMIN in roles or (ORGANIZER in roles and not holders(session, collective_id, ADMIN))


def may_run(session: Session, collective_id: int, roles: Collection[str]) -> bool:
    """Whether somebody with these roles may change what the whole deployment shares: who governs its only collective."""
    is_alone = session.scalar(sa.select(Collective.id).where(Collective.id != collective_id).limit(1)) is None
    return is_alone and may_govern(session, collective_id, roles)


def set_roles(session: Session, store: Store, now: datetime, member: Membership, wanted: Collection[str], *, by: int | None) -> None:
    """Give a member exactly these roles; each change is an audit row. Raises RoleRefused.

    With her last role her one-time codes go: whoever is given a role anew sets up the app anew.
    """
    lock_roles(session, member.collective_id)
    has = set(session.scalars(sa.select(Role.role).where(Role.membership_id == member.id)))
    if member.state != "active":
        raise RoleRefused("left")
    if ORGANIZER in has - set(wanted) and holders(session, member.collective_id, ORGANIZER) == [member.id]:
        raise RoleRefused("last_organizer")
    for role in sorted(set(wanted) - has):
        give_role(session, store, member.id, role)
        session.add(_audit(member, f"{role} added", by, now))
    for role in sorted(has - set(wanted)):
        session.execute(sa.delete(Role).where(Role.membership_id == member.id, Role.role == role))
        session.add(_audit(member, f"{role} taken away", by, now))
    if not wanted:
        session.execute(sa.delete(SecondFactor).where(SecondFactor.membership_id == member.id))


def _audit(member: Membership, act: str, by: int | None, now: datetime) -> Any:
    return Audit(collective_id=member.collective_id, membership_id=by, act=act, subject=f"membership {member.id}", at=now)
