"""Twilio's doors. Each checks the signature first; what comes without a right one gets 403 and has no effect."""

from __future__ import annotations

import logging
from functools import wraps
from typing import Any

from flask import Blueprint, Response, current_app, request
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from bot.delivery.receipts import apply_receipt
from bot.deployment import Deployment
from bot.inbound.keywords import WordTable
from bot.inbound.message import NotAMessage, read_message
from bot.inbound.receive import EMPTY, Reception, receive
from bot.inbound.signature import Doorkeeper, SignatureRefused
from bot.inbound.lines import LineBook
from models import DatabaseBusy

log = logging.getLogger("chorus.inbound")

blueprint = Blueprint("twilio", __name__, url_prefix="/twilio")

# What the database raises when it is down, hanging or full: nothing was stored, so nothing may look like success.
DATABASE_AWAY = (OperationalError, InterfaceError, PoolExhausted, DatabaseBusy)


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
            parameters = doorkeeper.admit(request)
        except SignatureRefused:
            return Response(status=403)
        try:
            answer: Response = view(parameters, **values)
        except DATABASE_AWAY as error:
            log.error("the database is away (%s): answered 503, the carrier or the poller brings it again", type(error).__name__)
            return Response(status=503, headers={"Retry-After": "30"})
        return answer

    guarded.door = "twilio signature"  # type: ignore[attr-defined]
    return guarded


@blueprint.route("/inbound", methods=["POST", "GET"])
@signed_by_twilio
def inbound(parameters: Any) -> Response:
    """One message from a member; the answer is TwiML."""
    try:
        message = read_message(parameters)
    except NotAMessage:
        return Response(EMPTY, content_type="text/xml")
    twiml = receive(current_app.extensions["chorus.reception"], message)
    return Response(twiml, content_type="text/xml; charset=utf-8")


@blueprint.post("/status/<token>")
@signed_by_twilio
def status(parameters: Any, token: str) -> Response:
    """A receipt. An unknown token, validly signed, is somebody's old message: 204, and nothing happens."""
    code = str(parameters.get("ErrorCode") or "")
    deployment: Deployment = current_app.extensions["chorus"]
    apply_receipt(
        deployment.store,
        token,
        str(parameters.get("MessageStatus") or parameters.get("SmsStatus") or ""),
        int(code) if code.isdecimal() and len(code) < 7 else None,
        str(parameters.get("MessageSid") or parameters.get("SmsSid") or "") or None,
    )
    return Response(status=204)
