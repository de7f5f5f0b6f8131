"""Driving the simulator from tests, the demo and the benchmarks."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3

READY = "Simulator ready: "
ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.02
Found = TypeVar("Found")


class SimulatorRefused(Exception):
    """The simulator did not do what was asked; the text is its reason."""


@dataclass(slots=True)
class TextReply:
    """What became of a text: `status` is the webhook's HTTP status (0: no answer), `replies` the texts it answered, `sid` the MessageSid,
    `error` Twilio's code or None, `carrier` what the carrier itself answered, `elapsed_ms` how long the webhook took, and `results` one
    {status, error, replies, elapsed_ms} for each post when `times` was above 1."""

    status: int
    replies: list[str]
    sid: str
    error: int | None = None
    carrier: list[str] = field(default_factory=list)
    elapsed_ms: float = 0.0
    results: list[dict[str, Any]] = field(default_factory=list)


class SimulatorClient:
    """Talks to a running simulator. May be shared by threads. Every method raises SimulatorRefused when the simulator says no."""

    def __init__(self, base_url: str, timeout: float = 60.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = urllib3.PoolManager(maxsize=32, retries=False, timeout=urllib3.Timeout(timeout))

    def _ask(self, method: str, path: str, told: Mapping[str, Any] | None = None, **query: object) -> dict[str, Any]:
        fields = {key: value for key, value in query.items() if value not in (None, "")}
        url = f"{self.base_url}/_sim/{path}" + (f"?{urlencode(fields)}" if fields else "")
        body = None if told is None else json.dumps(told).encode()
        response = self._http.request(method, url, body=body, headers={"Content-Type": "application/json"} if body else None)
        answer: dict[str, Any] = json.loads(response.data)
        if response.status != 200:
            raise SimulatorRefused(str(answer.get("error", f"HTTP {response.status}")))
        return answer

    def text(
        self, from_: str, to: str, body: str | None = "", media: Sequence[str | Mapping[str, str]] = (), sid: str | None = None, *,
        times: int = 1, button: tuple[str, str] | None = None, in_reply_to: str = "", name: str = "", **params: str | None,
    ) -> TextReply:  # fmt: skip
        """Text `body` from a phone to a line and wait for the webhook's answer.

        `media` are URLs or {"url", "content_type"}; `sid` repeats an earlier MessageSid; `times` posts the webhook that often at once;
        `button` is (text, payload) of a WhatsApp tap; `params` replace webhook parameters, None removes one.
        """
        told = {"from": from_, "to": to, "body": body, "media": list(media), "sid": sid, "times": times, "params": params}
        told |= {"in_reply_to": in_reply_to, "name": name, "button": {"text": button[0], "payload": button[1]} if button else None}
        answer = self._ask("POST", "text", told)
        return TextReply(**answer)

    def messages(self, phone: str) -> list[dict[str, Any]]:
        """What the phone shows, in the order of arrival. Keys: sid, kind (api, reply, carrier, inbound, note), direction (`received` or
        `sent`, seen from the phone), line, channel, body, media, buttons, status, error_code, at."""
        shown: list[dict[str, Any]] = self._ask("GET", "messages", phone=phone)["messages"]
        return shown

    def received(self, phone: str) -> list[str]:
        """The texts that arrived on the phone, in order: from the API, by TwiML and from the carrier."""
        arrived = ("delivered", "read", "sent", "queued")
        shown = self.messages(phone)
        return [one["body"] for one in shown if one["direction"] == "received" and one["status"] in arrived]

    def ledger(self, to: str | None = None, *, since: int = 0, kind: str = "api") -> list[dict[str, Any]]:
        """Every accepted send after place `since`, in order, to one address if given. `kind` is api, reply, inbound, carrier, all.

        Keys: n (place), sid, kind, to, from, service, body, segments, media, status, error_code, status_callback, request_number,
        received_monotonic, received_at.
        """
        entries: list[dict[str, Any]] = []
        while True:
            page = self._ask("GET", "ledger", to=to, since=since, kind=kind)
            entries += page["entries"]
            if not page["more"]:
                return entries
            since = page["last"]

    def count(self, to: str | None = None, *, kind: str = "api") -> int:
        """How many sends were accepted and are still remembered."""
        return int(self._ask("GET", "ledger", to=to, kind=kind, count=1)["count"])

    def state(self) -> dict[str, Any]:
        """Counts, lines with their backlog, opt-outs, faults, receipts."""
        return self._ask("GET", "state")

    def faults(self, **switches: Any) -> dict[str, Any]:
        """Throw the switches named (see bot/simulator/faults.py); the others stay. Returns all of them."""
        return self._ask("POST", "faults", switches)

    def clear_faults(self) -> None:
        """Everything works again."""
        self._ask("DELETE", "faults")

    def account(self, **switches: Any) -> dict[str, Any]:
        """Put the account out of order (see bot/simulator/setup.py; also `webhooks` and `templates`). Returns all switches."""
        return self._ask("POST", "account", switches) if switches else self._ask("GET", "account")

    def configure(
        self, lines: Iterable[str | Mapping[str, Any]] | None = None, phones: Iterable[str | Mapping[str, Any]] | None = None, **others: Any
    ) -> dict[str, Any]:
        """Replace the lines, the phones shown, or other parts of the configuration (accounts, contents, webhook_base, public_base)."""
        told = dict(others)
        if lines is not None:
            told["lines"] = list(lines)
        if phones is not None:
            told["phones"] = list(phones)
        return self._ask("POST", "config", told)

    def block(self, phone: str, line: str, blocked: bool = True) -> None:
        """Opt a phone out of a line at the carrier (or in), without a text."""
        self._ask("POST", "blocked", {"phone": phone, "line": line, "blocked": blocked})

    def reset(self) -> None:
        """Forget messages, opt-outs and faults; lines and phones stay."""
        self._ask("POST", "reset")

    def wait_for(self, predicate: Callable[[], Found], timeout: float = 10.0) -> Found:
        """Ask again and again until `predicate()` is true, and return what it said. Raises TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            found = predicate()
            if found:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"not true within {timeout:g} s")
            time.sleep(POLL_SECONDS)


