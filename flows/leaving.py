"""Ways out, each its own: STOP (this number), LEAVE (one collective), PAUSE, FORGET, WRONG."""

from datetime import timedelta

from bot.conversation.actions import detach_phone, forget_person, leave_collective, opt_in, opt_out, pause_messages, resume_messages
from bot.conversation.steps import SILENCE, Do, Flow, Say, YesNo


def stop(by: str = "word") -> Flow:
    """STOP, in any state. Where the carrier answers its own words, this answer is not sent (bot/inbound/receive)."""
    yield Do("stop", opt_out, {"by": by})
    yield Say("You will get no more texts from this number. To come back, send START.")


def start() -> Flow:
    """START lifts a STOP. It revives no care."""
    started = yield Do("start", opt_in)
    if started["was_out"]:
        yield Say("Welcome back. You will get texts from this number again. STOP ends them.")
    else:
        yield Say("You get texts from this number. STOP ends them. MENU shows more.")


def stop_asked() -> Flow:
    """A text that may ask us to stop, or may not: asked once."""
    stop_all = yield YesNo("stop_all", "Shall we stop all texts from this number to you? Reply YES or NO.", within=timedelta(hours=24))
    if stop_all is SILENCE:
        return
    if stop_all:
        yield Do("stop", opt_out, {"by": "word"})
        yield Say("You will get no more texts from this number. To come back, send START.")
    else:
        yield Say("OK. Send STOP any time to end all texts.")


def leave() -> Flow:
    """LEAVE one collective; others on the same number stay."""
    left = yield Do("leave", leave_collective)
    yield Say("You have left {collective}. Thank you for your time with us. FORGET deletes your data.", {"collective": left["collective"]})


def pause(days: str | None = None) -> Flow:
    """PAUSE, or PAUSE 30."""
    paused = yield Do("pause", pause_messages, {"days": days})
    yield Say("Paused: no texts from us for {days} days. Send BACK to end the pause.", {"days": paused["days"]})


def back() -> Flow:
    """BACK ends a pause."""
    yield Do("resume", resume_messages)
    yield Say("The pause is over. Welcome back.")


def forget() -> Flow:
    """FORGET erases what is held on the speaker, at once; asked once, because it can not be undone."""
    sure = yield YesNo("sure", "This deletes all we hold on you, now and for ever. Delete it? Reply YES or NO.", within=timedelta(hours=1))
    if sure is SILENCE:
        return
    if sure:
        yield Do("forget", forget_person)
        yield Say("Done. All we held on you is deleted. Delete this chat on your phone too.")
    else:
        yield Say("OK, nothing was deleted.")


def wrong() -> Flow:
    """WRONG number: it belongs to somebody else now. Silent: whoever holds it learns nothing."""
    yield Do("detach", detach_phone)
