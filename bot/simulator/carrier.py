"""STOP, START and HELP as the carrier answers them, before and beside the webhook.

Twilio's default for SMS: a text that is exactly one of these words, in any case, blocks the pair of numbers (or the whole Messaging
Service); the carrier answers by itself, calls the webhook all the same, and refuses later sends with error 21610.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from bot.simulator.lines import Line

STOP_WORDS = frozenset({"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"})
START_WORDS = frozenset({"START", "UNSTOP"})
YES = "YES"  # takes back a STOP, and means nothing to the carrier otherwise
HELP_WORDS = frozenset({"HELP", "INFO"})

STOPPED = "You have successfully been unsubscribed. You will not receive any more messages from this number. Reply START to resubscribe."
STARTED = (
    "You have successfully been re-subscribed to messages from this number. Reply HELP for help. Reply STOP to unsubscribe. "
    "Msg&Data Rates May Apply."
)
HELPED = "Reply STOP to unsubscribe. Msg&Data Rates May Apply."


@dataclass(slots=True, frozen=True)
class CarrierAct:
    """What the carrier did with a text: its own answer ("" for none) and the OptOutType it would report ("" for none)."""

    answer: str = ""
    opt_out_type: str = ""


class Carrier:
    """Who has opted out of what. `scope` is the Messaging Service, or the line when it belongs to none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocked: set[tuple[str, str]] = set()

    def is_blocked(self, phone: str, scope: str) -> bool:
        return (phone, scope) in self._blocked

    def set_blocked(self, phone: str, scope: str, blocked: bool) -> None:
        """Opt the phone out or in without a text."""
        with self._lock:
            (self._blocked.add if blocked else self._blocked.discard)((phone, scope))

    def blocked(self) -> list[tuple[str, str]]:
        """Every (phone, scope) that opted out."""
        with self._lock:
            return sorted(self._blocked)

    def reset(self) -> None:
        """Nobody has opted out."""
        with self._lock:
            self._blocked.clear()

    def hear(self, line: Line, phone: str, scope: str, body: str) -> CarrierAct:
        """Act on an inbound text as the carrier of `line` does."""
        word = body.strip().upper()
        if line.carrier_answers_stop:
            if word in STOP_WORDS:
                first = not self.is_blocked(phone, scope)
                self.set_blocked(phone, scope, True)
                return CarrierAct(STOPPED if first else "", "STOP")
            if word in START_WORDS or (word == YES and self.is_blocked(phone, scope)):
                self.set_blocked(phone, scope, False)
                return CarrierAct(STARTED, "START")
        if line.carrier_answers_help and word in HELP_WORDS:
            return CarrierAct(HELPED, "HELP")
        return CarrierAct()
