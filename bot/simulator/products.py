"""Which path of Twilio's products goes where, once the account has shown its token; and the switches that put an account out of order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.simulator import account, content, services
from bot.simulator.account import point_webhook
from bot.simulator.content import judge_templates
from bot.simulator.shapes import answer_error, not_found
from bot.simulator.wire import Answer, BadRequest, Request
from bot.simulator.world import World

ROUTES = (*account.ROUTES, *services.ROUTES, *content.ROUTES)
PREFIXES = ("/v1/", "/v2/")


def answer_product(world: World, request: Request) -> Answer:
    """Answer a request to any of Twilio's products but the messages themselves."""
    user, password = request.basic_credentials()
    if not user or world.accounts.get(user) != password:
        return answer_error(401, 20003, "Authenticate", (("WWW-Authenticate", 'Basic realm="Twilio API"'),))
    for pattern, handler in ROUTES:
        match = pattern.fullmatch(request.path)
        if match is None:
            continue
        named = match.groupdict()
        if named.get("account", user) != user:
            return answer_error(401, 20003, "Authenticate")
        return handler(world, request, user, named.get("one", ""))
    return not_found(request)


def throw_switches(world: World, told: Mapping[str, Any]) -> dict[str, Any]:
    """Put the account in or out of order: the fields of Setup, `webhooks` ({address: URL}), `templates` ({name: state}).

    Raises BadRequest.
    """
    told = dict(told)
    webhooks, templates = told.pop("webhooks", None) or {}, told.pop("templates", None) or {}
    if not isinstance(webhooks, Mapping) or not isinstance(templates, Mapping):
        raise BadRequest('webhooks is {"+15550001111": "https://..."}, templates is {"chorus_knock_en": "approved"}')
    for address in webhooks:
        if world.line_at(address) is None:
            raise BadRequest(f"no such line: {address}")
    world.setup.set(told)
    for address, url in webhooks.items():
        line = world.line_at(address)
        if line is not None:
            point_webhook(world, line, str(url))
    judge_templates(world, templates)
    return describe_account(world)


def describe_account(world: World) -> dict[str, Any]:
    """The switches as they stand, and the templates that were submitted."""
    judged = {
        str(one["approval"]["name"]): one["approval"]["status"]
        for one in world.contents.values()
        if (one.get("approval") or {}).get("name")
    }
    return {**world.setup.describe(), "templates": judged}
