"""What a broadcast would do if it left now: who gets it, who waits, who does not, what it is written in and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from bot.delivery.audience import find_audience
from bot.delivery.broadcasts import read_texts
from bot.delivery.knocks import Windows, count_windows
from bot.delivery.reach import Reach, read_reach
from bot.delivery.wording import choose, render
from bot.languages.segments import count_segments
from models import Broadcast, BroadcastText, Collective
from models.messages import HELD


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


def preview_broadcast(
    session: Session,
    now: datetime,
    broadcast: Broadcast,
    texts: Mapping[str, BroadcastText] | None = None,
    reach: Reach | None = None,
) -> Preview:
    """Who would get it if it left at ``now``, and what it would look like.

    ``texts``: words by language that are not kept yet; then ``broadcast`` need not be kept either (a form that is being written).
    ``reach``: what a look at the members found a moment ago.
    """
    reach = read_reach(session, now, broadcast) if reach is None else reach
    collective = session.get_one(Collective, broadcast.collective_id)
    texts = read_texts(session, broadcast.id) if texts is None else texts
    readers: Counter[str] = Counter()
    held: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for each in reach.readers:
        if not each.gets_it:
            left_out[each.reason or ""] += each.count
            continue
        readers[each.language] += each.count
        if each.state == HELD:
            held[each.reason or ""] += each.count
    windows = Windows()
    if held["window"]:
        windows = count_windows(session, broadcast, find_audience(session, now, broadcast).rows().subquery())
    held["window"] = windows.waiting
    gets = {language: choose(language, collective.language, texts)[0] for language in readers} if texts else {}
    used = set(gets.values()) or set(texts)
    counts = {
        language: count_segments(render(broadcast.kind, language, collective.name, text.body, text.options))
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
