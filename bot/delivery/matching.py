"""Which listed message is which of our unknown ones: the same words to the same phone, made when we tried. Pure, so that it can be proved.

The carrier's list carries no mark of ours, so equal texts to one phone ("Please reply YES or NO.") are told apart by their moments alone:
each listed message is one row's, and the nearest pair is taken first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from bot.delivery.carrier_list import Listed, Listing, fold_body

# The carrier writes whole seconds, and clocks differ a little.
BEFORE = timedelta(seconds=30)
# A request is answered, or given up, within 16 seconds of its mark; a reply in a webhook's answer is taken at once.
AFTER = timedelta(minutes=5)
# A trial account's messages begin with this, and Twilio lists them so.
_TRIAL = "Sent from your Twilio trial account - "
_FILLED_IN = re.compile(r"\{\{\w+\}\}")


@dataclass(frozen=True, slots=True)
class Doubt:
    """A message of ours that may have gone or not. ``line``: its address.

    ``texts``: what it may read like, with {{1}} where a template is filled in; none: its words are gone.
    """

    id: int
    line: str
    attempted_at: datetime
    texts: tuple[str, ...]


class Missing(Enum):
    """What is known of a row that was not found."""

    ABSENT = "the list covers its moment, and it is not there"
    UNCLEAR = "the list does not say: cut short, blacked out, changed on the way, or our words are gone"


def match(doubts: Sequence[Doubt], listing: Listing, now: datetime, known: Collection[str]) -> dict[int, Listed | Missing]:
    """For each of these rows of one phone: its message in the carrier's list, or why there is none.

    ``doubts`` are all rows of the phone whose outcome is not known, also those that nobody asks about now: they have their message, too.
    ``now``: people's time at the reading; ``known``: the SIDs that are other rows' already.
    """
    ours = [each for each in listing.messages if not each.is_inbound and each.sid not in known]
    moments = {each.sid: listing.people_time(each.created_at, now) for each in ours}
    pairs = []
    for number, doubt in enumerate(doubts):
        texts = [_pattern(text) for text in doubt.texts]
        for place, each in enumerate(ours):
            if _may_be(doubt, each, moments[each.sid]) and any(text.fullmatch(fold_body(each.body.removeprefix(_TRIAL))) for text in texts):
                pairs.append((abs(moments[each.sid] - doubt.attempted_at), number, -place))
    found: dict[int, Listed | Missing] = {}
    taken: set[str] = set()
    for _, number, place in sorted(pairs):
        doubt, each = doubts[number], ours[-place]
        if doubt.id not in found and each.sid not in taken:
            found[doubt.id] = each
            taken.add(each.sid)
    oldest = min((listing.people_time(each.created_at, now) for each in listing.messages), default=None)
    for doubt in doubts:
        if doubt.id not in found:
            covered = listing.is_whole or (oldest is not None and oldest < doubt.attempted_at - BEFORE)
            # Something left for her at that moment, and it is no other row's: it may be this one, reading otherwise than we think.
            stranger = any(_may_be(doubt, each, moments[each.sid]) for each in ours if each.sid not in taken)
            found[doubt.id] = Missing.ABSENT if covered and doubt.texts and not stranger else Missing.UNCLEAR
    return found


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(fold_body(part)) for part in _FILLED_IN.split(text)), re.DOTALL)


def _may_be(doubt: Doubt, each: Listed, moment: datetime) -> bool:
    """Whether line and moment fit. A message may not say yet which number of a Messaging Service it leaves from, or which service."""
    said = each.service if doubt.line.startswith("MG") else each.sender
    return said in ("", doubt.line) and doubt.attempted_at - BEFORE <= moment <= doubt.attempted_at + AFTER
