"""A broadcast from draft to done: its words, why it can not go, approval and cool-down, hold, stop, and how it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.audience import find_audience
from bot.delivery.due import cancel_timers, set_timer
from bot.delivery.expiry import worth_until
from bot.delivery.kinds import ASKS, LASTS
from bot.delivery.wording import render
from bot.languages import LANGUAGES
from bot.languages.segments import count_segments
from models import Alert, Audit, Broadcast, BroadcastText, Collective, CollectiveLine, Line, Outbound, Poll, Prepared
from models import broadcasts as states
from models.messages import CLAIMED, EXPIRED, HELD, OUTBOUND_STATES, QUEUED, STOPPED, SUPPRESSED

MOST_SEGMENTS = 10
# Whose approval gives the others time to call it back. A correction must catch up with what it corrects, and never waits.
COOLS_DOWN = ("organizer", "code", "terminal")
# When the author is told what became of it, at the earliest (``reports``).
REPORT_AFTER = timedelta(minutes=1)


_c: Any = Collective.__table__
_NEXT_NUMBER = Prepared(
    sa.update(_c).where(_c.c.id == sa.bindparam("collective")).values(next_number=_c.c.next_number + 1).returning(_c.c.next_number)
)


# Held, queued or claimed: it has not left, whatever its broadcast says of itself. One that is done may have some that are out of reach.
_has_unsent = sa.exists().where(Outbound.broadcast_id == Broadcast.id, Outbound.state.in_((HELD, QUEUED, CLAIMED)))


def take_number(session: Session, collective_id: int) -> int:
    """The collective's next number: notes, broadcasts and peer requests share one row of numbers, so "47" means one thing."""
    return int(_NEXT_NUMBER.one(session, {"collective": collective_id}).next_number) - 1


def draft_broadcast(
    session: Session,
    now: datetime,
    collective_id: int,
    kind: str,
    texts: Mapping[str, str],
    *,
    group_id: int | None = None,
    author_id: int | None = None,
    options: Mapping[str, Sequence[str]] | None = None,
    poll_id: int | None = None,
    alert_id: int | None = None,
    corrects_id: int | None = None,
    request_key: str | None = None,
) -> Broadcast:
    """Write a draft with its words by language (a check-in has its own in every language). ValueError for a poll without options.

    ``request_key``: whoever asks again with the same key, or at the same moment in another process, gets the first one back, which may
    be no draft any more (O15: a double click makes one broadcast).
    """
    if request_key is not None:
        first = find_by_key(session, collective_id, request_key)
        if first is not None:
            return first
        request_key = _hash_key(collective_id, request_key)
    broadcast = Broadcast(
        collective_id=collective_id,
        number=take_number(session, collective_id),
        kind=kind,
        state=states.DRAFT,
        group_id=group_id,
        author_id=author_id,
        poll_id=poll_id,
        alert_id=alert_id,
        corrects_id=corrects_id,
        request_key=request_key,
        created_at=now,
    )
    session.add(broadcast)
    session.flush()
    if kind == "check_in":
        texts = dict.fromkeys(LANGUAGES, "") | dict(texts)
    for language, body in texts.items():
        add_text(session, broadcast, language, body, (options or {}).get(language))
    return broadcast


def find_by_key(session: Session, collective_id: int, request_key: str) -> Broadcast | None:
    """The broadcast that this key made. The collective's row is locked first: two who come at once are one after the other."""
    session.execute(sa.select(Collective.id).where(Collective.id == collective_id).with_for_update(key_share=True))
    return session.scalars(sa.select(Broadcast).where(Broadcast.request_key == _hash_key(collective_id, request_key))).one_or_none()


def _hash_key(collective_id: int, request_key: str) -> str:
    return hashlib.sha256(f"{collective_id}|{request_key}".encode()).hexdigest()


def record_act(session: Session, now: datetime, broadcast: Broadcast, act: str, membership_id: int | None = None) -> None:
    """Every power leaves a trace: who (None: the command line, or Chorus itself) did what, never its words."""
    subject = f"broadcast {broadcast.number}"
    session.add(Audit(collective_id=broadcast.collective_id, membership_id=membership_id, act=act, subject=subject, at=now))


def add_text(session: Session, broadcast: Broadcast, language: str, body: str, options: Sequence[str] | None = None) -> BroadcastText:
    """Add the words in one language, or replace them. ``segments`` counts the whole text as a member gets it."""
    collective = session.get_one(Collective, broadcast.collective_id)
    whole = render(broadcast.kind, language, collective.name, body, options)
    text = session.get(BroadcastText, (broadcast.id, language)) or BroadcastText(broadcast_id=broadcast.id, language=language)
    text.body = body
    text.options = list(options) if options is not None else None
    text.segments = max(1, count_segments(whole).segments)
    session.add(text)
    session.flush()
    return text


