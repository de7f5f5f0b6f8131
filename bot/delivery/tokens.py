"""The token in a status callback's URL: it says which row and which attempt the receipt is for, and nobody else can make one.

It brings home what a lost answer left unknown: the carrier repeats our URL even when we never saw the message's SID.
"""

from __future__ import annotations

import base64
import hmac

from models import Store

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_MAC_BYTES = 12  # 16 characters of base64url


def callback_token(store: Store, outbound_id: int, attempt: int) -> str:
    """``<id in base 36>-<attempt>-<16 characters of HMAC>``, safe in a URL."""
    named = f"{_base36(outbound_id)}-{attempt}"
    return f"{named}-{_mac(store, named)}"


def read_token(store: Store, token: str) -> tuple[int, int] | None:
    """(outbound id, attempt), or None when we did not make this token."""
    parts = token.split("-", 2)
    if len(parts) != 3 or not token.isascii():
        return None
    row, attempt, mac = parts
    if not hmac.compare_digest(mac.encode(), _mac(store, f"{row}-{attempt}").encode()):
        return None
    # Past the comparison it is our own writing.
    return int(row, 36), int(attempt)


def _mac(store: Store, named: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(store.token_key, b"callback|" + named.encode(), "sha256")[:_MAC_BYTES]).decode()


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
