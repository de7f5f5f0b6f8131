"""What no flow took goes to the organizers' notes: kept, numbered, answered by REPLY, never with a phone number."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bot.conversation.turn import Turn
from bot.delivery.broadcasts import take_number
from models import Note, Prepared

_note: Any = Note.__table__
_INSERT = Prepared(sa.insert(_note).inline())


def keep_note(turn: Turn, body: str, kind: str = "note") -> int | None:
    """Store what a member wrote. Gives the note's number, or None for a stranger: a stranger's rubbish reaches nobody's notes."""
    if turn.here is None:
        return None
    number = take_number(turn.session, turn.here.collective_id)
    note = {"number": number, "collective_id": turn.here.collective_id, "membership_id": turn.here.membership_id}
    _INSERT.run(turn.session, note | {"body": body, "kind": kind, "state": "open", "created_at": turn.now})
    return number
