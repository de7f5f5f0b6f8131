"""How a broadcast stands, in words for whoever watches it: what left, what waits and why, what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.broadcasts import WENT_AGAIN, say_status
from bot.delivery.canary import PROOF_LASTS
from bot.delivery.corrections import find_correction
from bot.delivery.errors import RETRY
from bot.delivery.trouble_words import explain
from models import Broadcast, Line, Moment, Outbound
from models import broadcasts as states
from models.messages import EXPIRED, HELD, QUEUED, SUPPRESSED

_o: Any = Outbound.__table__
_l: Any = Line.__table__

# How fast it goes is what left within this time.
RATE_OVER = timedelta(seconds=30)
# All that is told of a broadcast's rows in one look at them: at 140,000 rows each look takes the database a twentieth of a second.
_same = (_o.c.state, _o.c.reason, _o.c.error_code, _o.c.line_id)
_TALLY = (
    sa.select(
        *_same,
        sa.func.count().label("number"),
        sa.func.sum(sa.case((WENT_AGAIN, 1), else_=0)).label("resent"),
        sa.func.coalesce(sa.func.sum(_o.c.cost_micros), 0).label("micros"),
        sa.func.min(_o.c.due_at).label("due_at"),
        sa.func.sum(sa.case((_o.c.attempted_at > sa.bindparam("since", type_=Moment), 1), else_=0)).label("recent"),
    )
    .where(_o.c.broadcast_id == sa.bindparam("broadcast"))
    .group_by(*_same)
)
_LINES = (
    sa.select(_l.c.address, _l.c.held_until, _l.c.held_code, _l.c.proven_at)
    .where(_l.c.id.in_(sa.bindparam("lines", expanding=True)))
    .order_by(_l.c.id)
)


@dataclass(frozen=True)
class Waiting:
    """So many messages of it wait for this reason, the first of them until ``due_at``."""

    reason: str
    count: int
    due_at: datetime


@dataclass(frozen=True)
class Resting:
    """A line of it that sends nothing now: until when, and Twilio's error code (None: nobody said)."""

    address: str
    until: datetime
    code: int | None


@dataclass(frozen=True)
class Standing:
    """A broadcast at one moment. ``status`` is the contract's JSON; ``errors`` counts Twilio's codes."""

    status: dict[str, Any]
    number: int
    due_at: datetime | None
    done_at: datetime | None
    hold_reason: str | None
    hold_code: int | None
    corrects_id: int | None
    corrected_by: int | None
    cost_micros: int
    waiting: tuple[Waiting, ...]
    resting: tuple[Resting, ...]
    unproven: bool
    errors: dict[int, int]
    # How many it left behind for each reason (opted_out, paused, too_late ...), and how many left a second of late.
    left_out: dict[str, int]
    rate: float

    @property
    def is_over(self) -> bool:
        return self.status["state"] in (states.DONE, states.STOPPED)

    def as_json(self) -> dict[str, Any]:
        """The contract's keys, and ours."""
        moments = {"due_at": self.due_at, "done_at": self.done_at}
        return (
            self.status
            | {name: None if moment is None else moment.isoformat() for name, moment in moments.items()}
            | {
                "number": self.number,
                "hold_reason": self.hold_reason,
                "hold_code": self.hold_code,
                "corrects": self.corrects_id,
                "corrected_by": self.corrected_by,
                "cost_micros": self.cost_micros,
                "waiting": {each.reason: each.count for each in self.waiting},
                "errors": {str(code): number for code, number in self.errors.items()},
            }
        )


def read_standing(session: Session, now: datetime, broadcast_id: int) -> Standing:
    """Look at it. LookupError when there is no such broadcast."""
    broadcast = session.get(Broadcast, broadcast_id)
    if broadcast is None:
        raise LookupError(f"there is no broadcast {broadcast_id}")
    connection = session.connection()
    tally = connection.execute(_TALLY, {"broadcast": broadcast_id, "since": now - RATE_OVER}).all()
    counts: Counter[str] = Counter()
    errors: Counter[int] = Counter()
    left_out: Counter[str] = Counter()
    waiting: dict[str | None, Waiting] = {}
    for row in tally:
        counts[row.state] += row.number
        if row.error_code is not None:
            errors[row.error_code] += row.number
        if row.state in (SUPPRESSED, EXPIRED) and row.reason is not None:
            left_out[row.reason] += row.number
        if row.state == HELD:
            known = waiting.get(row.reason)
            first = row.due_at if known is None else min(known.due_at, row.due_at)
            waiting[row.reason] = Waiting(row.reason or "due", row.number + (known.count if known else 0), first)
    queued = sorted({row.line_id for row in tally if row.state == QUEUED})
    lines = connection.execute(_LINES, {"lines": queued}).all() if queued else []
    correction = find_correction(session, broadcast)
    return Standing(
        status=say_status(broadcast, counts, int(sum(row.resent for row in tally))),
        number=broadcast.number,
        due_at=broadcast.due_at,
        done_at=broadcast.done_at,
        hold_reason=broadcast.hold_reason,
        hold_code=broadcast.hold_code,
        corrects_id=broadcast.corrects_id,
        corrected_by=None if correction is None else correction.id,
        cost_micros=int(sum(row.micros for row in tally)),  # PostgreSQL adds big integers up to decimals
        waiting=tuple(sorted(waiting.values(), key=lambda each: -each.count)),
        resting=tuple(Resting(row.address, row.held_until, row.held_code) for row in lines if row.held_until and row.held_until > now),
        unproven=any(row.proven_at is None or row.proven_at < now - PROOF_LASTS for row in lines),
        errors=dict(errors.most_common()),
        left_out=dict(left_out.most_common()),
        rate=sum(row.recent for row in tally) / RATE_OVER.total_seconds(),
    )


def say_what_holds(standing: Standing, now: datetime) -> Iterator[str]:
    """Why it is not done, or what of it still waits for another try, one English sentence each, the strongest reason first."""
    state = standing.status["state"]
    if state == states.DRAFT:
        yield "It is a draft: nobody has said yes to it."
    elif state == states.SCHEDULED and standing.due_at is not None and standing.due_at > now:
        yield f"It leaves at {_clock(standing.due_at)}; until then it can be held: flask broadcast hold {standing.status['id']}"
    elif state == states.HELD:
        yield f"Held. {explain(standing.hold_code, standing.hold_reason)} Let it go: flask broadcast release {standing.status['id']}"
    for each in standing.waiting:
        if state == states.HELD and each.reason == "organizer":
            continue
        timed = each.reason in ("quiet_hours", "question", "due", RETRY, "daily_limit") and each.due_at > now
        wait = "1 waits" if each.count == 1 else f"{each.count:,} wait"
        if each.reason == RETRY:
            # They do not keep it open (a day is long), so this is said of one that is done, too.
            yield f"{wait} for another try{f', the first at {_clock(each.due_at)}' if timed else ''}."
        elif not standing.is_over:
            yield f"{wait}{f' until {_clock(each.due_at)}' if timed else ''}: {explain(None, each.reason)}"
    if standing.is_over:
        return
    for line in standing.resting:
        yield f"Line {line.address} rests until {_clock(line.until)}. {explain(line.code)}".rstrip()
    if state == states.SENDING and standing.unproven and not standing.resting:
        yield "A few go first, to see whether the line delivers; the rest follows."


def say_errors(standing: Standing) -> Iterator[str]:
    """What went wrong, by Twilio's error code, the most frequent first."""
    for code, number in standing.errors.items():
        yield f"{number:>9,}  {explain(code)} ({code})"


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
