"""A broadcast from draft to done: its words, what the preview says of it, approval, hold, stop, and how it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.audience import find_audience
from bot.delivery.due import cancel_timers, set_timer
from bot.delivery.kinds import AFTER_THE_START, ASKS, LASTS
from bot.delivery.wording import choose, render
from bot.languages import LANGUAGES
from bot.languages.segments import count_segments
from models import Alert, Broadcast, BroadcastText, Collective, CollectiveLine, Line, Outbound, Poll
from models import broadcasts as states
from models.messages import CLAIMED, HELD, OUTBOUND_STATES, QUEUED, STOPPED, SUPPRESSED

MOST_SEGMENTS = 10


@dataclass(frozen=True)
class Preview:
    """What will happen, before it does. ``held`` counts those who get it later, ``left_out`` those who do not get it, by reason.

    ``by_language`` counts readers by the language they read; ``fallback`` those of them for whom there is no text in it.
    """

    recipients: int
    encoding: str
    segments: int
    by_language: dict[str, int] = field(default_factory=dict)
    fallback: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


_c: Any = Collective.__table__
_NEXT_NUMBER = (
    sa.update(_c).where(_c.c.id == sa.bindparam("collective")).values(next_number=_c.c.next_number + 1).returning(_c.c.next_number)
)


def take_number(session: Session, collective_id: int) -> int:
    """The collective's next number: notes, broadcasts and peer requests share one row of numbers, so "47" means one thing."""
    return int(session.connection().execute(_NEXT_NUMBER, {"collective": collective_id}).scalar_one()) - 1


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
) -> Broadcast:
    """Write a draft with its words by language (a check-in has its own in every language). ValueError for a poll without options."""
    broadcast = Broadcast(
        collective_id=collective_id,
        number=take_number(session, collective_id),
        kind=kind,
        state=states.DRAFT,
        group_id=group_id,
        author_id=author_id,
        poll_id=poll_id,
        alert_id=alert_id,
        created_at=now,
    )
    session.add(broadcast)
    session.flush()
    if kind == "check_in":
        texts = dict.fromkeys(LANGUAGES, "") | dict(texts)
    for language, body in texts.items():
        add_text(session, broadcast, language, body, (options or {}).get(language))
    return broadcast


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
    ends = _worth_until(session, broadcast, now)
    if ends is not None and ends <= now:
        return "too_late"
    rows = find_audience(session, now, broadcast).rows().subquery()
    if session.scalar(sa.select(rows.c.phone_id).where(rows.c.state != SUPPRESSED).limit(1)) is None:
        return "nobody"
    return None


def preview_broadcast(session: Session, now: datetime, broadcast: Broadcast) -> Preview:
    """Who would get it if it left at ``now``, and what it would look like."""
    audience = find_audience(session, now, broadcast)
    rows = audience.rows().subquery()
    counted = session.execute(
        sa.select(rows.c.state, rows.c.reason, rows.c.language, sa.func.count()).group_by(rows.c.state, rows.c.reason, rows.c.language)
    ).all()
    texts = read_texts(session, broadcast.id)
    readers: Counter[str] = Counter()
    held: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for state, reason, language, number in counted:
        if state == SUPPRESSED:
            left_out[reason] += number
            continue
        readers[language] += number
        if state == HELD:
            held[reason] += number
    gets = {language: choose(language, audience.collective.language, texts)[0] for language in readers} if texts else {}
    used = set(gets.values()) or set(texts)
    counts = [count_segments(_whole(broadcast, audience.collective, texts[language])) for language in used]
    return Preview(
        recipients=readers.total(),
        encoding="UCS-2" if any(count.encoding == "UCS-2" for count in counts) else "GSM-7",
        segments=max((count.segments for count in counts), default=0),
        by_language=dict(readers),
        fallback={language: number for language, number in readers.items() if gets.get(language, language) != language},
        held=dict(held),
        left_out=dict(left_out),
    )


def _whole(broadcast: Broadcast, collective: Collective, text: BroadcastText) -> str:
    return render(broadcast.kind, text.language, collective.name, text.body, text.options)


