"""What is done about a message that the carrier's list does not show: by its class, because a second text helps one and harms another.

Care, relays and codes are never sent again by themselves: a second text on a watched phone is harm. An ordinary notice is shown to the
organizers, who may send it again. An urgent alert and a lost answer in a webhook's response go again, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.due import happens_first
from bot.delivery.lists import in_states
from bot.delivery.outbox import Letter, put
from bot.delivery.quiet import find_zone
from bot.delivery.reports import REPORT_LASTS, tell_organizers
from bot.delivery.routes import NoLine, line_for
from bot.languages import count_words, words
from bot.languages.days import say_day
from models import Audit, Broadcast, Collective, Membership, Outbound, Person, Phone, Role, Store
from models import broadcasts as broadcast_states
from models.messages import ATTEMPTING, EXPIRED, QUEUED, UNKNOWN

# A second look this long after the attempt: until then the list may lag.
SECOND_LOOK, LOOK_AGAIN = timedelta(minutes=10), timedelta(minutes=1)
LOOKS = 2
# What organizers are told about, and may send again.
SHOWN = frozenset({"notice", "alert", "poll", "result"})

_o: Any = Outbound.__table__
_b: Any = Broadcast.__table__


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A row whose outcome is unknown, as it was read. ``in_webhook``: it left in a webhook's answer, not by a request."""

    id: int
    attempt: int
    kind: str
    line_id: int
    attempted_at: datetime
    checks: int
    resent: bool
    expires_at: datetime | None
    in_webhook: bool
    membership_id: int | None
    about_membership_id: int | None
    broadcast_id: int | None


def may_go_again(row: Unconfirmed, now: datetime) -> bool:
    """Whether its class sends it once more, by itself. What is over by now is not; a reply says itself until when it is worth it."""
    if row.resent or row.checks + 1 < LOOKS:
        return False
    if row.kind == "alert":
        return row.expires_at is None or row.expires_at > now
    if row.kind == "reply":
        # To nobody we know quiet hours of, never: ten minutes later it is no answer any more, but a text.
        return row.in_webhook and row.membership_id is not None and row.expires_at is not None and row.expires_at > now
    return False


_STAYS = sa.update(_o).where(_o.c.id == sa.bindparam("row"), in_states(_o.c.state, UNKNOWN))
_LOOKED = _STAYS.values(checks=_o.c.checks + 1, check_at=sa.bindparam("again", type_=_o.c.check_at.type))
_CORRECTED = sa.select(_b.c.id).where(
    _b.c.corrects_id == sa.bindparam("broadcast"), _b.c.state.not_in((broadcast_states.DRAFT, broadcast_states.STOPPED))
)
_STATE = sa.select(_b.c.state, _b.c.collective_id, _b.c.number).where(_b.c.id == sa.bindparam("broadcast"))
_AGAIN = _STAYS.values(
    state=QUEUED,
    reason=None,
    resent=True,
    # It answers nothing she has just written, any more: quiet hours and a pause hold it.
    unprompted=True,
    due_at=sa.bindparam("now"),
    check_at=None,
    checks=0,
    lease_until=None,
)

_NOT_DONE = (
    sa.update(_b)
    .where(_b.c.id == sa.bindparam("broadcast"), _b.c.state == broadcast_states.DONE)
    .values(state=broadcast_states.SENDING, done_at=None)
)


def settle_unconfirmed(session: Session, now: datetime, row: Unconfirmed, *, is_absent: bool) -> bool:
    """Another look was in vain. ``is_absent``: the list surely does not have it. True: it is queued again (ring after the commit)."""
    connection = session.connection()
    if row.checks + 1 < LOOKS:
        connection.execute(_LOOKED, {"row": row.id, "again": max(row.attempted_at + SECOND_LOOK, now + LOOK_AGAIN)})
        return False
    if is_absent and may_go_again(row, now) and _still_wanted(session, now, row):
        connection.execute(_AGAIN, {"row": row.id, "now": now})
        connection.execute(_NOT_DONE, {"broadcast": row.broadcast_id})
        return True
    connection.execute(_LOOKED, {"row": row.id, "again": None})
    if row.kind == "relay":
        _tell_writer(session, now, row, _say_unconfirmed)
    return False


def _still_wanted(session: Session, now: datetime, row: Unconfirmed) -> bool:
    """An alert that was stopped or corrected since is not repeated. The first of a broadcast to go again is written down."""
    if row.broadcast_id is None:
        return True
    connection = session.connection()
    broadcast = connection.execute(_STATE, {"broadcast": row.broadcast_id}).one_or_none()
    if broadcast is None or broadcast.state == broadcast_states.STOPPED:
        return False
    if connection.execute(_CORRECTED, {"broadcast": row.broadcast_id}).first() is not None:
        return False
    if happens_first(session, now, "told", row.broadcast_id, f"resent:{row.broadcast_id}"):
        act = {"act": "unconfirmed sent again", "subject": f"broadcast {broadcast.number}", "at": now}
        connection.execute(sa.insert(Audit.__table__), act | {"collective_id": broadcast.collective_id})  # type: ignore[arg-type]
    return True


