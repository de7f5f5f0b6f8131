"""One question, lettered options; a vote may be changed until the poll closes."""

from datetime import timedelta

from bot.conversation.actions import cast_ballot, close_poll_now, read_open_polls, read_poll
from bot.conversation.steps import SILENCE, Choice, Do, Flow, OwnWords, Say


def poll(broadcast_id: int) -> Flow:
    """Vote. The question's words are the organizers' own."""
    asked = yield Do("poll", read_poll, {"broadcast_id": broadcast_id})
    if not asked["open"]:
        yield Say("This vote is closed. The result was sent to everyone.")
        return
    options = {letter: OwnWords(option) for letter, option in asked["options"].items()}
    letter = yield Choice("vote", OwnWords(asked["text"]), options=options, listed=False, within=timedelta(hours=24))
    if letter is SILENCE:
        return
    cast = yield Do("cast", cast_ballot, {"broadcast_id": broadcast_id, "letter": letter})
    if not cast["counted"]:
        yield Say("Sorry, this vote has just closed.")
    elif cast["changed"]:
        yield Say("Changed. Your vote is now {letter}: {option}.", {"letter": letter, "option": options[letter]})
    elif cast["closes"]:
        yield Say(
            "Counted: {letter}, {option}. Send another letter to change it until {closes}.",
            {"letter": letter, "option": options[letter], "closes": cast["closes"]},
        )
    else:
        yield Say("Counted: {letter}, {option}. Send another letter to change it.", {"letter": letter, "option": options[letter]})


def polls() -> Flow:
    """POLLS: the open votes, and a way into each."""
    found = yield Do("open_polls", read_open_polls)
    if not found:
        yield Say("No vote is open now.")
        return
    chosen = found[0]["id"]
    if len(found) > 1:
        chosen = yield Choice(
            "which",
            "Which vote? Reply with a letter.",
            options={str(each["id"]): OwnWords(each["question"]) for each in found},
            within=timedelta(hours=24),
        )
        if chosen is SILENCE:
            return
    yield from poll(int(chosen))


def close(number: str | None = None) -> Flow:
    """CLOSE, or CLOSE 47: an organizer ends a vote early; the result goes to everyone asked."""
    closed = yield Do("close", close_poll_now, {"number": number})
    if closed["closed"]:
        yield Say("Closed. The result goes to everyone. HOLD {number} stops it.", {"number": closed["number"]})
    else:
        yield Say("No open vote with that number. POLLS shows what is open.")
