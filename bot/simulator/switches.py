"""The faults as switches on the page: each in plain words, with what it shows. Tests speak to faults.py and setup.py directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.simulator.setup import Setup
from bot.simulator.wire import BadRequest
from bot.simulator.words import count, mark, say
from bot.simulator.world import World

# How often a switch strikes, as the page offers it: the trigger's own fields (faults.Trigger).
OFTEN: dict[str, tuple[str, dict[str, Any]]] = {
    "always": ("every time", {}),
    "once": ("the next time", {"count": 1}),
    "three": ("the next 3 times", {"count": 3}),
    "ten": ("the next 10 times", {"count": 10}),
    "tenth": ("one time in ten", {"share": 0.1}),
}
EVERYBODY = "*"
MOST_SECONDS = 600


@dataclass(frozen=True)
class Switch:
    """One switch. `kind` says where it lies: request and receipt (a trigger), number and time (milliseconds), refuse and final (a code),
    account (a field of Setup with `value`). `seconds`: what the page proposes where an amount can be chosen."""

    name: str
    words: str
    shows: str
    kind: str
    where: str = ""
    seconds: float | None = None
    value: Any = None

    @property
    def has_often(self) -> bool:
        return self.kind in ("request", "receipt", "refuse", "final")


HANDING_OVER = (
    Switch(
        "slow", "Twilio answers slowly",
        "Broadcasts take longer; the answer to a member's own text does not.", "number", "latency_ms", 3,
    ),
    Switch(
        "busy", "Twilio says: too many requests (429)",
        "The text waits and goes a little later. None is lost, none is sent twice.", "request", "throttle_429",
    ),
    Switch(
        "error", "Twilio refuses with an error (500)",
        "Nobody knows whether it was taken: Chorus asks Twilio's list before it sends again.", "request", "reject_500",
    ),
    Switch(
        "taken_error", "Twilio takes the text, but answers with an error",
        "It arrives all the same, and must not arrive twice.", "request", "accept_500",
    ),
    Switch(
        "taken_cut", "Twilio takes the text, then the connection breaks",
        "It arrives all the same, and must not arrive twice.", "request", "accept_reset",
    ),
    Switch(
        "taken_hang", "Twilio takes the text, but its answer hangs",
        "The others do not wait for it for ever.", "request", "accept_hang", 20,
    ),
    Switch(
        "bad_number", "Twilio refuses: not a valid number (21211)",
        "Nothing more goes to this phone on this line.", "refuse", "21211",
    ),
    Switch(
        "closed_country", "Twilio refuses: this country is not switched on (21408)",
        "Tried later; members in other countries are not concerned.", "refuse", "21408",
    ),
    Switch(
        "opted_out", "Twilio refuses: this person has opted out (21610)",
        "Chorus writes to her no more on this line.", "refuse", "21610",
    ),
)  # fmt: skip
BECOMING = (
    Switch(
        "phones_slow", "Phones take long to confirm",
        "One tick stays for a while before the second comes.", "time", "delivered_ms", 20,
    ),
    Switch(
        "phone_off", "The phone is off or out of reach (30003)",
        "Tried again after an hour, six hours and a day: jump in time to see it.", "final", "30003",
    ),
    Switch("no_number", "The number does not exist (30005)", "Nothing more goes to this phone on this line.", "final", "30005"),
    Switch("landline", "It is a landline (30006)", "Nothing more goes to this phone on this line.", "final", "30006"),
    Switch(
        "spam", "The carrier filters everything as spam (30007)",
        "When it happens to many, Chorus holds the broadcast and tells the organizers.", "final", "30007",
    ),
    Switch(
        "unregistered", "Our number is not registered (30034)",
        "The line rests and its texts wait, before a whole broadcast is lost.", "final", "30034",
    ),
    Switch("unknown", "The carrier gives no reason (30008)", "Tried once more, later.", "final", "30008"),
)  # fmt: skip
REPORTING = (
    Switch(
        "no_receipts", "No receipts come",
        "Texts arrive, but Chorus hears nothing of it, and asks Twilio's list about replies.", "receipt", "drop",
    ),
    Switch("late", "Receipts come late", "Texts arrive at once; that they did is known later.", "receipt", "late", 30),
    Switch("mixed", "Receipts come in the wrong order", "A late “sent” never undoes a “delivered”.", "receipt", "out_of_order"),
    Switch("twice", "Every receipt comes twice", "Nothing is counted twice.", "receipt", "duplicate"),
    Switch(
        "early", "Receipts come before Twilio's answer",
        "Known by the address it calls, not by its number.", "receipt", "before_answer",
    ),
)  # fmt: skip
ACCOUNT = (
    Switch("trial", "The account is a trial", "flask doctor says what a trial can not do.", "account", "trial", value=True),
    Switch("suspended", "The account is suspended", "flask doctor says it.", "account", "status", value="suspended"),
    Switch("poor", "Nearly no money is left", "flask doctor says it.", "account", "balance", value="0.40"),
    Switch(
        "campaign", "US carriers refused the registration",
        "flask doctor --line all says why.", "account", "campaign",
        value={"status": "FAILED", "errors": ["The opt-in page could not be opened."]},
    ),
)  # fmt: skip
GROUPS = (
    ("When Chorus hands a text over", HANDING_OVER),
    ("What becomes of the text", BECOMING),
    ("What Twilio reports back", REPORTING),
    ("How the account stands", ACCOUNT),
)
SWITCHES = {switch.name: switch for _, switches in GROUPS for switch in switches}


def throw_switch(world: World, told: Mapping[str, Any]) -> None:
    """{"name", "on", "often", "to", "seconds"}: `often` is a key of OFTEN, `to` a number or `*`. Raises BadRequest."""
    switch = SWITCHES.get(str(told.get("name")))
    often = OFTEN.get(str(told.get("often", "always")))
    if switch is None or often is None:
        raise BadRequest(f"name is one of {', '.join(SWITCHES)}; often one of {', '.join(OFTEN)}")
    to, seconds = str(told.get("to") or EVERYBODY), told.get("seconds", switch.seconds)
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= MOST_SECONDS):
        raise BadRequest(mark("The seconds are a number from 0 to {most}"), most=MOST_SECONDS)
    _THROW[switch.kind](world, switch, bool(told.get("on", True)), dict(often[1]), to, seconds)


def _throw_trigger(world: World, switch: Switch, on: bool, trigger: dict[str, Any], to: str, seconds: float | None) -> None:
    if to != EVERYBODY:
        trigger["to"] = to
    if seconds is not None:
        trigger |= {"hang_s": seconds} if switch.where == "accept_hang" else {"ms": seconds * 1000}
    told = {switch.where: trigger if on else False}
    world.faults.set({"receipts": told} if switch.kind == "receipt" else told)


def _throw_number(world: World, switch: Switch, on: bool, _trigger: dict[str, Any], _to: str, seconds: float | None) -> None:
    world.faults.set({switch.where: (seconds or 0) * 1000 if on else 0})


def _throw_time(world: World, switch: Switch, on: bool, _trigger: dict[str, Any], _to: str, seconds: float | None) -> None:
    world.faults.set({"receipts": {switch.where: (seconds or 0) * 1000 if on else world.faults.usual_time(switch.where)}})


def _throw_code(world: World, switch: Switch, on: bool, trigger: dict[str, Any], to: str, _seconds: float | None) -> None:
    """One code for each recipient: the newest takes the place of the one before."""
    codes = {key: own for key, own in _codes(world, switch).items() if own["code"] != int(switch.where)}
    if on:
        codes[to] = {"code": int(switch.where), **trigger}
    world.faults.set({"refuse": codes} if switch.kind == "refuse" else {"receipts": {"final": codes}})


def _throw_account(world: World, switch: Switch, on: bool, _trigger: dict[str, Any], _to: str, _seconds: float | None) -> None:
    world.setup.set({switch.where: switch.value if on else getattr(Setup(), switch.where)})


_THROW: dict[str, Callable[[World, Switch, bool, dict[str, Any], str, float | None], None]] = {
    "request": _throw_trigger, "receipt": _throw_trigger, "number": _throw_number, "time": _throw_time, "refuse": _throw_code,
    "final": _throw_code, "account": _throw_account,
}  # fmt: skip


def _codes(world: World, switch: Switch) -> dict[str, Any]:
    faults = world.faults.describe()
    found: dict[str, Any] = faults["refuse"] if switch.kind == "refuse" else faults["receipts"]["final"]
    return found


def describe_switches(world: World, language: str) -> dict[str, Any]:
    """{"on": {name: words}}: what is switched on now, how often and for whom, in the page's language."""
    faults = world.faults.describe()
    on: dict[str, str] = {}
    for switch in SWITCHES.values():
        if switch.kind == "account":
            words = say(language, "On") if getattr(world.setup, switch.where) == switch.value else ""
        elif switch.kind == "number":
            words = _say_seconds(language, faults[switch.where])
        elif switch.kind == "time":
            ms = faults["receipts"][switch.where]
            words = _say_seconds(language, ms) if (ms or 0) > (world.faults.usual_time(switch.where) or 0) else ""
        elif switch.kind in ("refuse", "final"):
            codes = _codes(world, switch)
            words = "; ".join(_say(language, own, to) for to, own in codes.items() if own["code"] == int(switch.where))
        else:
            trigger = (faults["receipts"] if switch.kind == "receipt" else faults).get(switch.where)
            words = "" if trigger is None else _say(language, trigger, trigger.get("to", EVERYBODY))
        if words:
            on[switch.name] = words
    return {"on": on}


def _say_seconds(language: str, ms: float | None) -> str:
    return say(language, "On: {seconds} s", seconds=f"{ms / 1000:g}") if ms else ""


def _say(language: str, trigger: Mapping[str, Any], to: str) -> str:
    more, share = trigger.get("count"), trigger.get("share", 1.0)
    if more:
        often = count(language, "1 more", "{n} more", more)
    else:
        often = say(language, "every time") if share >= 1 else say(language, "{share} of the time", share=f"{share:.0%}")
    return say(language, "On: {often}", often=often) if to == EVERYBODY else say(language, "On: {often}, for {who}", often=often, who=to)


def clear_switches(world: World) -> None:
    """Everything works again."""
    world.faults.clear()
    world.setup.clear()
