"""The rules of the last look: what is read of a message and of its reader, and whether it may leave now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from bot.delivery.audience import WINDOW
from bot.delivery.kinds import AFTER_OPT_OUT, CARE, EARLY
from bot.delivery.leases import LeasedLine
from bot.delivery.lists import in_list, in_states
from bot.delivery.quiet import Span, before_the_morning, first_allowed, leave_room
from bot.delivery.templates import KNOCK
from models import Broadcast, Collective, CollectiveLine, Line, Membership, Outbound, Person, Phone, PhoneLine
from models import broadcasts as broadcast_states
from models.messages import ATTEMPTING, CLAIMED, EXPIRED, HELD, STOPPED, SUPPRESSED


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a claimed row does not leave now: its new state, the reason, and when to look again (held ones)."""

    state: str
    reason: str
    due_at: datetime | None = None


_o: Any = Outbound.__table__
_ph: Any = Phone.__table__
_pl: Any = PhoneLine.__table__
_m: Any = Membership.__table__
_p: Any = Person.__table__
_c: Any = Collective.__table__
_b: Any = Broadcast.__table__
_l: Any = Line.__table__
_cl: Any = CollectiveLine.__table__
_spoken: Any = PhoneLine.__table__.alias("spoken")
_other: Any = Outbound.__table__.alias("other")
# An asking message leaves flight when it is answered, or after a day.
IN_FLIGHT = timedelta(hours=24)
# When to look again whether she holds her shared phone.
LOOK_AGAIN = timedelta(hours=1)
# So long an answer between two people belongs to what she wrote last.
ANSWERS_FOR = timedelta(hours=1)


def _asking_since() -> Any:
    """Since when another question to the same person is in flight; null for what asks nothing, and for alerts, which never wait."""
    same = sa.and_(_other.c.person_id == _o.c.person_id, _other.c.id != _o.c.id, _other.c.kind != "alert", _other.c.answered_at.is_(None))
    flying = sa.select(sa.func.max(_other.c.asked_at)).where(same, _other.c.asked_at > sa.bindparam("since", type_=_o.c.asked_at.type))
    leaving = sa.select(sa.func.max(_other.c.attempted_at)).where(same, _other.c.asks.is_not(None), in_states(_other.c.state, ATTEMPTING))
    waits = sa.and_(_o.c.asks.is_not(None), _o.c.kind != "alert")
    return sa.case((waits, sa.func.coalesce(flying.scalar_subquery(), leaving.scalar_subquery())), else_=sa.null())


def _raw(column: Any, name: str) -> Any:
    """A sealed column as it is stored: opened one by one, so that one broken value does not stop the line."""
    return sa.type_coerce(column, sa.LargeBinary).label(name)


def _stopped_elsewhere() -> Any:
    """Whether she said STOP on another line of this collective and never wrote on this one.

    Lines come and go, and with them the line that speaks to her: a STOP must not end because a line was added.
    """
    lines = _spoken.join(_cl, sa.and_(_cl.c.line_id == _spoken.c.line_id, _cl.c.collective_id == _o.c.collective_id))
    stopped = sa.exists().select_from(lines).where(_spoken.c.phone_id == _o.c.phone_id, _spoken.c.opted_out_at.is_not(None))
    return sa.case((_pl.c.last_inbound_at.is_(None), stopped.correlate(_o)), else_=sa.false())


@cache
def look(sqlite: bool) -> sa.Select[Any]:
    """What ``judge`` asks of the claimed rows ``ids``. ``since``: the moment before which a question is out of flight."""
    joined = (
        _o.join(_ph, _ph.c.id == _o.c.phone_id)
        .join(_l, _l.c.id == _o.c.line_id)
        .outerjoin(_pl, sa.and_(_pl.c.phone_id == _o.c.phone_id, _pl.c.line_id == _o.c.line_id))
        .outerjoin(_m, _m.c.id == _o.c.membership_id)
        .outerjoin(_p, _p.c.id == _o.c.person_id)
        .outerjoin(_c, _c.c.id == _o.c.collective_id)
        .outerjoin(_b, _b.c.id == _o.c.broadcast_id)
    )
    return (
        sa.select(
            _o.c.id, _o.c.attempt, _o.c.kind, _o.c.language, _raw(_o.c.body, "body"), _o.c.broadcast_id, _o.c.unprompted, _o.c.segments,
            _o.c.expires_at, _o.c.phone_id, _o.c.person_id, _o.c.membership_id, _o.c.asks, _asking_since().label("asking_since"),
            _raw(_ph.c.number, "number"), _ph.c.detached_at, _ph.c.current_person_id,
            _pl.c.opted_out_at, _pl.c.refused_code, _pl.c.last_inbound_at, _o.c.collective_id, _o.c.created_at,
            _m.c.state.label("membership"), _m.c.paused_until, _m.c.early_texts,
            _stopped_elsewhere().label("stopped_elsewhere"), _p.c.timezone.label("her_zone"), _c.c.timezone.label("zone"),
            _c.c.quiet_from, _c.c.quiet_until, _p.c.quiet_from.label("her_from"), _p.c.quiet_until.label("her_until"),
            _b.c.state.label("broadcast"), _b.c.early, _l.c.fence.label("line_fence"),
        )
        .select_from(joined)
        .where(in_list(_o.c.id, "ids", sqlite=sqlite), _o.c.state == CLAIMED, _o.c.fence == sa.bindparam("of_fence"))
    )  # fmt: skip


