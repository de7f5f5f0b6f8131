"""What goes wrong, and how often. Every switch can be thrown while the simulator runs."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.simulator.lines import number_of
from bot.simulator.wire import BadRequest

# What may befall a create request; the value a bare number stands for.
REQUEST_FAULTS = {
    "throttle_429": "count",  # refused unprocessed: 429, code 20429
    "reject_500": "count",  # refused unprocessed, although the caller can not know: 500, code 20500
    "accept_500": "count",  # accepted and written down, answered 500
    "accept_reset": "count",  # accepted and written down, the connection reset
    "accept_hang": "hang_s",  # accepted and written down, the answer comes after hang_s seconds
}
# What may befall the receipts of a message.
RECEIPT_FAULTS = {
    "late": "ms",  # posted this many milliseconds later; the message itself is on time
    "out_of_order": "count",  # delivered is posted before sent
    "duplicate": "count",  # each is posted twice
    "drop": "count",  # none is posted
    "before_answer": "count",  # all are posted before the create request is answered
}
TRIGGER_FIELDS = ("count", "share", "for_s", "to", "hang_s", "ms")
TIMES = {"sent_ms": 30.0, "delivered_ms": 120.0, "read_ms": None}
NUMBERS = {"latency_ms": 0.0, "max_concurrent": 0.0}


@dataclass(slots=True)
class Trigger:
    """When a fault strikes: the next `count` times, in a `share` of cases, until a moment, for one recipient; by default always."""

    count: int | None = None
    share: float = 1.0
    until: float | None = None
    to: str = ""
    value: float = 0.0  # seconds of a hang, milliseconds of lateness
    code: int = 0
    status: str = ""

    def is_spent(self, now: float) -> bool:
        """Whether it will never strike again."""
        return self.count == 0 or (self.until is not None and now > self.until)

    def strikes(self, to: str, chance: random.Random) -> bool:
        if self.to and self.to not in (to, number_of(to)):
            return False
        if self.is_spent(time.monotonic()):
            return False
        if self.share < 1.0 and chance.random() >= self.share:
            return False
        if self.count is not None:
            self.count -= 1
        return True


def _number(name: str, value: object, low: float = 0.0, high: float = 3_600_000.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise BadRequest(f"{name} is a number from {low:g} to {high:g}")
    return float(value)


def read_trigger(name: str, value: object, bare: str) -> Trigger | None:
    """A trigger from JSON: true (always), false (never), a number (of `bare`), or an object of TRIGGER_FIELDS. Raises BadRequest."""
    if value is None or value is False:
        return None
    if value is True:
        value = {}
    if isinstance(value, (int, float)):
        value = {bare: value}
    if not isinstance(value, Mapping) or set(value) - set(TRIGGER_FIELDS):
        raise BadRequest(f"{name} is true, false, a number ({bare}) or an object with {', '.join(TRIGGER_FIELDS)}")
    trigger = Trigger(to=str(value.get("to", "")))
    if value.get("count") is not None:
        trigger.count = int(_number(f"{name}.count", value["count"]))
    if value.get("share") is not None:
        trigger.share = _number(f"{name}.share", value["share"], high=1.0)
    if value.get("for_s") is not None:
        trigger.until = time.monotonic() + _number(f"{name}.for_s", value["for_s"])
    for unit in ("hang_s", "ms"):
        if value.get(unit) is not None:
            trigger.value = _number(f"{name}.{unit}", value[unit])
    return trigger


def _read_codes(name: str, value: object) -> dict[str, Trigger]:
    """{"+1555": 21211} or {"+1555": {"code": 30003, "status": "undelivered", "count": 1}}; "*" is everybody."""
    if not isinstance(value, Mapping):
        raise BadRequest(f'{name} is an object such as {{"+15550003333": 21211}}')
    codes = {}
    for to, told in value.items():
        told = told if isinstance(told, Mapping) else {"code": told}
        if set(told) - {"code", "status", "count", "share"}:
            raise BadRequest(f"an entry of {name} has code, status, count and share")
        trigger = read_trigger(name, {key: told[key] for key in ("count", "share") if key in told}, "count") or Trigger()
        trigger.code = int(_number(f"{name}.code", told.get("code"), 10_000, 99_999))
        trigger.status = str(told.get("status", ""))
        codes[str(to)] = trigger
    return codes


class Faults:
    """The switches. `take` asks whether a fault strikes now, and uses it up."""

    def __init__(self, seed: int = 1) -> None:
        self.lock = threading.Lock()
        self._seed = seed
        self.released = threading.Event()  # set when the faults are cleared: ends the hangs
        self.clear()

    def clear(self) -> None:
        """Everything works again; whoever hangs is let go."""
        with self.lock:
            self.released.set()
            self.released = threading.Event()
            self.chance = random.Random(self._seed)
            self.numbers: dict[str, float] = dict(NUMBERS)
            self.times: dict[str, float | None] = dict(TIMES)
            self.triggers: dict[str, Trigger] = {}
            self.refuse: dict[str, Trigger] = {}
            self.final: dict[str, Trigger] = {}

    def usual_time(self, name: str) -> float | None:
        """How long this takes when nothing is switched on, in milliseconds."""
        return TIMES[name]

    def set(self, told: Mapping[str, Any]) -> None:
        """Throw the switches named in `told`; the others stay. Raises BadRequest and changes nothing when one is wrong."""
        receipts = told.get("receipts") or {}
        known = {*REQUEST_FAULTS, *NUMBERS, "refuse", "receipts"}
        receipts_known = {*RECEIPT_FAULTS, *TIMES, "final"}
        if not isinstance(receipts, Mapping) or set(receipts) - receipts_known:
            raise BadRequest(f"receipts has {', '.join(sorted(receipts_known))}")
        if set(told) - known:
            raise BadRequest(f"faults are {', '.join(sorted(known))}")
        numbers = {name: _number(name, told[name]) for name in NUMBERS if name in told}
        times = {name: None if receipts[name] is None else _number(name, receipts[name]) for name in TIMES if name in receipts}
        triggers = {name: read_trigger(name, told[name], bare) for name, bare in REQUEST_FAULTS.items() if name in told}
        triggers |= {name: read_trigger(name, receipts[name], bare) for name, bare in RECEIPT_FAULTS.items() if name in receipts}
        refuse = _read_codes("refuse", told["refuse"]) if "refuse" in told else None
        final = _read_codes("receipts.final", receipts["final"]) if "final" in receipts else None
        with self.lock:
            self.numbers |= numbers
            self.times |= times
            self.triggers = {name: trigger for name, trigger in (self.triggers | triggers).items() if trigger is not None}
            self.refuse = self.refuse if refuse is None else refuse
            self.final = self.final if final is None else final

    def take(self, name: str, to: str = "") -> Trigger | None:
        """The trigger when this fault strikes this recipient now, else None."""
        if name not in self.triggers:  # the usual case, without the lock
            return None
        with self.lock:
            trigger = self.triggers.get(name)
            return trigger if trigger is not None and trigger.strikes(to, self.chance) else None

    def take_code(self, of: Mapping[str, Trigger], to: str) -> Trigger | None:
        """The entry of `refuse` or `final` that strikes this recipient now, else None."""
        if not of:
            return None
        with self.lock:
            for key in (to, number_of(to), "*"):
                trigger = of.get(key)
                if trigger is not None and trigger.strikes("", self.chance):
                    return trigger
        return None

    def describe(self) -> dict[str, Any]:
        """The switches as they stand (JSON), with what is left of their counts."""
        now = time.monotonic()

        def told(trigger: Trigger) -> dict[str, Any]:
            left: dict[str, Any] = {"count": trigger.count, "share": trigger.share, "to": trigger.to, "value": trigger.value}
            left |= {"code": trigger.code, "status": trigger.status}
            if trigger.until is not None:
                left["for_s"] = round(max(0.0, trigger.until - now), 1)
            return {key: value for key, value in left.items() if value not in (None, "", 0, 0.0)}

        with self.lock:
            live = {name: trigger for name, trigger in self.triggers.items() if not trigger.is_spent(now)}
            return {
                **self.numbers,
                **{name: told(trigger) for name, trigger in live.items() if name in REQUEST_FAULTS},
                "refuse": {to: told(trigger) for to, trigger in self.refuse.items() if not trigger.is_spent(now)},
                "receipts": {
                    **self.times,
                    **{name: told(trigger) for name, trigger in live.items() if name in RECEIPT_FAULTS},
                    "final": {to: told(trigger) for to, trigger in self.final.items() if not trigger.is_spent(now)},
                },
            }
