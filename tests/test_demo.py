"""`python -m bot.demo` as a newcomer has it: everything comes up, tells where it is, and is gone after Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.demo.__main__ import answers
from tests.test_demo_processes import PROJECT, gone
from tests.waiting import wait_for

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc"), pytest.mark.xdist_group("demo")]


def free_pair_of_ports() -> int:
    """A port that is free together with the next one."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = int(first.getsockname()[1])
            if port > 65534:
                continue
            with socket.socket() as second:
                if second.connect_ex(("127.0.0.1", port + 1)) != 0:
                    return port


def processes_of(home: Path) -> list[int]:
    """The running processes that were started with this CHORUS_HOME."""
    mark = f"CHORUS_HOME={home}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or belongs to somebody else
        if mark in environment and not gone(int(process.name)):
            found.append(int(process.name))
    return found


class Demo:
    """A running `python -m bot.demo` in a folder of its own."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        environment = {**os.environ, "CHORUS_HOME": str(home), "PORT": str(port)}
        environment.pop("REDIS_URL", None)
        self.launcher = subprocess.Popen(
            [sys.executable, "-m", "bot.demo"], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said: list[str] = []

    def wait_until_up(self) -> None:
        assert self.launcher.stdout is not None
        for line in self.launcher.stdout:
            self.said.append(line.rstrip("\n"))
            if line.startswith("Console:"):
                return
        pytest.fail("the demo ended while starting:\n" + "\n".join(self.said))

    def end(self, sent: signal.Signals) -> int:
        self.launcher.send_signal(sent)
        code = self.launcher.wait(60)
        wait_for(lambda: not processes_of(self.home), f"nothing is left running after {sent.name}", seconds=40)
        return code


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path / "var", free_pair_of_ports())
    yield demo
    if demo.launcher.poll() is None:
        demo.end(signal.SIGKILL)
    assert demo.launcher.stdout is not None
    demo.launcher.stdout.close()


def test_the_demo_comes_up_says_where_and_leaves_nothing_after_ctrl_c(demo: Demo):
    demo.wait_until_up()
    assert f"Phones: http://127.0.0.1:{demo.port + 1}/" in demo.said
    assert f"Console: http://127.0.0.1:{demo.port}/console/" in demo.said
    for url in (f"http://127.0.0.1:{demo.port + 1}/", f"http://127.0.0.1:{demo.port}/console/", f"http://127.0.0.1:{demo.port}/healthz"):
        assert answers(url), url
    assert len(processes_of(demo.home)) >= 5, "launcher, Redis, simulator, web, worker"
    assert demo.end(signal.SIGINT) == 0


def test_a_killed_demo_leaves_nothing_and_starts_again_on_its_data(demo: Demo):
    demo.wait_until_up()
    demo.end(signal.SIGKILL)
    again = Demo(demo.home, demo.port)
    try:
        again.wait_until_up()
        assert again.end(signal.SIGTERM) == 0
    finally:
        again.launcher.kill()
        again.launcher.communicate()
