"""A browser before anybody is logged in: a token that its login forms must carry, and a mark that it logged in with a number before.

Both cookies hold random letters and keyed hashes, no name and no number.
"""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import timedelta

from models import Store

# The token of the login forms: long enough for a form that was left open over night.
DOOR, DOOR_LASTS = "chorus_door", timedelta(days=1)
# The mark: whoever logs in once in half a year keeps it.
KNOWN, KNOWN_LASTS = "chorus_known", timedelta(days=180)

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")


def read_door(cookie: str | None) -> str | None:
    """The token that this browser brought; None when it brought none that could be ours."""
    return cookie if cookie and _TOKEN.fullmatch(cookie) else None


def new_door() -> str:
    """A token for a browser that has none. Tabs of the same browser share it."""
    return secrets.token_urlsafe(16)


def door_field(store: Store, door: str) -> str:
    """What the login forms of a browser with this token carry: another site can send our form, but does not know this.

    Browsers that say where a form comes from (Sec-Fetch-Site) are refused by that alone; old ones would be logged in as somebody else.
    """
    return hmac.digest(store.token_key, b"door|" + door.encode(), "sha256").hex()[:32]


def mark_browser(store: Store, number_hash: bytes) -> str:
    """The mark for a browser in which somebody just logged in with the number of this hash."""
    token = new_door()
    return f"{token}.{_mark(store, token, number_hash)}"


def read_mark(store: Store, cookie: str | None, number_hash: bytes) -> str | None:
    """What tells this browser from others, when it logged in with this number before; else None."""
    token, _, mark = (cookie or "").partition(".")
    if not _TOKEN.fullmatch(token) or not hmac.compare_digest(mark.encode(), _mark(store, token, number_hash).encode()):
        return None
    return token


def _mark(store: Store, token: str, number_hash: bytes) -> str:
    return hmac.digest(store.token_key, b"known|" + token.encode() + b"|" + number_hash, "sha256").hex()[:32]
