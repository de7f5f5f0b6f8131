"""Until when a message is worth sending: no call to a rally after the rally, no question after the vote's close."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from bot.delivery.kinds import AFTER_THE_START
from models import Alert, Broadcast, Poll

# How long Twilio keeps trying at most, in seconds (its documentation of ValidityPeriod: 1 to 36,000).
LONGEST_VALIDITY = 36_000


def worth_until(session: Session, broadcast: Broadcast, due: datetime) -> datetime | None:
    """When a broadcast that goes out at ``due`` is no longer worth sending. None: nobody said, so its kind decides (``kinds.LASTS``)."""
    if broadcast.expires_at is not None:
        return broadcast.expires_at
    if broadcast.alert_id is not None and broadcast.kind == "alert":
        starts_at = session.get_one(Alert, broadcast.alert_id).starts_at
        ends = None if starts_at is None else starts_at + AFTER_THE_START
        # Its correction may say that it begins later: the hour of the first text does not bind it.
        return None if ends is None or (broadcast.corrects_id is not None and ends <= due) else ends
    if broadcast.poll_id is not None and broadcast.kind == "poll":
        poll = session.get_one(Poll, broadcast.poll_id)
        return poll.closes_at or due + timedelta(hours=poll.open_hours)
    return None


def seconds_left(expires_at: datetime | None, now: datetime) -> int | None:
    """For how many seconds the carrier may still try, 1 to 36,000; None for what does not expire."""
    if expires_at is None:
        return None
    return min(max(int((expires_at - now).total_seconds()), 1), LONGEST_VALIDITY)
