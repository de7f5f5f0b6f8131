"""Putting one message into the outbox. Broadcasts come by fan-out instead (``plan``)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.kinds import BETWEEN_PEOPLE, lane_of
from bot.languages.segments import count_segments
from models import Outbound, Prepared
from models.clock import real_seconds
from models.messages import ATTEMPTING, HELD, QUEUED

# A row that is being sent must hear of its outcome within this many real seconds; then the outcome is unknown (``sweep``).
ANSWER_SECONDS = 60.0
# A word between people waits for its reader to hold the phone again, but no longer than its words are kept (``upkeep.retention``).
BETWEEN_PEOPLE_LASTS = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Letter:
    """One text to one phone. ``unprompted``: it answers nothing she wrote, so quiet hours and pauses hold it.

    ``about_membership_id``: whose words or whose plight it tells, when that is not its reader; her FORGET takes it back.
    """

    kind: str
    body: str
    language: str
    line_id: int
    phone_id: int | None
    person_id: int | None = None
    membership_id: int | None = None
    collective_id: int | None = None
    unprompted: bool = True
    due_at: datetime | None = None
    expires_at: datetime | None = None
    asks: str | None = None
    about_membership_id: int | None = None


_o: Any = Outbound.__table__
_INSERT = Prepared(sa.insert(_o).returning(_o.c.id))


def put(session: Session, now: datetime, letter: Letter) -> int:
    """Queue a letter (or hold it until ``due_at``) and return its outbound id. Ring the bell after the commit.

    Quiet hours need no care here: the statement that marks it for sending asks again. KeyError for an unknown kind.
    """
    later = letter.due_at is not None and letter.due_at > now
    row = _row(now, letter) | {"state": HELD if later else QUEUED, "reason": "due" if later else None, "due_at": letter.due_at or now}
    if letter.kind in BETWEEN_PEOPLE and letter.expires_at is None:
        row["expires_at"] = now + BETWEEN_PEOPLE_LASTS
    return _insert(session, row)


def put_answered(session: Session, now: datetime, letter: Letter, *, keep_body: bool = True) -> int:
    """Record a reply that leaves in the webhook's own response; its outcome comes only by receipt, so it is ``attempting`` at once.

    ``keep_body`` False: the confirmation of a FORGET is a row without words.
    """
    row = _row(now, letter) | {"body": letter.body if keep_body else None}
    sending = {"state": ATTEMPTING, "due_at": now, "attempt": 1, "attempted_at": now, "lease_until": real_seconds() + ANSWER_SECONDS}
    return _insert(session, row | sending)


def _row(now: datetime, letter: Letter) -> dict[str, Any]:
    return {
        "membership_id": letter.membership_id,
        "person_id": letter.person_id,
        "phone_id": letter.phone_id,
        "collective_id": letter.collective_id,
        "line_id": letter.line_id,
        "kind": letter.kind,
        "lane": lane_of(letter.kind),
        "position": 0,
        "language": letter.language,
        "body": letter.body,
        "segments": max(1, count_segments(letter.body).segments),
        "unprompted": letter.unprompted,
        "expires_at": letter.expires_at,
        "asks": letter.asks,
        "about_membership_id": letter.about_membership_id,
        "created_at": now,
    }


def _insert(session: Session, row: dict[str, Any]) -> int:
    session.flush()  # rows this one refers to may still be pending
    return int(_INSERT.scalar(session, row))
