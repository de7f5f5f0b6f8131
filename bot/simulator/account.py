"""api.twilio.com beside its messages: the account, its money, its numbers and short codes. Shapes as in Twilio's OpenAPI description."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

from bot.simulator.lines import Line
from bot.simulator.shapes import answer_error, no_method, not_found, page_of
from bot.simulator.wire import Answer, BadRequest, Request, answer_json
from bot.simulator.world import World

Handler = Callable[[World, Request, str, str], Answer]  # the last two: the account, and the SID that the path names


def sid_of(prefix: str, address: str) -> str:
    """Always the same SID for an address."""
    return prefix + hashlib.md5(f"{prefix}{address}".encode(), usedforsecurity=False).hexdigest()


def read_routes(*routes: tuple[str, Handler]) -> tuple[tuple[re.Pattern[str], Handler], ...]:
    """Paths as patterns: {account} and {one} stand for SIDs."""
    return tuple(
        (re.compile(path.replace(".", r"\.").replace("{account}", r"(?P<account>AC\w+)").replace("{one}", r"(?P<one>\w+)")), handler)
        for path, handler in routes
    )


def owned_lines(world: World, account: str) -> list[Line]:
    """The lines that this account owns."""
    return [line for line in list(world.lines.values()) if line.account in ("", account) and line.address not in world.setup.missing]


def numbers_of(world: World, account: str) -> list[Line]:
    """The numbers (not short codes) that send SMS."""
    return [line for line in owned_lines(world, account) if line.channel == "sms" and line.address.startswith("+")]


def _short_codes(world: World, account: str) -> list[Line]:
    return [line for line in owned_lines(world, account) if line.channel == "sms" and line.address.isdigit()]


def webhook_of(world: World, line: Line) -> str:
    """The URL called for a text to this line."""
    return urljoin(world.poster.public_base + "/", line.webhook) if line.webhook else ""


def point_webhook(world: World, line: Line, url: str) -> None:
    """Have texts to this line posted to `url`. Raises BadRequest for what is no URL."""
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise BadRequest("the URL is not valid")
    base = world.poster.public_base
    line.webhook = url[len(base) :] if url.startswith(base + "/") else url


def _account(world: World, request: Request, account: str, _: str) -> Answer:
    if request.method != "GET":
        return no_method()
    uri = f"/2010-04-01/Accounts/{account}"
    return answer_json({
        "sid": account, "friendly_name": "Simulator", "status": world.setup.status, "type": "Trial" if world.setup.trial else "Full",
        "auth_token": "", "owner_account_sid": account, "date_created": None, "date_updated": None, "uri": f"{uri}.json",
        "subresource_uris": {"messages": f"{uri}/Messages.json", "incoming_phone_numbers": f"{uri}/IncomingPhoneNumbers.json"},
    })  # fmt: skip


def _balance(world: World, request: Request, account: str, _: str) -> Answer:
    if request.method != "GET":
        return no_method()
    if world.setup.balance is None:
        return not_found(request)
    return answer_json({"account_sid": account, "balance": world.setup.balance, "currency": world.setup.currency})


def _describe_number(world: World, line: Line, account: str) -> dict[str, Any]:
    own = world.setup.numbers.get(line.address, {})
    sid = sid_of("PN", line.address)
    return {
        "sid": sid, "account_sid": account, "phone_number": line.address, "friendly_name": line.label, "origin": "twilio", "beta": False,
        "capabilities": {"voice": True, "sms": own.get("can_sms", True), "mms": True, "fax": False}, "status": "in-use",
        "sms_url": webhook_of(world, line), "sms_method": own.get("sms_method", "POST"), "sms_fallback_method": "POST",
        "sms_fallback_url": own.get("sms_fallback_url", ""), "status_callback": "",
        "sms_application_sid": own.get("sms_application_sid", ""),
        "status_callback_method": "POST", "voice_url": "", "address_requirements": "none", "api_version": "2010-04-01",
        "date_created": None, "date_updated": None, "uri": f"/2010-04-01/Accounts/{account}/IncomingPhoneNumbers/{sid}.json",
    }  # fmt: skip


def _numbers(world: World, request: Request, account: str, _: str) -> Answer:
    if request.method != "GET":
        return no_method()
    asked = request.query().get("PhoneNumber")
    # Twilio's filter also finds a part of a number.
    found = [line for line in numbers_of(world, account) if asked in line.address]
    return page_of(request, "incoming_phone_numbers", [_describe_number(world, line, account) for line in found], old=True)


def _number(world: World, request: Request, account: str, sid: str) -> Answer:
    line = next((line for line in numbers_of(world, account) if sid_of("PN", line.address) == sid), None)
    if line is None:
        return not_found(request)
    if request.method == "POST":
        form = dict(request.form().items)
        try:
            if "SmsUrl" in form:
                point_webhook(world, line, form["SmsUrl"])
        except BadRequest as refused:
            return answer_error(400, 21402, refused.why)
        told = {"sms_method": form.get("SmsMethod"), "sms_fallback_url": form.get("SmsFallbackUrl")}
        world.setup.numbers.setdefault(line.address, {}).update({key: value for key, value in told.items() if value is not None})
    elif request.method != "GET":
        return no_method()
    return answer_json(_describe_number(world, line, account))


def _short_code_list(world: World, request: Request, account: str, _: str) -> Answer:
    asked = request.query().get("ShortCode")
    found = [_describe_code(world, line, account) for line in _short_codes(world, account) if asked in line.address]
    return page_of(request, "short_codes", found, old=True) if request.method == "GET" else no_method()


def _short_code(world: World, request: Request, account: str, sid: str) -> Answer:
    line = next((line for line in _short_codes(world, account) if sid_of("SC", line.address) == sid), None)
    if line is None:
        return not_found(request)
    if request.method == "POST" and request.form().get("SmsUrl"):
        point_webhook(world, line, request.form().get("SmsUrl"))
    return answer_json(_describe_code(world, line, account))


def _describe_code(world: World, line: Line, account: str) -> dict[str, Any]:
    return {
        "sid": sid_of("SC", line.address), "account_sid": account, "short_code": line.address, "friendly_name": line.label,
        "sms_url": webhook_of(world, line), "sms_method": "POST", "sms_fallback_url": "", "sms_fallback_method": "POST",
        "api_version": "2010-04-01", "date_created": None, "date_updated": None,
        "uri": f"/2010-04-01/Accounts/{account}/SMS/ShortCodes/{sid_of('SC', line.address)}.json",
    }  # fmt: skip


ROUTES = read_routes(
    ("/2010-04-01/Accounts/{account}.json", _account),
    ("/2010-04-01/Accounts/{account}/Balance.json", _balance),
    ("/2010-04-01/Accounts/{account}/IncomingPhoneNumbers.json", _numbers),
    ("/2010-04-01/Accounts/{account}/IncomingPhoneNumbers/{one}.json", _number),
    ("/2010-04-01/Accounts/{account}/SMS/ShortCodes.json", _short_code_list),
    ("/2010-04-01/Accounts/{account}/SMS/ShortCodes/{one}.json", _short_code),
)
