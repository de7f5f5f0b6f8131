"""The little HTTP the simulator needs: a request read from WSGI, an answer written to it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from bot.simulator.words import match_language, say

JSON = "application/json"
MAX_BODY = 2_000_000  # bytes; a configuration of some thousand phones fits, a runaway client does not

StartResponse = Callable[[str, list[tuple[str, str]]], Any]

REASONS = {
    200: "OK", 201: "CREATED", 204: "NO CONTENT", 400: "BAD REQUEST", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT FOUND",
    405: "METHOD NOT ALLOWED", 413: "CONTENT TOO LARGE", 415: "UNSUPPORTED MEDIA TYPE", 429: "TOO MANY REQUESTS",
    500: "INTERNAL SERVER ERROR",
}  # fmt: skip


class BadRequest(Exception):
    """A control request that cannot be obeyed. The text says what to send instead; `status` is the HTTP status.

    What somebody may read on the page is marked for translation, with its `values` apart.
    """

    def __init__(self, text: str, status: int = 400, **values: object) -> None:
        self._text, self._values = text, values
        self.why = self.say("en")
        self.status = status
        super().__init__(self.why)

    def say(self, language: str) -> str:
        """Why, in the page's language."""
        return say(language, self._text, **self._values)


@dataclass(slots=True)
class Answer:
    """What goes back to the caller."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Sequence[tuple[str, str]] = ()

    def write(self, start_response: StartResponse) -> list[bytes]:
        """Start the WSGI response and return its body."""
        headers = [("Content-Length", str(len(self.body))), *self.headers]
        if self.body:
            headers.append(("Content-Type", self.content_type))
        start_response(f"{self.status} {REASONS.get(self.status, 'STATUS')}", headers)
        return [self.body]


def answer_json(value: object, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """An answer of `value` as JSON."""
    return Answer(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), headers=headers)


class Pairs:
    """Form or query fields in the order sent; a name may repeat."""

    __slots__ = ("items",)

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self.items = list(items)

    def get(self, name: str, default: str = "") -> str:
        """The first value sent under this name."""
        for key, value in self.items:
            if key == name:
                return value
        return default

    def all(self, name: str) -> list[str]:
        """Every value sent under this name."""
        return [value for key, value in self.items if key == name]

    def number(self, name: str, default: int) -> int:
        """The first value as a whole number of 0 or more. Raises BadRequest when it is something else."""
        text = self.get(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise BadRequest(f"{name} must be a whole number of 0 or more")
        return int(text)


class Request:
    """One HTTP request. The body is read on construction, so that the connection stays usable whatever the answer is."""

    __slots__ = ("body", "environ", "method", "path")

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.path: str = environ["PATH_INFO"]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > MAX_BODY:
            raise BadRequest(f"a body may have {MAX_BODY} bytes at most", 413)
        self.body: bytes = environ["wsgi.input"].read(length) if length else b""

    @property
    def language(self) -> str:
        """What the caller wants to read. Programs say nothing and get English; the page says its own language."""
        return match_language(str(self.environ.get("HTTP_ACCEPT_LANGUAGE", "")))

    def query(self) -> Pairs:
        """The fields of the query string."""
        return Pairs(parse_qsl(self.environ.get("QUERY_STRING", ""), keep_blank_values=True))

    def form(self) -> Pairs:
        """The fields of a form-encoded body."""
        return Pairs(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def json(self) -> dict[str, Any]:
        """The body as a JSON object ({} when it is empty). Raises BadRequest for anything else."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise BadRequest("the body is not JSON") from error
        if not isinstance(value, dict):
            raise BadRequest("the body must be a JSON object")
        return value

    def basic_credentials(self) -> tuple[str, str]:
        """User and password of HTTP Basic authentication; two empty strings when there are none."""
        scheme, _, encoded = str(self.environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        if scheme.lower() != "basic":
            return "", ""
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
