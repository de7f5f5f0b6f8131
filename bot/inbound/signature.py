"""Is it really Twilio? Checked before anything is parsed for its meaning; a wrong signature is a 403 with no effect.

The signature covers exactly the URL that Twilio requested, and a proxy changes what ``request.url`` shows (measured: encoded paths and
queries, ports, upper-case hosts all fail), so the URL is built from PUBLIC_URL and the raw path and query.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import Request
from twilio.request_validator import RequestValidator

from bot.inbound.forms import URLENCODED, Form, read_body, read_form
from bot.settings import Settings


class SignatureRefused(Exception):
    """The request was not signed by our carrier account."""


class Doorkeeper:
    """Knows the account's tokens (two during a rotation) and where the world reaches us."""

    def __init__(self, settings: Settings) -> None:
        self._validators = [RequestValidator(token) for token in settings.twilio_auth_token]
        self._account = settings.twilio_account_sid
        self._public = settings.public_url

    def admit(self, request: Request) -> Mapping[str, Any]:
        """The request's parameters, once it is known to be Twilio's. Raises SignatureRefused."""
        signature = request.environ.get("HTTP_X_TWILIO_SIGNATURE")
        if not signature or not signature.isascii():
            raise SignatureRefused("no signature")
        url = self.url_of(request)
        kind = request.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        parameters: Any
        if kind == "application/json":
            parameters = self._admit_json(request, url, signature)
        else:
            # The form itself: repeated keys must stay repeated. A body of another kind is Werkzeug's to read.
            parameters = read_form(read_body(request)) if kind == URLENCODED else request.form
            if not any(self._matches(validator, url, parameters, signature) for validator in self._validators):
                raise SignatureRefused("the signature does not match")
        if parameters.get("AccountSid", self._account) != self._account:
            raise SignatureRefused("another account")
        return parameters

    @staticmethod
    def _matches(validator: RequestValidator, url: str, form: Any, signature: str) -> bool:
        # The URL as it is, first: it nearly always fits. The SDK also tries it with and without its port, and any other body.
        if isinstance(form, Form):
            mac = hmac.digest(validator.token, (url + form.signed_text()).encode(), "sha1")
            if hmac.compare_digest(b64encode(mac), signature.encode()):
                return True
        return bool(validator.validate(url, form, signature))

    def _admit_json(self, request: Request, url: str, signature: str) -> Mapping[str, Any]:
        body = request.get_data(as_text=True)
        # Without bodySHA256 the signature says nothing about the body (and the SDK raises): refuse.
        digests = parse_qs(urlsplit(url).query).get("bodySHA256")
        if not digests or not any(validator.validate(url, body, signature) for validator in self._validators):
            raise SignatureRefused("the signature does not match")
        try:
            parameters = json.loads(body)
        except (ValueError, RecursionError):
            raise SignatureRefused("the body is no JSON") from None
        if not isinstance(parameters, dict):
            raise SignatureRefused("the body is no JSON object")
        return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in parameters.items()}

    def url_of(self, request: Request) -> str:
        """The URL as the carrier requested it: PUBLIC_URL, then the path and query as they came over the wire."""
        raw = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or ""
        if not raw.startswith("/"):
            # Absolute form, as some proxies send it: its host is theirs to invent, only what follows counts.
            raw = "/" + raw.partition("://")[2].partition("/")[2]
        return self._public + raw
