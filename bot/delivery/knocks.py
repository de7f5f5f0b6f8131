"""When WhatsApp's window is closed: what waits goes by SMS to who allowed that, and to the others goes a knock, "a note is waiting".

A knock is an approved template; her answer, whatever it says, opens the window, and what waited follows. One a day to a phone on a line
at most, and none after three in a row without a word from her.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.audience import WINDOW
from bot.delivery.fallback import MAY_GO_BY_SMS, move_to_sms, sms_line
from bot.delivery.lists import as_list, in_list, in_states
from bot.delivery.rules import ANSWERS_FOR
from bot.delivery.templates import KNOCK
from models import Broadcast, Inbound, Line, Moment, Outbound, Phone, PhoneLine, Store, Template
from models.broadcasts import HELD as BROADCAST_HELD
from models.messages import ACCEPTED, ATTEMPTING, CLAIMED, DELIVERED, HELD, LANE_RELAY, QUEUED, SENT, UNDELIVERED, UNKNOWN
from models.templates import APPROVED

KNOCK_EVERY, MOST_UNANSWERED = timedelta(hours=24), 3
# A note without an end of its own is not knocked for after this.
_LASTS = timedelta(days=3)
# What waits for a window is looked at when it begins to wait, then once a day; without a template sooner, for it may be approved meanwhile.
_LOOK_AGAIN, _LOOK_FOR_TEMPLATE = KNOCK_EVERY, timedelta(hours=1)
_MOST, _MOST_ROUNDS = 2_000, 10
# The bare texts that answer a knock, as ``bot.languages.answers.fold`` leaves them.
KNOCK_ANSWERS = frozenset({"1", "ok", "okay"})
# WhatsApp's limit for talks that we begin: while a knock of this line waits for it, no other is tried.
_TIER = 63018

_o: Any = Outbound.__table__
_other: Any = Outbound.__table__.alias("other")
_l: Any = Line.__table__
_ph: Any = Phone.__table__
_pl: Any = PhoneLine.__table__
_b: Any = Broadcast.__table__
_t: Any = Template.__table__
_i: Any = Inbound.__table__


@dataclass(frozen=True, slots=True)
class Knocked:
    """How many rows went to an SMS line, how many knocks were put into the outbox."""

    moved: int = 0
    knocks: int = 0


_WAITING = (
    sa.select(_o.c.id, _o.c.phone_id, _o.c.line_id, _o.c.broadcast_id, _o.c.collective_id, _o.c.language, _o.c.segments)
    .where(
        in_states(_o.c.state, HELD),
        _o.c.reason == "window",
        _o.c.due_at <= sa.bindparam("now"),
        # What an organizer holds, nobody is called for.
        sa.not_(sa.exists().where(_b.c.id == _o.c.broadcast_id, _b.c.state == BROADCAST_HELD)),
    )
    .order_by(_o.c.due_at)
    .limit(_MOST)
    .with_for_update(skip_locked=True, key_share=True)
)
_TEMPLATES = sa.select(_t.c.id).where(_t.c.kind == KNOCK, _t.c.state == APPROVED, _t.c.content_sid.is_not(None))
_LOCK_TEMPLATES = _TEMPLATES.with_for_update()
_COLUMNS = (
    "membership_id", "person_id", "phone_id", "collective_id", "line_id", "kind", "lane", "position", "language", "state", "segments",
    "attempt", "unprompted", "due_at", "expires_at", "resent", "created_at",
)  # fmt: skip


@cache
def _put_off(sqlite: bool) -> sa.Update:
    ours = (in_list(_o.c.id, "ids", sqlite=sqlite), in_states(_o.c.state, HELD), _o.c.reason == "window")
    return sa.update(_o).where(*ours).values(due_at=sa.bindparam("later", type_=_o.c.due_at.type))


@cache
def _refused(sqlite: bool) -> sa.Update:
    """Who stopped us there meanwhile, or can not be reached there at all, waits for nothing: the mark says so."""
    stopped = sa.exists().where(
        _pl.c.phone_id == _o.c.phone_id,
        _pl.c.line_id == _o.c.line_id,
        sa.or_(_pl.c.opted_out_at.is_not(None), _pl.c.refused_code.is_not(None)),
    )
    ours = (in_list(_o.c.id, "ids", sqlite=sqlite), in_states(_o.c.state, HELD), _o.c.reason == "window", stopped)
    return sa.update(_o).where(*ours).values(state=QUEUED, reason=None)


# Of what waits for her, the most urgent lane is what she is called for.
_before = sa.or_(_other.c.lane < _o.c.lane, sa.and_(_other.c.lane == _o.c.lane, _other.c.id < _o.c.id))
# The same as ``rules.is_unprompted``.
_grown_old = sa.and_(_other.c.kind == "relay", _other.c.created_at <= sa.bindparam("grown_old", type_=_o.c.created_at.type))


@cache
def _hasten(sqlite: bool) -> sa.Update:
    """A knock, new or waiting for her morning or for money, leaves now when it calls her for something that can not wait."""
    urgent = sa.exists().where(
        _other.c.phone_id == _o.c.phone_id,
        _other.c.line_id == _o.c.line_id,
        in_list(_other.c.id, "ids", sqlite=sqlite),
        in_states(_other.c.state, HELD),
        _other.c.reason == "window",
        sa.not_(_other.c.unprompted),
        sa.not_(_grown_old),
    )
    waits = sa.or_(in_states(_o.c.state, QUEUED), sa.and_(in_states(_o.c.state, HELD), _o.c.reason.in_(("quiet_hours", "cap"))))
    now = sa.bindparam("now", type_=_o.c.due_at.type)
    return (
        sa.update(_o)
        .where(_o.c.kind == KNOCK, _o.c.unprompted, waits, urgent)
        .values(unprompted=False, lane=LANE_RELAY, state=QUEUED, reason=None, due_at=now)
    )


@cache
def _knock(sqlite: bool) -> Any:
    now = sa.bindparam("now", type_=_o.c.due_at.type)
    hers = (_other.c.phone_id == _o.c.phone_id, _other.c.line_id == _o.c.line_id)
    knock = (*hers, _other.c.kind == KNOCK)
    her_line = (_pl.c.phone_id == _o.c.phone_id, _pl.c.line_id == _o.c.line_id)
    heard = sa.select(_pl.c.last_inbound_at).where(*her_line).correlate(_o).scalar_subquery()
    unanswered = (
        sa.select(sa.func.count())
        .select_from(_other)
        .where(
            *knock,
            in_states(_other.c.state, ACCEPTED, SENT, DELIVERED, UNDELIVERED, UNKNOWN),
            sa.or_(heard.is_(None), _other.c.created_at > heard),
        )
        .scalar_subquery()
    )
    first = sa.exists().where(*hers, _before, in_list(_other.c.id, "ids", sqlite=sqlite))
    recent = sa.exists().where(*knock, _other.c.created_at > sa.bindparam("since", type_=_o.c.due_at.type))
    on_its_way = sa.exists().where(*knock, in_states(_other.c.state, HELD, QUEUED, CLAIMED, ATTEMPTING))
    full = sa.exists().where(
        _other.c.line_id == _o.c.line_id, _other.c.kind == KNOCK, in_states(_other.c.state, HELD), _other.c.error_code == _TIER
    )
    # Meta does not deliver such a template to her (a US number): it was tried, and is never tried again.
    unwanted = sa.exists().where(*knock, _other.c.error_code == 63049, _other.c.done_at.is_not(None))
    values: dict[str, Any] = {
        "kind": sa.literal(KNOCK),
        # As urgent as what it calls her for: help asked for at night does not wait for the morning, nor for the month's money.
        "lane": sa.case((_o.c.lane < LANE_RELAY, LANE_RELAY), else_=_o.c.lane),
        "position": sa.literal(0),
        "state": sa.literal(QUEUED),
        "segments": sa.literal(1),
        "attempt": sa.literal(0),
        "unprompted": sa.true(),  # unless something can not wait: ``_hasten``
        "due_at": now,
        "expires_at": sa.func.coalesce(_o.c.expires_at, sa.bindparam("ends", type_=_o.c.due_at.type)),
        "resent": sa.false(),
        "created_at": now,
    }
    joined = _o.join(_l, _l.c.id == _o.c.line_id).join(_ph, _ph.c.id == _o.c.phone_id)
    select = (
        sa.select(*(values[name] if name in values else _o.c[name] for name in _COLUMNS))
        .select_from(joined)
        .where(
            in_list(_o.c.id, "ids", sqlite=sqlite),
            in_states(_o.c.state, HELD),
            _o.c.reason == "window",
            _l.c.channel == "whatsapp",
            _ph.c.detached_at.is_(None),
            sa.or_(heard.is_(None), heard <= sa.bindparam("open_since", type_=Moment)),
            unanswered < MOST_UNANSWERED,
            sa.not_(first),
            sa.not_(recent),
            sa.not_(on_its_way),
            sa.not_(full),
            sa.not_(unwanted),
        )
    )
    return sa.insert(_o).from_select(_COLUMNS, select).execution_options(preserve_rowcount=True)


def knock(store: Store) -> Knocked:
    """Look at what waits for WhatsApp's window: by SMS where she allows it, else a knock where a template is approved. Ring afterwards."""
    moved = knocks = 0
    for _ in range(_MOST_ROUNDS):
        with store.write() as session:
            found, by_sms, knocked = _one_round(store, session, store.clock.now())
        moved, knocks = moved + by_sms, knocks + knocked
        if found < _MOST:
            break
    return Knocked(moved, knocks)


