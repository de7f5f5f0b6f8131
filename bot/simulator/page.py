"""The phones in the browser: one page in three languages, its scripts, its style sheet, nothing from elsewhere."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from werkzeug.http import parse_cookie

from bot.simulator.lines import ROLES, Line, Phone, number_of
from bot.simulator.switches import GROUPS, MOST_SECONDS, OFTEN
from bot.simulator.transcript import write_transcript
from bot.simulator.wire import Answer, Request
from bot.simulator.words import LANGUAGES, NAMES, mark, read_words, say
from bot.simulator.world import World

HERE = Path(__file__).parent
STATIC = {
    "/static/words.js": "text/javascript; charset=utf-8",
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
# A name of its own, for every path: the console is on another port of the same host, and browsers keep no cookies apart by port.
LANGUAGE_COOKIE = "phones_language"
A_YEAR = 365 * 24 * 3600
_templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
_templates.policies["json.dumps_kwargs"] = {"ensure_ascii": False}


def answer_page(world: World, request: Request) -> Answer:
    """Answer a browser's request: the page at /, and its files."""
    if request.method not in ("GET", "HEAD"):
        return Answer(405, b"Only GET", "text/plain", SECURITY_HEADERS)
    if request.path == "/":
        return _answer_phones(world, request)
    if request.path == "/transcript.txt":
        return _answer_transcript(world, request)
    path = "/static/phones.svg" if request.path == "/favicon.ico" else request.path
    kind = STATIC.get(path)
    if kind is None:
        lost = say(page_language(request), mark("There is no such page"))
        return Answer(404, lost.encode(), "text/plain; charset=utf-8", SECURITY_HEADERS)
    return Answer(200, (HERE / path.lstrip("/")).read_bytes(), kind, SECURITY_HEADERS)


def page_language(request: Request) -> str:
    """The page's language: asked for in the link, else chosen here before, else the browser's."""
    remembered = parse_cookie(request.environ.get("HTTP_COOKIE", "")).get(LANGUAGE_COOKIE)
    return next((one for one in (request.query().get("language"), remembered) if one in LANGUAGES), request.language)


def _answer_phones(world: World, request: Request) -> Answer:
    """The page; a language asked for in the link is remembered."""
    language = page_language(request)
    headers = [*SECURITY_HEADERS]
    if request.query().get("language") == language:
        headers.append(("Set-Cookie", f"{LANGUAGE_COOKIE}={language}; Path=/; Max-Age={A_YEAR}; SameSite=Lax; HttpOnly"))
    page = describe_page(world) | {"language": language, "languages": NAMES, "words": read_words(language), "_": partial(say, language)}
    html = _templates.get_template("phones.html").render(page)
    return Answer(200, html.encode(), "text/html; charset=utf-8", headers)


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
        "most_seconds": MOST_SECONDS,
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
