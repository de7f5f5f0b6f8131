"""Logging in by phone, and out again."""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Response, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from bot.console import words
from bot.console.askers import name_asker
from bot.console.blueprint import page
from bot.console.browsers import DOOR, DOOR_LASTS, KNOWN, KNOWN_LASTS, door_field, new_door, read_door
from bot.console.codes import ask_code, check_code, mark_of
from bot.console.pages.account import trace_everywhere
from bot.console.sessions import COOKIE, LASTS, end_session_of, name_device, open_session
from bot.console.views import LANGUAGE_COOKIE, deployment, now, refuse, say, show, viewer
from models import Audit, Membership, Role

_WITH_ROLE = (
    sa.select(Membership.id, Membership.collective_id)
    .where(Membership.person_id == sa.bindparam("person"), Membership.state == "active")
    .where(sa.exists().where(Role.membership_id == Membership.id))
)


@page("/login")
def login() -> ResponseReturnValue:
    """Ask for the number."""
    if g.viewer is not None:
        return redirect(url_for("console.start"))
    door = read_door(request.cookies.get(DOOR)) or new_door()
    response = _show_form("login.html", door, why=None, next=_inside(request.args.get("next")))
    _set_cookie(response, DOOR, door, DOOR_LASTS)
    return response


@page("/login", methods=("POST",))
def ask_for_code() -> ResponseReturnValue:
    """Send a code. Known or not, the next page is the same."""
    door, target, this = _own_form(), _inside(request.form.get("next")), deployment()
    if door is None:
        return _too_old()
    asker = name_asker(request.remote_addr, this.settings.trusted_proxies)
    asked = ask_code(this, request.form.get("number", "")[:40], asker, door, request.cookies.get(KNOWN))
    if asked.ticket is None:
        return _show_form("login.html", door, 429 if asked.why == "too_many" else 400, why=asked.why, next=target)
    return _show_form("code.html", door, ticket=asked.ticket, why=None, next=target)


@page("/login/code", methods=("POST",))
def enter_code() -> ResponseReturnValue:
    """Check the code; the right one opens a session."""
    door, target, this = _own_form(), _inside(request.form.get("next")), deployment()
    if door is None:
        return _too_old()
    ticket = request.form.get("ticket", "")[:80]
    person_id, why = check_code(this, ticket, request.form.get("code", "")[:40], door)
    if person_id is None:
        return _show_form("code.html", door, 403, ticket=ticket, why=why, next=target)
    with this.store.write() as session:
        token = open_session(this.store, session, now(), person_id, name_device(request.headers.get("User-Agent", "")))
        for membership_id, collective_id in session.execute(_WITH_ROLE, {"person": person_id}):
            session.add(Audit(collective_id=collective_id, membership_id=membership_id, act="logged in", at=now()))
    response = redirect(target or url_for("console.start"), 303)
    _set_cookie(response, COOKIE, token, LASTS)
    if mark := mark_of(this, ticket, door):
        _set_cookie(response, KNOWN, mark, KNOWN_LASTS)
    return response


@page("/logout", methods=("POST",))
def log_out() -> ResponseReturnValue:
    """End this session."""
    with deployment().store.write() as session:
        if end_session_of(session, now(), viewer().person_id, viewer().session_id):
            trace_everywhere(session, "logged out")
    response = redirect(url_for("console.status"), 303)
    response.delete_cookie(COOKIE, path="/console")
    return response


@page("/start")
def start() -> ResponseReturnValue:
    """Her collective; a choice where she has a role in several."""
    places = viewer().places
    if len(places) == 1:
        return redirect(url_for("console.home", word=places[0].word))
    return show("start.html", places=places)


@page("/language", methods=("POST",))
def set_language() -> ResponseReturnValue:
    """The language of the pages in this browser; her texts keep theirs."""
    chosen = request.form.get("language", "")
    response: Response = redirect(_inside(request.form.get("next")) or url_for("console.status"), 303)  # type: ignore[assignment]
    if chosen in words.LANGUAGES:
        response.set_cookie(LANGUAGE_COOKIE, chosen, max_age=365 * 24 * 3600, samesite="Lax", path="/console")
    return response


def _own_form() -> str | None:
    """The token of the browser whose own login form this is; None for a form that another site made, or without the cookie."""
    door = read_door(request.cookies.get(DOOR))
    if door is None or not hmac.compare_digest(request.form.get("door", "").encode(), door_field(deployment().store, door).encode()):
        return None
    return door


def _too_old() -> ResponseReturnValue:
    return refuse(say("This form is too old."), say("Nothing was done. Go back, load the page again, and send it once more."), 400)


def _show_form(template: str, door: str, status: int = 200, /, **values: Any) -> Response:
    return show(template, status, door=door_field(deployment().store, door), demo=_demo(), **values)


def _set_cookie(response: Any, name: str, value: str, lasts: timedelta) -> None:
    """No script reads it, and no other room gets it."""
    secure = deployment().settings.public_url.startswith("https://")
    response.set_cookie(name, value, max_age=int(lasts.total_seconds()), httponly=True, secure=secure, samesite="Lax", path="/console")


def _inside(target: str | None) -> str | None:
    """Where to go afterwards: only inside the console, never to another site. Control characters have no place in a header."""
    if not target or not target.isprintable() or "\\" in target:
        return None
    try:
        parts = urlsplit(target)
    except ValueError:  # "//[": half an address of IPv6
        return None
    return target if not parts.scheme and not parts.netloc and parts.path.startswith("/console/") else None


def _demo() -> str | None:
    """Where the codes arrive, in the demo."""
    settings = deployment().settings
    return settings.twilio_api_url + "/" if settings.has_simulator else None
