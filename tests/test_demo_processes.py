"""The demo's launcher starts real programs in order, watches them, stops them in order and leaves none behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from bot.demo.__main__ import answers, read_port, require_free_port, worker_registered
from bot.demo.embedded_redis import EmbeddedRedis, find_redis_server
from bot.demo.home import Home, demo_environment
from bot.demo.processes import Child, DemoFailed, StopRequested, Supervisor
from tests.waiting import wait_for

PROJECT = Path(__file__).resolve().parents[1]

# A stand-in for web or worker: says it is ready, notes when SIGTERM came, and goes.
POLITE = """
import signal, sys, time
name, notes = sys.argv[1:]
def leave(*_):
    with open(notes, "a") as file:
        file.write(name + chr(10))
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
while True:
    time.sleep(60)
"""

# One that ignores SIGTERM, and has a child of its own that does too.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("ready", child.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    """Whether no such process runs any more. One that ended but was not collected by whoever inherited it has ended too."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True
    return subprocess.run(["ps", "-p", str(pid)], capture_output=True, check=False).returncode != 0


def says_ready(child: Child) -> bool:
    return "ready" in child.log.read_text()


@pytest.fixture
def supervisor():
    made = Supervisor(grace_seconds=10, start_timeout=20, say=lambda _: None)
    yield made
    made.grace_seconds = 0.1
    made.stop([])


def polite(tmp_path: Path, name: str) -> Child:
    return Child(name, [sys.executable, "-c", POLITE, name, tmp_path / "notes"], tmp_path / f"{name}.log", ready=says_ready)


def test_programs_stop_in_the_order_that_lets_each_drain(tmp_path: Path, supervisor: Supervisor):
    for name in ("Redis", "simulator", "web", "worker"):
        supervisor.bring_up(polite(tmp_path, name))
    supervisor.stop(["web", "worker", "simulator", "Redis"])
    assert (tmp_path / "notes").read_text().split() == ["web", "worker", "simulator", "Redis"]
    assert [child.exit_code() for child in supervisor.children] == [0, 0, 0, 0]


def test_a_program_that_ignores_the_order_is_killed_with_its_own_children(tmp_path: Path):
    said: list[str] = []
    supervisor = Supervisor(grace_seconds=0.2, start_timeout=20, say=said.append)
    stubborn = Child("worker", [sys.executable, "-c", STUBBORN], tmp_path / "worker.log", ready=says_ready)
    supervisor.bring_up(stubborn)
    grandchild = int(stubborn.log.read_text().split()[1])
    supervisor.stop([])
    assert stubborn.exit_code() == -signal.SIGKILL
    wait_for(lambda: gone(grandchild), "the worker's own child ends too")
    assert "worker did not stop" in said[0] and str(stubborn.log) in said[0]


def test_a_program_that_dies_ends_the_demo_and_the_message_names_its_log(tmp_path: Path, supervisor: Supervisor):
    supervisor.bring_up(polite(tmp_path, "web"))
    worker = polite(tmp_path, "worker")
    supervisor.bring_up(worker)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(DemoFailed, match="worker ended by SIGKILL") as failure:
        supervisor.watch()
    assert str(worker.log) in str(failure.value)


def test_a_program_that_fails_at_the_start_shows_the_end_of_its_log(tmp_path: Path, supervisor: Supervisor):
    broken = Child("web", [sys.executable, "-c", "raise SystemExit('DATA_KEYS: is not set')"], tmp_path / "web.log", ready=says_ready)
    with pytest.raises(DemoFailed, match=r"(?s)web ended with exit code 1.*DATA_KEYS: is not set"):
        supervisor.bring_up(broken)


def test_a_program_that_never_answers_is_not_waited_for_for_ever(tmp_path: Path, supervisor: Supervisor):
    supervisor.start_timeout = 0.3
    silent = Child("web", [sys.executable, "-c", POLITE, "web", tmp_path / "notes"], tmp_path / "web.log", ready=lambda _: False)
    with pytest.raises(DemoFailed, match="web did not answer"):
        supervisor.bring_up(silent)


def test_a_program_that_is_not_there_is_named(tmp_path: Path, supervisor: Supervisor):
    with pytest.raises(DemoFailed, match="web could not be started"):
        supervisor.bring_up(Child("web", [tmp_path / "no-such-program"], tmp_path / "web.log"))


def test_failing_migrations_stop_the_demo(tmp_path: Path, supervisor: Supervisor):
    with pytest.raises(DemoFailed, match=r"(?s)migrations ended with exit code 3"):
        supervisor.run_to_end(Child("migrations", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "migrations.log"))


def test_a_stop_while_still_starting_is_obeyed(tmp_path: Path, supervisor: Supervisor):
    supervisor.ask_to_stop()
    with pytest.raises(StopRequested):
        supervisor.bring_up(polite(tmp_path, "web"))
    with pytest.raises(StopRequested):
        supervisor.run_to_end(polite(tmp_path, "seed"))


def test_the_demo_stops_when_whoever_wanted_it_is_gone(tmp_path: Path, supervisor: Supervisor):
    web = polite(tmp_path, "web")
    supervisor.bring_up(web)
    supervisor.still_wanted = lambda: False
    supervisor.watch()
    with pytest.raises(StopRequested):
        supervisor.bring_up(polite(tmp_path, "worker"))


def test_a_child_is_out_of_reach_of_the_terminals_ctrl_c(tmp_path: Path, supervisor: Supervisor):
    web = polite(tmp_path, "web")
    supervisor.bring_up(web)
    assert os.getsid(web.pid) == web.pid != os.getsid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the child of a killed parent")