_WRITER = (
    sa.select(
        Membership.id,
        Membership.person_id,
        Person.phone_id,
        sa.func.coalesce(Person.language, Collective.language).label("language"),
        sa.func.coalesce(Person.timezone, Collective.timezone).label("zone"),
        Collective.name,
        Collective.id.label("collective_id"),
    )
    .join(Person, Person.id == Membership.person_id)
    .join(Phone, Phone.id == Person.phone_id)
    .join(Collective, Collective.id == Membership.collective_id)
    .where(Membership.id == sa.bindparam("member"), Membership.state == "active", Phone.detached_at.is_(None))
)
_HELPS = sa.select(Role.role).where(Role.membership_id == sa.bindparam("member"), Role.role.in_(("organizer", "supporter")))


def _say_unconfirmed(writer: Any, row: Any) -> str:
    return words(
        writer.language,
        "{collective}: we can not tell whether your answer of {time} arrived. It is not sent again. If it is safe, answer once more.",
        collective=writer.name,
        time=f"{row.attempted_at.astimezone(find_zone(writer.zone)):%H:%M}",
    )


def _say_expired(writer: Any, row: Any) -> str:
    return words(
        writer.language,
        "{collective}: your answer of {when} was not delivered within a day and is gone. If it is safe, answer once more.",
        collective=writer.name,
        when=say_day(row.created_at.astimezone(find_zone(writer.zone)), writer.language),
    )


def _tell_writer(session: Session, now: datetime, row: Any, say: Callable[[Any, Any], str]) -> bool:
    """An organizer or supporter who answered a member is told that it did not arrive, or may not have.

    Nobody else is: a page tells of somebody in need, and a text to her about it could be read by whoever holds her phone.
    """
    writer_id, reader_id = row.about_membership_id, row.membership_id
    if writer_id is None or reader_id is None:
        return False
    connection = session.connection()
    if connection.execute(_HELPS, {"member": writer_id}).first() is None or connection.execute(_HELPS, {"member": reader_id}).first():
        return False
    writer = connection.execute(_WRITER, {"member": writer_id}).one_or_none()
    if writer is None:
        return False
    try:
        line_id = line_for(session, writer_id)
    except NoLine:
        return False
    letter = Letter(
        kind="report",
        body=say(writer, row),
        language=writer.language,
        line_id=line_id,
        phone_id=writer.phone_id,
        person_id=writer.person_id,
        membership_id=writer.id,
        collective_id=writer.collective_id,
        unprompted=True,
        expires_at=now + REPORT_LASTS,
    )
    put(session, now, letter)
    return True


# By the partial index of words between people. Twice the time that a worker may well be away.
_TOLD_WITHIN = timedelta(hours=2)
_EXPIRED_WORDS = sa.select(_o.c.id, _o.c.membership_id, _o.c.about_membership_id, _o.c.created_at).where(
    # Not "is not null": SQLite searches the index only for a range.
    _o.c.about_membership_id > 0,
    _o.c.kind == "relay",
    _o.c.state == EXPIRED,
    _o.c.done_at > sa.bindparam("since", type_=_o.c.done_at.type),
)


def tell_of_expired(store: Store) -> int:
    """Tell who answered a member that the answer came too late to be sent, each once; returns how many were told. Ring afterwards."""
    now = store.clock.now()
    since = {"since": now - _TOLD_WITHIN}
    with store.read() as session:
        if session.connection().execute(_EXPIRED_WORDS.limit(1), since).first() is None:
            return 0
    with store.write() as session:
        found = sorted(session.connection().execute(_EXPIRED_WORDS, since).all())
        new = [row for row in found if happens_first(session, now, "told", row.id, f"told:expired:{row.id}")]
        return sum(_tell_writer(session, now, row, _say_expired) for row in new)


_open = sa.or_(sa.and_(in_states(_o.c.state, UNKNOWN), _o.c.check_at.is_not(None)), in_states(_o.c.state, ATTEMPTING))
_STILL_LOOKING = sa.select(_o.c.id).where(_o.c.broadcast_id == sa.bindparam("broadcast"), _open).limit(1)
_NOT_CONFIRMED = sa.select(sa.func.count()).where(
    _o.c.broadcast_id == sa.bindparam("broadcast"), in_states(_o.c.state, UNKNOWN), _o.c.checks >= LOOKS, sa.not_(_o.c.resent)
)


def show_organizers(session: Session, now: datetime, broadcast_id: int) -> int:
    """When nothing of this broadcast is looked up any more, its organizers are told, once, for how many it is not certain.

    Returns how many were told. Ring after the commit.
    """
    connection = session.connection()
    if connection.execute(_STILL_LOOKING, {"broadcast": broadcast_id}).first() is not None:
        return 0
    number = int(connection.execute(_NOT_CONFIRMED, {"broadcast": broadcast_id}).scalar_one())
    broadcast = connection.execute(_STATE, {"broadcast": broadcast_id}).one_or_none()
    if broadcast is None or number == 0 or broadcast.state == broadcast_states.STOPPED:
        return 0

    def make_text(language: str) -> str:
        return words(
            language,
            "No. {number}: for {people} we can not tell whether it arrived. To send it to them once more: RESEND {number}",
            number=broadcast.number,
            people=count_words(language, "1 person", "{n} people", number),
        )

    return tell_organizers(session, now, broadcast.collective_id, make_text, key=f"unconfirmed:{broadcast_id}")