@dataclass(slots=True)
class RunningSimulator:
    """A simulator process. `url` has no slash at its end. Use it as a context manager, or call stop()."""

    process: subprocess.Popen[str]
    url: str
    client: SimulatorClient
    account: str
    token: str

    def stop(self) -> None:
        """End the process; returns when it is gone."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> RunningSimulator:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def start_simulator(
    port: int = 0, *, webhook_base: str = "http://127.0.0.1:8000", public_base: str = "", account: str = "AC" + "5" * 32,
    token: str = "simulator-token", lines: Iterable[str | Mapping[str, Any]] | None = None,
    phones: Iterable[str | Mapping[str, Any]] | None = None, timeout: float = 20.0, **config: Any,
) -> RunningSimulator:  # fmt: skip
    """Start a simulator process and wait until it answers. It ends with stop(), and also when this process dies.

    Raises RuntimeError when it does not come up within `timeout` seconds.
    """
    command = [sys.executable, "-m", "bot.simulator", "--port", str(port), "--webhook-base", webhook_base, "--public-base", public_base]
    command += ["--account", account, "--stop-on-eof"]
    # Its own session: Ctrl-C in the terminal reaches us alone, and we end it in our order. The token is on no command line.
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TWILIO_AUTH_TOKEN": token},
    )  # fmt: skip
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout)
    line = process.stdout.readline() if ready else ""
    if not line.startswith(READY):
        process.kill()
        process.wait()
        raise RuntimeError("the simulator did not start; is its port free?")
    url = line.removeprefix(READY).strip()
    simulator = RunningSimulator(process, url, SimulatorClient(url), account, token)
    if lines is not None or phones is not None or config:
        try:
            simulator.client.configure(lines, phones, **config)
        except SimulatorRefused:
            simulator.stop()
            raise
    return simulator
