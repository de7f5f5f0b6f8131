"""Telling a collective's organizers something by text: each in her own language, each thing once. And what became of a broadcast."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.bell import ring
from bot.delivery.broadcasts import broadcast_status
from bot.delivery.due import happens_first, set_timer
from bot.delivery.outbox import Letter, put
from bot.delivery.routes import default_line
from bot.deployment import Deployment
from bot.languages import words
from models import Broadcast, Collective, Membership, Outbound, Person, Phone, PhoneLine, Role
from models import broadcasts as states
from models.messages import ACCEPTED, SENT, UNKNOWN

# News of yesterday's broadcast is still news; of last week's no more.
REPORT_LASTS = timedelta(days=3)
# Receipts come within minutes or not at all.
SETTLED_AFTER = timedelta(minutes=10)
# What is not over yet is looked at again after a tenth of the time it has taken so far, within these bounds.
LOOK_AGAIN_FROM, LOOK_AGAIN_TO = timedelta(minutes=1), timedelta(minutes=15)
# For a handful of people a report would cost as much as the broadcast, and says what they see around them; unless somebody missed it.
FEWEST = 10
REPORTED_KINDS = ("notice", "alert", "poll")

_m: Any = Membership.__table__
_p: Any = Person.__table__
_ph: Any = Phone.__table__
_pl: Any = PhoneLine.__table__
_c: Any = Collective.__table__
_r: Any = Role.__table__


@dataclass(frozen=True, slots=True)
class Organizer:
    """Where an organizer reads, and in which language."""

    membership_id: int
    person_id: int
    phone_id: int
    line_id: int
    language: str


_line = sa.func.coalesce(_m.c.line_id, sa.bindparam("first_line", type_=_m.c.line_id.type))
_stopped = sa.exists().where(
    _pl.c.phone_id == _ph.c.id, _pl.c.line_id == _line, sa.or_(_pl.c.opted_out_at.is_not(None), _pl.c.refused_code.is_not(None))
)
# Whoever holds a shared phone comes first: two organizers on one phone get one text.
_ORGANIZERS = (
    sa.select(
        _m.c.id,
        _m.c.person_id,
        _p.c.phone_id,
        _line.label("line_id"),
        sa.func.coalesce(_p.c.language, _c.c.language).label("language"),
    )
    .select_from(
        _m.join(_p, _p.c.id == _m.c.person_id)
        .join(_ph, _ph.c.id == _p.c.phone_id)
        .join(_c, _c.c.id == _m.c.collective_id)
        .join(_r, _r.c.membership_id == _m.c.id)
    )
    .where(
        _m.c.collective_id == sa.bindparam("collective"),
        _r.c.role == "organizer",
        _m.c.state == "active",
        _ph.c.detached_at.is_(None),
        _ph.c.number.is_not(None),
        _line.is_not(None),
        sa.not_(_stopped),
    )
    .order_by(sa.case((_p.c.id == _ph.c.current_person_id, 0), else_=1), _m.c.id)
)


def tell_organizers(
    session: Session,
    now: datetime,
    collective_id: int,
    make_text: Callable[[str], str],
    *,
    key: str,
    only: Collection[int] | None = None,
) -> int:
    """Put one text to each organizer of the collective into the outbox; returns how many. Ring the bell after the commit.

    ``make_text`` gives the whole text in a language ("en", "es", "hi", "hi-Latn"). ``key`` (at most 70 characters) names what is told:
    the same key tells nobody a second time, whichever worker comes second. ``only``: just these memberships, if they are organizers.
    Never to who left or stopped; quiet hours and a pause hold it, because it answers nothing she wrote.
    """
    if not happens_first(session, now, "told", collective_id, f"told:{key}"):
        return 0
    readers: dict[int, Organizer] = {}
    for row in session.connection().execute(_ORGANIZERS, {"collective": collective_id, "first_line": default_line(session, collective_id)}):
        if only is None or row.id in only:
            readers.setdefault(row.phone_id, Organizer(row.id, row.person_id, row.phone_id, row.line_id, row.language))
    for reader in readers.values():
        letter = Letter(
            kind="report",
            body=make_text(reader.language),
            language=reader.language,
            line_id=reader.line_id,
            phone_id=reader.phone_id,
            person_id=reader.person_id,
            membership_id=reader.membership_id,
            collective_id=collective_id,
            unprompted=True,
            expires_at=now + REPORT_LASTS,
        )
        put(session, now, letter)
    return len(readers)


def report_broadcast(deployment: Deployment, broadcast_id: int, timer_id: int) -> bool:
    """Tell author and approver what became of a broadcast when it is over and its receipts are in; True when that was now.

    Not over yet: looks again later, under a timer of its own that grows out of this one (so it may be run twice). Once for each broadcast;
    not for one that was stopped or corrected: whoever did that knows.
    """
    now = deployment.clock.now()
    with deployment.store.write() as session:
        broadcast = session.scalars(sa.select(Broadcast).where(Broadcast.id == broadcast_id).with_for_update(key_share=True)).one_or_none()
        if broadcast is None or broadcast.reported_at is not None or broadcast.state in (states.DRAFT, states.STOPPED):
            return False
        if not _is_settled(session, now, broadcast):
            age = (now - (broadcast.due_at or broadcast.created_at)) / 10
            again = now + min(max(age, LOOK_AGAIN_FROM), LOOK_AGAIN_TO)
            set_timer(session, "report", broadcast.id, f"report:{broadcast.id}:{timer_id}", again)
            return False
        broadcast.reported_at = now
        told = _tell_outcome(session, now, broadcast)
    if told:
        ring(deployment)
    return told > 0


def _is_settled(session: Session, now: datetime, broadcast: Broadcast) -> bool:
    """It is done, and every message has its final state, or ten minutes have gone by."""
    if broadcast.state != states.DONE or broadcast.done_at is None:
        return False
    if broadcast.done_at <= now - SETTLED_AFTER:
        return True
    looked_up = sa.and_(Outbound.state == UNKNOWN, Outbound.check_at.is_not(None))
    open_yet = sa.select(Outbound.id).where(Outbound.broadcast_id == broadcast.id, sa.or_(Outbound.state.in_((ACCEPTED, SENT)), looked_up))
    return session.scalar(open_yet.limit(1)) is None


def _tell_outcome(session: Session, now: datetime, broadcast: Broadcast) -> int:
    counts = broadcast_status(session, broadcast.id)["counts"]
    sent = sum(counts[state] for state in ("accepted", "sent", "delivered"))
    failed, unknown = counts["undelivered"] + counts["failed"], counts["unknown"]
    if broadcast.kind not in REPORTED_KINDS or (sent + failed + unknown < FEWEST and not failed and not unknown):
        return 0

    def make_text(language: str) -> str:
        if not failed and not unknown:
            return words(language, "{number} is done: {sent} sent. STATUS {number} says more.", number=broadcast.number, sent=sent)
        return words(
            language,
            "{number} is done: {sent} sent, {failed} could not be reached, {unknown} not confirmed. STATUS {number} says more.",
            number=broadcast.number,
            sent=sent,
            failed=failed,
            unknown=unknown,
        )

    theirs = {member for member in (broadcast.author_id, broadcast.approver_id) if member is not None}
    return tell_organizers(session, now, broadcast.collective_id, make_text, key=f"done:{broadcast.id}", only=theirs)
