"""Setting up the app that makes one-time codes. What is set up here counts a day later: a stolen phone sends nothing today."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pyotp
import segno
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from bot.console.blueprint import page
from bot.console.forms import read_number
from bot.console.sessions import Place
from bot.console.views import deployment, now, refuse, say, show, viewer
from bot.delivery.second_factor import matching_step
from models import Audit, SecondFactor

COUNTS_AFTER = timedelta(days=1)
# As pyotp makes them: 32 letters of base32 (RFC 4648), 160 bits.
SECRET = re.compile(r"[A-Z2-7]{32}")


@page("/account/code/<int:membership>")
def show_factor(membership: int) -> ResponseReturnValue:
    """A fresh secret as a picture for the app; it is kept only when its code comes back."""
    here = _mine(membership)
    if here is None:
        return refuse(say("This page is not for you."), say("Go back to the first page."), 403)
    return _show(here, pyotp.random_base32(), wrong=False)


@page("/account/code", methods=("POST",))
def keep_factor() -> ResponseReturnValue:
    """Keep the secret, once the app shows the right code for it."""
    here = _mine(read_number(request, "membership"))
    secret = request.form.get("secret", "")
    if here is None or not SECRET.fullmatch(secret):
        return refuse(say("This form is too old."), say("Nothing was done. Go back, load the page again, and send it once more."), 400)
    code = "".join(character for character in request.form.get("code", "") if character.isdecimal())
    step = matching_step(secret, code, now())
    if step is None:
        return _show(here, secret, wrong=True)
    with deployment().store.write() as session:
        factor = session.get(SecondFactor, here.membership_id, with_for_update=True) or SecondFactor(membership_id=here.membership_id)
        factor.secret, factor.last_step, factor.wrong_tries, factor.locked_until = secret, step, 0, None
        factor.good_from = now() + COUNTS_AFTER
        session.add(factor)
        session.add(Audit(collective_id=here.collective_id, membership_id=here.membership_id, act="one-time codes set up", at=now()))
    return redirect(url_for("console.account"), 303)


def _mine(membership_id: int) -> Place | None:
    return next((place for place in viewer().places if place.membership_id == membership_id), None)


def _show(here: Place, secret: str, *, wrong: bool) -> ResponseReturnValue:
    uri = pyotp.TOTP(secret).provisioning_uri(name=here.name, issuer_name="Chorus")
    picture = io.BytesIO()
    segno.make(uri, error="m").save(
        picture, kind="svg", scale=5, border=2, xmldecl=False, svgclass=None, lineclass=None, dark="#000", light="#fff"
    )
    return show("factor.html", 400 if wrong else 200, here=here, secret=secret, wrong=wrong, picture=Markup(picture.getvalue().decode()))
