"""The organizers' pages: server-rendered, readable on a cheap phone, live parts by polling. One module a page in ``pages``.

``access`` says who may open what; the guard below enforces it before any page runs.
"""

from __future__ import annotations

from flask import Response, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from bot.console import words
from bot.console.access import ACCESS, ANYBODY, ROLE_NAMES
from bot.console.blueprint import blueprint
from bot.console.forms import FormRefused, check_form
from bot.console.pages import (
    account,
    action_alert,
    audit,
    broadcasts,
    check_in,
    compose,
    exports,
    factor,
    flows,
    groups,
    home,
    imports,
    login,
    member,
    members,
    notes,
    poll,
    posters,
    roles,
    senders,
    settings,
    status,
    steering,
)
from bot.console.proof import ask_for_proof
from bot.console.sessions import COOKIE, find_viewer
from bot.console.views import count, deployment, language, local, now, refuse, say, show
from bot.console.words import mark

# A page's module hangs up its own routes; they are named here so that the table of contents is in one place.
PAGES = (
    status,
    login,
    account,
    factor,
    home,
    broadcasts,
    compose,
    steering,
    notes,
    poll,
    action_alert,
    check_in,
    members,
    member,
    imports,
    exports,
    groups,
    posters,
    roles,
    settings,
    senders,
    flows,
    audit,
)

# The pages of a collective, as the navigation shows them to whoever may open them: endpoint, name, sign.
NAVIGATION = (
    ("console.home", mark("Home"), "home"),
    ("console.broadcasts", mark("Texts"), "send"),
    ("console.notes", mark("Notes"), "notes"),
    ("console.polls", mark("Votes"), "poll"),
    ("console.actions", mark("Actions"), "alert"),
    ("console.care", mark("Care"), "care"),
    ("console.members", mark("Members"), "members"),
    ("console.flows", mark("Conversations"), "flows"),
    ("console.settings", mark("Settings"), "settings"),
    ("console.audit", mark("Who did what"), "audit"),
)

# Nothing from elsewhere, nothing inline, never inside somebody else's page.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


@blueprint.before_request
def stand_at_the_door() -> ResponseReturnValue | None:
    """Let in whom the table lets in; everything else is refused before any page runs."""
    access = ACCESS.get(request.endpoint or "")
    if access is None:
        return refuse(say("This page does not exist."), say("Go back to the first page."), 404)
    if request.endpoint == "console.static":
        return None
    store, moment = deployment().store, now()
    cookie, by_itself = request.cookies.get(COOKIE), request.method == "GET" and "HX-Request" in request.headers
    g.viewer = find_viewer(store, moment, cookie, by_itself=by_itself) if cookie else None
    if g.viewer is None and access is not ANYBODY:
        return _to_login()
    if access.roles:
        word = str((request.view_args or {}).pop("word", ""))
        g.place = g.viewer.place(word)
        # No collective of that word and no role in it look alike: names of groups are not for everybody.
        if g.place is None or not g.place.roles & access.roles:
            return refuse(
                say("This page is not for you."), say("Ask an admin of your collective if you should see it."), 403, at_the_door=True
            )
    if request.method == "POST":
        try:
            check_form(request, g.viewer, deployment().settings.public_url)
        except FormRefused:
            return refuse(say("This form is too old."), say("Nothing was done. Go back, load the page again, and send it once more."), 400)
        if access.proof:
            return ask_for_proof()
    return None


def _to_login() -> ResponseReturnValue:
    if request.headers.get("HX-Request"):
        # A poll of a page whose session is over: the whole page goes to the login, not a part of it.
        return Response(status=204, headers={"HX-Redirect": url_for("console.login")})
    return redirect(url_for("console.login", next=request.full_path.rstrip("?") if request.method == "GET" else None))


@blueprint.url_value_preprocessor
def _forget_nothing(_endpoint: str | None, _values: dict[str, object] | None) -> None:
    g.viewer, g.place = None, None


@blueprint.url_defaults
def _stay_in_the_collective(endpoint: str, values: dict[str, object]) -> None:
    """Links between the pages of a collective need not name it."""
    access = ACCESS.get(endpoint)
    if access is not None and access.roles and g.get("place") is not None:
        values.setdefault("word", g.place.word)


@blueprint.context_processor
def _for_templates() -> dict[str, object]:
    return {
        "_": say, "_n": count, "lang": language(), "local": local, "viewer": g.get("viewer"), "place": g.get("place"),
        "languages": words.NAMES, "may": may, "now": now(), "current": request.endpoint,
        "navigation": [(endpoint, say(name), sign) for endpoint, name, sign in NAVIGATION],
    }  # fmt: skip


@blueprint.app_template_filter("role_name")
def name_role(role: str) -> str:
    """A role in the page's language."""
    return say(ROLE_NAMES[role])


def may(endpoint: str) -> bool:
    """Whether the viewer may open this endpoint in the collective she is in: what she may not is not offered."""
    access = ACCESS[endpoint]
    if access.roles is None:
        return True
    return bool(g.viewer) and (not access.roles or (g.place is not None and bool(g.place.roles & access.roles)))


def _is_of_the_console() -> bool:
    return request.path == blueprint.url_prefix or request.path.startswith(f"{blueprint.url_prefix}/")


@blueprint.app_errorhandler(404)
@blueprint.app_errorhandler(405)
def say_that_nothing_is_there(error: HTTPException) -> ResponseReturnValue:
    """A kind page for an address of the console that no page has, or that only a form may ask for. Other rooms answer as they did."""
    if not _is_of_the_console():
        return error
    g.setdefault("viewer", None)  # no page was found, so nobody was let in
    gone = error.code == 404
    page = show(
        "refused.html",
        404 if gone else 405,
        **_for_templates(),
        title=say("This page does not exist.") if gone else say("This page opens only from a form."),
        what_to_do=say("Go back to the first page."),
    )
    if isinstance(error, MethodNotAllowed):
        page.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return page


@blueprint.after_app_request
def close_the_windows(response: Response) -> Response:
    """The headers that every page of the console has, the pages that are not there as well."""
    if not _is_of_the_console():
        return response
    response.headers.update(HEADERS)
    response.headers.setdefault("Content-Security-Policy", POLICY)
    if request.endpoint == "console.static" and response.status_code < 400:
        # Vendored files carry their version in their name; our own change with a deploy.
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if "/vendor/" in request.path else "public, max-age=300"
    else:
        response.headers["Cache-Control"] = "no-store"
    return response
