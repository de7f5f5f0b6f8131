"""The answer as Twilio reads it. One text, one shape: written out here, where an XML tree costs more than the whole signature."""

from __future__ import annotations

from xml.sax.saxutils import escape

EMPTY = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


def write_answer(body: str, callback: str) -> str:
    """One message in answer. ``body`` is cleaned (``bot.languages.clean_text``); ``callback``: the URL its receipts come to."""
    attribute = escape(callback, {'"': "&quot;"})
    said = f"<Body>{escape(body)}</Body>"
    return f'<?xml version="1.0" encoding="UTF-8"?><Response><Message statusCallback="{attribute}">{said}</Message></Response>'
