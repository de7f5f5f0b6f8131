"""A text to many as its form says it: read whole, judged kindly, and given back as it was when something is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from flask import Request
from sqlalchemy.orm import Session

from bot.console.drafts import read_texts_of_form
from bot.console.forms import read_number, read_text
from bot.console.meters import whole_text
from bot.console.moments import NoSuchMoment, read_moment
from bot.console.views import local, now, place, say
from bot.console.words import mark
from bot.delivery.broadcasts import MOST_SEGMENTS
from bot.delivery.kinds import AFTER_THE_START
from bot.languages import LANGUAGES
from bot.languages.segments import count_segments
from models import Alert, Broadcast

KINDS = ("notice", "alert")
# Ten pages are read so that they can be given back, and refused with what to do.
LONGEST = 10_000
LANGUAGE_WORDS = {
    "en": mark("English"),
    "es": mark("Spanish"),
    "hi": mark("Hindi"),
    "hi-Latn": mark("Hindi in Latin letters"),
}


@dataclass
class Written:
    """The fields as they were written, the moments they mean (UTC), and what is wrong with them, in the page's language.

    ``is_change``: the words of a correction, which has no kind, audience and hour of its own.
    """

    kind: str = "notice"
    texts: dict[str, str] = field(default_factory=dict)
    group_id: int | None = None
    day: str = ""
    hour: str = ""
    starts_day: str = ""
    starts_hour: str = ""
    early: bool = False
    is_change: bool = False
    due_at: datetime | None = None
    starts_at: datetime | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def expires_at(self) -> datetime | None:
        """When a call to an action is no longer worth sending; None: its kind decides."""
        return self.starts_at + AFTER_THE_START if self.starts_at is not None else None

    def as_broadcast(self) -> Broadcast:
        """What it would be if it were kept: to look at its reach. It is in no session, and never will be."""
        early = self.early and self.kind == "alert"
        return Broadcast(
            collective_id=place().collective_id, kind=self.kind, group_id=self.group_id, early=early, expires_at=self.expires_at
        )


def read_written(request: Request, groups: dict[int, str], *, is_change: bool = False, kind: str | None = None) -> Written:
    """Read the form. ``groups``: the collective's, by id; ``kind``: given where the form has no choice."""
    group_id = read_number(request, "group") or None
    written = Written(
        kind=kind or (request.form.get("kind", "") if request.form.get("kind") in KINDS else "notice"),
        texts=read_texts_of_form(request, LONGEST),
        group_id=group_id if group_id in groups else None,
        is_change=is_change,
        early=request.form.get("early") == "yes",
        day=read_text(request, "day", 20),
        hour=read_text(request, "hour", 20),
        starts_day=read_text(request, "starts_day", 20),
        starts_hour=read_text(request, "starts_hour", 20),
    )
    if group_id is not None and group_id not in groups:
        written.problems.append(say("This group is not there any more. Choose another one."))
    _judge_texts(written)
    if not is_change:
        written.due_at = _moment(written, lambda: read_moment(written.day, written.hour, place().timezone, now()))
    if written.kind == "alert":
        written.starts_at = _moment(written, lambda: read_moment(written.starts_day, written.starts_hour, place().timezone, now()))
        if written.due_at and written.starts_at and written.due_at >= written.starts_at:
            written.problems.append(say("It would leave when the action has begun already. Let it leave earlier."))
    return written


def _moment(written: Written, read: Callable[[], datetime | None]) -> datetime | None:
    try:
        return read()
    except NoSuchMoment as trouble:
        written.problems.append(str(trouble))
        return None


def _judge_texts(written: Written) -> None:
    if not written.texts:
        written.problems.append(say("Write the text first."))
    for code, body in written.texts.items():
        segments = count_segments(whole_text(written.kind, code, place().name, body, is_change=written.is_change)).segments
        if segments > MOST_SEGMENTS:
            written.problems.append(
                say(
                    "The text in {language} takes {segments} segments; {most} are the most. Shorten it, or put the rest on a web page.",
                    language=say(LANGUAGE_WORDS[code]),
                    segments=segments,
                    most=MOST_SEGMENTS,
                )
            )


def write_down(draft: Broadcast, texts: dict[str, str], alert: Alert | None) -> Written:
    """A kept draft as the form shows it again."""
    written = Written(
        kind=draft.kind,
        texts={code: texts[code] for code in LANGUAGES if code in texts},
        group_id=draft.group_id,
        early=draft.early,
        due_at=draft.due_at,
        starts_at=alert.starts_at if alert is not None else None,
    )
    due = local(written.due_at)
    if due is not None:
        written.day, written.hour = f"{due:%Y-%m-%d}", f"{due:%H:%M}"
    _write_start(written)
    return written


def write_correction(session: Session, old: Broadcast, texts: dict[str, str]) -> Written:
    """The form of a correction: the old words, and the hour of the action, as long as it is still to come."""
    alert = session.get(Alert, old.alert_id) if old.alert_id is not None else None
    starts = alert.starts_at if alert is not None and alert.starts_at is not None and alert.starts_at > now() else None
    written = Written(kind=old.kind, texts=texts, is_change=True, starts_at=starts)
    _write_start(written)
    return written


def _write_start(written: Written) -> None:
    starts = local(written.starts_at)
    if starts is not None:
        written.starts_day, written.starts_hour = f"{starts:%Y-%m-%d}", f"{starts:%H:%M}"
