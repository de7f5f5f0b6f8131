"""Setting up the app that makes one-time codes (``bot.members.apps``). It counts a day later: a stolen phone sends nothing today."""

from __future__ import annotations

import io
import re

import pyotp
import segno
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from bot.console.blueprint import page
from bot.console.forms import read_number
from bot.console.sessions import Place
from bot.console.views import deployment, now, refuse, say, show, viewer
from bot.delivery.bell import ring
from bot.delivery.second_factor import matching_step
from bot.members.apps import set_up_app
from models import SecondFactor

# As pyotp makes them: 32 letters of base32 (RFC 4648), 160 bits.
SECRET = re.compile(r"[A-Z2-7]{32}")


@page("/account/code/<int:membership>")
def show_factor(membership: int) -> ResponseReturnValue:
    """A fresh secret as a picture for the app; it is kept only when its code comes back."""
    here = _mine(membership)
    if here is None:
        return refuse(say("This page is not for you."), say("Go back to the first page."), 403)
    return _show(here, pyotp.random_base32())


@page("/account/code", methods=("POST",))
def keep_factor() -> ResponseReturnValue:
    """Keep the secret, once the app shows the right code for it; in place of another app, once that one's code came as well."""
    here = _mine(read_number(request, "membership"))
    secret = request.form.get("secret", "")
    if here is None or not SECRET.fullmatch(secret):
        return refuse(say("This form is too old."), say("Nothing was done. Go back, load the page again, and send it once more."), 400)
    code = "".join(character for character in request.form.get("code", "") if character.isdecimal())
    step = matching_step(secret, code, now())
    if step is None:
        return _show(here, secret, wrong="new")
    with deployment().store.write() as session:
        verdict = set_up_app(session, now(), here.membership_id, secret, step, request.form.get("old", ""))
    if verdict != "right":
        return _show(here, secret, wrong=verdict)
    ring(deployment())
    return redirect(url_for("console.account"), 303)


def _mine(membership_id: int) -> Place | None:
    return next((place for place in viewer().places if place.membership_id == membership_id), None)


def _show(here: Place, secret: str, *, wrong: str | None = None) -> ResponseReturnValue:
    """``wrong``: new (the code of this picture), or what ``check_factor`` says to the old app's code."""
    uri = pyotp.TOTP(secret).provisioning_uri(name=here.name, issuer_name="Chorus")
    picture = io.BytesIO()
    segno.make(uri, error="m").save(
        picture, kind="svg", scale=5, border=2, xmldecl=False, svgclass=None, lineclass=None, dark="#000", light="#fff"
    )
    with deployment().store.read() as session:
        has_one = session.get(SecondFactor, here.membership_id) is not None
    drawn = Markup(picture.getvalue().decode())
    return show("factor.html", 400 if wrong else 200, here=here, secret=secret, wrong=wrong, has_one=has_one, picture=drawn)
