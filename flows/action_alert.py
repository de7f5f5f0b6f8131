"""Rally today: are you coming? And the organizers' headcount."""

from datetime import timedelta

from bot.conversation.actions import keep_rsvp, read_alert, read_headcount
from bot.conversation.steps import SILENCE, Do, Flow, OwnWords, Say, YesNoMaybe


def action_alert(broadcast_id: int) -> Flow:
    """YES, NO or MAYBE; a later answer replaces it."""
    alert = yield Do("alert", read_alert, {"broadcast_id": broadcast_id})
    if not alert["open"]:
        yield Say("That action is over. Thank you for answering.")
        return
    answer = yield YesNoMaybe("coming", OwnWords(alert["text"]), within=timedelta(hours=24))
    if answer is SILENCE:
        return
    kept = yield Do("keep_rsvp", keep_rsvp, {"broadcast_id": broadcast_id, "answer": answer})
    if not kept["kept"]:
        yield Say("That action is over. Thank you for answering.")
    elif answer == "yes":
        yield Say("Good, see you there! Coming so far: {yes}. If plans change, send NO.", {"yes": kept["yes"]})
    elif answer == "maybe":
        yield Say("OK, maybe. When you know, send YES or NO.")
    else:
        yield Say("Thank you for telling us. If plans change, send YES.")


def status(number: str | None = None) -> Flow:
    """STATUS, for organizers: who comes, and how far the last broadcast is; STATUS 47: that one."""
    count = yield Do("headcount", read_headcount, {"number": number})
    alert, sending = count["alert"], count["sending"]
    if alert is None and sending is None and number is not None:
        yield Say("Nothing was sent under {number}.", {"number": number})
    elif alert is None and sending is None:
        yield Say("Nothing has been sent yet. Send ALERT, SEND or POLL and your words.")
    if alert is not None:
        yield Say("Action {number}: yes {yes}, maybe {maybe}, no {no}.", alert)
    if sending is not None and sending["state"] == "draft":
        yield Say("{number} is a draft: not sent yet.", {"number": sending["number"]})
    elif sending is not None:
        yield Say("{number}: sent to {sent} of {total}.", sending)
        if sending["failed"] or sending["unknown"]:
            yield Say("Not reached: {failed}. Not confirmed: {unknown}.", sending)
        if sending["state"] == "held":
            yield Say("Held: {why}. OK {number} lets it go.", sending)
        elif sending["state"] == "stopped":
            yield Say("It was stopped.")
