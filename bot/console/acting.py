"""Acting as whoever is logged in: the same actions as by text, with the same checks, from a form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.console.views import deployment, language, now, place, viewer
from bot.conversation.speakers import read_line
from bot.conversation.turn import Belonging, LineFacts, Turn
from bot.delivery.bell import ring
from bot.delivery.routes import default_line
from models import Person

# A collective that has no line yet can still be looked at; nothing can be sent from it.
NO_LINE = LineFacts(0, "sms", "", False, True, ())


@contextmanager
def act_as_viewer() -> Iterator[Turn]:
    """One transaction in which actions run as the viewer, in the collective that the page is about; rings after the commit."""
    here = place()
    with deployment().store.write() as session:
        turn = turn_of_viewer(session)
        yield turn
    if turn.rings:
        ring(deployment())
    assert turn.here is not None and turn.here.collective_id == here.collective_id


def turn_of_viewer(session: Session) -> Turn:
    """The viewer's turn, inside a transaction of the caller's."""
    here = place()
    line_id = default_line(session, here.collective_id)
    line = read_line(session, line_id) if line_id is not None else NO_LINE
    phone_id = session.scalar(sa.select(Person.phone_id).where(Person.id == viewer().person_id))
    belonging = Belonging(here.membership_id, here.collective_id, here.name, here.language, here.timezone, here.roles, line_id)
    return Turn(
        deployment(), session, now(), line, phone_id, viewer().person_id, language(), here.timezone, belongings=(belonging,), here=belonging
    )
