"""What an error code means for what may be sent next: one table, for refusals at the send and for receipts alike.

From Twilio's page on each code. A code that is not in the table is judged by its hundreds (``reaction_to``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo


class Reaction(Enum):
    """What becomes of the message, and of the phone or line it was for."""

    FAIL = "this message is over"
    EXPIRE = "the carrier kept it until it was too late: this message is over"
    FILTERED = "carriers took it for spam: this message is over, and a broadcast that meets it often is held"
    OPT_OUT = "this message is over; nothing more to this phone on this line until she writes START"
    REFUSE = "this message is over; nothing more to this phone on this line"
    ELSEWHERE = "she is not on WhatsApp: nothing more to her there; by SMS where she allows it"
    UNWANTED = "Meta did not deliver it: to a US number never again on WhatsApp, elsewhere after growing pauses"
    WAIT = "this message is tried later; nothing else changes: it is about her country or this account's permissions"
    HOLD_LINE = "the line is set up wrongly: it rests, and its messages wait"
    SLOW = "not processed: at once again, slower"
    BACK_OFF = "the carrier has too much from this line: it rests for minutes, its messages wait"
    UNREACHABLE = "her phone is off or out of reach: this message is tried an hour, six hours and a day later"
    ONCE = "nobody knows why: this message is tried once more, later"
    NOT_FAST = "taken for an attack on the bill: this message waits half an hour at least"
    MIDNIGHT = "one carrier's daily limit for this campaign: this message waits for midnight in California"
    TOMORROW = "the account's daily limit: the line rests, this message waits for tomorrow"
    TIER = "WhatsApp's limit for talks that we begin: this message waits for hours"
    TEMPLATE = "the template is paused, disabled or wrong: this message is over, and the template is not used"
    WINDOW = "WhatsApp's 24 hours are over: the message waits for her to write"


_TABLE: dict[Reaction, tuple[int, ...]] = {
    # Meta's own experiments leave some people out (63032): nothing is wrong with her number.
    Reaction.FAIL: (63013, 63005, 63021, 63032),
    Reaction.EXPIRE: (30036,),
    Reaction.FILTERED: (30007,),
    # 63014: she blocked the sender, 30004: the carrier or a do-not-disturb list did.
    Reaction.OPT_OUT: (21610, 63014, 63033),
    Reaction.REFUSE: (21211, 21214, 21217, 21265, 21612, 21614, 21635, 30004, 30005, 30006, 30640),
    Reaction.ELSEWHERE: (63003, 63024),
    Reaction.UNWANTED: (63049,),
    # A permission for one country, or a trial account's list of numbers: one member abroad must not stop the line for everybody.
    # 30610: the compliance toolkit's quiet hours, which end.
    Reaction.WAIT: (21408, 21608, 30610, 63015),
    Reaction.HOLD_LINE: (
        # The first five are HTTP statuses without a code: another program than Twilio answers at TWILIO_API_URL.
        401, 403, 404, 405, 407, 20003, 20005, 20403, 20404, 21212, 21603, 21606, 21659, 21660, 21661, 21701, 21703, 21704, 21705,
        30002, 30032, 30034, 30035,
        63007, 63051, 90010,
    ),
    Reaction.SLOW: (20429, 429),
    Reaction.BACK_OFF: (14107, 21611, 30001, 30022, 35125, 63017),
    Reaction.UNREACHABLE: (30003,),
    Reaction.ONCE: (30008, 30017, 30410),
    Reaction.NOT_FAST: (30450,),
    Reaction.MIDNIGHT: (30023, 30027),
    Reaction.TOMORROW: (63038,),
    Reaction.TIER: (63018,),
    Reaction.TEMPLATE: (21654, 21655, 21656, 63027, 63028, 63041, 63042),
    Reaction.WINDOW: (63016,),
}  # fmt: skip
# "This number can not send there": the line's set-up, or one member abroad, and nothing in the answer says which (``lessons``).
MAY_BE_HER_COUNTRY = frozenset({21212, 21603, 21606})
_REACTIONS = {code: reaction for reaction, codes in _TABLE.items() for code in codes}

# How long a line rests: the carrier's own queue needs minutes; a wrong setting needs a person, and one message tries whether it helped.
REST = {
    Reaction.BACK_OFF: timedelta(minutes=5),
    Reaction.HOLD_LINE: timedelta(minutes=10),
    Reaction.TOMORROW: timedelta(hours=1),
}
# When the message that met the error is tried again: after others, so that one message can not hold the line for ever. It doubles.
TRY_AGAIN = {
    Reaction.BACK_OFF: timedelta(minutes=5),
    Reaction.HOLD_LINE: timedelta(minutes=15),
    Reaction.WAIT: timedelta(hours=1),
}
# A message that meets the same trouble this often is over: it must not come back for ever.
MOST_TRIES = 12
_LONGEST_DOUBLING = 24
# Why such a row is held: it alone is tried again later; its line and its broadcast go on.
RETRY = "retry"

_HOUR = timedelta(hours=1)
# After the first, the second ... try of a message whose trouble passes by itself; after the last it is over.
_STEPS = {
    Reaction.UNREACHABLE: (_HOUR, 6 * _HOUR, 24 * _HOUR),
    Reaction.NOT_FAST: (_HOUR / 2, _HOUR, 2 * _HOUR),
    Reaction.TIER: (4 * _HOUR, 12 * _HOUR, 24 * _HOUR),
    Reaction.UNWANTED: (6 * _HOUR, 24 * _HOUR, 72 * _HOUR),
}
_ONCE_AFTER = {30017: _HOUR / 2, 30410: _HOUR / 2}
_MOST_DAYS = 4
_PACIFIC = ZoneInfo("America/Los_Angeles")  # T-Mobile's day, which its limit follows


def reaction_to(code: int | None) -> Reaction:
    """The reaction to Twilio's error ``code``. One that is not in the table: 30xxx may pass, the rest ends its message."""
    known = _REACTIONS.get(code or 0)
    if known is not None:
        return known
    return Reaction.ONCE if 30_000 <= (code or 0) < 31_000 else Reaction.FAIL


def when_again(code: int, attempt: int, *, resent: bool, now: datetime) -> datetime | None:
    """When a message whose ``attempt`` (1 is the first) met this error is tried again; None: it is over.

    ``resent``: it was tried again before. Says nothing of SLOW and WINDOW, which know no hour.
    """
    reaction = reaction_to(code)
    if reaction in TRY_AGAIN:
        return now + TRY_AGAIN[reaction] * min(2 ** (attempt - 1), _LONGEST_DOUBLING) if attempt < MOST_TRIES else None
    if reaction in _STEPS:
        steps = _STEPS[reaction]
        return now + steps[attempt - 1] if attempt <= len(steps) else None
    if reaction is Reaction.ONCE:
        return None if resent else now + _ONCE_AFTER.get(code, _HOUR)
    if reaction in (Reaction.MIDNIGHT, Reaction.TOMORROW) and attempt <= _MOST_DAYS:
        return _next_midnight(now, _PACIFIC if reaction is Reaction.MIDNIGHT else ZoneInfo("UTC"))
    return None


def _next_midnight(now: datetime, zone: ZoneInfo) -> datetime:
    """The first moment of tomorrow in this zone. (Summer time never begins or ends at midnight in either of ours.)"""
    tomorrow = now.astimezone(zone).date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone).astimezone(UTC)
