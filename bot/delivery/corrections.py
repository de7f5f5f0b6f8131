"""What an organizer may still do when a broadcast has left: correct it, or send again what nobody can tell the fate of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.broadcasts import draft_broadcast, hold_broadcast, stop_broadcast
from bot.delivery.kinds import AFTER_THE_START
from bot.languages import words
from models import Broadcast, Outbound
from models import broadcasts as states
from models.messages import QUEUED, UNKNOWN

# A vote's words can not change under the votes that were cast, and nobody wrote a check-in or a result.
CORRECTABLE = ("notice", "alert")
# Care is never sent twice: a second "how are you?" tells whoever reads over her shoulder more than the first one.
RESENDABLE = ("notice", "alert", "poll", "result")
# So often an unknown outcome is looked up in Twilio's list before a person may decide.
LOOK_UPS = 2

_b: Any = Broadcast.__table__
_o: Any = Outbound.__table__


def say_change(language: str, text: str) -> str:
    """The words of a correction: whoever never got the first text understands it too."""
    return words(language, "Change: {text}", text=text.strip())


def find_correction(session: Session, broadcast: Broadcast) -> Broadcast | None:
    """The approved correction of this broadcast, if there is one. One that was dropped does not stand in the way of another."""
    newer = sa.orm.aliased(Broadcast)
    was_corrected = sa.exists().where(newer.corrects_id == Broadcast.id, newer.approved_by.is_not(None))
    query = sa.select(Broadcast).where(Broadcast.corrects_id == broadcast.id, Broadcast.approved_by.is_not(None))
    query = query.where(sa.or_(Broadcast.state != states.STOPPED, was_corrected))
    return session.scalars(query.order_by(Broadcast.id.desc()).limit(1)).first()


def why_not_correct(session: Session, broadcast: Broadcast) -> str | None:
    """Why it can not be corrected: a_draft (nothing left), a_poll, no_words_of_ours (a check-in, a result), corrected. None: it can."""
    if broadcast.state == states.DRAFT or broadcast.approved_by is None:
        return "a_draft"
    if broadcast.kind not in CORRECTABLE:
        return "a_poll" if broadcast.kind == "poll" else "no_words_of_ours"
    return "corrected" if find_correction(session, broadcast) is not None else None


def draft_correction(
    session: Session,
    now: datetime,
    old: Broadcast,
    texts: Mapping[str, str],
    *,
    author_id: int | None = None,
    request_key: str | None = None,
    starts_at: datetime | None = None,
) -> Broadcast:
    """Draft the correction of ``old`` (locked by the caller), and hold what is unsent of it until somebody decides.

    It needs its approval like any other broadcast: one text from a forged number must not reach everybody. It stands for the same
    action, so that RSVPs carry over, and leaves when ``old`` would have if that is still to come. ValueError when it can not be corrected.
    ``starts_at``: the action begins then, once this is approved; None: as it stands. ``request_key``: as for ``draft_broadcast``; ask
    ``find_by_key`` first, for the same key again would drop the draft that it made. What somebody else held stays held by her: new words
    are no way around a doubt.
    """
    reason = why_not_correct(session, old)
    if reason is not None:
        raise ValueError(f"broadcast {old.id} can not be corrected: {reason}")
    doubter = _find_doubter(session, old, author_id)
    # Of two corrections that wait for their yes, the older one is out of date.
    waiting = sa.select(Broadcast).where(Broadcast.corrects_id == old.id, Broadcast.state == states.DRAFT)
    for draft in session.scalars(waiting).all():
        stop_broadcast(session, now, draft)
    made = draft_broadcast(
        session,
        now,
        old.collective_id,
        old.kind,
        {language: say_change(language, text) if text.strip() else "" for language, text in texts.items()},
        group_id=old.group_id,
        author_id=author_id,
        alert_id=old.alert_id,
        corrects_id=old.id,
        request_key=request_key,
    )
    made.early, made.holder_id = old.early, doubter
    if made.kind == "alert" and starts_at is not None:
        made.starts_at, made.expires_at = starts_at, starts_at + AFTER_THE_START
    if old.due_at is not None and old.due_at > now and old.planned_at is None:
        made.due_at = old.due_at
    if hold_broadcast(session, now, old):
        old.holder_id = author_id
    return made


def _find_doubter(session: Session, old: Broadcast, author_id: int | None) -> int | None:
    """Who else holds it by her own word. Whoever holds it only because she wrote a correction of it has no doubt about this one."""
    if old.state != states.HELD or old.holder_id in (None, author_id):
        return None
    hers = sa.select(Broadcast.id).where(Broadcast.corrects_id == old.id, Broadcast.author_id == old.holder_id)
    return None if session.scalar(hers.limit(1)) is not None else old.holder_id


def resend_unknown(session: Session, now: datetime, broadcast: Broadcast) -> int:
    """Queue again what nobody can tell the fate of, once each; returns how many. Some may be read twice: that is the organizer's choice.

    Only after Twilio's list was asked (LOOK_UPS times), never care, and nothing that comes too late. Ring the bell after the commit.
    """
    if not _may_resend(now, broadcast):
        return 0
    session.flush()
    rows = sa.update(_o).where(*_goes_again(broadcast.id))
    values: dict[str, Any] = {"state": QUEUED, "reason": None, "resent": True, "due_at": now, "lease_until": None, "done_at": None}
    queued = int(session.connection().execute(rows.values(**values, checks=0)).rowcount)
    if queued:
        session.connection().execute(sa.update(_b).where(_b.c.id == broadcast.id).values(state=states.SENDING, done_at=None))
        session.refresh(broadcast)
    return queued


def _may_resend(now: datetime, broadcast: Broadcast) -> bool:
    is_open = broadcast.kind in RESENDABLE and broadcast.state in (states.SENDING, states.DONE)
    return is_open and (broadcast.expires_at is None or broadcast.expires_at > now)


def _goes_again(broadcast_id: int) -> tuple[Any, ...]:
    return (
        _o.c.broadcast_id == broadcast_id,
        _o.c.state == UNKNOWN,
        _o.c.check_at.is_(None),
        _o.c.checks >= LOOK_UPS,
        _o.c.resent.is_(False),
        _o.c.phone_id.is_not(None),
    )


def count_resendable(session: Session, now: datetime, broadcast: Broadcast) -> int:
    """How many ``resend_unknown`` would queue again."""
    if not _may_resend(now, broadcast):
        return 0
    return session.scalar(sa.select(sa.func.count()).select_from(_o).where(*_goes_again(broadcast.id))) or 0


def count_unknown(session: Session, broadcast_id: int) -> tuple[int, int]:
    """(unknown outcomes that are still being looked up, unknown outcomes in all)."""
    looked_up = sa.or_(_o.c.check_at.is_not(None), _o.c.checks < LOOK_UPS)
    pending = sa.func.coalesce(sa.func.sum(sa.case((looked_up, 1), else_=0)), 0)
    row = (
        session.connection()
        .execute(sa.select(pending, sa.func.count()).where(_o.c.broadcast_id == broadcast_id, _o.c.state == UNKNOWN))
        .one()
    )
    return int(row[0]), int(row[1])
