"""Accepting a message for sending, or refusing it with the code Twilio would."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bot.languages.segments import count_segments
from bot.simulator.ledger import Message, make_sid
from bot.simulator.lines import NUMBER, QUEUE_SECONDS, SERVICE, Line, channel_of, number_of
from bot.simulator.wire import Pairs, Request
from bot.simulator.world import World

LONGEST_BODY = 1600
MOST_MEDIA = 10
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")

REFUSALS = {
    21211: "Invalid 'To' Phone Number: {to}",
    21212: "Invalid From Number (caller ID): {sender}",
    21266: "'To' and 'From' number cannot be the same",
    21408: "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {to}",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21606: "The 'From' phone number provided ({sender}) is not a valid message-capable Twilio phone number for this destination/account",
    21608: "The number {to} is unverified. Trial accounts cannot send messages to unverified numbers",
    21609: "The StatusCallback URL {callback} is not a valid URL.",
    21610: "Attempt to send to unsubscribed recipient",
    21611: "This 'From' number has exceeded the maximum number of queued messages",
    21612: "Message cannot be sent with the current combination of 'To' ({to}) and/or 'From' ({sender}) parameters",
    21614: "'To' number is not a valid mobile number: {to}",
    21617: "The concatenated message body exceeds the 1600 character limit",
    21623: "Number of media files exceeds the allowed limit",
    21655: "The ContentSid is invalid",
    21656: "The Content Variables parameter is invalid",
    21701: "The Messaging Service does not exist",
    21703: "The Messaging Service does not have a phone number available to send a message",
    21910: "Invalid From and To pair. From and To should be of the same channel",
    63007: "Twilio could not find a Channel with the specified From address",
}
TOO_MANY = (20429, 21611)
WINDOW_CLOSED = "Failed to send freeform message because you are outside the allowed window. Please use a Message Template."


class CreateRefused(Exception):
    """The message is not accepted. `status` is the HTTP status, `code` Twilio's, `text` what the caller reads."""

    def __init__(self, code: int, **facts: str) -> None:
        super().__init__(f"Twilio error {code}")
        self.code = code
        self.status = 429 if code in TOO_MANY else 401 if code == 20003 else 500 if code == 20500 else 400
        self.text = REFUSALS.get(code, "The message was refused").format_map({"to": "", "sender": "", "callback": "", **facts})


def accept_message(world: World, form: Pairs, account: str, number: int, arrived: float, latency: float) -> Message:
    """Check a create request as Twilio does and write it into the ledger.

    `number` is its place among the create requests, `arrived` its monotonic time. Raises CreateRefused.
    """
    to, body, content_sid = form.get("To"), form.get("Body"), form.get("ContentSid")
    media = tuple(form.all("MediaUrl"))
    if not to:
        raise CreateRefused(21604)
    if not NUMBER.match(number_of(to)):
        raise CreateRefused(21211, to=to)
    service, sender = _find_sender(world, form, to)
    if sender is not None and sender.address == to:
        raise CreateRefused(21266)
    if not (body or media or content_sid):
        raise CreateRefused(21602)
    if len(body) > LONGEST_BODY:
        raise CreateRefused(21617)
    if len(media) > MOST_MEDIA:
        raise CreateRefused(21623)
    buttons: tuple[tuple[str, str], ...] = ()
    if content_sid:
        body, buttons = _fill_template(world.contents.get(content_sid), form.get("ContentVariables"))
    callback = form.get("StatusCallback")
    if callback and not _is_callback(callback):
        raise CreateRefused(21609, callback=callback)
    phone = number_of(to)
    scope = service.address if service is not None else world.scope_of(sender.address if sender is not None else "")
    refusal = world.faults.take_code(world.faults.refuse, to)
    if refusal is not None:
        raise CreateRefused(refusal.code, to=to, sender=form.get("From"))
    if world.carrier.is_blocked(phone, scope):
        raise CreateRefused(21610)
    named = form.get("From")
    message = Message(
        make_sid("MM" if media else "SM"), "api", phone, to, sender.address if sender is not None else "", body,
        max(1, count_segments(body).segments), "accepted" if service is not None and not named else "queued", account=account,
        service=service.address if service is not None else "", media=media, buttons=buttons, status_callback=callback,
        request_number=number, received=arrived, sender_known=service is None or bool(named),
    )  # fmt: skip
    if sender is not None:
        _check_queue(sender, message)
        if channel_of(to) == "whatsapp" and not world.window_is_open(phone, sender):
            _check_template(message, world.contents.get(content_sid))
        sender.segments_sent += message.segments
    return world.ledger.add(message)


