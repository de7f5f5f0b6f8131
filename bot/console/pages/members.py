"""Members, found by name (keyed hashes: never a name in an address), group, language, role or answer; never a phone number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.access import ACCESS, ROLES
from bot.console.blueprint import page
from bot.console.forms import read_number, read_text, read_whole
from bot.console.looks import hidden_groups, hidden_names
from bot.console.views import deployment, now, place, show
from bot.languages import LANGUAGES
from bot.languages.catalog import LANGUAGE_NAMES
from bot.members.roster import LONGEST_GROUP, read_group_name
from bot.members.search import (
    MOST_WORDS,
    STATES,
    Wanted,
    count_up_to,
    hashes_of_search,
    list_page,
    save_as_group,
    stopped_on,
)
from models import Audit, Broadcast, Collective, Group, GroupMember, PhoneLine, Role

PAGE = 50
# People are counted no further: "more than 1,000" is enough to choose by, and cheap in a collective of 100,000.
MOST_COUNTED = 1_000
ACTIONS_OFFERED = 12
ANSWERS = ("yes", "maybe", "no")


@dataclass(frozen=True)
class Row:
    """One member in the list."""

    id: int
    name: str | None
    language: str
    joined_at: Any
    states: tuple[str, ...]
    groups: tuple[str, ...]
    roles: tuple[str, ...]


@page("/<word>/members")
def members() -> ResponseReturnValue:
    """The newest first, in pages by id."""
    before = read_number(request, "before") or None
    with deployment().store.read() as session:
        collective = session.get_one(Collective, place().collective_id)
        wanted, chosen = read_wanted(session, collective, request.args)
        rows = session.execute(list_page(collective, wanted, now(), before=before, limit=PAGE + 1)).all()
        listed = _fill(session, collective, rows[:PAGE])
        number = count_up_to(session, collective, wanted, now(), MOST_COUNTED + 1)
        choices = _choices(session, collective)
    return show(
        "members.html", members=listed, older=rows[PAGE - 1].id if len(rows) > PAGE else None, wanted=wanted, chosen=chosen, number=number,
        most=MOST_COUNTED, member_languages=LANGUAGE_NAMES, role_keys=ROLES, answers=ANSWERS, states=STATES,
        saved=read_number(request, "saved", -1), trouble=request.args.get("trouble"), done=request.args.get("done"),
        longest_group=LONGEST_GROUP, **choices,
    )  # fmt: skip


@page("/<word>/members/find", methods=("POST",))
def find_members() -> ResponseReturnValue:
    """Turns what was written into an address without a name in it: addresses stand in logs and histories."""
    with deployment().store.read() as session:
        _, chosen = read_wanted(session, session.get_one(Collective, place().collective_id), request.form)
    words = hashes_of_search(deployment().store.index_key, place().collective_id, read_text(request, "name", 80))
    if words:
        chosen["words"] = ".".join(f"{word:x}" for word in words)
    elif request.form.get("name") is not None:
        chosen.pop("words", None)
    return redirect(url_for("console.members", **chosen), 303)


@page("/<word>/members/group", methods=("POST",))
def save_group() -> ResponseReturnValue:
    """Put everybody who was found into a group; sent twice, it does the same once."""
    name = read_group_name(read_text(request, "group_name", 200))
    store = deployment().store
    with store.read() as session:
        collective = session.get_one(Collective, place().collective_id)
        wanted, chosen = read_wanted(session, collective, request.form)
        is_free = name not in hidden_names(session)
    if not name or len(name) > LONGEST_GROUP or wanted.state != "here" or not is_free:
        return redirect(url_for("console.members", **chosen, trouble="group" if is_free else "group_name"), 303)
    group_id, came = save_as_group(store, collective, wanted, now(), name)
    with store.write() as session:
        session.add(trace("group saved", f"group {group_id}: {came}"))
    return redirect(url_for("console.members", group=group_id, saved=came), 303)


def read_wanted(session: Session, collective: Collective, source: Mapping[str, str]) -> tuple[Wanted, dict[str, Any]]:
    """Whom an address or a form asks for, and the same as parameters of an address; what makes no sense is left out."""
    chosen: dict[str, Any] = {}
    words = tuple(int(part, 16) for part in source.get("words", "").split(".")[:MOST_WORDS] if _is_hash(part))
    spoken = source.get("language") if source.get("language") in LANGUAGES else None
    group_id = read_whole(source.get("group"))
    if group_id not in shown_groups(session):
        group_id = None
    role = source.get("role") if source.get("role") in ROLES else None
    state = source.get("state", "")
    state = state if state in STATES else "here"
    answer, action, said = None, read_whole(source.get("action")), source.get("answer", "")
    if action is not None and said in ANSWERS and may_know_answers():
        mine = sa.select(Broadcast.alert_id).where(Broadcast.collective_id == collective.id, Broadcast.number == action)
        alert_id = session.scalar(mine.where(Broadcast.alert_id.is_not(None)))
        if alert_id is not None:
            answer, chosen["action"], chosen["answer"] = (alert_id, said), action, said
    chosen |= {
        name: value
        for name, value in (
            ("words", ".".join(f"{word:x}" for word in words)), ("language", spoken), ("group", group_id), ("role", role),
            ("state", state if state != "here" else None),
        )
        if value
    }  # fmt: skip
    return Wanted(words, spoken, group_id, role, answer, state), chosen


def may_know_answers() -> bool:
    """Whether the viewer may know who said what to a call to an action, and so may look for it."""
    return bool(place().roles & (ACCESS["console.rsvps"].roles or frozenset()))


def _is_hash(part: str) -> bool:
    return 0 < len(part) <= 16 and all(sign in "0123456789abcdef" for sign in part) and int(part, 16) < 2**63


def _fill(session: Session, collective: Collective, rows: Sequence[Any]) -> list[Row]:
    ids = [row.id for row in rows]
    groups: dict[int, list[str]] = {}
    shown = shown_groups(session)
    placed = sa.select(GroupMember.membership_id, GroupMember.group_id).where(GroupMember.membership_id.in_(ids))
    for membership_id, group_id in session.execute(placed):
        if group_id in shown:
            groups.setdefault(membership_id, []).append(shown[group_id])
    roles: dict[int, list[str]] = {}
    for membership_id, role in session.execute(sa.select(Role.membership_id, Role.role).where(Role.membership_id.in_(ids))):
        roles.setdefault(membership_id, []).append(role)
    stopped = sa.select(PhoneLine.phone_id).where(PhoneLine.phone_id.in_([row.phone_id for row in rows]), *stopped_on(collective.id))
    silent = set(session.scalars(stopped))
    return [
        Row(
            row.id, row.name, row.language or collective.language, row.joined_at, read_states(row, row.phone_id in silent),
            tuple(sorted(groups.get(row.id, ()))), tuple(sorted(roles.get(row.id, ()), key=ROLES.index)),
        )
        for row in rows
    ]  # fmt: skip


def read_states(row: Any, stopped: bool) -> tuple[str, ...]:
    """What is to be said of a membership's state; () when she simply belongs."""
    if row.state != "active":
        return ("left",)
    found = (("paused", row.paused_until is not None and row.paused_until > now()), ("stopped", stopped))
    return tuple(name for name, holds in found if holds)


def shown_groups(session: Session) -> dict[int, str]:
    """The groups that somebody is in, by name, as far as the viewer may know who: of those of care, supporters alone."""
    inhabited = sa.exists().where(GroupMember.group_id == Group.id)
    query = sa.select(Group.id, Group.name).where(Group.collective_id == place().collective_id, inhabited).order_by(Group.name)
    hidden = hidden_groups(session)
    return {row.id: row.name for row in session.execute(query) if row.id not in hidden}


def _choices(session: Session, collective: Collective) -> dict[str, Any]:
    calls = sa.select(Broadcast.number, Broadcast.created_at).where(Broadcast.collective_id == collective.id, Broadcast.kind == "alert")
    newest = calls.order_by(Broadcast.id.desc()).limit(ACTIONS_OFFERED)
    return {"groups": shown_groups(session), "actions": session.execute(newest).all() if may_know_answers() else []}


def trace(act: str, subject: str) -> Audit:
    """An audit row of the viewer's."""
    return Audit(collective_id=place().collective_id, membership_id=place().membership_id, act=act, subject=subject, at=now())
