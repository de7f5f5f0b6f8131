"""What a broadcast would do if it left now: who gets it, who waits, who does not, what it is written in and what it costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.audience import find_audience
from bot.delivery.broadcasts import read_texts
from bot.delivery.knocks import Windows, count_windows
from bot.delivery.wording import choose, render
from bot.languages.segments import count_segments
from models import Broadcast
from models.messages import EXPIRED, HELD, SUPPRESSED


@dataclass(frozen=True)
class Preview:
    """What will happen, before it does. ``held`` counts those who get it later, ``left_out`` those who do not get it, by reason.

    ``by_language`` counts readers by the language they read; ``fallback`` those of them for whom there is no text in it; ``culprits`` are
    the characters of each language's text that no GSM-7 message can hold, so that it costs more than twice as much.
    """

    recipients: int
    encoding: str
    segments: int
    by_language: dict[str, int] = field(default_factory=dict)
    fallback: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    culprits: dict[str, str] = field(default_factory=dict)
    # Of ``held["window"]``: no template can tell them that a note is waiting. And beside them: who gets it by SMS instead.
    not_told: int = 0
    by_sms: int = 0


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
        if state in (SUPPRESSED, EXPIRED):
            left_out[reason] += number
            continue
        readers[language] += number
        if state == HELD:
            held[reason] += number
    windows = count_windows(session, broadcast, rows) if held["window"] else Windows()
    held["window"] = windows.waiting
    gets = {language: choose(language, audience.collective.language, texts)[0] for language in readers} if texts else {}
    used = set(gets.values()) or set(texts)
    counts = {
        language: count_segments(render(broadcast.kind, language, audience.collective.name, text.body, text.options))
        for language, text in texts.items()
        if language in used
    }
    return Preview(
        recipients=readers.total(),
        encoding="UCS-2" if any(count.encoding == "UCS-2" for count in counts.values()) else "GSM-7",
        segments=max((count.segments for count in counts.values()), default=0),
        by_language=dict(readers),
        fallback={language: number for language, number in readers.items() if gets.get(language, language) != language},
        held=dict(+held),
        left_out=dict(left_out),
        culprits={language: "".join(count.culprits) for language, count in counts.items() if count.culprits},
        not_told=windows.not_told,
        by_sms=windows.by_sms,
    )
