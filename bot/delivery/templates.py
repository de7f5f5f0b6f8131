"""WhatsApp's approved templates: the only words that may begin a talk there after 24 hours of silence.

The registry (``models.Template``) is filled by ``flask templates submit`` and ``sync``; delivery uses one kind, ``knock``: "a note is
waiting". It names no collective and says nothing of the note, so it may go to anybody, whatever waits for her.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.wording import choose
from models import Template
from models.templates import APPROVED

KNOCK = "knock"
# Meta paused it (63041) for some hours; every other trouble needs a person.
_PAUSED = 63041

_t: Any = Template.__table__
_APPROVED = sa.select(_t.c.language, _t.c.content_sid, _t.c.body).where(
    _t.c.kind == sa.bindparam("kind"), _t.c.state == APPROVED, _t.c.content_sid.is_not(None)
)
_DISTRUST = (
    sa.update(_t)
    .where(_t.c.kind == sa.bindparam("of_kind"), _t.c.language == sa.bindparam("of_language"), _t.c.state == APPROVED)
    .values(state=sa.bindparam("to_state"), reason=sa.bindparam("why"), changed_at=sa.bindparam("now"))
)


def find_template(session: Session, kind: str, language: str) -> Any | None:
    """The approved template of this kind (``language``, ``content_sid``, ``body``) in her language or the nearest to it; None without one.

    Falls back as every text does (``wording.choose``), through English: templates belong to no collective.
    """
    found = {row.language: row for row in session.connection().execute(_APPROVED, {"kind": kind})}
    return choose(language, "en", found)[1] if found else None


def distrust_template(session: Session, now: datetime, kind: str, language: str, code: int) -> None:
    """WhatsApp says that this template can not be used: leave it alone until ``flask templates sync`` finds it approved again."""
    template = find_template(session, kind, language)
    if template is not None:
        values = {"of_kind": kind, "of_language": template.language, "to_state": "paused" if code == _PAUSED else "disabled"}
        session.connection().execute(_DISTRUST, values | {"why": f"error {code}", "now": now})
