"""Chorus' clock, seen from the phones: what time it is there, what is due next, and a jump ahead.

Chorus alone may move its clock; we ask at a door that it opens only to a simulator, signed as a webhook is. What we learn makes the
phones' own times, WhatsApp's 24 hours and the authenticator's digits right again. The API goes on in real time, as Twilio would.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import urljoin

import pyotp

from bot.simulator.lines import Phone
from bot.simulator.wire import BadRequest
from bot.simulator.words import mark
from bot.simulator.world import World

DOOR = "/twilio/clock"
CODE_SECONDS = 30


def ask_clock(world: World, jump: str = "") -> dict[str, Any]:
    """What Chorus' clock says: {now, zone, ahead, next: {at, what} or None}. Raises BadRequest when it does not tell or does not jump.

    `jump`: a number of seconds, `morning`, `next` (what is due next), or "" to only ask.
    """
    account = world.main_account
    url = urljoin(world.poster.public_base + "/", DOOR)
    answer = world.poster.post(url, {"AccountSid": account, "Jump": jump}, world.token_of(account))
    world.has_asked_clock = world.has_asked_clock or answer.status != 0
    told = _read(answer.body)
    if answer.status != 200 or "now" not in told:
        raise BadRequest(str(told.get("error") or mark("Chorus does not tell its time: it is not running, or has another carrier")), 409)
    world.ledger.ahead = datetime.fromisoformat(str(told["now"])).timestamp() - time.time()
    return {name: told.get(name) for name in ("now", "zone", "ahead", "next")}


def ask_clock_once(world: World) -> None:
    """Before the first text: a jump of yesterday's is still Chorus' time today. Without an answer there is none."""
    if world.has_asked_clock:
        return
    with suppress(BadRequest):
        ask_clock(world)


def _read(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def code_of(phone: Phone, moment: float) -> str:
    """The six digits that this phone's authenticator app shows at `moment` (seconds since 1970); "" when it has none."""
    return pyotp.TOTP(phone.app_secret).at(int(moment)) if phone.app_secret else ""


def current_codes(world: World) -> dict[str, Any]:
    """The six digits of every phone with an app, and for how many more seconds they are good."""
    moment = world.people_time()
    codes = {phone.number: code_of(phone, moment) for phone in list(world.phones.values()) if phone.app_secret}
    return {"codes": codes, "codes_left": CODE_SECONDS - int(moment) % CODE_SECONDS}
