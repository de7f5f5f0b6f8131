"""The phones in the browser: one page, one script, one style sheet, nothing from elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bot.simulator.lines import ROLES, Line, Phone, number_of
from bot.simulator.switches import GROUPS, OFTEN
from bot.simulator.transcript import write_transcript
from bot.simulator.wire import Answer, Request
from bot.simulator.world import World

HERE = Path(__file__).parent
STATIC = {
    "/static/phones.js": "text/javascript; charset=utf-8",
    "/static/sheets.js": "text/javascript; charset=utf-8",
    "/static/phones.css": "text/css; charset=utf-8",
    "/static/phones.svg": "image/svg+xml",
}
# Whatever a member texts, the page may run and load only its own files.
SECURITY_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def answer_page(world: World, request: Request) -> Answer:
    """Answer a browser's request: the page at /, and its files."""
    if request.method not in ("GET", "HEAD"):
        return Answer(405, b"Only GET", "text/plain", SECURITY_HEADERS)
    if request.path == "/":
        html = _templates.get_template("phones.html").render(describe_page(world))
        return Answer(200, html.encode(), "text/html; charset=utf-8", SECURITY_HEADERS)
    if request.path == "/transcript.txt":
        return _answer_transcript(world, request)
    path = "/static/phones.svg" if request.path == "/favicon.ico" else request.path
    kind = STATIC.get(path)
    if kind is None:
        return Answer(404, b"There is no such page", "text/plain; charset=utf-8", SECURITY_HEADERS)
    return Answer(200, (HERE / path.lstrip("/")).read_bytes(), kind, SECURITY_HEADERS)


def _answer_transcript(world: World, request: Request) -> Answer:
    """What happened on the phones named in the query (`phone`, repeated), to keep as a file."""
    text = write_transcript(world, ["+" + number_of(number).strip(" +") for number in request.query().all("phone")])
    name = ("Content-Disposition", f'attachment; filename="conversation-{time.strftime("%Y-%m-%d-%H%M")}.txt"')
    return Answer(200, text.encode("utf-8", "replace"), "text/plain; charset=utf-8", (*SECURITY_HEADERS, name))


def describe_page(world: World) -> dict[str, Any]:
    """What the template shows: phones with their lines, the roles and lines a new phone may have."""
    lines = [line for line in list(world.lines.values()) if not line.is_service or line.pool]
    return {
        "phones": [_describe_phone(world, phone) for phone in list(world.phones.values())],
        "lines": [{"address": line.address, "title": _line_title(line), "label": line.label, "channel": line.channel} for line in lines],
        "roles": ROLES,
        "groups": GROUPS,
        "often": {name: words for name, (words, _) in OFTEN.items()},
        "example": f"+1555{len(world.phones) + 4000:07d}",
    }


def _describe_phone(world: World, phone: Phone) -> dict[str, Any]:
    name = phone.name or phone.number
    known = world.lines.get(phone.line)
    if known is None:
        known = next((line for line in list(world.lines.values()) if line.channel == phone.channel and not line.is_service), None)
    return {
        "number": phone.number,
        "name": name,
        "role": phone.role,
        "initials": "".join(word[0] for word in name.split()[:2] if word[0].isalpha()).upper() or phone.number[-2:],
        "line": known.address if known is not None else phone.line,
        "channel": known.channel if known is not None else phone.channel,
        "has_app": bool(phone.app_secret),
    }


def _line_title(line: Line) -> str:
    """`SMS · +15550001111`, and no address twice."""
    bare = number_of(line.address)
    return bare if line.label in (line.address, bare) else f"{line.label} · {bare}"
