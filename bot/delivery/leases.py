"""One pump a line at a time: a lease in the line's row, fenced, with the pace's next free slot in it.

Whoever takes a lease raises the fence; a pump whose fence is old can neither claim nor mark. A dead holder's lease runs out after
LEASE_SECONDS of real time, and its next_slot was written ahead with every claim, so that its successor never exceeds the line's pace.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.lists import in_states
from bot.delivery.logins import is_code_waiting
from bot.delivery.poison import ORPHANED, tell_of_poison, told
from models import Line, Outbound, Store
from models.clock import real_seconds
from models.messages import CLAIMED, QUEUED

LEASE_SECONDS = 15.0


class LeaseLost(Exception):
    """Another pump holds the line by now; nothing that this one still wanted to do was done."""

    def __init__(self, line: LeasedLine) -> None:
        super().__init__(f"line {line.id}, fence {line.fence}")
        self.line = line


@dataclass(frozen=True, slots=True)
class LeasedLine:
    """A line as it stood when it was leased. ``mps`` in segments a second, ``next_slot`` in epoch seconds.

    ``proven_at``: when a message on it was last known to be delivered; ``held_until``: when its last hold ended.
    """

    id: int
    channel: str
    address: str
    mps: float
    fence: int
    next_slot: float
    held_code: int | None
    proven_at: datetime | None = None
    held_until: datetime | None = None


_l: Any = Line.__table__
_o: Any = Outbound.__table__

_waiting = (
    sa.exists().where(_o.c.line_id == _l.c.id, in_states(_o.c.state, QUEUED)),
    sa.or_(_l.c.held_until.is_(None), _l.c.held_until <= sa.bindparam("now")),
    _l.c.lease_until < sa.bindparam("real"),
)
_ANY_WAITING = sa.select(_l.c.id).where(*_waiting).limit(1)
_PICK = (
    sa.select(_l.c.id)
    .where(*_waiting)
    .order_by(_l.c.next_slot, _l.c.id)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True, key_share=True)
    .cte("picked")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_TAKE = (
    sa.update(_l)
    .where(_l.c.id.in_(sa.select(_PICK.c.id)))
    .values(lease_holder=sa.bindparam("holder"), lease_until=sa.bindparam("until"), fence=_l.c.fence + 1)
    .returning(_l.c.id, _l.c.channel, _l.c.address, _l.c.mps, _l.c.fence, _l.c.next_slot, _l.c.held_code, _l.c.proven_at, _l.c.held_until)
)
_ORPHANS = (
    sa.update(_o)
    .where(_o.c.line_id == sa.bindparam("line"), in_states(_o.c.state, CLAIMED), sa.func.coalesce(_o.c.fence, 0) < sa.bindparam("of_fence"))
    .values(ORPHANED)
    .returning(*told)
)
_held_by_us = (_l.c.id == sa.bindparam("line"), _l.c.fence == sa.bindparam("of_fence"))
_RENEW = (
    sa.update(_l).where(*_held_by_us).values(lease_until=sa.bindparam("until"), next_slot=sa.bindparam("slot")).returning(_l.c.held_until)
)
_RELEASE = sa.update(_l).where(*_held_by_us).values(lease_holder=None, lease_until=0.0, next_slot=sa.bindparam("slot"))
# Since when it works again stays known: proof of delivery from before the hold proves nothing.
_RECOVER = sa.update(_l).where(*_held_by_us).values(held_code=None)


def is_anything_waiting(session: Session, now: datetime) -> bool:
    """Whether a line that nobody serves has something to send now, or somebody waits for a code that is still to be written."""
    return session.connection().execute(_ANY_WAITING, {"now": now, "real": real_seconds()}).first() is not None or is_code_waiting(session)


def take_lines(store: Store, holder: str, most: int) -> list[LeasedLine]:
    """Lease up to ``most`` lines with due work that nobody holds; what a dead holder had claimed on them is queued again."""
    now, real = store.clock.now(), real_seconds()
    with store.write() as session:
        connection = session.connection()
        parameters = {"now": now, "real": real, "until": real + LEASE_SECONDS, "holder": holder, "most": most}
        lines = [LeasedLine(*row) for row in connection.execute(_TAKE, parameters)]
        for line in lines:
            orphans = connection.execute(_ORPHANS, {"line": line.id, "of_fence": line.fence, "now": now}).all()
            tell_of_poison(session, now, orphans)
    return lines


def renew_lease(session: Session, line: LeasedLine, next_slot: float) -> datetime | None:
    """Hold the line for another LEASE_SECONDS and write down how far its pace is spoken for. Raises LeaseLost.

    Returns until when the line is to rest (a receipt may have said so since it was leased), or when it last did, or None.
    """
    values = {"line": line.id, "of_fence": line.fence, "until": real_seconds() + LEASE_SECONDS, "slot": next_slot}
    row = session.connection().execute(_RENEW, values).one_or_none()
    if row is None:
        raise LeaseLost(line)
    held_until: datetime | None = row.held_until
    return held_until


def release_line(session: Session, line: LeasedLine, next_slot: float) -> None:
    """Give the line back, with the first slot that is free. Nothing happens when another pump has it by now."""
    session.connection().execute(_RELEASE, {"line": line.id, "of_fence": line.fence, "slot": next_slot})


def clear_trouble(session: Session, line: LeasedLine) -> None:
    """A message went through again: what held the line is over."""
    session.connection().execute(_RECOVER, {"line": line.id, "of_fence": line.fence})
