"""What organizers may still do from a phone when a text is on its way or has left: change it, drop it, send again what is not confirmed.

And set the hour of a draft.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.conversation.actions.acting import action
from bot.conversation.actions.drafting import (
    ALERT_LASTS,
    LONGEST_DRAFT,
    PREVIEWS,
    audit,
    digits_of,
    find_by_number,
    say_begin,
    tell_draft,
)
from bot.conversation.actions.drafts import HOUR_SET, newest_draft, renumber
from bot.conversation.turn import Turn
from bot.delivery.broadcasts import broadcast_status, is_over, read_texts, stop_broadcast
from bot.delivery.corrections import count_unknown, draft_correction, find_correction, resend_unknown, say_change, why_not_correct
from bot.delivery.reports import tell_organizers
from bot.delivery.wording import choose
from bot.languages import words
from bot.languages.days import parse_day
from bot.languages.moments import find_moment
from models import Alert, Broadcast
from models.broadcasts import HELD

_CHANGE = re.compile(r"\D{0,3}(\d{1,9})[\s:.,–—-]+(\S.*)", re.DOTALL)
# Nobody plans a text by text message for after that.
FARTHEST = timedelta(days=90)


@action(
    outcomes=[
        *(preview | {"old": 47, "stopped": stopped} for preview in PREVIEWS for stopped in (True, False)),
        {"refused": "not_a_change"},
        *({"refused": why, "number": 47, "newer": 48} for why in ("gone", "a_draft", "a_poll", "no_words_of_ours", "corrected")),
    ]
)
def change_broadcast(turn: Turn, written: str) -> dict[str, Any]:
    """CHANGE 47 new words: holds what is unsent of 47 and drafts its correction, which needs its approval like any other text.

    Gives the preview, with old (47) and stopped (whether it is held now).
    """
    here = turn.with_role("organizer")
    match = _CHANGE.fullmatch(written.strip())
    if match is None:
        return {"refused": "not_a_change"}
    if len(match[2]) > LONGEST_DRAFT:
        return {"refused": "too_long_by_text"}
    old = find_by_number(turn, match[1])
    if old is None:
        return {"refused": "gone", "number": digits_of(match[1])}
    reason = why_not_correct(turn.session, old)
    if reason is not None:
        newer = find_correction(turn.session, old)
        return {"refused": reason, "number": old.number, "newer": old.number if newer is None else newer.number}
    # "The rally is now at 5pm" is worth sending until then, whatever the first text said.
    starts_at = find_moment(match[2], turn.local_now) if old.kind == "alert" else None
    draft = draft_correction(
        turn.session, turn.now, old, {turn.language: match[2]}, author_id=here.membership_id, starts_at=starts_at
    )
    preview = tell_draft(turn, draft, say_change(turn.language, match[2]), f"change of {old.number} drafted")
    return preview | {"old": old.number, "stopped": old.state == HELD} | say_begin(turn, starts_at)


@action(outcomes=[*PREVIEWS, PREVIEWS[0] | {"leaves": "Mon 13 Apr, 9:00 am (UTC)"}, {"refused": "no_draft"}, {"refused": "no_moment"}])
def schedule_draft(turn: Turn, said: str) -> dict[str, Any]:
    """AT tomorrow 9am: the speaker's draft leaves then, if it is approved by then; the others read it again, with the hour."""
    draft = newest_draft(turn)
    if draft is None:
        return {"refused": "no_draft"}
    moment = read_moment(said, turn.local_now)
    if moment is None:
        return {"refused": "no_moment"}
    renumber(turn, draft)
    draft.due_at = moment
    if draft.alert_id is not None and turn.session.get_one(Alert, draft.alert_id).starts_at is None and draft.expires_at is not None:
        draft.expires_at = moment + ALERT_LASTS
    text = choose(turn.language, turn.member().language, read_texts(turn.session, draft.id))[1]
    body = " ".join([text.body, " / ".join(text.options or [])]).strip()
    return tell_draft(turn, draft, body, HOUR_SET)


def read_moment(said: str, now: datetime) -> datetime | None:
    """The UTC moment somebody means by "tomorrow 9am" or "18:00" (its next time). None: no day and hour, or one she can not mean.

    ``now``: an aware time in her zone. An hour that summer time skips is nobody's hour.
    """
    day = parse_day(said, now) or parse_day(f"today {said}", now) or parse_day(f"tomorrow {said}", now)
    if day is None or day.time is None:
        return None
    wall = datetime.combine(day.date, day.time, tzinfo=now.tzinfo)
    moment = wall.astimezone(UTC)
    if moment.astimezone(now.tzinfo).replace(tzinfo=None) != wall.replace(tzinfo=None):
        return None
    return moment if now < moment <= now + FARTHEST else None


@action(
    outcomes=[
        {"dropped": True, "number": 47, "sent": 120, "unsent": 94},
        {"dropped": True, "number": 47, "sent": 0, "unsent": 0},
        {"dropped": False, "number": 47},
    ]
)
def drop(turn: Turn, number: str) -> dict[str, Any]:
    """DROP 47: nothing more of it leaves, for ever. Its author and whoever approved it are told. Gives how many had left, and had not."""
    here = turn.with_role("organizer")
    broadcast = find_by_number(turn, number)
    if broadcast is None or is_over(turn.session, broadcast):
        return {"dropped": False, "number": digits_of(number)}
    unsent = stop_broadcast(turn.session, turn.now, broadcast)
    counts = broadcast_status(turn.session, broadcast.id)["counts"]
    left = sum(counts[state] for state in ("attempting", "accepted", "sent", "delivered", "undelivered", "failed", "unknown"))
    audit(turn, "dropped", broadcast)
    _tell_of_drop(turn, broadcast, here.membership_id, left)
    return {"dropped": True, "number": broadcast.number, "sent": left, "unsent": unsent}


def _tell_of_drop(turn: Turn, broadcast: Broadcast, dropper: int, left: int) -> None:
    theirs = {member for member in (broadcast.author_id, broadcast.approver_id) if member not in (None, dropper)}

    def make_text(language: str) -> str:
        return words(language, "{number} was dropped by an organizer. Sent before: {sent}.", number=broadcast.number, sent=left)

    told = tell_organizers(turn.session, turn.now, broadcast.collective_id, make_text, key=f"dropped:{broadcast.id}", only=theirs)
    turn.rings = turn.rings or told > 0


@action(
    outcomes=[
        {"resent": 3, "pending": 0, "number": 47},
        {"resent": 0, "pending": 2, "number": 47},
        {"resent": 0, "pending": 0, "number": 47},
    ]
)
def resend(turn: Turn, number: str) -> dict[str, Any]:
    """RESEND 47: what nobody can tell the fate of goes out again, once. Gives resent, and pending (still being looked up)."""
    turn.with_role("organizer")
    broadcast = find_by_number(turn, number)
    if broadcast is None:
        return {"resent": 0, "pending": 0, "number": digits_of(number)}
    queued = resend_unknown(turn.session, turn.now, broadcast)
    if queued:
        audit(turn, "unconfirmed sent again", broadcast)
        turn.rings = True
    return {"resent": queued, "pending": count_unknown(turn.session, broadcast.id)[0], "number": broadcast.number}
