"""Columns that a stolen database does not give away.

AES-256-GCM; the associated data is ``table.column|key id``, so a ciphertext copied into another column does not open.
Stored form: one version byte, four bytes of key id, twelve of nonce, the ciphertext with its tag.
The keyring travels on the engine's dialect (``Store`` puts it there), so two stores in one process never share keys.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Dialect, LargeBinary
from sqlalchemy.types import TypeDecorator

_VERSION = b"\x01"


class SealBroken(Exception):
    """A sealed value does not open: its key is not in DATA_KEYS, or the value was moved or changed."""


def decode_key(text: str) -> bytes:
    """The 32 bytes of one DATA_KEYS entry (base64url). Raises ValueError when it is anything else."""
    try:
        key = base64.urlsafe_b64decode(text.strip() + "=" * (-len(text.strip()) % 4))
    except ValueError as error:
        raise ValueError("not base64url") from error
    if len(key) != 32:
        raise ValueError(f"holds {len(key)} bytes where 32 are needed")
    if len(set(key)) < 8:
        raise ValueError("is not random")
    return key


class Keyring:
    """The keys that seal columns: the first one seals, all of them open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("at least one data key is needed")
        self._ciphers = {hashlib.sha256(b"chorus key id" + key).digest()[:4]: AESGCM(key) for key in keys}
        self.sealing_id = next(iter(self._ciphers))

    def seal(self, plain: bytes, place: str) -> bytes:
        """Seal ``plain`` for the column named by ``place`` ("table.column")."""
        nonce = os.urandom(12)
        bound = place.encode() + b"|" + self.sealing_id
        return _VERSION + self.sealing_id + nonce + self._ciphers[self.sealing_id].encrypt(nonce, plain, bound)

    def open(self, sealed: bytes, place: str) -> bytes:
        """Open what ``seal`` made. Raises SealBroken, whose message names the column and never the content."""
        key_id = bytes(sealed[1:5])
        cipher = self._ciphers.get(key_id)
        if sealed[:1] != _VERSION or cipher is None:
            raise SealBroken(f"{place} was sealed under a key that DATA_KEYS does not hold")
        try:
            return cipher.decrypt(bytes(sealed[5:17]), bytes(sealed[17:]), place.encode() + b"|" + key_id)
        except InvalidTag as error:
            raise SealBroken(f"{place} holds a value that was changed or moved") from error

    def is_current(self, sealed: bytes) -> bool:
        """Whether ``sealed`` stands under the first key already (rotation asks)."""
        return bytes(sealed[1:5]) == self.sealing_id


class SealedText(TypeDecorator[str]):
    """Text sealed at rest. ``place`` is "table.column"; it must never change once data exists."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else keyring_of(dialect).seal(value.encode("utf-8", "replace"), self.place)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else keyring_of(dialect).open(value, self.place).decode()


class SealedJSON(TypeDecorator[Any]):
    """A JSON value sealed at rest."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        return (
            None
            if value is None
            else keyring_of(dialect).seal(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), self.place)
        )

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(keyring_of(dialect).open(value, self.place))


def keyring_of(dialect: Dialect) -> Keyring:
    """The keyring that ``Store`` gave this engine."""
    keyring = getattr(dialect, "chorus_keyring", None)
    if not isinstance(keyring, Keyring):
        raise SealBroken("this engine has no keyring: open the database through models.store.Store")
    return keyring


def blind_index(key: bytes, text: str) -> bytes:
    """A keyed hash that finds a sealed value again; whoever holds the key could enumerate all numbers, so it is sealed too."""
    return hmac.digest(key, text.encode(), "sha256")
