"""Twilio's Content API: message templates, and asking WhatsApp to approve them (twilio-oai: content v1).

Raises AccountError when Twilio does not answer or refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.delivery.account import Asks, read_pages
from bot.delivery.ready_templates import ReadyTemplate

# Twilio's words for what Meta says -> ours (models/templates.py). "received": Twilio has it, Meta not yet.
STATES = {
    "unsubmitted": "draft",
    "received": "submitted",
    "pending": "submitted",
    "approved": "approved",
    "rejected": "rejected",
    "paused": "paused",
    "disabled": "disabled",
}


@dataclass(frozen=True)
class Content:
    """A template as Twilio has it. ``state`` is one of ours."""

    sid: str
    name: str
    locale: str
    body: str
    state: str
    reason: str = ""


def read_contents(client: Asks) -> list[Content]:
    """Every template of the account, with WhatsApp's word on it."""
    return [_read(one) for one in read_pages(client, "content", "/v1/ContentAndApprovals", "contents")]


def create_content(client: Asks, ready: ReadyTemplate) -> Content:
    """Make the template at Twilio. Nobody has approved it yet."""
    body = {
        "friendly_name": ready.name,
        "language": ready.locale,
        "variables": dict(ready.samples),
        "types": {"twilio/text": {"body": ready.body}},
    }
    return _read(client.ask("POST", "content", "/v1/Content", body=body))


def request_approval(client: Asks, sid: str, ready: ReadyTemplate) -> str:
    """Have WhatsApp look at it; returns its state."""
    body = {"name": ready.name, "category": ready.category}
    told = client.ask("POST", "content", f"/v1/Content/{sid}/ApprovalRequests/whatsapp", body=body)
    return STATES.get(str(told.get("status", "")).casefold(), "submitted")


def _read(told: dict[str, Any]) -> Content:
    approval = told.get("approval_requests")
    approval = approval if isinstance(approval, dict) else {}
    types = told.get("types")
    first: Any = next(iter(types.values()), {}) if isinstance(types, dict) else {}
    return Content(
        sid=str(told.get("sid", "")),
        name=str(told.get("friendly_name", "")),
        locale=str(told.get("language", "")),
        body=str(first.get("body", "")) if isinstance(first, dict) else "",
        state=STATES.get(str(approval.get("status", "unsubmitted")).casefold(), "draft"),
        reason=str(approval.get("rejection_reason") or ""),
    )
