"""JOIN SANGHA: the membership holds at once; the rest is courtesy and may be ignored."""

from datetime import timedelta

from bot.conversation.actions import join_as_someone_else, join_collective, keep_name
from bot.conversation.steps import SILENCE, Choice, Do, Flow, PersonName, Say


def join(word: str) -> Flow:
    """What she agrees to (CTIA: who, how often, cost, HELP, STOP), then her name if she likes."""
    joined = yield Do("join", join_collective, {"word": word})
    if joined.get("elsewhere"):
        yield Say(
            "{collective} uses another number. Send JOIN {word} to {number}.",
            {"collective": joined["collective"], "word": joined["word"], "number": joined["elsewhere"]},
        )
        return
    if joined.get("unknown"):
        if joined["near"]:
            yield Say("We do not know that word. Did you mean JOIN {word}?", {"word": joined["near"]})
        else:
            yield Say("We do not know that word. Please check it with the person who gave it to you.")
        return
    if joined["ask_who"]:
        who = yield Choice(
            "who",
            "This phone is already in {collective}. Who are you?" if joined["already"] else "You are in {collective}. Who are you?",
            {"collective": joined["collective"]},
            within=timedelta(hours=24),
            options={"same": "Same person as before", "other": "Someone else"},
        )
        if who is not SILENCE and who == "other":
            yield Do("someone_else", join_as_someone_else, {"membership_id": joined["membership_id"], "joined": joined["joined"]})
        elif joined["already"]:
            yield Say("You are in {collective}. Send MENU to see what you can do.", {"collective": joined["collective"]})
            return
    name = yield PersonName(
        "name",
        "Welcome to {collective}! About 4 texts a week. Msg&data rates may apply. HELP for help, STOP to end. "
        "What name may we use? Or send SKIP.",
        {"collective": joined["collective"]},
        within=timedelta(hours=24),
        optional=True,
    )
    if name:
        kept = yield Do("keep_name", keep_name, {"name": name})
        yield Say("Thank you, {name}. MENU shows what you can do. LANG changes the language.", {"name": kept["name"]})
    elif name is not SILENCE:
        yield Say("Good to have you here. MENU shows what you can do. LANG changes the language.")
