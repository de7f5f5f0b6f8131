"""One member: her groups, language and zone, her state; removing her. Of her number, the last two digits."""

from __future__ import annotations

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.access import ROLES
from bot.console.acting import NO_LINE
from bot.console.blueprint import page
from bot.console.forms import read_text, read_whole
from bot.console.looks import hidden_names
from bot.console.pages.members import read_states, shown_groups, trace
from bot.console.views import deployment, language, now, place, refuse, say, show
from bot.conversation.actions import leave_collective
from bot.conversation.turn import Belonging, Turn
from bot.languages import LANGUAGES
from bot.languages.catalog import LANGUAGE_NAMES
from bot.members.governing import ORGANIZER, holders, lock_roles, may_govern
from bot.members.numbers import cancel_number_change, pending_change
from bot.members.roster import LONGEST_GROUP, match_timezone, read_group_name
from bot.members.search import stopped_on
from bot.members.told import may_be_described, told_language, told_zone
from models import Collective, Consent, Group, GroupMember, Membership, Person, Phone, PhoneLine, Role, sqlite_or_postgres_insert


def find_member(session: Session, number: int, *, lock: bool = False) -> Membership | None:
    """The membership with this id, if it is of the collective that the page is about."""
    member = session.get(Membership, number, with_for_update={"key_share": True} if lock else None)
    return member if member is not None and member.collective_id == place().collective_id else None


def not_here() -> ResponseReturnValue:
    """What a page says of a member who is not there, or not of this collective."""
    return refuse(say("There is no such member."), say("Go back to the members."), 404)


@page("/<word>/members/<int:number>")
def member(number: int) -> ResponseReturnValue:
    """What is known of one member, and what may be done. Of her number, the last two digits: they tell two Mayas apart."""
    with deployment().store.read() as session:
        found = find_member(session, number)
        if found is None:
            return not_here()
        collective = session.get_one(Collective, place().collective_id)
        person = session.get_one(Person, found.person_id)
        phone = session.get_one(Phone, person.phone_id)
        stopped = session.scalar(sa.select(PhoneLine.id).where(PhoneLine.phone_id == phone.id, *stopped_on(collective.id)).limit(1))
        agreed = session.scalars(
            # Whether somebody is in care is not told here, so only the consents to belong.
            sa.select(Consent).where(Consent.membership_id == found.id, Consent.kind != "check_ins").order_by(Consent.id.desc()).limit(1)
        ).first()
        roles = set(session.scalars(sa.select(Role.role).where(Role.membership_id == found.id)))
        hers = set(session.scalars(sa.select(GroupMember.group_id).where(GroupMember.membership_id == found.id)))
        groups = shown_groups(session)
        governs = may_govern(session, collective.id, place().roles)
        change = pending_change(session, person.id, collective.id)
        told = sa.select(told_language(), told_zone()).select_from(Membership).join(Person).where(Membership.id == found.id)
        spoken, zone = session.execute(told).one()
    return show(
        "member.html", member=found, spoken=spoken, zone=zone, end=(phone.number or "")[-2:], detached=phone.detached_at is not None,
        states=read_states(found, stopped is not None), agreed=agreed, her_roles=roles, hers=hers, groups=groups, governs=governs,
        change=change, collective=collective, member_languages=LANGUAGE_NAMES, role_keys=ROLES, trouble=request.args.get("trouble"),
        done=request.args.get("done"), longest_group=LONGEST_GROUP, is_me=found.id == place().membership_id,
    )  # fmt: skip


