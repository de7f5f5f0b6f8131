"""What members write to the organizers, and the answer; calls for help; a supporter's duty."""

from bot.conversation.actions import call_for_help, go_on_duty, pass_on, read_notes, reply_to_note, tell_her_supporters
from bot.conversation.steps import Do, Flow, OwnWords, Say


def note(text: str) -> Flow:
    """What no flow took."""
    yield Do("pass_on", pass_on, {"text": text})
    yield Say("Passed on. Thank you.")


def care_words(text: str) -> Flow:
    """Words beside a check-in or a wish for a peer: never in the organizers' notes, unless she says NOTE."""
    told = yield Do("tell", tell_her_supporters, {"text": text})
    if told["told"]:
        yield Say("Passed on. Thank you.")
    else:
        yield Say("Your words stay private. For help, send SOS. To tell the organizers, send NOTE and your words.")


def notes() -> Flow:
    """NOTES: what waits for an answer."""
    found = yield Do("notes", read_notes)
    if not found["notes"]:
        yield Say("No notes are waiting.")
        return
    for each in found["notes"]:
        yield Say(OwnWords(f"{each['number']}: {each['text']}"))
    if found["more"]:
        yield Say(
            "And {more} more. Answer so: REPLY {number} and your words.", {"more": found["more"], "number": found["notes"][0]["number"]}
        )
    else:
        yield Say("Answer so: REPLY {number} and your words.", {"number": found["notes"][0]["number"]})


def reply(written: str = "") -> Flow:
    """REPLY 7 We meet at six."""
    sent = yield Do("reply", reply_to_note, {"written": written})
    if sent["sent"]:
        yield Say("Your answer to {number} is on its way.", {"number": sent["number"]})
    elif sent["number"]:
        yield Say("There is no note {number} that you can answer.", {"number": sent["number"]})
    else:
        yield Say("Write it so: REPLY 7 and your words.")


def sos(said: str | None = None) -> Flow:
    """SOS, alone or with words: people are told at once. Her words are not passed on; they ask her."""
    called = yield Do("call", call_for_help)
    if called["told"]:
        yield Say("We are telling people of your group now. If you are in danger, call your emergency number.")
    else:
        yield Say("Nobody could be told now. If you are in danger, call your emergency number.")


def on() -> Flow:
    """ON: a supporter may be called at night too."""
    yield Do("duty", go_on_duty, {"on": True})
    yield Say("You are ON: calls reach you at any hour. OFF ends it at once.")


def off() -> Flow:
    """OFF works at once: rest well."""
    yield Do("duty", go_on_duty, {"on": False})
    yield Say("You are OFF. Rest well.")