def test_nothing_outlives_a_launcher_that_was_killed(tmp_path: Path):
    script = (
        "import pathlib, sys\n"
        "from bot.demo.processes import Child, Supervisor\n"
        "folder, polite = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "supervisor = Supervisor()\n"
        "for name in ('simulator', 'web', 'worker'):\n"
        "    command = [sys.executable, '-c', polite, name, str(folder / 'notes')]\n"
        "    supervisor.bring_up(Child(name, command, folder / name, ready=lambda child: 'ready' in child.log.read_text()))\n"
        "print(*(child.pid for child in supervisor.children), flush=True)\n"
        "supervisor.watch()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), POLITE]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        children = [int(pid) for pid in launcher.stdout.readline().split()]
        assert len(children) == 3
        launcher.kill()
        wait_for(lambda: all(gone(pid) for pid in children), "the children end with the killed launcher")
    assert sorted((tmp_path / "notes").read_text().split()) == ["simulator", "web", "worker"], "each was asked, not killed"


def test_what_redis_holds_survives_a_restart_and_its_socket_is_private(tmp_path: Path):
    with EmbeddedRedis(tmp_path / "redis") as first:
        client = redis.Redis.from_url(first.url)
        client.set("bell", "rung")
        client.close()
        socket_file = Path(first.url.removeprefix("unix://"))
        assert stat.S_IMODE(socket_file.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_file.parent.stat().st_mode) == 0o700
    assert not socket_file.parent.exists()
    with EmbeddedRedis(tmp_path / "redis") as second:
        client = redis.Redis.from_url(second.url)
        assert client.get("bell") == b"rung"
        client.close()
    assert second.child.exit_code() == 0


def test_a_redis_that_can_not_start_says_where_to_read(tmp_path: Path):
    with pytest.raises(DemoFailed, match=r"redis\.log"), EmbeddedRedis(tmp_path / "redis", server=Path(sys.executable)):
        pass


def test_the_redis_of_the_machine_is_found_where_the_package_is_not_installed(tmp_path: Path):
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o700)
    assert find_redis_server(package="no_such_package", path=str(tmp_path)) == server
    with pytest.raises(DemoFailed, match="set REDIS_URL"):
        find_redis_server(package="no_such_package", path=str(tmp_path / "empty"))
    assert find_redis_server().name == "valkey-server"


def test_a_worker_counts_as_up_once_it_has_registered_itself(tmp_path: Path, supervisor: Supervisor, redis_url: str):
    script = "import sys, redis, rq; rq.SimpleWorker(['any'], connection=redis.Redis.from_url(sys.argv[1])).work()"
    worker = Child(
        "worker",
        [sys.executable, "-c", script, redis_url],
        tmp_path / "worker.log",
        ready=lambda child: worker_registered(redis_url, child.pid),
    )
    assert not worker_registered(redis_url, os.getpid())
    supervisor.bring_up(worker)
    assert worker_registered(redis_url, worker.pid)


def test_a_web_server_counts_as_up_once_it_answers_200(tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # a proxy in the shell is not asked about this machine
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "healthz").write_text("ok")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert not answers(f"http://127.0.0.1:{port}/healthz")
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", tmp_path / "served", str(port)]
    supervisor.bring_up(Child("web", server, tmp_path / "web.log", ready=lambda _: answers(f"http://127.0.0.1:{port}/healthz")))
    assert not answers(f"http://127.0.0.1:{port}/no-such-page")


def test_secrets_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path):
    home = Home(tmp_path / "var")
    home.prepare()
    made = home.load_or_create_secrets()
    assert home.load_or_create_secrets() == made
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.secrets_file.stat().st_mode) == 0o600


def test_a_database_whose_keys_are_lost_is_not_sealed_with_new_ones(tmp_path: Path):
    home = Home(tmp_path)
    home.database.write_bytes(b"sealed")
    with pytest.raises(DemoFailed, match="keys it was sealed with are gone"):
        home.load_or_create_secrets()


def test_two_demos_do_not_share_a_folder(tmp_path: Path):
    first = Home(tmp_path)
    first.prepare()
    with pytest.raises(DemoFailed, match="Another demo runs"):
        Home(tmp_path).prepare()


def test_the_demo_never_takes_a_real_account_from_the_shell(tmp_path: Path):
    home = Home(tmp_path)
    home.prepare()
    settings = demo_environment(home, home.load_or_create_secrets(), port=8100, redis_url="unix:///s")
    assert settings["TWILIO_API_URL"] == "http://127.0.0.1:8101"
    assert settings["PUBLIC_URL"] == "http://127.0.0.1:8100"
    assert settings["DATABASE_URL"] == f"sqlite:///{tmp_path}/chorus.db"
    home.write_environment(settings)
    assert stat.S_IMODE(home.environment_file.stat().st_mode) == 0o600
    shown = subprocess.check_output(["sh", "-c", '. "$1"; echo "$TWILIO_API_URL"', "sh", home.environment_file], text=True)
    assert shown.strip() == "http://127.0.0.1:8101"


def test_a_taken_port_is_told_kindly():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoFailed, match=f"Port {port} is taken .* PORT=8100 make demo"):
            require_free_port(port)
    require_free_port(port)


@pytest.mark.parametrize("text", ["eighty", "80", "65535", "-1", "8000.5"])
def test_a_port_that_can_not_be_used_is_told_kindly(text: str):
    with pytest.raises(DemoFailed, match="PORT"):
        read_port(text)


def test_the_usual_port():
    assert read_port("") == 8000
    assert read_port("8100") == 8100