def is_unprompted(row: Any, now: datetime) -> bool:
    """Whether she waits for it no more: an answer that was held up for an hour comes to a phone that she has put away."""
    return bool(row.unprompted) or (row.kind == "relay" and row.created_at <= now - ANSWERS_FOR)


def needs_a_place(row: Any, now: datetime) -> bool:
    """Whether the hour depends on where she may be: care to somebody who never said her zone (docs/decisions/0017)."""
    has_hours = row.quiet_from is not None or row.her_from is not None
    # What a knock calls her for may be care, too.
    return is_unprompted(row, now) and (row.kind in CARE or row.kind == KNOCK) and row.her_zone is None and has_hours


def held_until(row: Any, now: datetime, places: tuple[str, ...] = ()) -> datetime | None:
    """When quiet hours let it go: the collective's and her own, in her zone; for care in all of ``places`` too. None: now."""
    if row.quiet_from is None and row.her_from is None:
        return None
    zone = row.her_zone or row.zone
    theirs, hers = Span(zone, row.quiet_from, row.quiet_until), Span(zone, row.her_from, row.her_until)
    if row.early and row.early_texts and row.kind in EARLY:
        theirs = before_the_morning(theirs)
    spans = [theirs, hers]
    if places:
        everywhere = [span._replace(zone=place) for place in (zone, *places) for span in spans]
        # A number that may be anywhere leaves no hour at all: then the collective's own zone is the best guess there is.
        spans = everywhere if leave_room(now, everywhere) else spans
    return first_allowed(now, spans)


def judge(row: Any, line: LeasedLine, now: datetime, places: tuple[str, ...] = ()) -> Refusal | None:
    """Whether this message may leave at ``now``: None, or why not. ``row`` is one of ``look``.

    ``places``: the zones she may be in, where that is asked for (``needs_a_place``).
    """
    if row.expires_at is not None and row.expires_at <= now:
        return Refusal(EXPIRED, "too_late")
    if row.broadcast == broadcast_states.STOPPED:
        return Refusal(STOPPED, "stopped")
    if row.broadcast == broadcast_states.HELD:
        return Refusal(HELD, "organizer")
    if row.detached_at is not None or row.number is None:
        return Refusal(SUPPRESSED, "detached")
    if (row.opted_out_at is not None or row.stopped_elsewhere) and row.kind not in AFTER_OPT_OUT:
        return Refusal(SUPPRESSED, "opted_out")
    if row.refused_code is not None:
        return Refusal(SUPPRESSED, "refused")
    # Urgent or not: whoever left hears no more of what goes on there. An answer to her own text is still an answer.
    if row.membership_id is not None and row.membership != "active" and (row.unprompted or row.kind != "reply"):
        return Refusal(SUPPRESSED, "left")
    if row.kind in CARE and row.current_person_id != row.person_id:
        return Refusal(HELD, "other_person", now + LOOK_AGAIN)
    if is_unprompted(row, now):
        if row.paused_until is not None and row.paused_until > now:
            return Refusal(SUPPRESSED, "paused")
        if row.asking_since is not None:
            return Refusal(HELD, "question", row.asking_since + IN_FLIGHT)
        allowed = held_until(row, now, places)
        if allowed is not None and row.expires_at is not None and allowed >= row.expires_at:
            return Refusal(EXPIRED, "too_late")  # told now, while somebody may still do something about it
        if allowed is not None:
            return Refusal(HELD, "quiet_hours", allowed)
    if line.channel == "whatsapp":
        closed = row.last_inbound_at is None or row.last_inbound_at <= now - WINDOW
        if row.kind == KNOCK:
            return None if closed else Refusal(SUPPRESSED, "window_open")
        if closed:
            return Refusal(HELD, "window")
    return None