def _one_round(store: Store, session: Session, now: datetime) -> tuple[int, int, int]:
    """(rows looked at, moved to SMS, knocks)"""
    connection = session.connection()
    rows = connection.execute(_WAITING, {"now": now}).all()
    if not rows:
        return 0, 0, 0
    moved = move_to_sms(store, session, rows)
    ids = as_list(store, [row.id for row in rows if row.id not in moved])
    refused = connection.execute(_refused(store.is_sqlite), {"ids": ids}).rowcount
    # Whoever knocks locks the templates: two workers must not both find that she was not knocked for today.
    has_template = connection.execute(_LOCK_TEMPLATES).first() is not None
    knocks = 0
    if has_template:
        values = {"ids": ids, "now": now, "since": now - KNOCK_EVERY, "ends": now + _LASTS, "open_since": now - WINDOW}
        knocks = connection.execute(_knock(store.is_sqlite), values).rowcount
        values = {"ids": ids, "now": now, "grown_old": now - ANSWERS_FOR}
        knocks += connection.execute(_hasten(store.is_sqlite), values).rowcount
    connection.execute(_put_off(store.is_sqlite), {"ids": ids, "later": now + (_LOOK_AGAIN if has_template else _LOOK_FOR_TEMPLATE)})
    return len(rows), len(moved) + refused, knocks


