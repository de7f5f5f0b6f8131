"""What an error code means for what may be sent next: one table, for refusals at the send and for receipts alike.

From Twilio's page on each code. A code that is not in the table ends its message and changes nothing else.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum


class Reaction(Enum):
    """What becomes of the message, and of the phone or line it was for."""

    FAIL = "this message is over"
    OPT_OUT = "this message is over; nothing more to this phone on this line until she writes START"
    REFUSE = "this message is over; nothing more to this phone on this line"
    WAIT = "this message is tried later; nothing else changes: it is about her country or this account's permissions"
    HOLD_LINE = "the line is set up wrongly: it rests, and its messages wait"
    SLOW = "not processed: at once again, slower"
    BACK_OFF = "the carrier has too much from this line: it rests for minutes, its messages wait"
    WINDOW = "WhatsApp's 24 hours are over: the message waits for her to write"


_TABLE: dict[Reaction, tuple[int, ...]] = {
    # 63014: she blocked the sender, 30004: the carrier or a do-not-disturb list did.
    Reaction.OPT_OUT: (21610, 63014, 63033),
    Reaction.REFUSE: (21211, 21214, 21217, 21265, 21612, 21614, 21635, 30004, 30005, 30006, 30640, 63003, 63024, 63032),
    # A permission for one country, or a trial account's list of numbers: one member abroad must not stop the line for everybody.
    Reaction.WAIT: (21408, 21608, 63015),
    Reaction.HOLD_LINE: (
        # The first five are HTTP statuses without a code: another program than Twilio answers at TWILIO_API_URL.
        401, 403, 404, 405, 407, 20003, 20005, 20403, 20404, 21212, 21603, 21606, 21659, 21660, 21661, 21701, 21703, 21704, 21705,
        30002, 30032, 30034, 30035,
        63007, 63041, 63042, 63051, 90010,
    ),
    Reaction.SLOW: (20429, 429),
    Reaction.BACK_OFF: (14107, 21611, 30001, 30017, 30022, 30023, 30027, 35125, 63017, 63018, 63038),
    Reaction.WINDOW: (63016,),
}  # fmt: skip
_REACTIONS = {code: reaction for reaction, codes in _TABLE.items() for code in codes}

# How long a line rests: the carrier's own queue needs minutes; a wrong setting needs a person, and one message tries whether it helped.
REST = {Reaction.BACK_OFF: timedelta(minutes=5), Reaction.HOLD_LINE: timedelta(minutes=10)}
# When the message that met the error is tried again: after others, so that one message can not hold the line for ever.
TRY_AGAIN = {
    Reaction.BACK_OFF: timedelta(minutes=5),
    Reaction.HOLD_LINE: timedelta(minutes=15),
    Reaction.WAIT: timedelta(hours=1),
}


def reaction_to(code: int | None) -> Reaction:
    """The reaction to Twilio's error ``code``."""
    return _REACTIONS.get(code or 0, Reaction.FAIL)
