"""A text typed on a phone: the carrier hears it, the webhook gets it signed, with Twilio's parameters, the answer becomes messages."""

from __future__ import annotations

import json
import mimetypes
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from bot.languages.segments import count_segments
from bot.simulator.carrier import CarrierAct
from bot.simulator.ledger import Message, make_sid
from bot.simulator.lines import NUMBER, Line, number_of
from bot.simulator.poster import WebhookAnswer
from bot.simulator.twiml import Reply, TwimlRefused, read_twiml
from bot.simulator.wire import BadRequest
from bot.simulator.words import mark
from bot.simulator.world import World

MOST_TIMES = 64
MOST_ANSWERED = 100_000
LONGEST_TEXT = 20_000
OPTED_OUT = 21610
PLACES = tuple(f"{end}{part}" for end in ("From", "To") for part in ("City", "State", "Zip", "Country"))
FIELDS = frozenset({"from", "to", "body", "media", "params", "sid", "times", "button", "in_reply_to", "name"})


@dataclass(slots=True)
class Text:
    """A text as it was asked for. `body` None sends no Body at all, as for some media. `params` replace or (None) remove parameters."""

    phone: str
    line: Line
    to: str  # the address itself; for a service one of its senders
    body: str | None
    sid: str
    media: list[tuple[str, str]] = field(default_factory=list)  # (url, content type)
    button: tuple[str, str] | None = None  # (text, payload)
    in_reply_to: str = ""
    name: str = ""
    params: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(slots=True)
class Heard:
    """One answer of the webhook, read."""

    answer: WebhookAnswer
    replies: list[Reply]
    error: int | None


def read_text(world: World, told: Mapping[str, Any]) -> Text:
    """The text that POST /_sim/text asks for. Raises BadRequest."""
    unknown = sorted(set(told) - FIELDS)
    if unknown:
        raise BadRequest(f"a text has no {', '.join(unknown)}; it has {', '.join(sorted(FIELDS))}")
    asked = str(told.get("to", ""))
    line = world.line_at(asked)
    if line is None:
        raise BadRequest(mark("no such line; configure it, or send to one of: {lines}"), lines=", ".join(world.lines))
    phone = number_of(str(told.get("from", "")))
    if not NUMBER.match(phone):
        raise BadRequest("from is a number in E.164, such as +15550003333")
    to = asked
    if line.is_service:
        to = world.sender_for(line, phone) or world.sender_for(line, f"whatsapp:{phone}")
        sender = world.lines.get(to)
        line = sender if sender is not None else Line(to or asked, webhook=line.webhook, advanced_opt_out=line.advanced_opt_out)
        if not to:
            raise BadRequest(mark("this Messaging Service has no sender in its pool"))
    media = [_read_medium(value) for value in told.get("media") or ()]
    body = told.get("body", "")
    body = None if body is None else str(body).encode("utf-16", "surrogatepass").decode("utf-16", "replace")[:LONGEST_TEXT]
    button = told.get("button")
    if button is not None and not (isinstance(button, Mapping) and "text" in button):
        raise BadRequest('button is {"text": "Yes", "payload": "yes"}')
    params = told.get("params") or {}
    if not isinstance(params, Mapping):
        raise BadRequest("params is an object")
    return Text(
        phone=phone, line=line, to=to, body=str(button["text"]) if button and not body else body,
        sid=str(told.get("sid") or make_sid("MM" if media and line.channel == "sms" else "SM")), media=media,
        button=(str(button["text"]), str(button.get("payload", button["text"]))) if button else None,
        in_reply_to=str(told.get("in_reply_to") or ""), name=str(told.get("name") or ""),
        params={str(key): None if value is None else str(value) for key, value in params.items()},
    )  # fmt: skip


def _read_medium(value: object) -> tuple[str, str]:
    if isinstance(value, Mapping):
        return str(value.get("url", "")), str(value.get("content_type", "application/octet-stream"))
    url = str(value)
    return url, mimetypes.guess_type(url)[0] or "image/jpeg"


def inbound_params(world: World, text: Text, act: CarrierAct) -> dict[str, str]:
    """The webhook's form for this text: what Twilio sends for its channel, empty values included."""
    body = text.body or ""
    channel = text.line.channel
    prefix = "whatsapp:" if channel == "whatsapp" else ""
    params = {
        "AccountSid": text.line.account or world.main_account, "ApiVersion": "2010-04-01", "Body": body, "From": prefix + text.phone,
        "To": text.to, "MessageSid": text.sid, "SmsSid": text.sid, "SmsMessageSid": text.sid, "SmsStatus": "received",
        "NumMedia": str(len(text.media)), "NumSegments": str(max(1, count_segments(body).segments)),
    }  # fmt: skip
    for place, (url, kind) in enumerate(text.media):
        params |= {f"MediaUrl{place}": url, f"MediaContentType{place}": kind}
    service = world.service_of(text.to)
    if service is not None:
        params["MessagingServiceSid"] = service.address
        if act.opt_out_type and (service.advanced_opt_out or text.line.advanced_opt_out):
            params["OptOutType"] = act.opt_out_type
    if channel == "sms":
        params |= dict.fromkeys(PLACES, "")
        params |= {"FromCountry": "US", "ToCountry": "US"} if text.phone.startswith("+1") else {}
    else:
        params |= _whatsapp_params(world, text)
    if text.body is None:
        del params["Body"]
    for key, value in text.params.items():
        if value is None:
            params.pop(key, None)
        else:
            params[key] = value
    return params


