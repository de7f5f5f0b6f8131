"""Reading a Twilio account as it is set up, and pointing a line's webhook at us. Plain values out; nothing of Twilio's client leaves here.

Shapes: Twilio's OpenAPI description (twilio-oai: api v2010, messaging v1 and v2, accounts v1). Every function raises AccountError when
Twilio does not answer or refuses; what it does not have is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from bot.delivery.gateway import AccountError

PAGE = 50
MOST_PAGES = 50
TOLL_FREE = ("800", "833", "844", "855", "866", "877", "888")


class Asks(Protocol):
    """Whoever asks Twilio about an account: gateway.AccountClient."""

    def ask(self, method: str, product: str, path: str, *, query: Any = None, form: Any = None, body: Any = None) -> dict[str, Any]:
        """One request; its JSON answer. Raises AccountError."""


@dataclass(frozen=True)
class Webhook:
    """What is called for a text that comes in; "" where nothing is set."""

    url: str = ""
    method: str = ""
    fallback_url: str = ""


@dataclass(frozen=True)
class Account:
    is_trial: bool
    status: str  # active | suspended | closed


@dataclass(frozen=True)
class Balance:
    amount: Decimal
    currency: str


@dataclass(frozen=True)
class Number:
    """A number or short code of the account. ``application``: a TwiML application that overrules its webhook."""

    sid: str
    address: str
    can_sms: bool
    webhook: Webhook
    application: str = ""


@dataclass(frozen=True)
class Service:
    """A Messaging Service. ``uses_numbers_webhook``: each number's own webhook is called, not the service's."""

    sid: str
    webhook: Webhook
    uses_numbers_webhook: bool


@dataclass(frozen=True)
class Campaign:
    """A US A2P 10DLC campaign. ``status``: IN_PROGRESS, VERIFIED, FAILED ...; ``faults``: what the reviewers said."""

    status: str
    use_case: str
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class TollFree:
    """A toll-free verification. ``status``: PENDING_REVIEW, IN_REVIEW, TWILIO_APPROVED, TWILIO_REJECTED."""

    status: str
    reason: str = ""
    may_edit: bool = False


@dataclass(frozen=True)
class Sender:
    """A WhatsApp sender (Senders API v2). ``kept`` is its webhook object as Twilio told it."""

    sid: str
    status: str  # ONLINE, OFFLINE, CREATING ...
    webhook: Webhook
    reasons: tuple[str, ...]
    kept: dict[str, Any]


def is_toll_free(address: str) -> bool:
    """Whether a number is a toll-free one of North America: another registration, and 3 segments a second."""
    return address.startswith("+1") and len(address) == 12 and address[2:5] in TOLL_FREE


class TwilioAccount:
    """One account, read through ``client``."""

    def __init__(self, client: Asks, sid: str) -> None:
        self._client = client
        self._path = f"/2010-04-01/Accounts/{sid}"

    # --- the account -----------------------------------------------------------------------------------------------------

    def read(self) -> Account:
        """Whether it is a trial, and whether it is active. AccountError with status 401: the token is not accepted."""
        told = self._client.ask("GET", "api", f"{self._path}.json")
        return Account(str(told.get("type", "")).casefold() == "trial", str(told.get("status", "")))

    def read_balance(self) -> Balance | None:
        """What is left on it; None for a subaccount, whose money is its parent's."""
        try:
            told = self._client.ask("GET", "api", f"{self._path}/Balance.json")
            return Balance(Decimal(str(told["balance"])), str(told.get("currency", "")))
        except AccountError as error:
            if error.status in (403, 404):
                return None
            raise
        except (KeyError, InvalidOperation):
            return None

    def read_closed_countries(self, countries: set[str]) -> set[str] | None:
        """Which of the countries (ISO 3166 alpha-2) SMS may not go to (geo permissions); None where Twilio does not tell by API."""
        if not countries:
            return set()
        try:
            told = self._client.ask("GET", "accounts", "/v1/Messaging/GeoPermissions")
        except AccountError as error:
            if error.status in (400, 403, 404):
                return None
            raise
        permissions = told.get("permissions")
        if not isinstance(permissions, list):
            return None
        is_open = {str(one.get("country_code")): bool(one.get("enabled")) for one in permissions if isinstance(one, dict)}
        return {country for country in countries if not is_open.get(country, False)}

    # --- numbers and services ---------------------------------------------------------------------------------------------

    def find_number(self, address: str) -> Number | None:
        """The number (E.164) or short code, if it belongs to this account."""
        if not address.startswith("+"):
            codes = self._list("api", f"{self._path}/SMS/ShortCodes.json", "short_codes", {"ShortCode": address})
            return next((_read_number(one, "short_code") for one in codes if one.get("short_code") == address), None)
        numbers = self._list("api", f"{self._path}/IncomingPhoneNumbers.json", "incoming_phone_numbers", {"PhoneNumber": address})
        return next((_read_number(one, "phone_number") for one in numbers if one.get("phone_number") == address), None)

    def find_service(self, sid: str) -> Service | None:
        """The Messaging Service of this SID (MG…)."""
        try:
            return _read_service(self._client.ask("GET", "messaging", f"/v1/Services/{sid}"))
        except AccountError as error:
            if error.status == 404:
                return None
            raise

    def find_service_of(self, number: Number) -> Service | None:
        """The Messaging Service in whose pool this number is. A number is in one at most; Twilio tells it only from the service's side."""
        for told in self._list("messaging", "/v1/Services", "services"):
            if any(sid == number.sid for sid, _ in self._pool(str(told["sid"]))):
                return _read_service(told)
        return None

    def pool_of(self, service: Service) -> list[str]:
        """The numbers and short codes of a service."""
        return [address for _, address in self._pool(service.sid)]

    def _pool(self, service_sid: str) -> Iterator[tuple[str, str]]:
        for name, key, field in (("PhoneNumbers", "phone_numbers", "phone_number"), ("ShortCodes", "short_codes", "short_code")):
            for one in self._list("messaging", f"/v1/Services/{service_sid}/{name}", key):
                yield str(one.get("sid", "")), str(one.get(field, ""))

    def campaigns_of(self, service: Service) -> list[Campaign]:
        """The US A2P 10DLC campaigns of a service."""
        return [
            Campaign(str(one.get("campaign_status", "")), str(one.get("us_app_to_person_usecase", "")), _read_faults(one.get("errors")))
            for one in self._list("messaging", f"/v1/Services/{service.sid}/Compliance/Usa2p", "compliance")
        ]

    def toll_free_of(self, number: Number) -> TollFree | None:
        """The latest verification of a toll-free number."""
        query = {"TollfreePhoneNumberSid": number.sid}
        for one in self._list("messaging", "/v1/Tollfree/Verifications", "verifications", query):
            if one.get("tollfree_phone_number_sid") == number.sid:
                return TollFree(str(one.get("status", "")), str(one.get("rejection_reason") or ""), bool(one.get("edit_allowed")))
        return None

    def find_sender(self, address: str) -> Sender | None:
        """The WhatsApp sender (``whatsapp:+…``)."""
        for one in self._list("messaging", "/v2/Channels/Senders", "senders", {"Channel": "whatsapp"}):
            if one.get("sender_id") == address:
                return _read_sender(one)
        return None

    # --- the one thing that is written ---------------------------------------------------------------------------------

    def set_number_webhook(self, number: Number, url: str) -> Webhook:
        """Have texts to this number posted to ``url``; returns what holds now."""
        place = "IncomingPhoneNumbers" if number.address.startswith("+") else "SMS/ShortCodes"
        told = self._client.ask("POST", "api", f"{self._path}/{place}/{number.sid}.json", form={"SmsUrl": url, "SmsMethod": "POST"})
        return _read_number(told, "phone_number").webhook

    def set_service_webhook(self, service: Service, url: str) -> Webhook:
        """The same for every number of a Messaging Service."""
        form = {"InboundRequestUrl": url, "InboundMethod": "POST"}
        return _read_service(self._client.ask("POST", "messaging", f"/v1/Services/{service.sid}", form=form)).webhook

    def set_sender_webhook(self, sender: Sender, url: str) -> Webhook:
        """The same for a WhatsApp sender. Twilio takes the webhook as a whole, so the rest of it is sent along."""
        body = {"webhook": {**sender.kept, "callback_url": url, "callback_method": "POST"}}
        self._client.ask("POST", "messaging", f"/v2/Channels/Senders/{sender.sid}", body=body)
        # The answer (202) comes before the change is done.
        return _read_sender(self._client.ask("GET", "messaging", f"/v2/Channels/Senders/{sender.sid}")).webhook

    def _list(self, product: str, path: str, key: str, query: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        yield from read_pages(self._client, product, path, key, query)


def read_pages(client: Asks, product: str, path: str, key: str, query: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Every object of a list, page by page. Only the path and query of Twilio's "next page" are followed, never its host."""
    asked: dict[str, Any] = {**(query or {}), "PageSize": PAGE}
    for _ in range(MOST_PAGES):
        told = client.ask("GET", product, path, query=asked)
        yield from (one for one in told.get(key, ()) if isinstance(one, dict))
        following = (told.get("meta") or {}).get("next_page_url") or told.get("next_page_uri")
        if not following:
            return
        parts = urlsplit(str(following))
        path, asked = parts.path, dict(parse_qsl(parts.query))


def _read_number(told: dict[str, Any], field: str) -> Number:
    capabilities = told.get("capabilities")
    # A short code has no capabilities: it is for texts.
    can_sms = bool(capabilities.get("sms", capabilities.get("SMS"))) if isinstance(capabilities, dict) else True
    webhook = Webhook(str(told.get("sms_url") or ""), str(told.get("sms_method") or ""), str(told.get("sms_fallback_url") or ""))
    return Number(str(told.get("sid", "")), str(told.get(field, "")), can_sms, webhook, str(told.get("sms_application_sid") or ""))


def _read_service(told: dict[str, Any]) -> Service:
    webhook = Webhook(
        str(told.get("inbound_request_url") or ""), str(told.get("inbound_method") or ""), str(told.get("fallback_url") or "")
    )
    return Service(str(told.get("sid", "")), webhook, bool(told.get("use_inbound_webhook_on_number")))


def _read_sender(told: dict[str, Any]) -> Sender:
    kept = {key: value for key, value in (told.get("webhook") or {}).items() if value}
    webhook = Webhook(str(kept.get("callback_url", "")), str(kept.get("callback_method", "")), str(kept.get("fallback_url", "")))
    reasons = tuple(str(one.get("message") or one.get("code") or "") for one in told.get("offline_reasons") or () if isinstance(one, dict))
    return Sender(str(told.get("sid", "")), str(told.get("status", "")), webhook, reasons, kept)


def _read_faults(errors: object) -> tuple[str, ...]:
    """What is wrong with a campaign, one sentence each."""
    found = [one for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
    return tuple(str(one.get("description") or one.get("error_code") or "no reason given") for one in found)
