"""Pages for everybody: what a collective is and how to join it, what is kept, and the terms. Carriers ask for all three.

Each page is one template per language; nothing comes from elsewhere, nothing runs in the browser. The periods are those that
bot/upkeep/retention.py keeps, so that the page can not promise another one.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from babel.dates import format_date
from flask import Blueprint, Response, current_app, make_response, render_template, request

from bot.deployment import Deployment
from bot.doors import open_to_all
from bot.health.checks import DATABASE_ERRORS
from bot.languages import fold, match_language
from bot.languages.spans import say_period
from bot.members.joining import way_to_join
from bot.upkeep import retention
from models import Collective, CollectiveLine, Line

blueprint = Blueprint("public", __name__, static_folder="static", static_url_path="/public/static", template_folder="templates")

# Hindi in Latin letters is written on phones, not read on pages: who chose it gets English, never Devanagari.
LANGUAGES = {"en": "English", "es": "Español", "hi": "हिन्दी"}
CHANGED = date(2026, 11, 22)  # when the words of /privacy or /terms last changed
# How long Twilio itself may keep a text; the operator may set less (docs/safety.md).
TWILIO_KEEPS = timedelta(days=400)
BACKUPS_KEPT = timedelta(weeks=2)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Language",
}


@blueprint.after_request
def close_the_windows(response: Response) -> Response:
    """The headers that every public page has."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@blueprint.get("/about/<word>")
@open_to_all("tells of a collective what its organizers made public; of any other word, that there is no page")
def about(word: str) -> Response | tuple[Response, int]:
    """What a public collective is and how to join it. A word that is not public is answered like one that does not exist."""
    deployment: Deployment = current_app.extensions["chorus"]
    try:
        with deployment.store.read() as session:
            collective = session.scalars(sa.select(Collective).where(Collective.word == fold(word), Collective.public)).one_or_none()
            if collective is None:
                return _page("missing"), 404
            lines = session.scalars(
                sa.select(Line)
                .join(CollectiveLine, CollectiveLine.line_id == Line.id)
                .where(CollectiveLine.collective_id == collective.id, Line.two_way)
                .order_by(CollectiveLine.position)
            ).all()
            ways = [way for line in lines if (way := way_to_join(line.address, collective.word)) is not None]
            name, what = collective.name, collective.about.rstrip(".")
    except DATABASE_ERRORS:
        return _page("away"), 503
    return _page("about", name=name, what=what, word=collective.word.upper(), ways=ways)


@blueprint.get("/privacy")
@open_to_all("the same for everybody")
def privacy() -> Response:
    """What is kept, for how long, and who can read it."""
    return _page("privacy")


@blueprint.get("/terms")
@open_to_all("the same for everybody")
def terms() -> Response:
    """What the texts are, what they cost, and how to end them."""
    return _page("terms")


def choose_language() -> str:
    """What ?lang= names, else what the browser prefers, else English."""
    asked = match_language(request.args.get("lang", ""))
    if asked in LANGUAGES:
        return asked
    return request.accept_languages.best_match(list(LANGUAGES)) or "en"


def periods(language: str) -> dict[str, str]:
    """Every period the pages speak of, in words: "7 days", "7 días", "7 दिन"."""
    kept = {
        "words": retention.BODY_KEPT,
        "care": retention.CARE_BODY_KEPT,
        "codes": retention.CODE_KEPT,
        "status": retention.STATUS_KEPT,
        "ids": retention.SID_HASH_KEPT,
        "audit": retention.AUDIT_KEPT,
        "notes": retention.OPEN_NOTE_KEPT,
        "answered": retention.ANSWERED_KEPT,
        "moods": retention.MOOD_KEPT,
        "twilio": TWILIO_KEEPS,
        "backups": BACKUPS_KEPT,
    }
    return {name: say_period(period, language) for name, period in kept.items()}


def _page(page: str, /, **values: Any) -> Response:
    language = choose_language()
    answer = make_response(
        render_template(
            f"public/{page}.{language}.html",
            language=language,
            languages=LANGUAGES,
            frame=f"public/frame.{language}.html",
            # A link keeps the language that was asked for, and only then: who asked for none keeps her browser's.
            query={"lang": language} if "lang" in request.args else {},
            here=request.path if page not in ("missing", "away") else "/privacy",
            kept=periods(language),
            changed=format_date(CHANGED, "long", locale=language),
            **values,
        )
    )
    answer.headers["Content-Language"] = language
    return answer
