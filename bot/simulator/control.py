"""/_sim/...: how tests, the demo and the page drive the simulator. JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bot.simulator.clock import ask_clock, ask_clock_once, current_codes
from bot.simulator.inbound import deliver_text, read_text, read_times
from bot.simulator.ledger import Message
from bot.simulator.lines import number_of, read_phones
from bot.simulator.products import describe_account, throw_switches
from bot.simulator.switches import clear_switches, describe_switches, throw_switch
from bot.simulator.wire import Answer, BadRequest, Request, answer_json
from bot.simulator.words import mark, say
from bot.simulator.world import World

LEDGER_PAGE, LARGEST_LEDGER_PAGE = 5_000, 50_000


def answer_control(world: World, request: Request) -> Answer:
    """Answer a request under /_sim/. A browser page of another origin is turned away."""
    try:
        _check_origin(request)
        handler = HANDLERS.get((request.method, request.path.removeprefix("/_sim/")))
        if handler is None:
            known = ", ".join(sorted(f"{method} /_sim/{name}" for method, name in HANDLERS))
            raise BadRequest(f"there is {known}", 404)
        return answer_json(handler(world, request))
    except BadRequest as refused:
        return answer_json({"error": refused.say(request.language)}, refused.status)


def _check_origin(request: Request) -> None:
    origin = request.environ.get("HTTP_ORIGIN")
    if origin and origin.partition("://")[2] != request.environ.get("HTTP_HOST"):
        raise BadRequest(mark("only the simulator's own page may do this"), 403)
    if request.method == "POST" and request.body and not str(request.environ.get("CONTENT_TYPE", "")).startswith("application/json"):
        raise BadRequest("send JSON with Content-Type: application/json", 415)


def _configure(world: World, request: Request) -> dict[str, Any]:
    world.configure(request.json())
    return world.describe()


def _state(world: World, request: Request) -> dict[str, Any]:
    return world.describe()


def _read_ledger(world: World, request: Request) -> dict[str, Any]:
    query = request.query()
    since, limit = query.number("since", 0), min(query.number("limit", LEDGER_PAGE), LARGEST_LEDGER_PAGE)
    to, kind = query.get("to"), query.get("kind") or "api"

    def matches(message: Message) -> bool:
        return (kind == "all" or message.kind == kind) and (not to or to in (message.to, message.phone))

    found = world.ledger.entries(since, matches, phone=number_of(to) if to else "")
    if query.get("count"):
        return {"count": sum(1 for _ in found), "accepted": world.ledger.accepted, "requests": world.ledger.requests}
    entries = [message.entry() for message, _ in zip(found, range(limit), strict=False)]
    return {"entries": entries, "last": entries[-1]["n"] if entries else since, "more": len(entries) == limit}


def _reset(world: World, request: Request) -> dict[str, Any]:
    world.reset()
    return {"epoch": world.ledger.epoch}


def _send_text(world: World, request: Request) -> dict[str, Any]:
    told = request.json()
    text, times = read_text(world, told), read_times(told)
    ask_clock_once(world)
    return deliver_text(world, text, times)


def _read_faults(world: World, request: Request) -> dict[str, Any]:
    return world.faults.describe()


def _set_faults(world: World, request: Request) -> dict[str, Any]:
    world.faults.set(request.json())
    return world.faults.describe()


def _clear_faults(world: World, request: Request) -> dict[str, Any]:
    world.faults.clear()
    return world.faults.describe()


def _set_blocked(world: World, request: Request) -> dict[str, Any]:
    """Opt a phone out of a line, or in, without a text: {"phone", "line", "blocked"}."""
    told = request.json()
    phone, line = number_of(str(told.get("phone", ""))), str(told.get("line", ""))
    world.carrier.set_blocked(phone, world.scope_of(line), bool(told.get("blocked", True)))
    return {"blocked": [list(pair) for pair in world.carrier.blocked()]}


def _read_account(world: World, request: Request) -> dict[str, Any]:
    return describe_account(world)


def _set_account(world: World, request: Request) -> dict[str, Any]:
    return throw_switches(world, request.json())


def _clear_account(world: World, request: Request) -> dict[str, Any]:
    world.setup.clear()
    return describe_account(world)


def _read_messages(world: World, request: Request) -> dict[str, Any]:
    phone = number_of(request.query().get("phone"))
    return {"messages": [message.bubble(request.language) for message in world.ledger.feed(phone)]}


def _read_phones(world: World, request: Request) -> dict[str, Any]:
    since = request.query().number("since", 0)
    revision = world.ledger.revision  # read first: what changes meanwhile comes again, never too seldom
    phones, language = [], request.language
    for phone in list(world.phones.values()):
        fresh = world.ledger.feed(phone.number, since, coming=True)
        if fresh or not since:
            phones.append({"number": phone.number, "messages": [message.bubble(language) for message in fresh]})
    codes = current_codes(world)
    return {"epoch": world.ledger.epoch, "revision": revision, "shown": list(world.phones), "phones": phones, **codes}


def _add_phone(world: World, request: Request) -> dict[str, Any]:
    (phone,) = read_phones([request.json()])
    world.show_phone(phone)
    return {"number": phone.number}


def _read_switches(world: World, request: Request) -> dict[str, Any]:
    return describe_switches(world, request.language)


def _throw_switch(world: World, request: Request) -> dict[str, Any]:
    throw_switch(world, request.json())
    return describe_switches(world, request.language)


def _clear_switches(world: World, request: Request) -> dict[str, Any]:
    clear_switches(world)
    return describe_switches(world, request.language)


def _read_clock(world: World, request: Request) -> dict[str, Any]:
    """What the clock says; {"why"} when nobody tells, which is no error: the phones work without."""
    try:
        return _say_next(ask_clock(world), request)
    except BadRequest as refused:
        return {"why": refused.say(request.language)}


def _jump(world: World, request: Request) -> dict[str, Any]:
    """{"jump": seconds, "morning" or "next"}."""
    jump = str(request.json().get("jump") or "")
    if not jump:
        raise BadRequest('jump is a number of seconds, "morning" or "next"')
    return _say_next(ask_clock(world, jump), request)


def _say_next(told: dict[str, Any], request: Request) -> dict[str, Any]:
    """What is due next, in the page's language as far as we know it: Chorus says it in English."""
    due = told["next"]
    return told if due is None else told | {"next": due | {"what": say(request.language, str(due["what"]))}}


HANDLERS: dict[tuple[str, str], Callable[[World, Request], dict[str, Any]]] = {
    ("POST", "config"): _configure,
    ("GET", "state"): _state,
    ("GET", "ledger"): _read_ledger,
    ("DELETE", "ledger"): _reset,
    ("POST", "reset"): _reset,
    ("POST", "text"): _send_text,
    ("GET", "faults"): _read_faults,
    ("POST", "faults"): _set_faults,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "account"): _read_account,
    ("POST", "account"): _set_account,
    ("DELETE", "account"): _clear_account,
    ("GET", "switches"): _read_switches,
    ("POST", "switches"): _throw_switch,
    ("DELETE", "switches"): _clear_switches,
    ("GET", "clock"): _read_clock,
    ("POST", "clock"): _jump,
    ("POST", "blocked"): _set_blocked,
    ("GET", "messages"): _read_messages,
    ("GET", "phones"): _read_phones,
    ("POST", "phones"): _add_phone,
}