@page("/<word>/members/<int:number>/about", methods=("POST",))
def set_member(number: int) -> ResponseReturnValue:
    """Her language and her zone, where no other collective writes to her by them."""
    spoken, zone = request.form.get("language", ""), read_text(request, "timezone", 80)
    matched = match_timezone(zone) if zone else None
    if (spoken and spoken not in LANGUAGES) or (zone and matched is None):
        return back(number, trouble="zone" if zone and matched is None else "language")
    with deployment().store.write() as session:
        found = find_member(session, number)
        if found is None:
            return not_here()
        if not may_be_described(session, found):
            return back(number, trouble="belongs_elsewhere")
        person = session.get_one(Person, found.person_id)
        person.language, person.timezone = spoken or None, matched
        session.add(trace("member changed", f"membership {number}"))
    return back(number, done="about")


@page("/<word>/members/<int:number>/groups", methods=("POST",))
def set_member_groups(number: int) -> ResponseReturnValue:
    """The groups she is in: exactly those that are ticked, and perhaps a new one."""
    name = read_group_name(read_text(request, "new_group", 200))
    if len(name) > LONGEST_GROUP:
        return back(number, trouble="group")
    store = deployment().store
    with store.write() as session:
        found = find_member(session, number, lock=True)
        if found is None:
            return not_here()
        if name in hidden_names(session):
            return back(number, trouble="group_name")
        ours = set(shown_groups(session))
        ticked = {group for text in request.form.getlist("group") if (group := read_whole(text)) in ours}
        if name:
            insert = sqlite_or_postgres_insert(store, Group.__table__).values(collective_id=place().collective_id, name=name)
            session.execute(insert.on_conflict_do_nothing())
            mine = sa.select(Group.id).where(Group.collective_id == place().collective_id, Group.name == name)
            ticked.add(session.scalars(mine).one())
        session.execute(
            sa.delete(GroupMember).where(
                GroupMember.membership_id == number, GroupMember.group_id.in_(ours), GroupMember.group_id.not_in(ticked)
            )
        )
        if ticked:
            rows = [{"group_id": group, "membership_id": number} for group in sorted(group for group in ticked if group is not None)]
            session.execute(sqlite_or_postgres_insert(store, GroupMember.__table__).on_conflict_do_nothing(), rows)
        session.add(trace("member's groups changed", f"membership {number}"))
    return back(number, done="groups")


@page("/<word>/members/<int:number>/remove", methods=("POST",))
def remove_member(number: int) -> ResponseReturnValue:
    """Like her own LEAVE; with her roles. Who has a role is removed only by those who may change roles."""
    if request.form.get("sure") != "yes":
        return back(number, trouble="sure")
    with deployment().store.write() as session:
        # First of all: of two organizers who remove each other, the second one must see what the first one did.
        lock_roles(session, place().collective_id)
        found = find_member(session, number, lock=True)
        if found is None:
            return not_here()
        roles = frozenset(session.scalars(sa.select(Role.role).where(Role.membership_id == number)))
        if roles and not may_govern(session, place().collective_id, place().roles):
            return back(number, trouble="governs")
        if ORGANIZER in roles and holders(session, place().collective_id, ORGANIZER) == [number]:
            return back(number, trouble="last_organizer")
        if found.state == "active":
            leave_collective(_turn_of(session, found, roles))
            change = pending_change(session, found.person_id, place().collective_id)
            if change is not None:
                cancel_number_change(session, now(), change, by=place().membership_id)
            session.add(trace("member removed", f"membership {number}"))
    return back(number, done="removed")


def _turn_of(session: Session, found: Membership, roles: frozenset[str]) -> Turn:
    """A turn in which an action is about this member, as if she had asked for it herself."""
    here, person = place(), session.get_one(Person, found.person_id)
    hers = Belonging(found.id, here.collective_id, here.name, here.language, here.timezone, roles, found.line_id)
    return Turn(deployment(), session, now(), NO_LINE, person.phone_id, person.id, language(), here.timezone, belongings=(hers,), here=hers)


def back(number: int, *, trouble: str | None = None, done: str | None = None) -> ResponseReturnValue:
    """To her page, with what came of it."""
    return redirect(url_for("console.member", number=number, trouble=trouble, done=done), 303)
