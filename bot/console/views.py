"""What every page has: the viewer, her place, her language, and how a page or a refusal is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Response, current_app, g, make_response, render_template, request

from bot.console import words
from bot.console.sessions import Place, Viewer
from bot.deployment import Deployment

LANGUAGE_COOKIE = "chorus_language"


def deployment() -> Deployment:
    """The deployment that this application serves."""
    found: Deployment = current_app.extensions["chorus"]
    return found


def viewer() -> Viewer:
    """Whoever is logged in; only behind a door that asks for it."""
    found: Viewer = g.viewer
    return found


def place() -> Place:
    """The collective that the page is about, and her roles in it; only behind a door that asks for a role."""
    found: Place = g.place
    return found


def now() -> datetime:
    """People's time."""
    return deployment().clock.now()


def language() -> str:
    """The page's language: chosen here, else the member's own, else the browser's."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    if chosen in words.LANGUAGES:
        return chosen
    known: Viewer | None = g.get("viewer")
    if known is not None and known.language:
        return words.page_language(known.language)
    return _language_of_browser()


def _language_of_browser() -> str:
    """The first of its languages that the pages speak. By main languages: Werkzeug's best_match answers "es-MX, en;q=0.5" in English."""
    for tag, _ in request.accept_languages:
        # Hindi in Latin letters is for whoever may not read Devanagari.
        spoken = "en" if tag.casefold().startswith("hi-latn") else tag.partition("-")[0].casefold()
        if spoken in words.LANGUAGES:
            return spoken
    return "en"


def say(text: str, /, **values: object) -> str:
    """``text`` in the page's language."""
    return words.say(language(), text, **values)


def count(one: str, many: str, n: int, /, **values: object) -> str:
    """A counted text in the page's language."""
    return words.count(language(), one, many, n, **values)


def local(moment: datetime | None) -> datetime | None:
    """A moment on the clocks of the collective."""
    here: Place | None = g.get("place")
    return None if moment is None else moment.astimezone(ZoneInfo(here.timezone if here else "UTC"))


def show(template: str, status: int = 200, /, **values: Any) -> Response:
    """A page, or with ``HX-Request`` (htmx polls it) whatever part of it the template gives."""
    return make_response(render_template(f"console/{template}", **values), status)


def refuse(title: str, what_to_do: str, status: int, *, at_the_door: bool = False) -> Response:
    """A page that says no, and what to do next. ``at_the_door``: she may not come in at all."""
    return show("refused.html", status, title=title, what_to_do=what_to_do, at_the_door=at_the_door)
