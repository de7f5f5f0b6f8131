"""What a text would do if it left: who gets it and when, who does not, what it costs. For the form and for the draft alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.console.access import SUPPORTER
from bot.console.memory import memory
from bot.console.meters import Meter
from bot.console.views import deployment, local, now, place, say
from bot.console.words import mark
from bot.delivery.caps import format_money
from bot.delivery.costs import estimate_cost
from bot.delivery.previews import Preview, preview_broadcast
from bot.delivery.reach import Reach, read_reach
from bot.delivery.trouble_words import find_words
from bot.members.search import care_groups
from models import Broadcast, Group, GroupMember, Membership

# A look at many members takes the database up to a second: it is believed for a moment, and a page does not wait for it.
MANY, LARGE, BELIEVED_SECONDS = 2_000, 20_000, 20.0
SMALL_CHANGE = 10_000  # millionths

# The collective's groups by id, in the order of their names: (name, active members).
Groups = dict[int, tuple[str, int]]

REFUSALS = {
    "no_words": mark("There are no words to send."),
    "too_long": mark("It is over ten segments: shorten it."),
    "no_line": mark("The collective has no number to send from yet."),
    "one_way": mark("It asks for an answer, and nobody can write to the collective's number."),
    "too_late": mark("What it is about is over."),
    "nobody": mark("Nobody would get it: no member can be reached now."),
}


@dataclass(frozen=True)
class Reached:
    """One look at the members: whom it reaches at ``moment``, and the same as a preview without words."""

    moment: datetime
    reach: Reach
    preview: Preview


@dataclass(frozen=True)
class Look:
    """Ready to be shown. ``fallback``: readers of a language that get another one, by (theirs, that one); ``later``: (reason, when or
    None, how many); ``left_out``: how many get nothing, by reason; ``cost``: in money, "" when it costs nothing."""

    recipients: int
    segments: int
    fallback: tuple[tuple[str, str, int], ...]
    later: tuple[tuple[str, datetime | None, int], ...]
    left_out: dict[str, int]
    not_told: int
    by_sms: int
    cost: str
    over_cap: str


def look_at(session: Session, broadcast: Broadcast, reached: Reached, meters: Mapping[str, Meter]) -> Look:
    """What ``reached`` and the words (``meters``) mean together."""
    preview = reached.preview
    segments = {code: meter.segments for code, meter in meters.items() if meter.text}
    cost = estimate_cost(deployment().store, session, reached.moment, broadcast, segments, reached.reach)
    fallback = [(code, meter.fall_to, meter.readers) for code, meter in meters.items() if meter.fall_to is not None]
    return Look(
        recipients=preview.recipients,
        segments=max(segments.values(), default=0),
        fallback=tuple(fallback),
        later=tuple(_later(reached.reach, preview)),
        left_out=preview.left_out,
        not_told=preview.not_told,
        by_sms=preview.by_sms,
        cost=say_cost(cost.micros) if segments else "",
        over_cap="" if cost.fits else format_money(max(cost.left or 0, 0)),
    )


def find_reach(session: Session, broadcast: Broadcast, due_at: datetime | None = None) -> Reached:
    """Whom a draft, or what a form would make (``Written.as_broadcast``), reaches if it leaves at ``due_at`` (now, when that is past)."""
    moment = max(due_at or now(), now())

    def read() -> Reached:
        reach = read_reach(session, moment, broadcast, sample=True)
        return Reached(moment, reach, preview_broadcast(session, moment, broadcast, {}, reach))

    key = (
        "reach", broadcast.collective_id, broadcast.kind, broadcast.group_id, broadcast.early, broadcast.corrects_id, broadcast.expires_at,
        broadcast.alert_id, broadcast.poll_id, moment.replace(second=0, microsecond=0),
    )  # fmt: skip
    return memory().recall(key, read, lambda found: BELIEVED_SECONDS if found.reach.recipients >= MANY else 0.0)


def _later(reach: Reach, preview: Preview) -> list[tuple[str, datetime | None, int]]:
    found: list[tuple[str, datetime | None, int]] = []
    for reason, due_at, number in reach.later():
        if reason != "window":
            found.append((reason, due_at, number))
    waiting = preview.held.get("window", 0)
    return found + ([("window", None, waiting)] if waiting else [])


def is_large(session: Session) -> bool:
    """Whether a look at the collective's members takes so long that its page should not wait for it."""
    members = sa.select(sa.func.count()).where(Membership.collective_id == place().collective_id, Membership.state == "active")
    return (session.scalar(members) or 0) > LARGE


def hidden_groups(session: Session) -> frozenset[int]:
    """The groups that the viewer may not know of: those that were ever asked how they are. Who is in care, supporters know."""
    return frozenset() if SUPPORTER in place().roles else care_groups(session, place().collective_id)


def hidden_names(session: Session) -> frozenset[str]:
    """What those are called. The viewer calls no group so: she would put people into care, and learn who is in it already."""
    hidden = hidden_groups(session)
    return frozenset(session.scalars(sa.select(Group.name).where(Group.id.in_(hidden)))) if hidden else frozenset()


def read_groups(session: Session) -> Groups:
    """The groups that a text may go to: those with somebody in them."""
    query = (
        sa.select(Group.id, Group.name, sa.func.count(Membership.id))
        .join(GroupMember, GroupMember.group_id == Group.id)
        .join(Membership, sa.and_(Membership.id == GroupMember.membership_id, Membership.state == "active"))
        .where(Group.collective_id == place().collective_id)
        .group_by(Group.id, Group.name)
        .order_by(Group.name)
    )
    hidden = hidden_groups(session)
    return {number: (name, members) for number, name, members in session.execute(query) if number not in hidden}


def say_when(moment: datetime) -> str:
    """ "today at 18:00", "tomorrow at 08:00", else the day; on the collective's clocks."""
    at, today = local(moment), local(now())
    assert at is not None and today is not None
    if at.date() == today.date():
        return say("today at {hour}", hour=f"{at:%H:%M}")
    if at.date() == today.date() + timedelta(days=1):
        return say("tomorrow at {hour}", hour=f"{at:%H:%M}")
    return say("on {day} at {hour}", day=f"{at:%Y-%m-%d}", hour=f"{at:%H:%M}")


def say_why(reason: str | None, code: int | None = None) -> str:
    """What happened and what to do, in the page's language: our own reason, or Twilio's error code."""
    return say(find_words(code, reason), code=code)


def say_cost(micros: int) -> str:
    """Money in two places; the currency is that of the account."""
    if 0 < micros < SMALL_CHANGE:
        return say("less than {sum}", sum=format_money(SMALL_CHANGE))
    return format_money(micros) if micros else ""
