"""What a member chooses for herself: QUIET (her own hours), EARLY (the morning of an action), SMS (where WhatsApp fails)."""

from datetime import timedelta

from bot.conversation.actions import keep_early, keep_fallback, keep_quiet, read_fallback, read_quiet
from bot.conversation.steps import SILENCE, Do, Flow, Say, YesNo

WHY_NOT_QUIET = {
    "unclear": "Please write the hours so: QUIET 22-7. At most 16 hours. QUIET OFF ends them.",
    "no_room": "Then no hour would be left for texts of your group. Please choose fewer hours, like: QUIET 22-7",
}


def quiet(hours: str | None = None, off: str | None = None) -> Flow:
    """QUIET 22-7, QUIET OFF, or QUIET alone: her own hours come on top of the group's."""
    if hours is None and off is None:
        held = yield Do("held", read_quiet)
        if held["begins"] is None:
            yield Say("You have no quiet hours of your own. To set them, send for example: QUIET 22-7")
        else:
            yield Say("No texts unasked from {begins} to {ends}. QUIET OFF ends it.", {"begins": held["begins"], "ends": held["ends"]})
        return
    kept = yield Do("keep", keep_quiet, {"hours": hours if off is None else None})
    if not kept["kept"]:
        yield Say(WHY_NOT_QUIET[kept["why"]])
    elif off is None:
        yield Say("OK. No texts unasked from {begins} to {ends}. QUIET OFF ends it.", {"begins": kept["begins"], "ends": kept["ends"]})
    else:
        yield Say("OK. Only your group's quiet hours hold now.")


def early(off: str | None = None) -> Flow:
    """EARLY: texts before quiet hours end, on the morning of an action; EARLY again, or EARLY OFF, ends it."""
    kept = yield Do("keep", keep_early, {"off": off is not None})
    if kept["on"]:
        yield Say("OK. On the morning of an action we may text you from 4 am on. Your own QUIET hours still hold. EARLY OFF ends it.")
    else:
        yield Say("OK. No early texts. Quiet hours hold for you.")


def sms(off: str | None = None) -> Flow:
    """SMS: what WhatsApp can not bring may come by SMS, after an honest warning; SMS again, or SMS OFF, ends it."""
    now = yield Do("now", read_fallback)
    if off is not None or now["on"]:
        yield Do("end", keep_fallback, {"on": False})
        yield Say("OK. No SMS where WhatsApp fails.")
        return
    if not now["whatsapp"]:
        yield Say("You get our texts by SMS already.")
        return
    if not now["line"]:
        yield Say("Your group has no number for SMS. Texts come by WhatsApp only.")
        return
    agreed = yield YesNo(
        "agreed",
        "When WhatsApp fails, may we send you SMS? They show on your phone, and others can read them more easily. Reply YES or NO.",
        within=timedelta(hours=24),
    )
    if agreed is SILENCE:
        return
    if agreed:
        yield Do("agree", keep_fallback, {"on": True})
        yield Say("OK. What WhatsApp can not bring comes by SMS. SMS OFF ends it.")
    else:
        yield Say("OK. No SMS where WhatsApp fails.")
