"""content.twilio.com: message templates, and WhatsApp's approval of them. Meta's part is played by a switch (POST /_sim/account).

A template made here can be sent at once: it stands among the world's contents, with what the send needs (`body`, `buttons`) beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bot.simulator.account import read_routes
from bot.simulator.ledger import make_sid
from bot.simulator.setup import TEMPLATE_STATES
from bot.simulator.shapes import answer_error, no_method, not_found, page_of
from bot.simulator.wire import Answer, BadRequest, Request, answer_json
from bot.simulator.world import World

CATEGORIES = ("UTILITY", "MARKETING", "AUTHENTICATION")
NAME = re.compile(r"[a-z0-9_]{1,512}\Z")
VARIABLE = re.compile(r"\{\{(\w+)\}\}")
MOST_CONTENTS = 5_000


def _describe(sid: str, content: Mapping[str, Any], account: str) -> dict[str, Any]:
    url = f"https://content.twilio.com/v1/Content/{sid}"
    return {
        "sid": sid, "account_sid": account, "friendly_name": content.get("friendly_name", sid), "language": content.get("language", "en"),
        "variables": content.get("variables", {}), "types": content.get("types") or {"twilio/text": {"body": content.get("body", "")}},
        "date_created": None, "date_updated": None, "url": url,
        "links": {"approval_create": f"{url}/ApprovalRequests/whatsapp", "approval_fetch": f"{url}/ApprovalRequests"},
    }  # fmt: skip


def _approval(content: Mapping[str, Any]) -> dict[str, Any]:
    own = content.get("approval") or {}
    return {
        "type": "whatsapp", "name": own.get("name", ""), "category": own.get("category", ""), "content_type": _type_of(content),
        "status": own.get("status", "unsubmitted"), "rejection_reason": own.get("rejection_reason", ""), "allow_category_change": True,
        "flows": None,
    }  # fmt: skip


def _type_of(content: Mapping[str, Any]) -> str:
    return next(iter(content.get("types") or {"twilio/text": {}}))


def _contents(world: World, request: Request, account: str, _: str) -> Answer:
    if request.method == "POST":
        return _create(world, request, account)
    return page_of(request, "contents", [_describe(sid, content, account) for sid, content in list(world.contents.items())])


def _create(world: World, request: Request, account: str) -> Answer:
    told = request.json()
    types = told.get("types")
    first = next(iter(types.values()), None) if isinstance(types, dict) else None
    if not isinstance(first, dict) or not str(first.get("body", "")).strip() or not told.get("language"):
        return answer_error(400, 20001, "language and types with a body are required")
    if len(world.contents) >= MOST_CONTENTS:
        return answer_error(400, 20001, "too many templates")
    sid = make_sid("HX")
    world.contents[sid] = {
        "body": str(first["body"]), "buttons": [dict(action) for action in first.get("actions") or ()], "types": types,
        "friendly_name": str(told.get("friendly_name") or sid), "language": str(told["language"]), "variables": told.get("variables") or {},
        "approval": {"status": "unsubmitted"},
    }  # fmt: skip
    return answer_json(_describe(sid, world.contents[sid], account), 201)


def _content(world: World, request: Request, account: str, sid: str) -> Answer:
    content = world.contents.get(sid)
    if content is None:
        return not_found(request)
    if request.method == "DELETE":
        del world.contents[sid]
        return Answer(204)
    return answer_json(_describe(sid, content, account)) if request.method == "GET" else no_method()


def _approvals(world: World, request: Request, account: str, sid: str) -> Answer:
    content = world.contents.get(sid)
    if content is None:
        return not_found(request)
    url = f"https://content.twilio.com/v1/Content/{sid}/ApprovalRequests"
    answer = {"sid": sid, "account_sid": account, "whatsapp": _approval(content), "url": url}
    return answer_json(answer) if request.method == "GET" else no_method()


def _submit(world: World, request: Request, account: str, sid: str) -> Answer:
    """What Twilio and Meta check of a template before anybody reads it."""
    content = world.contents.get(sid)
    if content is None:
        return not_found(request)
    if request.method != "POST":
        return no_method()
    told = request.json()
    name, category = str(told.get("name", "")), str(told.get("category", ""))
    why = why_not(name, category, content)
    taken = any(
        (other.get("approval") or {}).get("name") == name and other.get("language") == content.get("language")
        for other_sid, other in world.contents.items()
        if other_sid != sid
    )
    if why or taken or (content.get("approval") or {}).get("status", "unsubmitted") != "unsubmitted":
        return answer_error(400, 20001, why or "a template of this name was submitted already")
    content["approval"] = {"name": name, "category": category, "status": "received"}
    return answer_json(_approval(content), 201)


def why_not(name: str, category: str, content: Mapping[str, Any]) -> str:
    """Why the template can not be submitted; "" when it can."""
    body = str(content.get("body", "")).strip()
    if not NAME.match(name):
        return "a template's name has small letters, digits and underscores only"
    if category not in CATEGORIES:
        return f"category is one of {', '.join(CATEGORIES)}"
    if re.match(r"\{\{\w+\}\}", body) or re.search(r"\{\{\w+\}\}[.!?]?\Z", body):
        return "variables can not be at the start or end of the template"
    if re.search(r"\}\}\s*\{\{", body):
        return "variables can not be adjacent"
    missing = [one for one in VARIABLE.findall(body) if not (content.get("variables") or {}).get(one)]
    return f"a sample is missing for {', '.join(missing)}" if missing else ""


def _contents_and_approvals(world: World, request: Request, account: str, _: str) -> Answer:
    if request.method != "GET":
        return no_method()
    shown = [{**_describe(sid, content, account), "approval_requests": _approval(content)} for sid, content in list(world.contents.items())]
    return page_of(request, "contents", shown)


def judge_templates(world: World, told: Mapping[str, Any]) -> None:
    """Play Meta: {"chorus_knock_en": "approved"} or {"chorus_knock_en": {"status": "rejected", "reason": "..."}}. Raises BadRequest."""
    for name, verdict in told.items():
        verdict = verdict if isinstance(verdict, Mapping) else {"status": verdict}
        if verdict.get("status") not in TEMPLATE_STATES:
            raise BadRequest(f"a template's status is one of {', '.join(TEMPLATE_STATES)}")
        found = [content for content in world.contents.values() if (content.get("approval") or {}).get("name") == name]
        if not found:
            raise BadRequest(f"no template was submitted as {name}")
        for content in found:
            content["approval"] |= {"status": verdict["status"], "rejection_reason": str(verdict.get("reason", ""))}


ROUTES = read_routes(
    ("/v1/Content", _contents),
    ("/v1/Content/{one}", _content),
    ("/v1/Content/{one}/ApprovalRequests", _approvals),
    ("/v1/Content/{one}/ApprovalRequests/whatsapp", _submit),
    ("/v1/ContentAndApprovals", _contents_and_approvals),
)
