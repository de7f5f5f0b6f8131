"""What a form makes: a draft in several languages, once, however often its button is pressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from flask import Request
from sqlalchemy.orm import Session

from bot.console.forms import read_text
from bot.console.views import now, place, say
from bot.delivery.broadcasts import draft_broadcast, find_by_key, record_act
from bot.languages import LANGUAGE_NAMES, LANGUAGES
from models import Alert, Broadcast, Poll

# As long as ten segments can be; the preview says what it costs.
LONGEST_TEXT = 1_500


def read_texts_of_form(request: Request, longest: int = LONGEST_TEXT) -> dict[str, str]:
    """The texts of a form's fields ``text_en``, ``text_es`` …, those that hold something."""
    texts = {code: read_text(request, f"text_{code}", longest) for code in LANGUAGES}
    return {code: text for code, text in texts.items() if text}


def order_languages(first: str) -> dict[str, str]:
    """The members' languages and what they call themselves, the collective's own (``first``) before the others."""
    return {first: LANGUAGE_NAMES[first]} | LANGUAGE_NAMES


def find_made(session: Session, key: str | None) -> Broadcast | None:
    """What a form with this key has made already; None: nothing yet, or it has no key."""
    return find_by_key(session, place().collective_id, key[:64]) if key else None


def say_made_before(first: Broadcast) -> str:
    """To whoever sends a form a second time with other words: what it made stands, and these words are not lost."""
    return say(
        "You sent this form before, with other words: they are text {number}. To keep these as well, press the button once more.",
        number=first.number,
    )


def keep_draft(
    session: Session,
    kind: str,
    texts: Mapping[str, str],
    key: str | None,
    *,
    group_id: int | None = None,
    options: Mapping[str, Sequence[str]] | None = None,
    poll: Poll | None = None,
    alert: Alert | None = None,
    due_at: datetime | None = None,
    expires_at: datetime | None = None,
    early: bool = False,
) -> Broadcast:
    """A draft by the viewer; the same ``key`` again gives the first one back, and makes no second poll or alert.

    ``due_at``: when it leaves, if it is approved by then; ``expires_at``: when it is no longer worth sending; ``early``: it may reach those
    who agreed to early texts.
    """
    first = find_made(session, key)
    if first is not None:
        return first
    for row in (poll, alert):
        if row is not None:
            session.add(row)
    session.flush()
    draft = draft_broadcast(
        session,
        now(),
        place().collective_id,
        kind,
        texts,
        group_id=group_id,
        author_id=place().membership_id,
        options=options,
        poll_id=poll.id if poll is not None else None,
        alert_id=alert.id if alert is not None else None,
        request_key=key[:64] if key else None,
    )
    draft.due_at, draft.expires_at, draft.early = due_at, expires_at, early
    record_act(session, now(), draft, f"{kind} drafted", place().membership_id)
    return draft
