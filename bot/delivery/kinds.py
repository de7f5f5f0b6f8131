"""What each kind of message means for its way out: the lane it takes, the flow it opens, whose consent it needs."""

from __future__ import annotations

from datetime import timedelta

from models.messages import LANE_BROADCAST, LANE_CHECK_IN, LANE_CODE, LANE_POLL, LANE_RELAY, LANE_REPLY, LANE_STOP

LANES = {
    "stop": LANE_STOP,  # the one confirmation of an opt-out
    "crisis": LANE_STOP,
    "code": LANE_CODE,
    "relay": LANE_RELAY,
    "page": LANE_RELAY,
    "reply": LANE_REPLY,
    "report": LANE_REPLY,  # to organizers: what became of a broadcast, what holds it
    "check_in": LANE_CHECK_IN,
    "poll": LANE_POLL,
    "result": LANE_POLL,
    "notice": LANE_BROADCAST,
    "alert": LANE_BROADCAST,
    "knock": LANE_BROADCAST,  # a template that says that a note is waiting (WhatsApp outside its window)
}

# The flow that an asking message opens when she answers.
ASKS = {"poll": "poll", "alert": "action_alert", "check_in": "check_in"}

# Where a message may be a question of which only one is in flight; an alert asks too, but never waits.
ASKING_LANES = frozenset(LANES[kind] for kind in ASKS if kind != "alert")

# The confirmation of an opt-out is the only text that a phone may get after its opt-out (47 CFR 64.1200(a)(12): one, without marketing).
AFTER_OPT_OUT = frozenset({"stop"})

# From one person to another: only she may read it, not whoever else uses her phone.
BETWEEN_PEOPLE = frozenset({"page", "relay"})

# What somebody else should not see lighting up at night: where her zone is unknown, every zone she may be in must allow it.
CARE = frozenset({"check_in", "page", "relay"})

# What may come before quiet hours end to those who agreed to it: the call to an action, and its correction.
EARLY = frozenset({"alert"})

# How long a broadcast is worth sending when nothing says it better (an alert's action, a poll's close).
LASTS = {
    "notice": timedelta(days=3),
    "result": timedelta(days=3),
    "poll": timedelta(days=2),
    "alert": timedelta(days=1),
    "check_in": timedelta(days=1),
}
# A call to an action still helps whoever is late for its start, not whoever hears of it in the evening.
AFTER_THE_START = timedelta(hours=2)


def lane_of(kind: str) -> int:
    """The lane a message of this kind takes; KeyError for a kind that is not in the table."""
    return LANES[kind]
