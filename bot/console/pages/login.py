"""Logging in by phone, and out again."""

from __future__ import annotations

from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Response, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from bot.console import words
from bot.console.blueprint import page
from bot.console.codes import ask_code, check_code
from bot.console.pages.account import trace_everywhere
from bot.console.sessions import COOKIE, LASTS, end_session_of, name_device, open_session
from bot.console.views import LANGUAGE_COOKIE, deployment, now, show, viewer
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
    return show("login.html", why=None, next=_inside(request.args.get("next")), demo=_demo())


@page("/login", methods=("POST",))
def ask_for_code() -> ResponseReturnValue:
    """Send a code. Known or not, the next page is the same."""
    target = _inside(request.form.get("next"))
    asked = ask_code(deployment(), request.form.get("number", "")[:40], request.remote_addr or "")
    if asked.ticket is None:
        return show("login.html", 429 if asked.why == "too_many" else 400, why=asked.why, next=target, demo=_demo())
    return show("code.html", ticket=asked.ticket, why=None, next=target, demo=_demo())


@page("/login/code", methods=("POST",))
def enter_code() -> ResponseReturnValue:
    """Check the code; the right one opens a session."""
    target, ticket = _inside(request.form.get("next")), request.form.get("ticket", "")[:80]
    this = deployment()
    person_id, why = check_code(this, ticket, request.form.get("code", "")[:40])
    if person_id is None:
        return show("code.html", 403, ticket=ticket, why=why, next=target, demo=_demo())
    with this.store.write() as session:
        token = open_session(this.store, session, now(), person_id, name_device(request.headers.get("User-Agent", "")))
        for membership_id, collective_id in session.execute(_WITH_ROLE, {"person": person_id}):
            session.add(Audit(collective_id=collective_id, membership_id=membership_id, act="logged in", at=now()))
    response = redirect(target or url_for("console.start"), 303)
    secure = this.settings.public_url.startswith("https://")
    response.set_cookie(COOKIE, token, max_age=int(LASTS.total_seconds()), httponly=True, secure=secure, samesite="Lax", path="/console")
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


def _inside(target: str | None) -> str | None:
    """Where to go afterwards: only inside the console, never to another site."""
    parts = urlsplit(target or "")
    fits = target and not parts.scheme and not parts.netloc and parts.path.startswith("/console/") and "\\" not in target
    return target if fits else None


def _demo() -> str | None:
    """Where the codes arrive, in the demo."""
    settings = deployment().settings
    return settings.twilio_api_url + "/" if settings.has_simulator else None
