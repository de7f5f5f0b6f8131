"""Whether messages that are due are being worked on: the one question that /healthz answers with 503.

A message that waits for a reason is not late. Held rows say theirs (quiet hours, an organizer, the month's money, WhatsApp's window); a
line may keep its pace, rest after an error, try a canary, or find the carrier's queue full. What is left is a message nobody looks at.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.gates import CarrierQueue
from bot.delivery.leases import LeasedLine
from bot.delivery.lists import as_list, in_list, in_states
from bot.delivery.sweep import WITHOUT_HOUR
from bot.deployment import Deployment
from models import Broadcast, Line, Outbound, Store
from models import broadcasts as broadcast_states
from models.clock import real_seconds
from models.messages import CLAIMED, HELD, LANE_CHECK_IN, QUEUED

LATE = timedelta(minutes=2)

_o: Any = Outbound.__table__
_l: Any = Line.__table__
_b: Any = Broadcast.__table__

_QUIET_LINES = sa.select(_l).where(
    # A pump moves the slot on with every message, and a canary waits for less than the two minutes; a lease that runs is somebody at work.
    _l.c.next_slot <= sa.bindparam("slot"),
    _l.c.lease_until <= sa.bindparam("real"),
    # The moment after a rest nobody can have come yet.
    sa.or_(_l.c.held_until.is_(None), _l.c.held_until <= sa.bindparam("limit", type_=_l.c.held_until.type)),
)
# What an organizer holds or has stopped is put aside when its turn comes; until then it waits for her.
_stays = sa.exists().where(_b.c.id == _o.c.broadcast_id, in_states(_b.c.state, broadcast_states.HELD, broadcast_states.STOPPED))
_late = (_o.c.attempt == 0, _o.c.due_at < sa.bindparam("limit", type_=_o.c.due_at.type), sa.not_(_stays))
_by_lane = (_o.c.line_id, sa.func.min(_o.c.lane).label("lane"))


def _queued(is_sqlite: bool) -> sa.Select[Any]:
    """By line: the most urgent lane in which a message is due and nobody took it. In the order of the index: it stops at the first."""
    first = sa.select(_o.c.lane).where(in_states(_o.c.state, QUEUED), _o.c.line_id == _l.c.id, *_late)
    lane = first.order_by(_o.c.lane, _o.c.position, _o.c.id).limit(1).scalar_subquery().label("lane")
    found = sa.select(_l.c.id.label("line_id"), lane).where(in_list(_l.c.id, "lines", sqlite=is_sqlite)).subquery()
    return sa.select(found).where(found.c.lane.is_not(None))


def _held(is_sqlite: bool) -> sa.Select[Any]:
    """The same for what waited for an hour that has come: nobody let it go."""
    mine = in_list(_o.c.line_id, "lines", sqlite=is_sqlite)
    timed = sa.func.coalesce(_o.c.reason, "").not_in(WITHOUT_HOUR)
    return sa.select(*_by_lane).where(in_states(_o.c.state, HELD), mine, timed, *_late).group_by(_o.c.line_id)


def _claimed(is_sqlite: bool) -> sa.Select[Any]:
    """The same for what a pump took and left behind when it died: no sweep put it back."""
    mine = in_list(_o.c.line_id, "lines", sqlite=is_sqlite)
    left = sa.func.coalesce(_o.c.lease_until, 0.0) < sa.bindparam("real")
    return sa.select(*_by_lane).where(in_states(_o.c.state, CLAIMED), mine, left, *_late).group_by(_o.c.line_id)


_FIND = {is_sqlite: (_queued(is_sqlite), _claimed(is_sqlite), _held(is_sqlite)) for is_sqlite in (True, False)}


def stuck_lines(deployment: Deployment, *, redis: bool) -> int:
    """Lines with messages that are due for over two minutes, never tried, with no reason to wait. Raises what the database raises.

    ``redis``: whether it answers. Without the bell no pump is woken: what is queued waits for Redis then, which is told apart. The sweep
    needs no bell, and what it left lying is stuck all the same.
    """
    with deployment.store.read() as session:
        return len(find_stuck_lines(session, deployment.store, deployment.clock.now(), redis=redis))


def find_stuck_lines(session: Session, store: Store, now: datetime, *, redis: bool) -> list[int]:
    """The ids of those lines."""
    real = real_seconds()
    moments = {"slot": real - LATE.total_seconds(), "real": real, "limit": now - LATE}
    lines = {row.id: row for row in session.connection().execute(_QUIET_LINES, moments)}
    if not lines:
        return []
    stuck: set[int] = set()
    queued, claimed, held = _FIND[store.is_sqlite]
    for statement in (queued, claimed, held) if redis else (claimed, held):
        others = [number for number in lines if number not in stuck]
        for row in session.connection().execute(statement, {"lines": as_list(store, others), "limit": now - LATE, "real": real}):
            if row.lane <= LANE_CHECK_IN or not is_carrier_full(session, lines[row.line_id], now):
                stuck.add(row.line_id)
    return sorted(stuck)


def is_carrier_full(session: Session, line: Any, now: datetime) -> bool:
    """Whether the carrier holds as much of this line (a row of ``lines``) as it can deliver in time: polls and broadcasts wait then."""
    return CarrierQueue().room(session, leased(line), now, real_seconds()) == 0


def leased(line: Any) -> LeasedLine:
    """A row of ``lines`` as a pump would see it; nothing is leased by this."""
    return LeasedLine(
        id=line.id,
        channel=line.channel,
        address=line.address,
        mps=line.mps,
        fence=line.fence,
        next_slot=line.next_slot,
        held_code=line.held_code,
        held_until=line.held_until,
        proven_at=line.proven_at,
    )
