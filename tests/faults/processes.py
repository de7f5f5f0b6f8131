"""Workers and web servers of their own, started in milliseconds, killed without warning, and what a test may do to them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import urllib3

from bot.settings import Settings
from tests.conftest import DATA_KEY
from tests.waiting import wait_for
from tests.world import ACCOUNT, TOKEN

ROOT = Path(__file__).resolve().parents[2]


class Nursery:
    """Starts processes by forking them from one that has imported everything. A context manager; what it started ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._speaking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name != "CHORUS_CRASHPOINT"},
        )
        self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery ended"
        heard: dict[str, Any] = json.loads(line)
        return heard

    def ask(self, **told: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        with self._speaking:
            self._process.stdin.write(json.dumps(told) + "\n")
            self._process.stdin.flush()
            return self._hear()

    def start(
        self, program: str, settings: Settings, *, crash_at: str = "", tune: dict[str, int] | None = None, **environment: str
    ) -> Running:
        """A ``worker`` or a ``web`` server on this deployment; ``crash_at`` arms a crashpoint; ``tune``: see ``nursery``."""
        names = {
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_URL": settings.twilio_api_url,
            "PUBLIC_URL": settings.public_url,
            "SECRET_KEY": settings.secret_key,
            "DATA_KEYS": DATA_KEY,
            "CHORUS_CRASHPOINT": crash_at,
        }
        log = self.folder / f"{program}.log"
        answer = self.ask(do="start", program=program, environment=names | environment, log=str(log), tune=tune or {})
        return Running(self, answer["pid"], program, log)

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class Running:
    """One process of the nursery, the first of its session."""

    def __init__(self, nursery: Nursery, pid: int, program: str, log: Path) -> None:
        self._nursery = nursery
        self.pid, self.program, self.log = pid, program, log
        self._code: int | None = None

    def exit_code(self, seconds: float = 0.0) -> int | None:
        """How it ended (negative: by which signal); None when it still runs after ``seconds``."""
        if self._code is None:
            self._code = self._nursery.ask(do="look", pid=self.pid, seconds=seconds)["code"]
        return self._code

    def wait_for_its_end(self, seconds: float = 30.0) -> int:
        code = self.exit_code(seconds)
        assert code is not None, f"the {self.program} still runs after {seconds} s:\n{self.tell()}"
        return code

    def kill(self) -> None:
        """kill -9, the whole tree at once."""
        if self.exit_code() is None:
            with suppress(ProcessLookupError):  # it ended in this very moment
                os.killpg(self.pid, signal.SIGKILL)
            self.wait_for_its_end()

    def ask_to_stop(self, seconds: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        return self.wait_for_its_end(seconds)

    def tell(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_until_it_serves(web: Running, port: int) -> None:
    """Return when the web server answers; fail with its log when it ended."""
    pool = urllib3.HTTPConnectionPool("127.0.0.1", port, retries=False, timeout=10.0, maxsize=1)

    def answers() -> bool:
        assert web.exit_code() is None, web.tell()
        try:
            return pool.request("GET", "/privacy").status < 600
        except urllib3.exceptions.HTTPError:
            return False

    try:
        wait_for(answers, "the web server", 30.0)
    finally:
        pool.close()
