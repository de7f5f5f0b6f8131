"""What members may ask to see: help, what is held on them, which questions wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from bot.conversation.actions.acting import action
from bot.conversation.actions.choosing import collectives_with_sms, say_choices
from bot.conversation.actions.votes import words_for
from bot.conversation.turn import Handoff, Turn
from bot.languages import mark
from bot.languages.days import say_day
from models import Collective, Membership, Outbound, Person

KINDS = {"poll": mark("the vote"), "action_alert": mark("the action")}
ANOTHER = mark("the other question")


@action(
    outcomes=[
        {"known": True, "collective": "Sangha", "about": "we meet and act together", "several": False},
        {"known": True, "collective": "Sangha, Tenants", "about": "", "several": True},
        {"known": False},
    ],
    reads=True,
)
def read_about(turn: Turn) -> dict[str, Any]:
    """Whose line this is, for HELP: the collectives the speaker belongs to here, else the public ones of the line."""
    if turn.belongings:
        names = [belonging.collective for belonging in turn.belongings]
        ids = [belonging.collective_id for belonging in turn.belongings]
    else:
        rows = turn.session.execute(
            sa.select(Collective.id, Collective.name)
            .where(Collective.id.in_(turn.line.collective_ids), Collective.public)
            .order_by(Collective.id)
            .limit(3)
        ).all()
        ids, names = [row.id for row in rows], [row.name for row in rows]
    if not names:
        return {"known": False}
    about = turn.session.scalar(sa.select(Collective.about).where(Collective.id == ids[0])) if len(ids) == 1 else ""
    return {"known": True, "collective": ", ".join(names)[:60], "about": (about or "").rstrip("."), "several": len(names) > 1}


@action(
    outcomes=[
        {"name": "Asha", "language": "en", "collectives": "Sangha", "since": "3 May", "chosen": ""},
        {"name": "Asha", "language": "en", "collectives": "Sangha", "since": "3 May", "chosen": "QUIET 22-7, EARLY, SMS"},
        {"name": "", "language": "hi", "collectives": "Sangha", "since": "3 May", "chosen": ""},
    ],
    reads=True,
)
def read_me(turn: Turn) -> dict[str, Any]:
    """What is held on the speaker, without what others could misuse if they hold her phone."""
    person = turn.session.get_one(Person, turn.person_id)
    joined = turn.session.scalar(sa.select(sa.func.min(Membership.joined_at)).where(Membership.person_id == person.id))
    mine = [belonging.membership_id for belonging in turn.belongings]
    memberships = turn.session.scalars(sa.select(Membership).where(Membership.id.in_(mine))).all()
    since = say_day(joined.astimezone(turn.local_now.tzinfo).date(), turn.language) if joined else ""
    return {
        "name": _say_name(person, memberships),
        "language": turn.language,
        "collectives": ", ".join(b.collective for b in turn.belongings)[:60],
        "since": since,
        "chosen": say_choices(person, memberships),
    }


def _say_name(person: Person, memberships: Sequence[Membership]) -> str:
    """What she is called here; in each collective on this line, if they call her differently."""
    names = dict.fromkeys(membership.name for membership in memberships if membership.name)
    return ", ".join(names)[:60] or person.name or ""


@action(
    outcomes=[
        {"organizer": organizer, "supporter": supporter, "sms": sms}
        for organizer, supporter in ((False, False), (True, False), (False, True))
        for sms in (False, True)
    ],
    reads=True,
)
def read_roles(turn: Turn) -> dict[str, Any]:
    """Which parts of the menu are hers."""
    roles = {role for belonging in turn.belongings for role in belonging.roles}
    may_choose_sms = turn.line.channel == "whatsapp" and bool(collectives_with_sms(turn))
    return {"organizer": "organizer" in roles, "supporter": "supporter" in roles, "sms": may_choose_sms}


@action(
    outcomes=[
        [{"id": 1, "name": KINDS["poll"], "own": False}, {"id": 2, "name": KINDS["action_alert"], "own": False}],
        [{"id": 1, "name": "Where do we meet?", "own": True}, {"id": "vote 2", "name": "Which day?", "own": True}],
    ],
    reads=True,
)
def read_asked(turn: Turn, asked: list[int], voted: list[int] | None = None) -> list[dict[str, Any]]:
    """The asking messages that one answer could belong to, named so that care is never told apart.

    ``voted``: broadcasts of polls that never reached her, and in which she voted; their ids read "vote 47".
    """
    messages = turn.session.execute(
        sa.select(Outbound.id, Outbound.asks, Outbound.broadcast_id).where(Outbound.id.in_(asked)).order_by(Outbound.id)
    )
    rows = [(row.id, row.asks, row.broadcast_id) for row in messages]
    rows += [(f"vote {broadcast_id}", "poll", broadcast_id) for broadcast_id in sorted(voted or [])]
    kinds = [kind for _, kind, _ in rows]
    named = []
    for name, kind, broadcast_id in rows:
        # Two votes, or two actions, are told apart by their words; they are the whole group's, and no secret.
        if kind in KINDS and kinds.count(kind) > 1:
            named.append({"id": name, "name": words_for(turn.session, broadcast_id, turn.language, "en").body[:60], "own": True})
        else:
            named.append({"id": name, "name": KINDS.get(kind, ANOTHER), "own": False})
    return named


@action(outcomes=[[{"id": 1, "name": "Sangha"}, {"id": 2, "name": "Tenants"}]], reads=True)
def read_belongings(turn: Turn, groups: list[int]) -> list[dict[str, Any]]:
    """The collectives she may mean: those of ``groups`` that she still belongs to."""
    return [{"id": each.collective_id, "name": each.collective} for each in turn.belongings if each.collective_id in groups]


@action()
def hand_over(
    turn: Turn, text: str, outbound_id: int | None = None, broadcast_id: int | None = None, collective_id: int | None = None
) -> dict[str, Any]:
    """She said what her earlier text was meant for: it is heard again, there."""
    turn.handoff = Handoff(text, outbound_id, broadcast_id, collective_id)
    return {}
