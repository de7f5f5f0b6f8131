"""How are you? The check-in among peers."""

from datetime import timedelta

from bot.conversation.actions import keep_mood, read_check_in, tell_supporters
from bot.conversation.steps import SILENCE, Do, Flow, FreeText, OwnWords, Say, Scale, YesNo


def check_in(broadcast_id: int | None = None) -> Flow:
    """Mood 1 to 5; on a hard day the offer of a peer. Supporters are told that somebody would like to talk, never who."""
    asked = yield Do("asked", read_check_in, {"broadcast_id": broadcast_id})
    mood = yield Scale("mood", OwnWords(asked["text"]), within=timedelta(hours=12))
    if mood is SILENCE:
        return
    yield Do("keep_mood", keep_mood, {"mood": mood})
    if mood <= 2 and asked["supporters"]:
        wants_peer = yield YesNo(
            "wants_peer", "That sounds hard. Would you like to talk with a peer? Reply YES or NO.", within=timedelta(hours=12)
        )
        if wants_peer is SILENCE:
            return
        if wants_peer:
            time = yield FreeText("time", "What is a good time for you?", within=timedelta(hours=12), longest=60)
            if time is SILENCE:
                return
            told = yield Do("tell_supporters", tell_supporters, {"time": time})
            if told["told"]:
                yield Say("Thank you. A peer will write to you from this number.")
            else:
                yield Say("Nobody is free just now. We keep your request. If it is urgent, send SOS.")
            return
    yield Say("Thank you for checking in.")
