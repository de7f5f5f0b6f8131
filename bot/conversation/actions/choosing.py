"""What a member chooses for herself: her own quiet hours, early texts on the morning of an action, SMS where WhatsApp fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from bot.conversation.actions.acting import action
from bot.conversation.turn import Turn
from bot.delivery.quiet import Span, leave_room
from bot.languages.hours import read_hours, say_hour
from models import Collective, CollectiveLine, Consent, Line, Membership, Person

# Kept with each consent, so that what was agreed to can be shown later. Raise it when the flow's text changes.
CONSENT_TEXTS = {"early": "early-1", "sms": "sms-1"}


@action(outcomes=[{"begins": "22:00", "ends": "07:00"}, {"begins": None, "ends": None}], reads=True)
def read_quiet(turn: Turn) -> dict[str, Any]:
    """The speaker's own quiet hours."""
    person = turn.session.get_one(Person, turn.person_id)
    if person.quiet_from is None or person.quiet_until is None:
        return {"begins": None, "ends": None}
    return {"begins": say_hour(person.quiet_from), "ends": say_hour(person.quiet_until)}


@action(outcomes=[{"kept": True, "begins": "22:00", "ends": "07:00"}, {"kept": False, "why": "unclear"}, {"kept": False, "why": "no_room"}])
def keep_quiet(turn: Turn, hours: str | None) -> dict[str, Any]:
    """Keep her own quiet hours, or none (``hours`` None). They come on top of her collectives'; together they must leave some hours.

    Gives kept, and the hours; else why: unclear (no two hours, or over 16), no_room (a collective of hers could never write to her).
    """
    if hours is None:
        turn.session.execute(sa.update(Person).where(Person.id == turn.person_id).values(quiet_from=None, quiet_until=None))
        return {"kept": True, "begins": None, "ends": None}
    read = read_hours(hours)
    if read is None:
        return {"kept": False, "why": "unclear"}
    zone = turn.session.get_one(Person, turn.person_id).timezone
    hers = sa.select(Membership.collective_id).where(Membership.person_id == turn.person_id, Membership.state == "active")
    for collective in turn.session.scalars(sa.select(Collective).where(Collective.id.in_(hers))):
        local = zone or collective.timezone
        if not leave_room(turn.now, [Span(local, *read), Span(local, collective.quiet_from, collective.quiet_until)]):
            return {"kept": False, "why": "no_room"}
    turn.session.execute(sa.update(Person).where(Person.id == turn.person_id).values(quiet_from=read[0], quiet_until=read[1]))
    return {"kept": True, "begins": say_hour(read[0]), "ends": say_hour(read[1])}


@action(outcomes=[{"on": True}, {"on": False}])
def keep_early(turn: Turn, off: bool) -> dict[str, Any]:
    """EARLY turns early texts on for her collectives on this line, EARLY again (or ``off``) turns them off. Gives what holds now."""
    mine = [belonging.membership_id for belonging in turn.belongings]
    on = not off and not turn.session.scalar(sa.select(Membership.id).where(Membership.id.in_(mine), Membership.early_texts).limit(1))
    turn.session.execute(sa.update(Membership).where(Membership.id.in_(mine)).values(early_texts=on))
    _record(turn, mine, "early", on)
    return {"on": on}


@action(
    outcomes=[{"whatsapp": True, "line": True, "on": on} for on in (False, True)]
    + [{"whatsapp": True, "line": False, "on": False}, {"whatsapp": False, "line": True, "on": False}],
    reads=True,
)
def read_fallback(turn: Turn) -> dict[str, Any]:
    """Whether she writes on WhatsApp, whether a collective of hers here has an SMS line too, and whether she already agreed to it."""
    with_sms = collectives_with_sms(turn)
    mine = [each.membership_id for each in turn.belongings]
    agreed = turn.session.scalar(sa.select(Membership.id).where(Membership.id.in_(mine), Membership.sms_fallback).limit(1))
    return {"whatsapp": turn.line.channel == "whatsapp", "line": bool(with_sms), "on": agreed is not None}


@action()
def keep_fallback(turn: Turn, on: bool) -> dict[str, Any]:
    """She may be written to by SMS where WhatsApp fails, in the collectives that have an SMS line; or no longer, in all."""
    reached = collectives_with_sms(turn) if on else None
    mine = [each.membership_id for each in turn.belongings if reached is None or each.collective_id in reached]
    turn.session.execute(sa.update(Membership).where(Membership.id.in_(mine)).values(sms_fallback=on))
    _record(turn, mine, "sms", on)
    return {}


def collectives_with_sms(turn: Turn) -> set[int]:
    """Her collectives on this line that also have an SMS line."""
    mine = [belonging.collective_id for belonging in turn.belongings]
    lines = sa.select(CollectiveLine.collective_id).join(Line, Line.id == CollectiveLine.line_id)
    return set(turn.session.scalars(lines.where(CollectiveLine.collective_id.in_(mine), Line.channel == "sms", Line.two_way)))


def say_choices(person: Person, memberships: Sequence[Membership]) -> str:
    """What she chose, in the words that change it: "QUIET 22-7, EARLY". Empty when nothing."""
    chosen = [
        None if person.quiet_from is None else f"QUIET {person.quiet_from}-{person.quiet_until}",
        "EARLY" if any(each.early_texts for each in memberships) else None,
        "SMS" if any(each.sms_fallback for each in memberships) else None,
    ]
    return ", ".join(word for word in chosen if word)


def _record(turn: Turn, memberships: Sequence[int], kind: str, given: bool) -> None:
    """A consent is a record: given anew each time, withdrawn, never deleted (FORGET takes it with her)."""
    standing = sa.update(Consent).where(Consent.membership_id.in_(memberships), Consent.kind == kind, Consent.withdrawn_at.is_(None))
    turn.session.execute(standing.values(withdrawn_at=turn.now))
    if given:
        turn.session.add_all(
            Consent(membership_id=each, kind=kind, text_version=CONSENT_TEXTS[kind], language=turn.language, given_at=turn.now)
            for each in memberships
        )
