"""Reading the TwiML that a webhook answers, as strictly as Twilio does."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

BAD_XML, BAD_CONTENT_TYPE, BAD_BODY = 12100, 12300, 14103
MOST_REPLIES = 10  # the rest is dropped (warning 14109)
LONGEST_BODY = 1600
XML_TYPES = ("text/xml", "application/xml", "text/html")
PLAIN = "text/plain"


@dataclass(slots=True, frozen=True)
class Reply:
    """One <Message>: `to` and `status_callback` are empty when not given."""

    body: str
    media: tuple[str, ...] = ()
    to: str = ""
    status_callback: str = ""


class TwimlRefused(Exception):
    """The answer is not TwiML. `code` is Twilio's error."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Twilio error {code}")
        self.code = code


def read_twiml(content: bytes, content_type: str) -> list[Reply]:
    """The replies in a webhook's answer; an empty answer has none. Raises TwimlRefused with 12300, 12100 or 14103."""
    if not content.strip():
        return []
    kind = content_type.partition(";")[0].strip().lower()
    if kind == PLAIN:
        return [Reply(content.decode("utf-8", "replace"))]
    if kind not in XML_TYPES:
        raise TwimlRefused(BAD_CONTENT_TYPE)
    if b"<!DOCTYPE" in content:
        raise TwimlRefused(BAD_XML)
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise TwimlRefused(BAD_XML) from error
    if root.tag != "Response":
        raise TwimlRefused(BAD_XML)
    replies = [_read_message(element) for element in root if element.tag in ("Message", "Sms")]
    if any(len(reply.body) > LONGEST_BODY or not (reply.body.strip() or reply.media) for reply in replies):
        raise TwimlRefused(BAD_BODY)
    return replies[:MOST_REPLIES]


def _read_message(element: ElementTree.Element) -> Reply:
    bodies = element.findall("Body")
    text = "".join("".join(body.itertext()) for body in bodies) if bodies else (element.text or "")
    media = tuple((medium.text or "").strip() for medium in element.findall("Media"))
    return Reply(text if bodies else text.strip(), media, element.get("to", ""), element.get("statusCallback", ""))
