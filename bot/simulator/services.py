"""messaging.twilio.com and accounts.twilio.com: Messaging Services, registrations, WhatsApp senders, geo permissions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bot.simulator.account import Handler, numbers_of, owned_lines, point_webhook, read_routes, sid_of, webhook_of
from bot.simulator.lines import Line
from bot.simulator.shapes import answer_error, no_method, not_found, page_of
from bot.simulator.wire import Answer, BadRequest, Request, answer_json
from bot.simulator.world import World

TOLL_FREE = ("800", "833", "844", "855", "866", "877", "888")


def is_toll_free(address: str) -> bool:
    return address.startswith("+1") and address[2:5] in TOLL_FREE


def services_of(world: World, account: str) -> list[Line]:
    """The configured services, and one more that holds the registered US numbers of no other: it leaves their webhooks alone."""
    configured = [line for line in owned_lines(world, account) if line.is_service]
    held = {address for service in configured for address in service.pool}
    others = [
        line.address
        for line in numbers_of(world, account)
        if line.address.startswith("+1") and line.address not in held and line.address not in world.setup.unregistered
    ]
    return [*configured, Line(sid_of("MG", "registered"), pool=others, webhook="")] if others else configured


def _whatsapp(world: World, account: str) -> list[Line]:
    return [line for line in owned_lines(world, account) if line.channel == "whatsapp"] if world.setup.sees_senders else []


def _describe_service(world: World, line: Line, account: str) -> dict[str, Any]:
    own = world.setup.services.get(line.address, {})
    return {
        "sid": line.address, "account_sid": account, "friendly_name": line.label, "inbound_request_url": webhook_of(world, line) or None,
        "inbound_method": own.get("inbound_method", "POST"), "fallback_url": own.get("fallback_url"), "fallback_method": "POST",
        "status_callback": own.get("status_callback"), "sticky_sender": True, "mms_converter": True, "smart_encoding": False,
        "fallback_to_long_code": False, "area_code_geomatch": True, "validity_period": 36000, "synchronous_validation": False,
        "scan_message_content": "inherit", "usecase": "undeclared", "us_app_to_person_registered": bool(_campaigns(world, line, account)),
        "use_inbound_webhook_on_number": own.get("use_inbound_webhook_on_number", not line.webhook), "date_created": None,
        "date_updated": None, "url": f"https://messaging.twilio.com/v1/Services/{line.address}",
        "links": {"phone_numbers": f"https://messaging.twilio.com/v1/Services/{line.address}/PhoneNumbers"},
    }  # fmt: skip


def _services(world: World, request: Request, account: str, _: str) -> Answer:
    if request.method != "GET":
        return no_method()
    return page_of(request, "services", [_describe_service(world, line, account) for line in services_of(world, account)])


def _service(world: World, request: Request, account: str, sid: str) -> Answer:
    line = next((line for line in services_of(world, account) if line.address == sid), None)
    if line is None:
        return not_found(request)
    if request.method == "POST":
        form = dict(request.form().items)
        if "InboundRequestUrl" in form:
            try:
                point_webhook(world, line, form["InboundRequestUrl"])
            except BadRequest as refused:
                return answer_error(400, 21402, refused.why)
        told = {"inbound_method": form.get("InboundMethod"), "fallback_url": form.get("FallbackUrl")}
        world.setup.services.setdefault(sid, {}).update({key: value for key, value in told.items() if value is not None})
    elif request.method != "GET":
        return no_method()
    return answer_json(_describe_service(world, line, account))


def _in_service(describe: Callable[[World, Line, str], list[dict[str, Any]]], key: str) -> Handler:
    def answer(world: World, request: Request, account: str, sid: str) -> Answer:
        line = next((line for line in services_of(world, account) if line.address == sid), None)
        if line is None:
            return not_found(request)
        return page_of(request, key, describe(world, line, account)) if request.method == "GET" else no_method()

    return answer


def _pool_numbers(world: World, service: Line, account: str) -> list[dict[str, Any]]:
    return [
        {
            "sid": sid_of("PN", address), "account_sid": account, "service_sid": service.address, "phone_number": address,
            "country_code": "US" if address.startswith("+1") else "", "capabilities": ["MMS", "SMS", "Voice"], "date_created": None,
            "date_updated": None, "url": f"https://messaging.twilio.com/v1/Services/{service.address}/PhoneNumbers/{sid_of('PN', address)}",
        }
        for address in service.pool
        if address.startswith("+")
    ]  # fmt: skip


def _pool_codes(world: World, service: Line, account: str) -> list[dict[str, Any]]:
    codes = [address for address in service.pool if address.isdigit()]
    return [{"sid": sid_of("SC", code), "account_sid": account, "service_sid": service.address, "short_code": code} for code in codes]


def _campaigns(world: World, service: Line, account: str) -> list[dict[str, Any]]:
    local = [address for address in service.pool if address.startswith("+1") and not is_toll_free(address)]
    if not local or any(address in world.setup.unregistered for address in local):
        return []
    own = world.setup.campaign
    errors = [
        {"error_code": 30909, "description": why, "url": "https://www.twilio.com/docs/api/errors/30909", "fields": ["MESSAGE_FLOW"]}
        for why in own.get("errors", ())
    ]
    return [{
        "sid": sid_of("QE", service.address), "account_sid": account, "messaging_service_sid": service.address,
        "brand_registration_sid": sid_of("BN", "brand"), "us_app_to_person_usecase": "LOW_VOLUME", "description": "Texts of a collective",
        "message_samples": [], "campaign_status": own.get("status", "VERIFIED"), "campaign_id": "CSIMULATED", "mock": False,
        "is_externally_registered": False, "rate_limits": {}, "errors": errors, "date_created": None, "date_updated": None,
    }]  # fmt: skip


def _verifications(world: World, request: Request, account: str, _: str) -> Answer:
    if request.method != "GET":
        return no_method()
    own = world.setup.toll_free
    asked = request.query().get("TollfreePhoneNumberSid")
    found = []
    for line in numbers_of(world, account):
        if is_toll_free(line.address) and own.get("status") != "none" and asked in ("", sid_of("PN", line.address)):
            found.append({
                "sid": sid_of("HH", line.address), "account_sid": account, "tollfree_phone_number_sid": sid_of("PN", line.address),
                "tollfree_phone_number": line.address, "status": own.get("status", "TWILIO_APPROVED"),
                "rejection_reason": own.get("reason"), "error_code": None, "edit_allowed": own.get("edit_allowed", False),
                "date_created": None, "date_updated": None,
            })  # fmt: skip
    return page_of(request, "verifications", found)


def _describe_sender(world: World, line: Line) -> dict[str, Any]:
    own = world.setup.senders.get(line.address, {})
    sid = sid_of("XE", line.address)
    return {
        "sid": sid, "status": own.get("status", "ONLINE"), "sender_id": line.address, "configuration": {"waba_id": "1"}, "profile": {},
        "webhook": {
            "callback_url": webhook_of(world, line) or None, "callback_method": own.get("method", "POST"),
            "fallback_url": own.get("fallback_url"),
            "fallback_method": "POST", "status_callback_url": None, "status_callback_method": "POST",
        },
        "properties": {"quality_rating": "HIGH", "messaging_limit": "1K Customers/24hr"},
        "offline_reasons": [{"code": "63025", "message": own["reason"]}] if own.get("reason") else None,
        "url": f"https://messaging.twilio.com/v2/Channels/Senders/{sid}",
    }  # fmt: skip


def _senders(world: World, request: Request, account: str, _: str) -> Answer:
    if request.method != "GET":
        return no_method()
    if request.query().get("Channel") != "whatsapp":
        return answer_error(400, 63100, "Channel is required")
    return page_of(request, "senders", [_describe_sender(world, line) for line in _whatsapp(world, account)])


def _sender(world: World, request: Request, account: str, sid: str) -> Answer:
    line = next((line for line in _whatsapp(world, account) if sid_of("XE", line.address) == sid), None)
    if line is None:
        return not_found(request)
    if request.method == "POST":
        webhook = request.json().get("webhook") or {}
        if "callback_url" in webhook:
            point_webhook(world, line, str(webhook["callback_url"] or ""))
        # The webhook is taken as a whole: what is not sent along is gone.
        own = world.setup.senders.setdefault(line.address, {})
        own |= {"method": str(webhook.get("callback_method") or "POST"), "fallback_url": webhook.get("fallback_url")}
        return answer_json(_describe_sender(world, line), 202)
    return answer_json(_describe_sender(world, line)) if request.method == "GET" else no_method()


def _geo_permissions(world: World, request: Request, account: str, _: str) -> Answer:
    if not world.setup.geo_readable:
        return not_found(request)
    asked = request.query().get("CountryCode")
    codes = ("AR", "BD", "BR", "CA", "DE", "ES", "FR", "GB", "IN", "KE", "MX", "NG", "NP", "PK", "PR", "US", "ZA")
    return answer_json({
        "permissions": [
            {"country_code": code, "type": "country", "enabled": code not in world.setup.closed_countries, "prefix": "", "message": ""}
            for code in codes
            if asked in ("", code)
        ]
    })  # fmt: skip


ROUTES = read_routes(
    ("/v1/Services", _services),
    ("/v1/Services/{one}", _service),
    ("/v1/Services/{one}/PhoneNumbers", _in_service(_pool_numbers, "phone_numbers")),
    ("/v1/Services/{one}/ShortCodes", _in_service(_pool_codes, "short_codes")),
    ("/v1/Services/{one}/Compliance/Usa2p", _in_service(_campaigns, "compliance")),
    ("/v1/Tollfree/Verifications", _verifications),
    ("/v2/Channels/Senders", _senders),
    ("/v2/Channels/Senders/{one}", _sender),
    ("/v1/Messaging/GeoPermissions", _geo_permissions),
)
