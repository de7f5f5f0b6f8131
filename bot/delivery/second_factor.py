"""The one-time code of somebody's app (TOTP, RFC 6238): the second factor of a send by text and of every power in the console."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyotp
from sqlalchemy.orm import Session

from models import SecondFactor

WRONG_CODES, LOCKED_FOR = 5, timedelta(minutes=15)
STEP_SECONDS = 30


def check_factor(session: Session, now: datetime, membership_id: int, code: str | None, *, before_its_day: bool = False) -> str:
    """Whether ``code`` is right at this moment: right | no_factor | not_yet | no_code | locked | wrong_code.

    Each code works once; five wrong ones lock it for a quarter of an hour. ``not_yet``: it was set up in the console less than a day ago.
    ``before_its_day``: it is asked for all the same, for nothing but to set up another one.
    """
    factor = session.get(SecondFactor, membership_id, with_for_update=True)
    if factor is None:
        return "no_factor"
    take_next(factor, now)
    if factor.good_from is not None and factor.good_from > now and not before_its_day:
        return "not_yet"
    if not code:
        return "no_code"
    if factor.locked_until is not None and factor.locked_until > now:
        return "locked"
    step = matching_step(factor.secret, "".join(character for character in code if character.isdecimal()), now)
    if step is None or step <= factor.last_step:
        factor.wrong_tries += 1
        if factor.wrong_tries >= WRONG_CODES:
            factor.wrong_tries, factor.locked_until = 0, now + LOCKED_FOR
        return "wrong_code"
    factor.last_step, factor.wrong_tries, factor.locked_until = step, 0, None
    return "right"


def take_next(factor: SecondFactor, now: datetime) -> None:
    """The day of the app that was set up in place of this one has come: from now on it is the one."""
    if factor.next_secret is not None and factor.next_from is not None and factor.next_from <= now:
        factor.secret, factor.next_secret, factor.next_from = factor.next_secret, None, None


def matching_step(secret: str, code: str, now: datetime) -> int | None:
    """The 30-second step whose code this is, the one before and after allowed for slow texts and slow clocks (RFC 6238, 5.2)."""
    totp, current = pyotp.TOTP(secret), int(now.timestamp()) // STEP_SECONDS
    steps = (current + drift for drift in (0, -1, 1))
    return next((step for step in steps if pyotp.utils.strings_equal(totp.generate_otp(step), code)), None)
