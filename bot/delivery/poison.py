"""Poison: a message that breaks whoever handles it must stop neither its line nor its worker.

A row whose handling raises, and a row that a dead pump had in hand, counts a try more (``tries``). From SUSPECT tries on it is claimed
alone, so that four crashes of a neighbour condemn nobody; at MOST_TRIES it is over, the organizers are told, and everything else goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.lists import in_states
from bot.delivery.reports import tell_organizers
from bot.languages import words
from models import Outbound
from models.messages import CLAIMED, FAILED, HELD, QUEUED

log = logging.getLogger(__name__)

SUSPECT, MOST_TRIES = 2, 5
REASON = "poison"
# A row that raised waits so long, four times as long each time: 15 s, 1, 4 and 16 minutes.
FIRST_WAIT, GROWS = timedelta(seconds=15), 4

_o: Any = Outbound.__table__
_now = sa.bindparam("now", type_=_o.c.done_at.type)
_is_last = _o.c.tries >= MOST_TRIES - 1
told = (_o.c.id, _o.c.state, _o.c.collective_id)


def _literal(word: str) -> Any:
    return sa.literal_column(f"'{word}'")


# What becomes of a claimed row whose pump died: queued again, or over. The statement needs a parameter ``now`` and returns ``told``.
ORPHANED: dict[str, Any] = {
    "state": sa.case((_is_last, _literal(FAILED)), else_=_literal(QUEUED)),
    "reason": sa.case((_is_last, _literal(REASON)), else_=_o.c.reason),
    "done_at": sa.case((_is_last, _now), else_=_o.c.done_at),
    "tries": _o.c.tries + 1,
    "lease_until": None,
}
_PUT_ASIDE = (
    sa.update(_o)
    .where(_o.c.id == sa.bindparam("row"), in_states(_o.c.state, CLAIMED), _o.c.fence == sa.bindparam("of_fence"))
    .values(
        state=sa.case((_is_last, _literal(FAILED)), else_=_literal(HELD)),
        reason=sa.case((_is_last, _literal(REASON)), else_=_literal("trouble")),
        done_at=sa.case((_is_last, _now), else_=_o.c.done_at),
        due_at=sa.bindparam("due", type_=_o.c.due_at.type),
        tries=_o.c.tries + 1,
        lease_until=None,
    )
    .returning(*told)
)


def put_aside(session: Session, now: datetime, row_id: int, tries: int, fence: int) -> None:
    """The handling of this claimed row raised: it waits, longer each time, or is over. ``tries``: how often it was in the way before."""
    due = now + FIRST_WAIT * GROWS ** min(tries, MOST_TRIES)
    found = session.connection().execute(_PUT_ASIDE, {"row": row_id, "of_fence": fence, "now": now, "due": due}).all()
    tell_of_poison(session, now, found)


def tell_of_poison(session: Session, now: datetime, rows: Iterable[Any]) -> int:
    """Of these rows (``told``), tell the organizers of those that are over, each collective once a day; returns how many are over."""
    over = [row for row in rows if row.state == FAILED]
    for row in over:
        log.error("outbound %d stood in the way %d times and is put aside", row.id, MOST_TRIES)
        if row.collective_id is not None:
            tell_organizers(session, now, row.collective_id, _say, key=f"poison:{row.collective_id}:{now:%Y-%m-%d}")
    return len(over)


def _say(language: str) -> str:
    return words(
        language, "A text of yours could not be handled and was put aside; all others go on. Please tell whoever runs your Chorus."
    )
