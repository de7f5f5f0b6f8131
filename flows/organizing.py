"""Organizers write from a phone: SEND, ALERT, POLL; HI, ES, EN and AT for the draft; OK and HOLD; CHANGE, DROP and RESEND."""

from bot.conversation.actions import (
    add_language,
    approve_by_other,
    change_broadcast,
    draft_alert,
    draft_notice,
    draft_poll,
    drop,
    hold,
    resend,
    schedule_draft,
    send_with_code,
)
from bot.conversation.steps import Do, Flow, Say

WHY_NOT_DRAFTED = {
    "nobody": "Nobody would get this. No member can be reached now.",
    "too_long": "Too long: over 10 segments. Please shorten it.",
    "one_way": "This line is one-way: nobody could answer. Ask nothing in the text.",
    "no_words": "There are no words to send.",
    "no_line": "This group has no number to send from yet.",
    "too_long_by_text": "That is a little long. Please send it in fewer words.",
    "too_late": "It is too late for that action.",
    "not_a_poll": "Write a poll so: POLL Where do we meet? / Park / School",
    "no_draft": "There is no draft now. Start with SEND, ALERT or POLL and your words.",
    "no_moment": "When? Write it so: AT tomorrow 9am",
    "not_a_change": "Write a change so: CHANGE 47 and the new words",
    "gone": "Nothing was sent under {number}.",
    "a_draft": "{number} has not left. DROP {number} and write it anew.",
    "a_poll": "A vote can not be changed. DROP {number} ends it; ask anew with POLL.",
    "no_words_of_ours": "{number} can not be changed.",
    "corrected": "{number} was changed already. To change it again: CHANGE {newer} and your words.",
    "other_options": "Please give the same number of options, so: {code} Question? / First / Second",
}

WHY_NOT_SENT = {
    "no_draft": "There is no draft now. Start with SEND, ALERT or POLL and your words.",
    "no_code": "{number}: add your 6-digit code: SEND {number} 123456. Or another organizer texts OK {number}.",
    "which": 'Please name the draft. For "{start}" write: SEND {number} and your code.',
    "no_factor": "{number}: another organizer must text OK {number}.",
    "not_yet": "{number}: your app counts from tomorrow. Another organizer must text OK {number}.",
    "wrong_code": "{number} is not sent: that code is wrong or old. Please send a new one.",
    "locked": "{number} is not sent: too many wrong codes. Wait 15 minutes, or another organizer texts OK {number}.",
    "refused": "{number} can not be sent now. STATUS says more.",
    "own": "{number} is yours. Another organizer must text OK {number}, or you SEND {number} and your code.",
    "gone": "There is no draft {number} to send.",
    "held": "{number} is held. Another organizer lets it go with OK {number}.",
    "holder": "You hold {number}. Another organizer must text OK {number}.",
}


_CODE, _LONGEST_CODE, _LONGEST_NUMBER = 6, 8, 9


def send(written: str | None = None) -> Flow:
    """SEND and words makes a draft; SEND 47 123456 sends it."""
    named = read_code(written or "")
    if named is not None:
        number, code = named
        sent = yield Do("send_with_code", send_with_code, {"code": code, "number": number})
        yield from told(sent)
        return
    draft = yield Do("draft", draft_notice, {"text": written})
    yield from preview(draft)


def read_code(written: str) -> tuple[str | None, str | None] | None:
    """The draft's number and the code in "47 123456" (each may be missing), or None for words.

    Nothing but digits is never a notice: five of them are a code typed wrong, and must not be shown to the others.
    """
    digits = "".join(character for character in written if character.isalnum())
    if digits and not digits.isdecimal():
        return None
    groups = "".join(character if character.isdecimal() else " " for character in written).split()
    if len(groups) > 1 and len(digits) != _CODE:  # "123 456" is how an app shows one code
        number, code = groups[0], "".join(groups[1:])
        return (number, code) if len(number) <= _LONGEST_NUMBER and len(code) <= _LONGEST_CODE else None
    if 0 < len(digits) < _CODE - 1:
        return digits, None
    return (None, digits or None) if len(digits) <= _LONGEST_CODE else None


def alert(written: str | None = None) -> Flow:
    """ALERT Rally today 10am Gandhi Chowk."""
    if written is None:
        yield Say("Write an alert so: ALERT Rally today 10am Gandhi Chowk")
        return
    draft = yield Do("draft", draft_alert, {"text": written})
    yield from preview(draft)


def new_poll(written: str = "") -> Flow:
    """POLL Where do we meet? / Park / School."""
    draft = yield Do("draft", draft_poll, {"text": written})
    yield from preview(draft)


