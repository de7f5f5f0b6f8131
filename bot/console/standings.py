"""A broadcast that is on its way, ready to be shown: how far it is, what became of it, what holds it. Cheap enough to be polled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from bot.console.looks import say_cost, say_when, say_why
from bot.console.memory import memory
from bot.console.views import now, say
from bot.console.words import mark
from bot.delivery.standing import Standing, read_standing
from models import Broadcast
from models import broadcasts as states

# From so many messages on, a look is believed for two seconds by all pages that this process serves.
MANY, BELIEVED_SECONDS = 5_000, 2.0
# A page that watches asks so often (seconds): soon when something moves, seldom when nothing does.
SOON, SELDOM = 3, 15
SHORTLY = timedelta(minutes=2)
# Receipts come in for some time after the last message has left.
RECEIPTS_COME = timedelta(minutes=10)

STATE_NAMES = {
    states.DRAFT: mark("draft"),
    states.SCHEDULED: mark("approved"),
    states.HELD: mark("held"),
    states.SENDING: mark("leaving"),
    states.STOPPED: mark("stopped"),
    states.DONE: mark("done"),
}
KIND_NAMES = {
    "notice": mark("notice"),
    "alert": mark("call to an action"),
    "poll": mark("vote"),
    "result": mark("result of a vote"),
    "check_in": mark("check-in"),
}
# How it ended, or where it is, from the best to the worst: the states of messages that one line counts together.
OUTCOMES = (
    (mark("arrived"), "well", ("delivered",)),
    (mark("handed to the carrier"), "", ("attempting", "accepted", "sent")),
    (mark("waiting for their turn"), "", ("queued", "claimed")),
    (mark("held back for now"), "wait", ("held",)),
    (mark("not certain"), "wait", ("unknown",)),
    (mark("did not arrive"), "unwell", ("undelivered", "failed")),
    (mark("left out"), "", ("suppressed", "expired")),
    (mark("stopped before they left"), "", ("stopped",)),
)
_UNSENT = ("held", "queued", "claimed")
_MOVING = ("queued", "claimed", "attempting", "accepted", "sent")


@dataclass(frozen=True)
class Progress:
    """What the live part of a broadcast's page shows. ``left``: how many are no longer here, of ``total``; ``poll``: seconds until the
    page asks again, None when it is over; ``leaves_in``: seconds of the cool-down; ``minutes``: how long the rest takes at this rate."""

    state: str
    total: int
    left: int
    arrived: int
    outcomes: tuple[tuple[str, str, int], ...]
    rate: float
    minutes: int | None
    holds: tuple[str, ...]
    reasons: tuple[tuple[int, str], ...]
    cost: str
    resent: int
    leaves_in: int | None
    leaves_at: datetime | None
    poll: int | None


def read_progress(session: Session, broadcast: Broadcast) -> Progress:
    """How it stands now. The rows of a big one are counted every two seconds at most, however many pages watch."""
    key = ("standing", broadcast.id, broadcast.state, broadcast.hold_reason)
    standing = memory().recall(
        key, lambda: read_standing(session, now(), broadcast.id), lambda found: BELIEVED_SECONDS if found.status["total"] >= MANY else 0.0
    )
    counts = standing.status["counts"]
    # What nobody should have got is not on its way, and does not stand in the bar.
    total = standing.status["total"] - counts["suppressed"] - counts["expired"]
    left = total - sum(counts[state] for state in (*_UNSENT, "stopped"))
    waiting = counts["queued"] + counts["claimed"]
    due, state = broadcast.due_at, broadcast.state
    is_ahead = state == states.SCHEDULED and due is not None and due > now()
    seconds = math.ceil((due - now()).total_seconds()) if is_ahead and due is not None else None
    return Progress(
        state=state,
        total=max(total, 0),
        left=max(left, 0),
        arrived=counts["delivered"],
        outcomes=tuple((name, sign, number) for name, sign, of in OUTCOMES if (number := sum(counts[each] for each in of))),
        rate=standing.rate if state == states.SENDING else 0.0,
        minutes=math.ceil(waiting / standing.rate / 60) if standing.rate and waiting and state == states.SENDING else None,
        holds=tuple(_say_holds(standing, state)),
        reasons=tuple(_reasons(standing)),
        cost=say_cost(standing.cost_micros),
        resent=standing.status["resent"],
        leaves_in=seconds if seconds is not None and seconds <= SHORTLY.total_seconds() else None,
        leaves_at=due if is_ahead else None,
        poll=_poll(broadcast, standing),
    )


def _poll(broadcast: Broadcast, standing: Standing) -> int | None:
    counts = standing.status["counts"]
    if broadcast.state in (states.DONE, states.STOPPED):
        is_recent = broadcast.done_at is not None and now() - broadcast.done_at < RECEIPTS_COME
        return SELDOM if is_recent and sum(counts[each] for each in (*_MOVING, "unknown")) else None
    if broadcast.state == states.SCHEDULED and broadcast.due_at is not None and broadcast.due_at > now() + SHORTLY:
        return SELDOM
    return SELDOM if broadcast.state == states.HELD else SOON


def _say_holds(standing: Standing, state: str) -> Iterator[str]:
    """Why it is not done, a sentence each, the strongest reason first."""
    if state == states.HELD:
        yield say_why(standing.hold_reason, standing.hold_code)
    if state in (states.DONE, states.STOPPED):
        return
    for line in standing.resting:
        address = line.address.removeprefix("whatsapp:")
        yield say("The line {line} rests; it goes on {when}.", line=address, when=say_when(line.until)) + " " + say_why(None, line.code)
    if state == states.SENDING and standing.unproven and not standing.resting:
        yield say("A few go first, to see whether the line delivers; the rest follows.")


def _reasons(standing: Standing) -> Iterator[tuple[int, str]]:
    """(how many, why), in words: what waits and until when, what went wrong, who was left out."""
    for each in standing.waiting:
        if standing.status["state"] == states.HELD and each.reason == "organizer":
            continue
        timed = each.reason in ("quiet_hours", "question", "due", "retry", "daily_limit") and each.due_at > now()
        until = " " + say("The first of them go {when}.", when=say_when(each.due_at)) if timed else ""
        yield each.count, say_why(each.reason) + until
    for code, number in standing.errors.items():
        yield number, say_why(None, code)
    for reason, number in standing.left_out.items():
        yield number, say_why(reason)
