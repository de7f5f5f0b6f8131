"""Which one did she mean? Asked only when an answer could belong to two, naming nothing private."""

from datetime import timedelta

from bot.conversation.actions import hand_over, read_asked, read_belongings
from bot.conversation.steps import SILENCE, Choice, Do, Flow, OwnWords


def which_question(text: str, asked: list[int], voted: list[int] | None = None) -> Flow:
    """Two of our questions are open, and her text answers both. ``voted``: votes that she was not asked for, and gave by POLLS."""
    found = yield Do("asked", read_asked, {"asked": asked, "voted": voted})
    chosen = yield Choice(
        "which",
        "Which one do you answer? Reply with a letter.",
        options={str(each["id"]): OwnWords(each["name"]) if each["own"] else each["name"] for each in found},
        within=timedelta(hours=2),
    )
    if chosen is not SILENCE:
        vote = chosen.startswith("vote ")
        meant = {"broadcast_id": int(chosen.removeprefix("vote "))} if vote else {"outbound_id": int(chosen)}
        yield Do("hand_over", hand_over, {"text": text, **meant})


def which_group(text: str, groups: list[int]) -> Flow:
    """She belongs to several collectives on this number."""
    found = yield Do("groups", read_belongings, {"groups": groups})
    chosen = yield Choice(
        "which",
        "Which group is this for? Reply with a letter.",
        options={str(each["id"]): OwnWords(each["name"]) for each in found},
        within=timedelta(hours=2),
    )
    if chosen is not SILENCE:
        yield Do("hand_over", hand_over, {"text": text, "collective_id": int(chosen)})