def approve_broadcast(
    session: Session, now: datetime, broadcast: Broadcast, *, how: str, approver_id: int | None = None, at: datetime | None = None
) -> bool:
    """Let it go out at ``at`` (else now). ``how``: organizer | code | cli | clock. False when it was no draft any more.

    Books its fan-out, and a poll's close as many hours after the sending as its author gave.
    """
    due = max(at, now) if at is not None else now
    values: dict[str, Any] = {"state": states.SCHEDULED, "approved_by": how, "approver_id": approver_id, "due_at": due}
    if broadcast.expires_at is None:
        values["expires_at"] = _worth_until(session, broadcast, due) or due + LASTS[broadcast.kind]
    session.flush()
    statement = sa.update(Broadcast).where(Broadcast.id == broadcast.id, Broadcast.state == states.DRAFT).values(**values)
    if _changed(session, statement) == 0:
        return False
    session.refresh(broadcast)
    if broadcast.kind == "poll" and broadcast.poll_id is not None:
        poll = session.get_one(Poll, broadcast.poll_id)
        poll.closes_at = poll.closes_at or due + timedelta(hours=poll.open_hours)
        set_timer(session, "poll_close", poll.id, f"poll_close:{poll.id}", poll.closes_at)
    set_timer(session, "broadcast", broadcast.id, f"broadcast:{broadcast.id}", due)
    return True


def _worth_until(session: Session, broadcast: Broadcast, due: datetime) -> datetime | None:
    """When it is no longer worth sending: a rally notice after the rally, a poll after its close. None: nobody said."""
    if broadcast.expires_at is not None:
        return broadcast.expires_at
    if broadcast.alert_id is not None and broadcast.kind == "alert":
        starts_at = session.get_one(Alert, broadcast.alert_id).starts_at
        return None if starts_at is None else starts_at + AFTER_THE_START
    if broadcast.poll_id is not None and broadcast.kind == "poll":
        poll = session.get_one(Poll, broadcast.poll_id)
        return poll.closes_at or due + timedelta(hours=poll.open_hours)
    return None


def stop_broadcast(session: Session, now: datetime, broadcast: Broadcast) -> int:
    """Nothing more of it leaves, for ever; returns how many messages were still unsent. What the carrier has stays sent."""
    session.flush()
    open_states = (states.DRAFT, states.SCHEDULED, states.HELD, states.SENDING)
    statement = sa.update(Broadcast).where(Broadcast.id == broadcast.id, Broadcast.state.in_(open_states))
    if _changed(session, statement.values(state=states.STOPPED, done_at=now)) == 0:
        return 0
    session.refresh(broadcast)
    cancel_timers(session, "broadcast", broadcast.id)
    if broadcast.poll_id is not None:
        # Else its close would send a "result" of what was stopped.
        cancel_timers(session, "poll_close", broadcast.poll_id)
    rows = sa.update(Outbound).where(Outbound.broadcast_id == broadcast.id, Outbound.state.in_((HELD, QUEUED, CLAIMED)))
    return _changed(session, rows.values(state=STOPPED, done_at=now, lease_until=None))


def hold_broadcast(session: Session, now: datetime, broadcast: Broadcast) -> bool:
    """Nothing more of it leaves until somebody releases it. False when there is nothing to hold."""
    session.flush()
    statement = sa.update(Broadcast).where(Broadcast.id == broadcast.id, Broadcast.state.in_((states.SCHEDULED, states.SENDING)))
    if _changed(session, statement.values(state=states.HELD)) == 0:
        return False
    session.refresh(broadcast)
    cancel_timers(session, "broadcast", broadcast.id)
    rows = sa.update(Outbound).where(Outbound.broadcast_id == broadcast.id, Outbound.state.in_((QUEUED, CLAIMED)))
    _changed(session, rows.values(state=HELD, reason="organizer", lease_until=None))
    return True


def release_broadcast(session: Session, now: datetime, broadcast: Broadcast) -> bool:
    """Take a hold back: what was unsent goes on, the fan-out too if it was not whole. False when it was not held."""
    session.flush()
    statement = sa.update(Broadcast).where(Broadcast.id == broadcast.id, Broadcast.state == states.HELD)
    state = states.SCHEDULED if broadcast.planned_at is None else states.SENDING
    if _changed(session, statement.values(state=state)) == 0:
        return False
    session.refresh(broadcast)
    if broadcast.planned_at is None:
        due = max(broadcast.due_at or now, now)
        set_timer(session, "broadcast", broadcast.id, f"broadcast:{broadcast.id}:{now.isoformat()}", due)
    rows = sa.update(Outbound).where(Outbound.broadcast_id == broadcast.id, Outbound.state == HELD, Outbound.reason == "organizer")
    _changed(session, rows.values(state=QUEUED, reason=None))
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
    counts = dict.fromkeys(OUTBOUND_STATES, 0) | {state: number for state, number, _ in counted}
    return {
        "id": broadcast.id,
        "state": broadcast.state,
        # Rows go after their retention; how many there were stays.
        "total": max(sum(counts.values()), broadcast.total),
        "counts": counts,
        "resent": int(sum(number for _, _, number in counted)),
    }


def _changed(session: Session, statement: sa.Update) -> int:
    """Run it and say how many rows it changed; objects in the session are read anew by whoever needs them."""
    result: Any = session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)
