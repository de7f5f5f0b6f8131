"""A group of members: another name for it, or its end. Who is in it is said where members are found, and on a member's own page."""

from __future__ import annotations

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bot.console.blueprint import page
from bot.console.forms import read_text
from bot.console.pages.members import shown_groups, trace
from bot.console.views import deployment, place, refuse, say
from bot.members.roster import LONGEST_GROUP, read_group_name
from models import Broadcast, Collective, Group, GroupMember
from models.broadcasts import DONE, STOPPED


@page("/<word>/members/groups/<int:number>/name", methods=("POST",))
def rename_group(number: int) -> ResponseReturnValue:
    """Another name; whoever is in it stays in it."""
    name = read_group_name(read_text(request, "group_name", 200))
    if not name or len(name) > LONGEST_GROUP:
        return _back(number, trouble="group")
    try:
        with deployment().store.write() as session:
            group = _find_group(session, number)
            if group is None:
                return _not_here()
            if group.name != name:
                group.name = name
                session.add(trace("group renamed", f"group {number}"))
    except IntegrityError:
        # The same words for a group that she may not know of.
        return _back(number, trouble="group_name")
    return _back(number, done="group_renamed")


@page("/<word>/members/groups/<int:number>/end", methods=("POST",))
def dissolve_group(number: int) -> ResponseReturnValue:
    """Nobody is in it any more, and it is offered nowhere. Refused while a text to it has not left: it would reach nobody."""
    with deployment().store.write() as session:
        group = _find_group(session, number)
        if group is None:
            return _not_here()
        unsent = sa.select(Broadcast.id).where(Broadcast.group_id == number, Broadcast.state.not_in((DONE, STOPPED)))
        if session.scalar(unsent.limit(1)) is not None:
            return _back(number, trouble="group_in_use")
        # The row stays, because texts that went to it name it; a group without anybody in it is offered nowhere.
        session.execute(sa.delete(GroupMember).where(GroupMember.group_id == number))
        session.add(trace("group dissolved", ""))
    return redirect(url_for("console.members", done="group_dissolved"), 303)


def _find_group(session: Session, number: int) -> Group | None:
    """The group, for changing, if the viewer may know of it. The collective's lock comes first: whoever writes to a group takes it, too."""
    session.execute(sa.select(Collective.id).where(Collective.id == place().collective_id).with_for_update(key_share=True))
    return session.get(Group, number, with_for_update=True) if number in shown_groups(session) else None


def _not_here() -> ResponseReturnValue:
    return refuse(say("There is no such group."), say("Go back to the members."), 404)


def _back(number: int, *, done: str | None = None, trouble: str | None = None) -> ResponseReturnValue:
    return redirect(url_for("console.members", group=number, done=done, trouble=trouble), 303)