def read_texts(session: Session, broadcast_id: int) -> dict[str, BroadcastText]:
    """The words of a broadcast by language."""
    found = session.scalars(sa.select(BroadcastText).where(BroadcastText.broadcast_id == broadcast_id).order_by(BroadcastText.language))
    return {text.language: text for text in found}


def refuse_reason(session: Session, now: datetime, broadcast: Broadcast) -> str | None:
    """Why it can not be sent: no_words, too_long (over 10 segments), no_line, one_way (it asks, and no line can hear), too_late
    (the action is over), nobody. None: it can."""
    texts = read_texts(session, broadcast.id)
    if not texts or (broadcast.kind != "check_in" and not all(text.body.strip() for text in texts.values())):
        return "no_words"
    if max(text.segments for text in texts.values()) > MOST_SEGMENTS:
        return "too_long"
    lines = session.scalars(
        sa.select(Line.two_way)
        .join(CollectiveLine, CollectiveLine.line_id == Line.id)
        .where(CollectiveLine.collective_id == broadcast.collective_id)
    ).all()
    if not lines:
        return "no_line"
    if broadcast.kind in ASKS and not any(lines):
        return "one_way"
    ends = worth_until(session, broadcast, now)
    if ends is not None and ends <= now:
        return "too_late"
    rows = find_audience(session, now, broadcast).rows().subquery()
    if session.scalar(sa.select(rows.c.phone_id).where(rows.c.state.not_in((SUPPRESSED, EXPIRED))).limit(1)) is None:
        return "nobody"
    return None


def approve_broadcast(
    session: Session, now: datetime, broadcast: Broadcast, *, how: str, approver_id: int | None = None, at: datetime | None = None
) -> bool:
    """Let it go out at ``at`` (else when its draft says, else now). ``how``: organizer | code | terminal | cli | clock. False when it was
    no draft any more.

    After an organizer's word it cools down first: until ``due_at`` any organizer may hold it. Books its fan-out, its author's report,
    and a poll's close as many hours after the sending as its author gave. A correction stops what is unsent of what it corrects, and
    moves the action to its new hour.
    """
    due = max(at or broadcast.due_at or now, now)
    if how in COOLS_DOWN and broadcast.corrects_id is None:
        due = max(due, now + timedelta(seconds=session.get_one(Collective, broadcast.collective_id).cool_down_seconds))
    values: dict[str, Any] = {"state": states.SCHEDULED, "approved_by": how, "approver_id": approver_id, "due_at": due, "holder_id": None}
    if broadcast.expires_at is None:
        values["expires_at"] = worth_until(session, broadcast, due) or due + LASTS[broadcast.kind]
    session.flush()
    statement = sa.update(Broadcast).where(Broadcast.id == broadcast.id, Broadcast.state == states.DRAFT).values(**values)
    if _changed(session, statement) == 0:
        return False
    session.refresh(broadcast)
    if broadcast.corrects_id is not None:
        stop_broadcast(session, now, session.get_one(Broadcast, broadcast.corrects_id, populate_existing=True), reason="corrected")
        if broadcast.alert_id is not None and broadcast.starts_at is not None:
            session.get_one(Alert, broadcast.alert_id).starts_at = broadcast.starts_at
    if broadcast.kind == "poll" and broadcast.poll_id is not None:
        poll = session.get_one(Poll, broadcast.poll_id)
        poll.closes_at = poll.closes_at or due + timedelta(hours=poll.open_hours)
        set_timer(session, "poll_close", poll.id, f"poll_close:{poll.id}", poll.closes_at)
    set_timer(session, "broadcast", broadcast.id, f"broadcast:{broadcast.id}", due)
    if broadcast.author_id is not None or approver_id is not None:
        set_timer(session, "report", broadcast.id, f"report:{broadcast.id}", due + REPORT_AFTER)
    return True


def stop_broadcast(session: Session, now: datetime, broadcast: Broadcast, *, reason: str | None = None) -> int:
    """Nothing more of it leaves, for ever; returns how many messages were still unsent. What the carrier has stays sent.

    ``reason``: what its unsent rows say ("corrected"). A corrected one stops when it is done, too: a receipt or RESEND may bring one of
    its messages back tomorrow.
    """
    session.flush()
    is_open = Broadcast.state.in_((states.DRAFT, states.SCHEDULED, states.HELD, states.SENDING))
    comes_back = sa.true() if reason == "corrected" else _has_unsent
    statement = sa.update(Broadcast).where(
        Broadcast.id == broadcast.id, sa.or_(is_open, sa.and_(Broadcast.state == states.DONE, comes_back))
    )
    values: dict[str, Any] = {"state": states.STOPPED, "done_at": sa.func.coalesce(Broadcast.done_at, now)}
    if reason != "corrected":  # its correction goes to those, too, whom the fan-out had not reached yet
        values["planned_at"] = sa.func.coalesce(Broadcast.planned_at, now)
    if _changed(session, statement.values(**values)) > 0:
        session.refresh(broadcast)
        cancel_timers(session, "broadcast", broadcast.id)
        if broadcast.poll_id is not None:
            # Else its close would send a "result" of what was stopped.
            cancel_timers(session, "poll_close", broadcast.poll_id)
    else:
        return 0
    rows = sa.update(Outbound).where(Outbound.broadcast_id == broadcast.id, Outbound.state.in_((HELD, QUEUED, CLAIMED)))
    why = {} if reason is None else {"reason": reason}
    return _changed(session, rows.values(state=STOPPED, done_at=now, lease_until=None, **why))


