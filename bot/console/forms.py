"""What comes in by a form: the token that shows it is ours, the key that makes a double click one act, texts made harmless."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import urlsplit

from flask import Request

from bot.console.sessions import Viewer
from bot.languages import clean_text

# A text of ten pages is somebody's mistake; Twilio itself takes 1,600 characters.
LONGEST = 10_000
# The largest number of a broadcast, a note or a member that the pages speak of (a PostgreSQL integer).
LARGEST = 2**31 - 1


class FormRefused(Exception):
    """The form was not ours, or is from another session: nothing was done."""


def check_form(request: Request, viewer: Viewer | None, public_url: str) -> None:
    """Refuse a form that another site sent, or that carries another session's token. Raises FormRefused."""
    site = request.headers.get("Sec-Fetch-Site")
    if site not in (None, "same-origin", "none"):
        raise FormRefused("another site")
    origin = request.headers.get("Origin")
    if origin is not None and origin != "null" and _host_of(origin) not in (request.host, urlsplit(public_url).netloc):
        raise FormRefused("another origin")
    if viewer is not None and not hmac.compare_digest(request.form.get("csrf", "").encode(), viewer.csrf.encode()):
        raise FormRefused("another session")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # "http://[": half an address of IPv6
        return None


def new_key() -> str:
    """A key for a form that must act once: it goes into the form, and into the row that the form makes."""
    return secrets.token_urlsafe(18)


def read_text(request: Request, name: str, longest: int = LONGEST) -> str:
    """A field's text, cut to ``longest`` characters, without control characters, NUL and characters that turn the reading direction."""
    return clean_text(request.form.get(name, "")[:longest]).strip()


def read_number(request: Request, name: str, default: int = 0) -> int:
    """A field's whole number; ``default`` for anything else, and for what no column could hold."""
    text = request.form.get(name, "") if request.method == "POST" else request.args.get(name, "")
    number = read_whole(text)
    return default if number is None else number


def read_whole(text: str | None) -> int | None:
    """A whole number that a column can hold; None for anything else."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 11 and int(text) <= LARGEST else None
