"""What may be changed about a line, and the trace that it leaves with every collective that speaks through it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import Audit, CollectiveLine, Line

# As ``changes`` takes them: pace in segments a second, whether people can write to it, whether the carrier answers STOP and START.
CHANGEABLE = frozenset({"mps", "two_way", "carrier_answers_stop"})


def read_pace(text: str) -> float:
    """Segments a second, any positive number. ValueError for anything else."""
    pace = float(text)
    if not 0 < pace < float("inf"):
        raise ValueError("a pace is above 0")
    return pace


def change_line(
    session: Session, now: datetime, address: str, changes: Mapping[str, Any], *, release: bool = False, by: int | None = None
) -> Line | None:
    """Change what is known about the line with this address; None when there is none. ``release``: an error holds it no longer.

    ``by``: the membership of whoever did it; None: the command line.
    """
    told = {name: value for name, value in changes.items() if name in CHANGEABLE}
    values = told | ({"held_until": None, "held_code": None} if release else {})
    # An update of these columns only: the pump writes the others at the same time.
    changed = session.execute(sa.update(Line).where(Line.address == address).values(values).returning(Line.id)).first()
    if changed is None:
        return None
    known = session.get_one(Line, changed.id, populate_existing=True)
    if told:
        _trace(session, "line changed", known, now, by)
    if release:
        _trace(session, "line let go on", known, now, by)
    return known


def _trace(session: Session, act: str, line: Line, now: datetime, by: int | None) -> None:
    subject = line.address.removeprefix("whatsapp:")[:40]
    for collective_id in session.scalars(sa.select(CollectiveLine.collective_id).where(CollectiveLine.line_id == line.id)):
        session.add(Audit(collective_id=collective_id, membership_id=by, act=act, subject=subject, at=now))