def hold_broadcast(session: Session, now: datetime, broadcast: Broadcast, *, reason: str = "organizer", code: int | None = None) -> bool:
    """Nothing more of it leaves until somebody releases it. False when there is nothing to hold, or it is held already.

    ``reason``: organizer | line (wrongly set up) | filtered (carriers take it for spam) | cap (the month's money is spent), with Twilio's
    error ``code``. Its held rows say "organizer" whatever the reason: only a person lets them go. An organizer may hold what is done, too,
    while some of it would be tried again.
    """
    session.flush()
    is_leaving: Any = Broadcast.state.in_((states.SCHEDULED, states.SENDING))
    if reason == "organizer":
        is_leaving = sa.or_(is_leaving, sa.and_(Broadcast.state == states.DONE, _has_unsent))
    statement = sa.update(Broadcast).where(Broadcast.id == broadcast.id, is_leaving)
    if _changed(session, statement.values(state=states.HELD, hold_reason=reason, hold_code=code, done_at=None)) == 0:
        return False
    session.refresh(broadcast)
    cancel_timers(session, "broadcast", broadcast.id)
    rows = sa.update(Outbound).where(Outbound.broadcast_id == broadcast.id, Outbound.state.in_((QUEUED, CLAIMED)))
    _changed(session, rows.values(state=HELD, reason="organizer", lease_until=None))
    if reason != "organizer":
        record_act(session, now, broadcast, f"held: {reason}" if code is None else f"held: {reason} {code}")
    return True


def release_broadcast(session: Session, now: datetime, broadcast: Broadcast) -> bool:
    """Take a hold back: what was unsent goes on, the fan-out too if it was not whole. False when it was not held."""
    session.flush()
    statement = sa.update(Broadcast).where(Broadcast.id == broadcast.id, Broadcast.state == states.HELD)
    state = states.SCHEDULED if broadcast.planned_at is None else states.SENDING
    if _changed(session, statement.values(state=state, hold_reason=None, hold_code=None, holder_id=None)) == 0:
        return False
    session.refresh(broadcast)
    if broadcast.planned_at is None:
        due = max(broadcast.due_at or now, now)
        set_timer(session, "broadcast", broadcast.id, f"broadcast:{broadcast.id}:{now.isoformat()}", due)
    rows = sa.update(Outbound).where(Outbound.broadcast_id == broadcast.id, Outbound.state == HELD, Outbound.reason == "organizer")
    # Due from now on: it was not late while somebody held it (/healthz).
    _changed(session, rows.values(state=QUEUED, reason=None, due_at=now))
    return True


def broadcast_status(session: Session, broadcast_id: int) -> dict[str, Any]:
    """The contract's JSON: id, state, total, counts (every state, zeros included), resent. LookupError when there is none."""
    broadcast = session.get(Broadcast, broadcast_id)
    if broadcast is None:
        raise LookupError(f"there is no broadcast {broadcast_id}")
    resent = sa.func.coalesce(sa.func.sum(sa.case((Outbound.resent, 1), else_=0)), 0)
    counted = session.execute(
        sa.select(Outbound.state, sa.func.count(), resent).where(Outbound.broadcast_id == broadcast_id).group_by(Outbound.state)
    ).all()
    return say_status(broadcast, {state: number for state, number, _ in counted}, int(sum(number for _, _, number in counted)))


def say_status(broadcast: Broadcast, counted: Mapping[str, int], resent: int) -> dict[str, Any]:
    """The contract's JSON of a broadcast whose rows were counted by state."""
    counts = dict.fromkeys(OUTBOUND_STATES, 0) | dict(counted)
    return {
        "id": broadcast.id,
        "state": broadcast.state,
        # Rows go after their retention; how many there were stays.
        "total": max(sum(counts.values()), broadcast.total),
        "counts": counts,
        "resent": resent,
    }


def is_over(session: Session, broadcast: Broadcast) -> bool:
    """Whether there is nothing left of it to hold or to drop."""
    if broadcast.state != states.DONE:
        return broadcast.state == states.STOPPED
    return session.scalar(sa.select(Broadcast.id).where(Broadcast.id == broadcast.id, _has_unsent)) is None


def _changed(session: Session, statement: sa.Update) -> int:
    """Run it and say how many rows it changed; objects in the session are read anew by whoever needs them."""
    result: Any = session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)
