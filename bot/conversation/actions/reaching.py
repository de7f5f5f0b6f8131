"""Putting a text for somebody else into the outbox, in that person's own language. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from bot.conversation.turn import Turn
from bot.delivery.outbox import Letter, put
from bot.delivery.routes import NoLine, line_for
from bot.languages import words
from models import Collective, Membership, Person, Phone, Role


@dataclass(frozen=True)
class Reader:
    """Somebody to write to: only ids and how she reads."""

    membership_id: int
    person_id: int
    phone_id: int
    collective_id: int
    collective: str
    language: str
    on_duty: bool


_readers = (
    sa.select(
        Membership.id,
        Membership.person_id,
        Person.phone_id,
        Membership.collective_id,
        Collective.name,
        Person.language,
        Collective.language.label("theirs"),
        Membership.on_duty,
    )
    .join(Person, Person.id == Membership.person_id)
    .join(Phone, Phone.id == Person.phone_id)
    .join(Collective, Collective.id == Membership.collective_id)
    .where(Membership.state == "active", Phone.detached_at.is_(None))
)


def those_with_role(turn: Turn, collective_id: int, roles: Iterable[str]) -> list[Reader]:
    """The active members of a collective who have one of ``roles``."""
    having = sa.select(Role.membership_id).where(Role.role.in_(tuple(roles)))
    rows = turn.session.execute(
        _readers.where(Membership.collective_id == collective_id, Membership.id.in_(having)).order_by(Membership.id)
    ).all()
    return [
        Reader(row.id, row.person_id, row.phone_id, row.collective_id, row.name, row.language or row.theirs, row.on_duty) for row in rows
    ]


def reader(turn: Turn, membership_id: int) -> Reader | None:
    """One member to write to; None when she left or her number changed hands."""
    row = turn.session.execute(_readers.where(Membership.id == membership_id)).first()
    return (
        None
        if row is None
        else Reader(row.id, row.person_id, row.phone_id, row.collective_id, row.name, row.language or row.theirs, row.on_duty)
    )


def write_to(turn: Turn, to: Reader, text: str, *, kind: str, unprompted: bool, about: int | None = None, **values: object) -> int | None:
    """Put one text (English, a key) for ``to`` on the line that is hers. None when the collective has no line for her.

    ``about``: the membership whose words or whose plight it tells; her FORGET takes it back, and empties what was sent.
    """
    try:
        line_id = line_for(turn.session, to.membership_id)
    except NoLine:
        return None
    turn.rings = True
    letter = Letter(
        kind=kind,
        body=words(to.language, text, **values),
        language=to.language,
        line_id=line_id,
        phone_id=to.phone_id,
        person_id=to.person_id,
        membership_id=to.membership_id,
        collective_id=to.collective_id,
        unprompted=unprompted,
        about_membership_id=about,
    )
    return put(turn.session, turn.now, letter)
