"""A carrier in the process, and a pump that may die: what the state machine works with."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from bot.delivery.carrier_list import Listed, Listing
from bot.delivery.gateway import Accepted, Lost, Outcome, Refused, Throttled
from bot.delivery.pump import Pump
from tests.faults.ground import LINE
from tests.world import World, new_sid


class PowerCut(BaseException):
    """What a crashpoint does here. Not an Exception: nothing of ours may catch it."""


@dataclass(frozen=True)
class Taken:
    """One send that the carrier accepted."""

    to: str
    body: str
    callback: str
    sid: str
    at: Any


class MortalPump(Pump):
    """A pump that may die: then it gives nothing back."""

    dead = False

    def run(self, seconds: float) -> int:
        try:
            return super().run(seconds)
        except PowerCut:
            return self.handed_over

    def _turn(self) -> None:
        try:
            super()._turn()
        except PowerCut:
            self.dead = True
            raise

    def _give_everything_back(self) -> None:
        if not self.dead:
            super()._give_everything_back()
            return
        # Its requests end as they end; nobody writes down what came back.
        self.senders.close()


class PretendCarrier:
    """Takes texts as it is told, and lists what it took."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.taken: list[Taken] = []
        self.behaviours: dict[str, str] = {}
        self._lock = threading.Lock()

    def send(self, *, to: str, sender: str, body: str, callback: str, **_extra: Any) -> Outcome:
        with self._lock:
            # By the recipient, not by whose thread was first: the same life must end the same way.
            behaviour = self.behaviours.pop(to, "accept")
            if behaviour == "429":
                return Throttled(20429)
            if behaviour == "lose before":
                return Lost("reset")
            if behaviour.isdigit() and behaviour != "500":
                return Refused(int(behaviour))
            sid = new_sid()
            self.taken.append(Taken(to, body, callback, sid, self.world.clock.now()))
            return Accepted(sid) if behaviour == "accept" else Lost("HTTP 500" if behaviour == "500" else "hung")

    def list_messages(self, *, to: str | None = None, sender: str | None = None, most: int = 1000, **_named: Any) -> Listing:
        found = [
            Listed(
                sid=each.sid, to=each.to, sender=LINE, body=each.body, direction="outbound-api", status="sent", error_code=None,
                created_at=each.at.replace(microsecond=0), sent_at=each.at.replace(microsecond=0), segments=1, price_micros=None,
            )
            for each in reversed(self.taken)
            if to is None or each.to == to
        ]  # fmt: skip
        return Listing(found[:most], self.world.clock.now(), is_whole=len(found) <= most)