def in_language(language: str, written: str) -> Flow:
    """HI, HILATN, ES or EN and the draft's words in that language: each member reads her own."""
    draft = yield Do("draft", add_language, {"language": language, "text": written})
    yield from preview(draft)


def at(said: str) -> Flow:
    """AT tomorrow 9am: the draft leaves then."""
    draft = yield Do("draft", schedule_draft, {"said": said})
    yield from preview(draft)


def change(written: str) -> Flow:
    """CHANGE 47 and new words: nothing more of 47 leaves, and its correction waits for its yes."""
    draft = yield Do("draft", change_broadcast, {"written": written})
    if draft.get("stopped"):
        yield Say("{number} is held: no more of it leaves.", {"number": draft["old"]})
    yield from preview(draft)


def preview(draft: dict) -> Flow:
    """Who would get it, what it takes, when, and the two ways to let it go."""
    if draft["refused"] is not None:
        fill = {"code": draft.get("code", ""), "number": draft.get("number", 0), "newer": draft.get("newer", 0)}
        yield Say(WHY_NOT_DRAFTED[draft["refused"]], fill)
        return
    if draft.get("start"):
        yield Say("Added to: {start}", {"start": draft["start"]})
    yield Say(
        "{number}: to {people}, segments each: {segments}.",
        {"number": draft["number"], "people": draft["people"], "segments": draft["segments"]},
    )
    if draft["cost"]:
        yield Say("Costs about {cost}.", {"cost": draft["cost"]})
    if draft["over_cap"]:
        yield Say("This month's money is not enough for all.")
    if draft["fallback"]:
        yield Say("Not in their language: {fallback}.", {"fallback": draft["fallback"]})
    if draft["held"]:
        yield Say("Quiet hours: {held} get it later.", {"held": draft["held"]})
    if draft["leaves"]:
        yield Say("Leaves {when}.", {"when": draft["leaves"]})
    if draft.get("begins"):
        yield Say("Begins {when}.", {"when": draft["begins"]})
    yield Say("Reply SEND {number} and your code, or another organizer texts OK {number}.", {"number": draft["number"]})


def ok(number: str) -> Flow:
    """OK 47: another organizer agrees."""
    sent = yield Do("approve", approve_by_other, {"number": number})
    yield from told(sent)


def told(sent: dict) -> Flow:
    """What became of it."""
    if sent["sent"] and sent["span"]:
        yield Say(
            "{number}: leaves in {span}. HOLD {number} stops it. STATUS shows how far.", {"number": sent["number"], "span": sent["span"]}
        )
    elif sent["sent"] and sent["when"]:
        yield Say("{number}: leaves {when}. HOLD {number} stops it.", {"number": sent["number"], "when": sent["when"]})
    elif sent["sent"]:
        yield Say("{number} is on its way. STATUS shows how far. HOLD {number} stops what is unsent.", {"number": sent["number"]})
    else:
        yield Say(WHY_NOT_SENT[sent["why"]], {"number": sent["number"], "start": sent.get("start", "")})


def hold_it(number: str | None = None) -> Flow:
    """HOLD 47, or HOLD."""
    held = yield Do("hold", hold, {"number": number})
    if held["held"]:
        yield Say("{number} is held. What is unsent waits. Another organizer lets it go with OK {number}.", {"number": held["number"]})
    else:
        yield Say("There is nothing to hold.")


def drop_it(number: str) -> Flow:
    """DROP 47: for good."""
    dropped = yield Do("drop", drop, {"number": number})
    if not dropped["dropped"]:
        yield Say("Nothing of {number} is left to drop.", {"number": dropped["number"]})
    elif dropped["sent"]:
        yield Say("{number} is dropped. Sent before: {sent}. Not sent: {unsent}.", dropped)
    else:
        yield Say("{number} is dropped. Nothing of it was sent.", {"number": dropped["number"]})


def resend_it(number: str) -> Flow:
    """RESEND 47: what is not confirmed, once more."""
    again = yield Do("resend", resend, {"number": number})
    if again["resent"]:
        yield Say("{number}: not confirmed, sent once more: {resent}.", {"number": again["number"], "resent": again["resent"]})
    elif again["pending"]:
        yield Say(
            "{number}: we still look up {pending} with the carrier. Try RESEND {number} in 10 minutes.",
            {"number": again["number"], "pending": again["pending"]},
        )
    else:
        yield Say("Nothing of {number} can be sent again.", {"number": again["number"]})
