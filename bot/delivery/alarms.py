"""What organizers are told when carriers do not take their texts, and the hold of a broadcast that is being filtered."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.broadcasts import hold_broadcast
from bot.delivery.lists import in_states
from bot.delivery.reports import tell_organizers
from bot.delivery.trouble_words import tell_filtered, tell_first_failed, tell_line_trouble
from models import Audit, Broadcast, Collective, CollectiveLine, Line, Outbound, PhoneLine, Store
from models.messages import DELIVERED, FAILED, QUEUED, UNDELIVERED

# Filtering: of what ended on a line within this time, so many at least and more than this share (percent) taken for spam.
FILTER_SPAN, FILTER_LEAST, FILTER_PERCENT = timedelta(minutes=15), 5, 5
FILTER_CODES = (30004, 30007)
# Counting reads the whole broadcast on that line: a big one is counted at most once in this many seconds a process.
_COUNTED_AT_ONCE, _ROWS_A_SECOND, _LONGEST_PAUSE = 2_000, 2_000, 10.0

_o: Any = Outbound.__table__
_l: Any = Line.__table__
_cl: Any = CollectiveLine.__table__
_pl: Any = PhoneLine.__table__

_SPEAKERS = (
    sa.select(_cl.c.collective_id, Collective.name, _l.c.address)
    .select_from(_cl.join(_l, _l.c.id == _cl.c.line_id).join(Collective, Collective.id == _cl.c.collective_id))
    .where(_cl.c.line_id == sa.bindparam("line"))
    .order_by(_cl.c.collective_id)
)
_OTHER_LINE = (
    sa.select(_l.c.id)
    .select_from(_cl.join(_l, _l.c.id == _cl.c.line_id))
    .where(
        _cl.c.collective_id == sa.bindparam("collective"),
        _l.c.id != sa.bindparam("line"),
        sa.or_(_l.c.held_until.is_(None), _l.c.held_until <= sa.bindparam("now", type_=_l.c.held_until.type)),
    )
    # WhatsApp may be closed to an organizer who has not written there today.
    .order_by(sa.case((_l.c.channel == "sms", 0), else_=1), _l.c.two_way.desc(), _cl.c.position, _l.c.id)
    .limit(1)
)
_to_line = sa.bindparam("to_line", type_=_o.c.line_id.type)
_BY_THE_OTHER = (
    sa.update(_o)
    .where(
        _o.c.line_id == sa.bindparam("line"),
        in_states(_o.c.state, QUEUED),
        _o.c.kind == "report",
        _o.c.collective_id == sa.bindparam("collective"),
        ~sa.exists().where(
            _pl.c.phone_id == _o.c.phone_id,
            _pl.c.line_id == _to_line,
            sa.or_(_pl.c.opted_out_at.is_not(None), _pl.c.refused_code.is_not(None)),
        ),
    )
    .values(line_id=_to_line)
)


def tell_of_line(session: Session, now: datetime, line_id: int, code: int) -> int:
    """Tell the organizers of every collective on this line, once a day, what keeps its texts back and what to do; returns how many.

    Their letters take another line. A collective that has none reads it in ``flask broadcast status`` and ``flask doctor``.
    """
    told = 0
    connection = session.connection()
    for speaker in connection.execute(_SPEAKERS, {"line": line_id}).all():
        here = {"collective": speaker.collective_id, "line": line_id}
        other = connection.execute(_OTHER_LINE, here | {"now": now}).scalar()
        if other is None:
            continue
        key = f"line:{line_id}:{speaker.collective_id}:{now:%Y-%m-%d}"
        make_text = partial(tell_line_trouble, collective=speaker.name, address=speaker.address, code=code)
        told += tell_organizers(session, now, speaker.collective_id, make_text, key=key)
        connection.execute(_BY_THE_OTHER, here | {"to_line": other})
    return told


def hold_failing(session: Session, now: datetime, broadcast_id: int, line_id: int, code: int) -> bool:
    """The first messages of a broadcast all failed with this error: hold the rest and tell the organizers. False: it was held already.

    Their letters take another line if the collective has one.
    """
    broadcast = session.get_one(Broadcast, broadcast_id, populate_existing=True)
    if not hold_broadcast(session, now, broadcast, reason="line", code=code):
        return False
    collective = session.get_one(Collective, broadcast.collective_id)
    make_text = partial(tell_first_failed, collective=collective.name, number=broadcast.number, code=code)
    # Again, if it is held again after somebody let it go.
    tell_organizers(session, now, collective.id, make_text, key=f"failing:{broadcast_id}:{now:%Y-%m-%dT%H:%M:%S}")
    here = {"collective": collective.id, "line": line_id}
    other = session.connection().execute(_OTHER_LINE, here | {"now": now}).scalar()
    if other is not None:
        session.connection().execute(_BY_THE_OTHER, here | {"to_line": other})
    return True


# --- filtering -------------------------------------------------------------------------------------------------------------


_ended = sa.and_(in_states(_o.c.state, DELIVERED, UNDELIVERED, FAILED), _o.c.done_at > sa.bindparam("since", type_=_o.c.done_at.type))
_COUNT = sa.select(
    sa.func.count().label("rows"),
    sa.func.coalesce(sa.func.sum(sa.case((_ended, 1), else_=0)), 0).label("ended"),
    sa.func.coalesce(sa.func.sum(sa.case((sa.and_(_ended, _o.c.error_code.in_(FILTER_CODES)), 1), else_=0)), 0).label("filtered"),
).where(_o.c.broadcast_id == sa.bindparam("broadcast"), _o.c.line_id == sa.bindparam("line"))
_RELEASED = sa.select(sa.func.max(Audit.at)).where(
    Audit.act == "released",
    Audit.collective_id == Broadcast.collective_id,
    Audit.subject == sa.literal("broadcast ") + sa.cast(Broadcast.number, sa.String),
    Broadcast.id == sa.bindparam("broadcast"),
)

_not_before: dict[tuple[int, int], float] = {}
_counting = threading.Lock()


def watch_filtering(store: Store, broadcast_id: int, line_id: int) -> bool:
    """A message of this broadcast was taken for spam: hold the rest when too many are, and tell the organizers. True when it was held now.

    In a transaction of its own: the receipt that brought the news is written whatever becomes of this.
    """
    key, now = (broadcast_id, line_id), store.clock.now()
    with _counting:
        if time.monotonic() < _not_before.get(key, 0.0):
            return False
    with store.read() as session:
        # A person let it go on all the same: only what ended after that counts again.
        released = session.connection().execute(_RELEASED, {"broadcast": broadcast_id}).scalar()
        since = now - FILTER_SPAN if released is None else max(now - FILTER_SPAN, released)
        values = {"broadcast": broadcast_id, "line": line_id, "since": since}
        counted = session.connection().execute(_COUNT, values).one()
    if counted.rows > _COUNTED_AT_ONCE:
        with _counting:
            if len(_not_before) > 1_000:
                _not_before.clear()
            _not_before[key] = time.monotonic() + min(counted.rows / _ROWS_A_SECOND, _LONGEST_PAUSE)
    if counted.filtered < FILTER_LEAST or counted.filtered * 100 <= counted.ended * FILTER_PERCENT:
        return False
    with store.write() as session:
        broadcast = session.get_one(Broadcast, broadcast_id)
        if not hold_broadcast(session, now, broadcast, reason="filtered", code=30007):
            return False
        name = session.get_one(Collective, broadcast.collective_id).name
        make_text = partial(tell_filtered, collective=name, number=broadcast.number)
        # Again, if it is held again after somebody let it go.
        tell_organizers(session, now, broadcast.collective_id, make_text, key=f"filtered:{broadcast_id}:{now:%Y-%m-%dT%H:%M:%S}")
    return True
