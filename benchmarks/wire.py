"""Webhooks as the carrier posts them, signed beforehand, over connections that cost the machine as little as can be."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from tests.world import TOKEN

Address = tuple[str, int]


def signed_post(public_url: str, path: str, parameters: Mapping[str, Any]) -> bytes:
    """A whole HTTP request, ready to be written to a socket."""
    signature = RequestValidator(TOKEN).compute_signature(public_url + path, dict(parameters))
    body = urlencode(parameters).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: chorus.example.org\r\nUser-Agent: TwilioProxy/1.1\r\nAccept: */*\r\n"
        f"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\nX-Twilio-Signature: {signature}\r\n"
        f"I-Twilio-Idempotency-Token: 0\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """One connection that is kept alive."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Post, and wait for the whole answer: (status, body)."""
        self.socket.sendall(request)
        while (answer := self.take()) is None:
            pass
        return answer

    def take(self) -> tuple[int, bytes] | None:
        """Read once; the answer (status, body) if it is whole now."""
        received = self.socket.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._read += received
        head, separator, rest = self._read.partition(b"\r\n\r\n")
        if not separator:
            return None
        lower = head.lower()
        found = lower.find(b"content-length:")
        length = int(lower[found + 15 :].split(b"\r\n", 1)[0]) if found >= 0 else 0
        if len(rest) < length:
            return None
        self._read = b""
        return int(head[9:12]), rest

    def close(self) -> None:
        self.socket.close()


class WrongAnswer(Exception):
    """The server answered something else than what is measured: it may well be quick, and proves nothing."""


def check(status: int, body: bytes, expected: bytes) -> None:
    """Raises WrongAnswer unless the answer is a success that holds ``expected``."""
    if status not in (200, 204) or expected not in body:
        raise WrongAnswer(f"HTTP {status}, {body[:200]!r} where {expected!r} was expected")


def ask_all(connection: Connection, requests: Iterable[bytes], expected: bytes = b"") -> None:
    """Post one after the other. Raises WrongAnswer."""
    for request in requests:
        check(*connection.ask(request), expected)


def ask_together(address: Address, requests: Iterator[bytes], senders: int, seconds: float) -> list[float]:
    """``senders`` post at the same time, each the next request as soon as it has its answer, for so long or until there are no more.

    Returns the seconds each answer took. Raises WrongAnswer when one holds no message. One thread on one selector: the senders themselves
    hardly load the machine.
    """
    took: list[float] = []
    ends = time.monotonic() + seconds
    began: dict[Connection, float] = {}
    with selectors.DefaultSelector() as selector:

        def go_on(connection: Connection) -> bool:
            request = next(requests, None) if time.monotonic() < ends else None
            if request is None:
                selector.unregister(connection.socket)
                connection.close()
                return False
            began[connection] = time.perf_counter()
            connection.socket.sendall(request)
            return True

        open_ones = 0
        for _ in range(senders):
            connection = Connection(address)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            open_ones += go_on(connection)
        while open_ones:
            for key, _ in selector.select(30):
                connection = key.data
                answer = connection.take()
                if answer is None:
                    continue
                took.append(time.perf_counter() - began[connection])
                status, body = answer
                check(status, body, b"<Message")
                open_ones -= not go_on(connection)
    return took