@dataclass(frozen=True, slots=True)
class Windows:
    """Of those for whom WhatsApp is closed: who waits for her own next text, how many of them no knock can tell, who gets it by SMS."""

    waiting: int = 0
    not_told: int = 0
    by_sms: int = 0


def count_windows(session: Session, broadcast: Broadcast, rows: Any) -> Windows:
    """For the preview. ``rows``: the broadcast's audience, as a subquery."""
    by_sms: Any = sms_line(rows, broadcast.collective_id).is_not(None) if broadcast.kind in MAY_GO_BY_SMS else sa.false()
    closed = sa.select(sa.case((by_sms, 1), else_=0).label("by_sms")).where(rows.c.state == HELD, rows.c.reason == "window").subquery()
    total, moved = session.execute(sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(closed.c.by_sms), 0)).select_from(closed)).one()
    has_template = session.execute(_TEMPLATES).first() is not None if total else False
    return Windows(int(total - moved), 0 if has_template else int(total - moved), int(moved))


_KNOCKED_AT = sa.select(sa.func.max(_o.c.attempted_at)).where(
    _o.c.phone_id == sa.bindparam("phone"),
    _o.c.line_id == sa.bindparam("line"),
    _o.c.kind == KNOCK,
    in_states(_o.c.state, ATTEMPTING, ACCEPTED, SENT, DELIVERED, UNKNOWN),
    _o.c.attempted_at > sa.bindparam("since", type_=_o.c.due_at.type),
)
_WROTE_SINCE = (
    sa.select(_i.c.id)
    .where(
        _i.c.phone_id == sa.bindparam("phone"),
        _i.c.line_id == sa.bindparam("line"),
        _i.c.received_at > sa.bindparam("knocked", type_=_i.c.received_at.type),
    )
    .limit(1)
)
_COMES = (
    sa.select(_o.c.id)
    .where(_o.c.phone_id == sa.bindparam("phone"), _o.c.line_id == sa.bindparam("line"), in_states(_o.c.state, QUEUED, CLAIMED))
    .limit(1)
)


def answers_knock(session: Session, now: datetime, phone_id: int, line_id: int) -> bool:
    """Whether the last that she saw of us on this line is a knock, and this is her first text since. The present text is not stored
    under her phone yet."""
    here = {"phone": phone_id, "line": line_id}
    connection = session.connection()
    knocked: datetime | None = connection.execute(_KNOCKED_AT, here | {"since": now - _LASTS}).scalar()
    return knocked is not None and connection.execute(_WROTE_SINCE, here | {"knocked": knocked}).first() is None


def something_comes(session: Session, phone_id: int, line_id: int) -> bool:
    """Whether anything for this phone is about to leave on this line."""
    return session.connection().execute(_COMES, {"phone": phone_id, "line": line_id}).first() is not None