def _whatsapp_params(world: World, text: Text) -> dict[str, str]:
    shown = world.phones.get(text.phone)
    name = text.name or (shown.name if shown is not None else "") or "WhatsApp user"
    digits = text.phone.lstrip("+")
    kind = text.media[0][1].partition("/")[0] if text.media else "text"
    if "Latitude" in text.params:
        kind = "location"
    context = {"ProfileName": name, "WaId": digits}
    params = {
        "ProfileName": name, "WaId": digits, "ReferralNumMedia": "0", "MessageType": "button" if text.button else kind,
        "ChannelMetadata": json.dumps({"type": "whatsapp", "data": {"context": context}}, ensure_ascii=False),
    }  # fmt: skip
    if text.button:
        params |= {"ButtonText": text.button[0], "ButtonPayload": text.button[1]}
    if text.in_reply_to:
        params |= {"OriginalRepliedMessageSid": text.in_reply_to, "OriginalRepliedMessageSender": text.to}
    return params


def deliver_text(world: World, text: Text, times: int = 1) -> dict[str, Any]:
    """Bring the text to the carrier and to the webhook, and its answer to the phone.

    `times` posts the same webhook that often at once, as after a lost answer. One answer per MessageSid reaches the phone, the first that
    is whole. Returns {status, sid, replies, error, carrier, elapsed_ms, results}; `error` is Twilio's code or None.
    """
    line, phone = text.line, text.phone
    scope = world.scope_of(text.to)
    message = world.ledger.by_sid.get(text.sid)
    if message is None:
        message = Message(
            text.sid, "inbound", phone, text.to, ("whatsapp:" if line.channel == "whatsapp" else "") + phone, text.body or "",
            max(1, count_segments(text.body or "").segments), "receiving", account=line.account or world.main_account,
            media=tuple(url for url, _ in text.media), tapped=text.button is not None,
        )  # fmt: skip
        world.ledger.add(message)
        world.ledger.show(message)
    world.remember_text(phone, text.to)
    act = world.carrier.hear(line, phone, scope, text.body or "")
    if act.answer:
        _show_carrier_answer(world, text, act.answer)
    params = inbound_params(world, text, act)
    token = world.token_of(params.get("AccountSid", ""))
    url = urljoin(world.poster.public_base + "/", world.webhook_of(line))
    heard = _post_all(world, url, params, token, text.sid, times)
    first = next((one for one in heard if one.error is None), heard[0])
    if first.error is None:
        world.ledger.change(message, "received")
        if _claim_answer(world, text.sid):
            for reply in first.replies:
                _show_reply(world, text, reply, url, scope)
    else:
        world.ledger.change(message, "failed")
        failed = mark("The webhook failed (HTTP {status}, Twilio error {error})")
        world.write_note(phone, text.to, failed, first.error, status=first.answer.status, error=first.error)
    results = [_describe(one) for one in heard]
    return {**_describe(first), "sid": text.sid, "carrier": [act.answer] if act.answer else [], "results": results}


def _describe(one: Heard) -> dict[str, Any]:
    return {
        "status": one.answer.status, "error": one.error, "replies": [reply.body for reply in one.replies],
        "elapsed_ms": round(one.answer.seconds * 1000, 2),
    }  # fmt: skip


def _post_all(world: World, url: str, params: Mapping[str, str], token: str, sid: str, times: int) -> list[Heard]:
    def post() -> Heard:
        answer = world.poster.post(url, params, token, idempotency=sid)
        if answer.error is not None:
            return Heard(answer, [], answer.error)
        try:
            return Heard(answer, read_twiml(answer.body, answer.content_type), None)
        except TwimlRefused as refused:
            return Heard(answer, [], refused.code)

    if times == 1:
        return [post()]
    start_together = threading.Barrier(times)

    def post_together() -> Heard:
        start_together.wait()
        return post()

    with ThreadPoolExecutor(times) as pool:
        return [future.result() for future in [pool.submit(post_together) for _ in range(times)]]


def _claim_answer(world: World, sid: str) -> bool:
    with world.ledger.lock:
        if sid in world.answered:
            return False
        world.answered[sid] = None
        if len(world.answered) > MOST_ANSWERED:
            del world.answered[next(iter(world.answered))]
        return True


def _show_carrier_answer(world: World, text: Text, answer: str) -> None:
    to = ("whatsapp:" if text.line.channel == "whatsapp" else "") + text.phone
    message = Message(make_sid("SM"), "carrier", text.phone, to, text.to, answer, count_segments(answer).segments, "sent")
    world.ledger.add(message)
    world.ledger.change(message, "delivered")


def _show_reply(world: World, text: Text, reply: Reply, url: str, scope: str) -> None:
    """A TwiML reply is at once on the phone that is waiting for it, and then lives like any message. To an opted-out phone it fails."""
    to = reply.to or ("whatsapp:" if text.line.channel == "whatsapp" else "") + text.phone
    message = Message(
        make_sid("MM" if reply.media else "SM"), "reply", number_of(to), to, text.to, reply.body,
        max(1, count_segments(reply.body).segments), "queued", account=text.line.account or world.main_account, media=reply.media,
        status_callback=urljoin(url, reply.status_callback) if reply.status_callback else "", answers=text.sid,
    )  # fmt: skip
    if world.carrier.is_blocked(number_of(to), scope):
        message.error_code, message.error_message = OPTED_OUT, "Attempt to send to unsubscribed recipient"
    world.ledger.add(message)
    world.receipts.plan(message, text.line, 0.0)
    if message.error_code is None:
        world.ledger.show(message)


def read_times(told: Mapping[str, Any]) -> int:
    """How often the webhook is posted at once. Raises BadRequest."""
    times = told.get("times", 1)
    if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= MOST_TIMES:
        raise BadRequest(f"times is a whole number from 1 to {MOST_TIMES}")
    return times