def _check_queue(sender: Line, message: Message) -> None:
    """A sender's queue holds 10 hours: a direct send is then refused, a service's accepted and failed later."""
    if sender.mps is None or sender.next_free - time.monotonic() <= QUEUE_SECONDS:
        return
    if not message.service:
        raise CreateRefused(21611)
    message.error_code, message.error_message = 30001, "Queue overflow"


def _find_sender(world: World, form: Pairs, to: str) -> tuple[Line | None, Line | None]:
    """(the Messaging Service or None, the line that sends). Raises CreateRefused."""
    named, service_sid = form.get("From"), form.get("MessagingServiceSid")
    if not service_sid and SERVICE.match(named):
        named, service_sid = "", named
    service = None
    if service_sid:
        service = world.lines.get(service_sid)
        if service is None or not service.is_service:
            raise CreateRefused(21701)
        address = named or world.sender_for(service, to)
        if not address or (named and named not in service.pool):
            raise CreateRefused(21703)
        return service, world.lines.setdefault(address, Line(address, webhook=service.webhook))
    if not named:
        raise CreateRefused(21603)
    if channel_of(named) != channel_of(to):
        raise CreateRefused(21910)
    line = world.line_at(named)
    if line is None:
        raise CreateRefused(63007 if channel_of(named) == "whatsapp" else 21606 if NUMBER.match(named) else 21212, sender=named)
    return None, line


def _fill_template(content: Mapping[str, Any] | None, variables: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    if content is None:
        raise CreateRefused(21655)
    try:
        values = json.loads(variables or "{}")
    except ValueError as error:
        raise CreateRefused(21656) from error
    if not isinstance(values, dict):
        raise CreateRefused(21656)
    body = PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), str(content.get("body", "")))
    buttons = tuple((str(button.get("title", "")), str(button.get("id", button.get("title", "")))) for button in content.get("buttons", ()))
    return body, buttons


def _check_template(message: Message, content: Mapping[str, Any] | None) -> None:
    """Outside the window only what WhatsApp approved goes out. Contents of the configuration count as approved."""
    status = "" if content is None else (content.get("approval") or {}).get("status", "approved")
    if status in ("paused", "disabled"):
        message.error_code, message.error_message = 63041 if status == "paused" else 63042, f"Template {status}"
    elif status != "approved":
        message.error_code, message.error_message = 63016, WINDOW_CLOSED


def _is_callback(url: str) -> bool:
    """Twilio takes http and https URLs whose host name has no underscore."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "_" not in (parts.hostname or "")
    except ValueError:
        return False


def send_faulty_answer(world: World, request: Request, to: str) -> bool:
    """What befalls the answer to a message already accepted: nothing, a hang, a reset, or (True) an error instead of the answer."""
    hang = world.faults.take("accept_hang", to)
    if hang is not None:
        released = world.faults.released
        if world.hanging.acquire(blocking=False):  # hangs never take the last threads: the control paths stay open
            try:
                released.wait(hang.value)
            finally:
                world.hanging.release()
        else:
            reset_connection(request)
    if world.faults.take("accept_reset", to):
        reset_connection(request)
    return world.faults.take("accept_500", to) is not None


def reset_connection(request: Request) -> None:
    """Close the caller's connection with a TCP reset and no answer. Always raises ConnectionResetError, which ends the request.

    An unconnected socket takes the place of the connection, so that the kernel resets it now and the server closes only that stand-in:
    the server's own way is a polite end, which is another fault.
    """
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with socket.socket() as stand_in:
            os.dup2(stand_in.fileno(), connection.fileno())
    raise ConnectionResetError(errno.ECONNRESET, "reset by the simulator's fault")
