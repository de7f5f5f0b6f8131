"""Twilio's doors. Each checks the signature first; what comes without a right one gets 403 and has no effect."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Blueprint, Response, current_app, request
from sqlalchemy.exc import OperationalError

from bot.delivery.receipts import apply_receipt
from bot.deployment import Deployment
from bot.inbound.backfill import ask_for_missed
from bot.inbound.keywords import WordTable
from bot.inbound.lines import LineBook
from bot.inbound.message import NotAMessage, read_message
from bot.inbound.receive import DATABASE_AWAY, Reception, receive
from bot.inbound.signature import Doorkeeper, SignatureRefused
from bot.inbound.twiml import EMPTY

log = logging.getLogger("chorus.inbound")

blueprint = Blueprint("twilio", __name__, url_prefix="/twilio")

# Deadlock and serialization failure: the other one went through, so now it is our turn.
_DEADLOCKS = ("40P01", "40001")
# A connection that was dead before we used it (the server restarted) says so at once; one that died of waiting is not tried again.
_AT_ONCE_SECONDS = 1.0


@blueprint.record_once
def prepare(state: Any) -> None:
    """Make, once an application, what every message needs."""
    from flows import FLOWS, WORDS

    deployment: Deployment = state.app.extensions["chorus"]
    state.app.extensions["chorus.doorkeeper"] = Doorkeeper(deployment.settings)
    state.app.extensions["chorus.reception"] = Reception(deployment, FLOWS, WordTable(WORDS), LineBook(deployment.store))


def signed_by_twilio(view: Any) -> Any:
    """The door of every route here: the view gets the parameters, once they are known to be Twilio's."""

    @wraps(view)
    def guarded(**values: Any) -> Response:
        doorkeeper: Doorkeeper = current_app.extensions["chorus.doorkeeper"]
        try:
            # The request itself: each look through Flask's proxy costs a microsecond.
            parameters = doorkeeper.admit(request._get_current_object())  # type: ignore[attr-defined]
        except SignatureRefused:
            return Response(status=403)
        try:
            return _once_more_if_it_passes(lambda: view(parameters, **values))
        except DATABASE_AWAY as error:
            log.error("the database is away (%s): answered 503, the carrier or the poller brings it again", type(error).__name__)
            return Response(status=503, headers={"Retry-After": "30"})

    guarded.door = "twilio signature"  # type: ignore[attr-defined]
    return guarded


def _once_more_if_it_passes(view: Callable[[], Response]) -> Response:
    """Both views may be run twice: a message is known by its SID, and a receipt only ever climbs."""
    began = time.monotonic()
    try:
        return view()
    except OperationalError as error:
        deadlock = getattr(error.orig, "sqlstate", None) in _DEADLOCKS
        stale = error.connection_invalidated and time.monotonic() - began < _AT_ONCE_SECONDS
        if not deadlock and not stale:
            raise
    return view()


@blueprint.post("/inbound")
@signed_by_twilio
def inbound(parameters: Any) -> Response:
    """One message from a member; the answer is TwiML."""
    try:
        message = read_message(parameters)
    except NotAMessage:
        return Response(EMPTY, content_type="text/xml")
    reception: Reception = current_app.extensions["chorus.reception"]
    try:
        twiml = receive(reception, message)
    except DATABASE_AWAY:
        reception.missed.set()
        raise
    if reception.missed.is_set():
        ask_for_missed(reception)
    return Response(twiml, content_type="text/xml; charset=utf-8")


@blueprint.post("/status/<token>")
@signed_by_twilio
def status(parameters: Any, token: str) -> Response:
    """A receipt. An unknown token, validly signed, is somebody's old message: 204, and nothing happens."""
    code = str(parameters.get("ErrorCode") or "")
    sid = str(parameters.get("MessageSid") or parameters.get("SmsSid") or "")
    deployment: Deployment = current_app.extensions["chorus"]
    apply_receipt(
        deployment.store,
        token,
        str(parameters.get("MessageStatus") or parameters.get("SmsStatus") or ""),
        int(code) if code.isdecimal() and len(code) < 7 else None,
        sid if sid.isascii() and sid.isalnum() and len(sid) <= 34 else None,
    )
    return Response(status=204)
