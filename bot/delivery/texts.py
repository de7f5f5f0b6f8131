"""The words at the send: a letter's own, or the broadcast's in her language. A broadcast is rendered once a turn of duty."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.templates import KNOCK, find_template
from bot.delivery.wording import choose, render
from models import Broadcast, BroadcastText, Collective, Store


class Texts:
    """Whole texts by broadcast and language. Kept for seconds only, so that a correction is soon seen."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rendered: dict[int, tuple[str, dict[str, str]]] = {}
        self._chosen: dict[tuple[int, str], str] = {}
        self._knocks: dict[str, Any] = {}

    def find_knock(self, session: Session, language: str) -> Any | None:
        """The approved template of a knock (``content_sid``, ``body``) for a reader of this language; None without one."""
        if language not in self._knocks:
            self._knocks[language] = find_template(session, KNOCK, language)
        return self._knocks[language]

    def words_for(self, session: Session, row: Any) -> str:
        """The text of an outbound row (``body`` as stored, ``broadcast_id``, ``language``).

        Raises SealBroken, LookupError (a broadcast without words, a letter without body) or ValueError.
        """
        if row.body is not None:
            return self._store.keyring.open(row.body, "outbound.body").decode()
        key = (row.broadcast_id, row.language)
        if key not in self._chosen:
            if row.broadcast_id is None:
                raise LookupError("a letter without words")
            fallback, texts = self._read(session, row.broadcast_id)
            self._chosen[key] = choose(row.language, fallback, texts)[1]
        return self._chosen[key]

    def _read(self, session: Session, broadcast_id: int) -> tuple[str, dict[str, str]]:
        if broadcast_id not in self._rendered:
            broadcast = session.get_one(Broadcast, broadcast_id)
            collective = session.get_one(Collective, broadcast.collective_id)
            found = session.scalars(sa.select(BroadcastText).where(BroadcastText.broadcast_id == broadcast_id))
            texts = {text.language: render(broadcast.kind, text.language, collective.name, text.body, text.options) for text in found}
            self._rendered[broadcast_id] = (collective.language, texts)
        return self._rendered[broadcast_id]
