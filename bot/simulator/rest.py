"""Twilio's REST interface for messages, as its SDK expects it: POST, GET and DELETE under /2010-04-01/Accounts/{sid}/Messages."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

from bot.simulator.create import CreateRefused, accept_message, send_faulty_answer
from bot.simulator.ledger import Message
from bot.simulator.lines import number_of
from bot.simulator.products import answer_product
from bot.simulator.shapes import LARGEST_PAGE, PAGE_SIZE, answer_error, no_method, not_found
from bot.simulator.wire import Answer, Pairs, Request, answer_json
from bot.simulator.world import World

API = "/2010-04-01"
PATH = re.compile(rf"{API}/Accounts/(AC[0-9A-Za-z]+)/Messages(?:/((?:SM|MM)[0-9a-fA-F]{{32}}))?(?:\.json)\Z")
PRICE = 0.0079  # US dollars a segment
DIRECTIONS = {"api": "outbound-api", "reply": "outbound-reply", "inbound": "inbound"}


def rfc2822(moment: float | None) -> str | None:
    """Seconds since 1970 as Twilio writes dates: `Tue, 24 Nov 2026 18:00:00 +0000`."""
    return None if moment is None else format_datetime(datetime.fromtimestamp(moment, UTC))


def price_of(message: Message) -> str | None:
    """What it cost, as Twilio writes it: an amount taken off, once it was sent; inbound texts cost, too."""
    if message.status not in ("sent", "delivered", "undelivered", "read", "received"):
        return None
    return f"{-PRICE * message.segments:.5f}"


def describe_message(message: Message) -> dict[str, Any]:
    """The message as Messages.json shows it: every documented key; counts are strings, the error code a number or null."""
    uri = f"{API}/Accounts/{message.account}/Messages/{message.sid}"
    known = message.sender_known
    return {
        "account_sid": message.account, "api_version": "2010-04-01", "body": message.body,
        "date_created": rfc2822(message.created), "date_sent": rfc2822(message.created if message.kind == "inbound" else message.sent),
        "date_updated": rfc2822(message.updated), "direction": DIRECTIONS[message.kind], "error_code": message.error_code,
        "error_message": message.error_message, "from": message.sender if known else None,
        "messaging_service_sid": message.service or None, "num_media": str(len(message.media)),
        "num_segments": str(message.segments) if known else "0", "price": price_of(message), "price_unit": "USD", "sid": message.sid,
        "status": message.status, "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"},
        "to": message.to, "uri": f"{uri}.json",
    }  # fmt: skip


def answer_rest(world: World, request: Request) -> Answer:
    """Answer a request under /2010-04-01/."""
    arrived = time.monotonic()
    faults = world.faults
    latency = faults.numbers["latency_ms"] / 1000
    with world.request_in_flight() as in_flight:
        answer = _answer(world, request, arrived, latency, in_flight)
        if latency:
            world.stopping.wait(max(0.0, arrived + latency - time.monotonic()))
    return answer


def _answer(world: World, request: Request, arrived: float, latency: float, in_flight: int) -> Answer:
    match = PATH.match(request.path)
    user, password = request.basic_credentials()
    if not user or world.accounts.get(user) != password or (match is not None and match[1] != user):
        return answer_error(401, 20003, "Authenticate", (("WWW-Authenticate", 'Basic realm="Twilio API"'),))
    if match is None:
        return answer_product(world, request)
    account, sid = match[1], match[2]
    if sid is not None:
        return _answer_one(world, request, account, sid)
    if request.method == "GET":
        return _list_messages(world, request.query(), account)
    if request.method != "POST":
        return no_method()
    return _create(world, request, account, arrived, latency, in_flight)


def _create(world: World, request: Request, account: str, arrived: float, latency: float, in_flight: int) -> Answer:
    number = world.ledger.count_request()
    form = request.form()
    to = form.get("To")
    most = world.faults.numbers["max_concurrent"]
    if (most and in_flight > most) or world.faults.take("throttle_429", to):
        return answer_error(429, 20429, "Too Many Requests", (("Twilio-Concurrent-Requests", str(in_flight)),))
    if world.faults.take("reject_500", to):
        return answer_error(500, 20500, "An internal server error has occurred")
    try:
        message = accept_message(world, form, account, number, arrived, latency)
    except CreateRefused as refused:
        return answer_error(refused.status, refused.code, refused.text)
    answer = answer_json(describe_message(message), 201, (("Twilio-Concurrent-Requests", str(in_flight)),))
    world.receipts.plan(message, world.lines.get(message.sender), latency)
    if send_faulty_answer(world, request, to):
        return answer_error(500, 20500, "An internal server error has occurred")
    return answer


def _answer_one(world: World, request: Request, account: str, sid: str) -> Answer:
    message = world.ledger.by_sid.get(sid)
    if message is None or message.account != account or message.kind not in DIRECTIONS:
        return not_found(request)
    if request.method == "GET":
        return answer_json(describe_message(message))
    if request.method == "DELETE":
        world.ledger.remove(sid)
        return Answer(204)
    if request.method == "POST":  # the only change the simulator knows is Twilio's redaction: an empty Body
        if ("Body", "") in request.form().items:
            message.body = ""
        return answer_json(describe_message(message))
    return no_method()


def _list_messages(world: World, query: Pairs, account: str) -> Answer:
    """Newest first, by To, From and DateSent, in pages. What was not sent yet has no DateSent and no DateSent filter finds it."""
    size = min(max(query.number("PageSize", PAGE_SIZE), 1), LARGEST_PAGE)
    page = query.number("Page", 0)
    before = int(query.get("PageToken", "PA0").removeprefix("PA") or "0", 16) if page else 0
    found = list(_matching(world, query, account, before, size + 1))
    shown, more = found[:size], len(found) > size
    filters = [(key, value) for key, value in query.items if key not in ("Page", "PageToken", "PageSize")]
    path = f"{API}/Accounts/{account}/Messages.json"

    def uri(of_page: int, token: str = "") -> str:
        fields = [*filters, ("PageSize", str(size)), ("Page", str(of_page))]
        return f"{path}?{urlencode([*fields, ('PageToken', token)] if token else fields)}"

    return answer_json({
        "messages": [describe_message(message) for message in shown], "page": page, "page_size": size, "start": page * size,
        "end": page * size + max(0, len(shown) - 1), "uri": uri(page, query.get("PageToken")), "first_page_uri": uri(0),
        "previous_page_uri": None, "next_page_uri": uri(page + 1, f"PA{shown[-1].seq:x}") if more else None,
    })  # fmt: skip


def _matching(world: World, query: Pairs, account: str, before: int, most: int) -> Iterator[Message]:
    to, sender = query.get("To"), query.get("From")
    dates = [(key.removeprefix("DateSent"), value) for key, value in query.items if key.startswith("DateSent") and value]
    phone = next((number_of(address) for address in (to, sender) if number_of(address) in world.ledger.by_phone), "")
    count = 0
    for message in reversed(list(world.ledger.entries(phone=phone))):
        if before and message.seq >= before:
            continue
        if message.kind not in DIRECTIONS or message.account != account or message.sid not in world.ledger.by_sid:
            continue
        if (to and message.to != to) or (sender and message.sender != sender):
            continue
        if not all(_date_fits(message, relation, value) for relation, value in dates):
            continue
        yield message
        count += 1
        if count == most:
            return


def _date_fits(message: Message, relation: str, wanted: str) -> bool:
    """`relation` is "" (that day), "<" (at or before) or ">" (at or after); `wanted` a day or a moment in GMT."""
    sent = message.created if message.kind == "inbound" else message.sent
    if sent is None:
        return False
    moment = datetime.fromtimestamp(sent, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    wanted = wanted.replace(" ", "T")
    shown = moment[: len(wanted)]
    return shown[:10] == wanted[:10] if not relation else shown <= wanted if relation == "<" else shown >= wanted
