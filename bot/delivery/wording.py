"""The words of a broadcast as a member gets them. The preview, the pace, the send and a flow's repeated question all come here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from bot.languages.content import render_alert, render_check_in, render_notice, render_poll

_T = TypeVar("_T")


def render(kind: str, language: str, collective: str, body: str, options: Sequence[str] | None = None) -> str:
    """The whole text of a broadcast of ``kind`` in ``language``. Every text names its sender (CTIA), a poll too.

    Raises ValueError for a poll without two options, and for a kind that has no words.
    """
    if kind == "poll":
        return render_poll(language, render_notice(language, collective, body), options or [])
    if kind == "alert":
        return render_alert(language, collective, body)
    if kind == "check_in":
        return render_check_in(language, collective)
    if kind in ("notice", "result"):
        return render_notice(language, collective, body)
    raise ValueError(f"a broadcast of kind {kind} has no words")


def choose(language: str, fallback: str, texts: Mapping[str, _T]) -> tuple[str, _T]:
    """(language, text) that a reader of ``language`` gets: her own, else the collective's (``fallback``), else English, else the first.

    Latin-letter Hindi never falls back to Devanagari unless that is the only text there is: she may not read it. LookupError without texts.
    """
    for wanted in (language, fallback, "en"):
        if wanted in texts and not (language == "hi-Latn" and wanted == "hi"):
            return wanted, texts[wanted]
    for wanted in sorted(texts, key=lambda code: code == "hi"):
        return wanted, texts[wanted]
    raise LookupError("a broadcast without words")
