"""How the pretend account is set up: what an operator does in Twilio's console, thrown by switches (POST /_sim/account).

Out of the box everything is in order, so that the demo's doctor finds nothing; each switch puts one thing out of order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from bot.simulator.wire import BadRequest

CAMPAIGN_STATES = ("PENDING", "IN_PROGRESS", "VERIFIED", "FAILED", "SUSPENDED")
TOLL_FREE_STATES = ("PENDING_REVIEW", "IN_REVIEW", "TWILIO_APPROVED", "TWILIO_REJECTED", "none")
TEMPLATE_STATES = ("unsubmitted", "received", "pending", "approved", "rejected", "paused", "disabled")
NUMBER_FIELDS = ("sms_method", "sms_fallback_url", "sms_application_sid", "can_sms")
SENDER_FIELDS = ("status", "reason", "method", "fallback_url")
SERVICE_FIELDS = ("inbound_method", "fallback_url", "status_callback", "use_inbound_webhook_on_number")


@dataclass(slots=True)
class Setup:
    """The switches. `webhooks` is not kept here: it changes the webhook that the lines named really call."""

    trial: bool = False
    status: str = "active"
    balance: str | None = "25.00"  # None: a subaccount, which has none
    currency: str = "USD"
    missing: list[str] = field(default_factory=list)  # addresses that the account does not own
    unregistered: list[str] = field(default_factory=list)  # US numbers that are in no registered service
    campaign: dict[str, Any] = field(default_factory=dict)  # {"status": "FAILED", "errors": ["..."]}; {} is verified
    toll_free: dict[str, Any] = field(default_factory=dict)  # {"status": "TWILIO_REJECTED", "reason": "..."}
    closed_countries: list[str] = field(default_factory=list)
    geo_readable: bool = True
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)  # address -> NUMBER_FIELDS
    services: dict[str, dict[str, Any]] = field(default_factory=dict)  # MG... -> SERVICE_FIELDS
    senders: dict[str, dict[str, Any]] = field(default_factory=dict)  # whatsapp:+... -> SENDER_FIELDS
    sees_senders: bool = True  # False: the Senders API knows none (a sandbox)

    def set(self, told: Mapping[str, Any]) -> None:
        """Throw the switches named in `told`; the others stay. Raises BadRequest and changes nothing when one is wrong."""
        known = {one.name: one for one in fields(self)}
        if set(told) - set(known):
            raise BadRequest(f"an account has {', '.join(sorted(known))}, webhooks and templates")
        for name, value in told.items():
            like = getattr(Setup(), name)
            if not isinstance(value, type(like)) and not (name == "balance" and value is None):
                raise BadRequest(f"{name} is like {like!r}")
        _check(told, "campaign", CAMPAIGN_STATES)
        _check(told, "toll_free", TOLL_FREE_STATES)
        for name, allowed in (("numbers", NUMBER_FIELDS), ("services", SERVICE_FIELDS), ("senders", SENDER_FIELDS)):
            for one in (told.get(name) or {}).values():
                if not isinstance(one, Mapping) or set(one) - set(allowed):
                    raise BadRequest(f"each of {name} has {', '.join(allowed)}")
        for name, value in told.items():
            setattr(self, name, value)

    def clear(self) -> None:
        """Everything is in order again."""
        for one in fields(self):
            setattr(self, one.name, getattr(Setup(), one.name))

    def describe(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


def _check(told: Mapping[str, Any], name: str, states: tuple[str, ...]) -> None:
    status = (told.get(name) or {}).get("status")
    if status is not None and status not in states:
        raise BadRequest(f"{name}.status is one of {', '.join(states)}")
