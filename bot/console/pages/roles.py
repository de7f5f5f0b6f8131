"""Roles, and the number of somebody who has one: changed only with a code of the app, and slowly."""

from __future__ import annotations

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from bot.console.access import ROLES
from bot.console.blueprint import page
from bot.console.pages.member import back, find_member, not_here
from bot.console.views import deployment, now, place, viewer
from bot.delivery.bell import ring
from bot.members import NumberRefused, parse_number
from bot.members.governing import RoleRefused, may_govern, set_roles
from bot.members.numbers import ChangeRefused, ask_number_change, cancel_number_change, find_place, pending_change, pending_changes


@page("/<word>/members/<int:number>/roles", methods=("POST",))
def set_member_roles(number: int) -> ResponseReturnValue:
    """Exactly the roles that are ticked. For an admin; for an organizer where the collective has no admin."""
    wanted = [role for role in ROLES if role in request.form.getlist("role")]
    store = deployment().store
    with store.write() as session:
        member = find_member(session, number)
        if member is None:
            return not_here()
        if not may_govern(session, place().collective_id, place().roles):
            return back(number, trouble="governs")
        try:
            set_roles(session, store, now(), member, wanted, by=place().membership_id)
        except RoleRefused as refused:
            return back(number, trouble=refused.reason)
    return back(number, done="roles")


@page("/<word>/members/<int:number>/number", methods=("POST",))
def move_number(number: int) -> ResponseReturnValue:
    """Book the move to a new number; it counts a day later, and the old number is told at once."""
    try:
        wanted = parse_number(request.form.get("number", "")[:40])
    except NumberRefused:
        return back(number, trouble="no_number")
    store = deployment().store
    _ = store.index_key
    with store.write() as session:
        member = find_member(session, number)
        if member is None:
            return not_here()
        if not may_govern(session, place().collective_id, place().roles):
            return back(number, trouble="governs")
        try:
            ask_number_change(session, store, now(), member, wanted, by=place().membership_id)
        except ChangeRefused as refused:
            return back(number, trouble=refused.reason)
    ring(deployment())
    return back(number, done="number")


@page("/<word>/members/<int:number>/number/cancel", methods=("POST",))
def cancel_number(number: int) -> ResponseReturnValue:
    """Any organizer may take it back: that needs no code, for there may be little time."""
    with deployment().store.write() as session:
        member = find_member(session, number)
        if member is None:
            return not_here()
        change = pending_change(session, member.person_id, place().collective_id)
        if change is not None:
            cancel_number_change(session, now(), change, by=place().membership_id)
    return back(number, done="number_cancelled")


@page("/account/number/cancel", methods=("POST",))
def cancel_my_number() -> ResponseReturnValue:
    """She herself takes back the change of her number, whichever collective booked it and whatever she still is there."""
    with deployment().store.write() as session:
        for change in pending_changes(session, viewer().person_id):
            cancel_number_change(session, now(), change, by=find_place(session, change))
    return redirect(url_for("console.account"), 303)
