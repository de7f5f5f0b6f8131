"""Child processes that never outlive the program that started them.

Each child leads its own session, so a Ctrl-C in the terminal reaches only the launcher, which then stops the children in the
right order. On Linux the kernel also signals each child when the launcher dies without a word (SIGKILL, out of memory).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

POLL_SECONDS = 0.05
# From linux/prctl.h: "the signal that the calling process will get when its parent dies".
PR_SET_PDEATHSIG = 1


class DemoFailed(Exception):
    """The demo cannot go on. The message says why and what to do next."""


class StopRequested(Exception):
    """Somebody asked the demo to stop while it was still starting."""


def end_with_parent(sent: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """What a child runs before its program so that it gets `sent` when its parent dies; None where the system has no such thing.

    The kernel watches the *thread* that started the child, so start children from a thread that lives as long as they should.
    """
    if sys.platform != "linux":
        return None
    parent = os.getpid()
    libc = ctypes.CDLL(None)  # looked up before the fork: a forked child should do as little as possible

    def ask_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(sent))
        if os.getppid() != parent:  # the parent died between the fork and the line above
            os.kill(os.getpid(), sent)

    return ask_kernel


class Child:
    """One program of the demo: its name, its log file and its process.

    `ready` tells whether it answers; it is asked again and again until `start_timeout` seconds have passed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | os.PathLike[str]],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: Callable[[Child], bool] | None = None,
    ) -> None:
        self.name = name
        self.command = [os.fspath(part) for part in command]
        self.log = log
        self.env = None if env is None else dict(env)
        self.cwd = cwd
        self.ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    def start(self) -> None:
        """Start the program in its own session, its output going to the end of its log. Raises DemoFailed when it cannot be run."""
        try:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.env,
                    cwd=self.cwd,
                    start_new_session=True,
                    preexec_fn=end_with_parent(),
                )
        except OSError as error:
            raise DemoFailed(f"{self.name} could not be started: {error}") from error

    def exit_code(self) -> int | None:
        """The exit code; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    def stop(self, grace_seconds: float) -> bool:
        """SIGTERM, wait up to `grace_seconds`, then SIGKILL the whole session. True when it ended in time. May be called twice."""
        if self._process is None or self._process.poll() is not None:
            return True
        self._process.terminate()
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            # Not collected yet, so the number is still its own. The two errors: it ended in this very moment (macOS says Permission).
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            return False
        return True


class Supervisor:
    """Starts the programs one after the other, watches them, and stops them in the order they must drain."""

    def __init__(
        self,
        *,
        grace_seconds: float = 15,
        start_timeout: float = 60,
        say: Callable[[str], None] = print,
        still_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.grace_seconds = grace_seconds
        self.start_timeout = start_timeout
        self.say = say
        self.still_wanted = still_wanted
        self.children: list[Child] = []
        self._stop_asked = False

    def ask_to_stop(self) -> None:
        """Safe to call from a signal handler."""
        self._stop_asked = True

    def must_stop(self) -> bool:
        """Whether somebody asked, or whoever wanted it is gone."""
        return self._stop_asked or not self.still_wanted()

    def run_to_end(self, child: Child) -> None:
        """Run a program that ends by itself (the migrations, the seed). Raises DemoFailed when it fails, StopRequested when asked."""
        child.start()
        try:
            while (code := child.exit_code()) is None:
                self._check_stop()
                time.sleep(POLL_SECONDS)
        finally:
            child.stop(self.grace_seconds)
        if code != 0:
            raise DemoFailed(explain_end(child))

    def bring_up(self, child: Child) -> None:
        """Start a program and wait until it answers. Raises DemoFailed when it ends or stays silent, StopRequested when asked."""
        self.children.append(child)
        child.start()
        deadline = time.monotonic() + self.start_timeout
        while True:
            self._check_stop()
            self._check_alive()
            if child.ready is None or child.ready(child):
                return
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"{child.name} did not answer within {self.start_timeout:.0f} s. Read why in {child.log}\n{last_lines(child.log)}"
                )
            time.sleep(POLL_SECONDS)

    def watch(self) -> None:
        """Return when asked to stop or no longer wanted; raise DemoFailed as soon as a child has ended."""
        while not self.must_stop():
            self._check_alive()
            time.sleep(POLL_SECONDS * 4)

    def stop(self, order: Sequence[str]) -> None:
        """Stop the children named in `order` first, in that order, then any other; each has ended before the next is asked."""
        rank = {name: place for place, name in enumerate(order)}
        for child in sorted(self.children, key=lambda child: rank.get(child.name, len(rank))):
            if not child.stop(self.grace_seconds):
                self.say(f"{child.name} did not stop within {self.grace_seconds:.0f} s and was killed; its log is {child.log}")

    def _check_stop(self) -> None:
        if self.must_stop():
            raise StopRequested

    def _check_alive(self) -> None:
        for child in self.children:
            if child.exit_code() is not None:
                raise DemoFailed(explain_end(child))


def explain_end(child: Child) -> str:
    """Say how a child ended and show the end of its log."""
    code = child.exit_code()
    how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
    return f"{child.name} ended {how}. Read why in {child.log}\n{last_lines(child.log)}"


def last_lines(log: Path, count: int = 15) -> str:
    """The last `count` lines of a log, indented, for a message; empty when there is no log."""
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    return "\n".join(f"    {line}" for line in lines)
