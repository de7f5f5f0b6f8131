"""`python -m bot.demo`: bring up Redis, database, simulator, web and worker; say where the phones are; take it all down on Ctrl-C.

Environment: PORT (web, default 8000; the simulator takes PORT+1), CHORUS_HOME (default ./var), REDIS_URL (a Redis to use
instead of our own). Exit code 0 after a stop that was asked for, 1 when something failed, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from redis import Redis
from rq import Worker

from bot.demo.embedded_redis import EmbeddedRedis, redis_answers
from bot.demo.home import Home, demo_environment
from bot.demo.processes import Child, DemoFailed, StopRequested, Supervisor

PROJECT = Path(__file__).resolve().parents[2]
# Web first, so that no new message comes in; the worker drains; the simulator answers until both are gone; Redis last.
STOP_ORDER = ("web", "worker", "simulator", "Redis")
WEB_THREADS = 16


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bot.demo", description="Chorus on this machine, with a pretend carrier.")
    options.add_argument("--stop-with-parent", action="store_true", help="stop when the program that started this one ends (make does)")
    arguments = options.parse_args()
    starter = os.getppid()
    still_wanted = (lambda: os.getppid() == starter) if arguments.stop_with_parent else (lambda: True)
    supervisor = Supervisor(say=tell, still_wanted=still_wanted)
    for wish in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if wish is not signal.SIGHUP or signal.getsignal(wish) is not signal.SIG_IGN:  # under nohup it was asked to stay
            signal.signal(wish, lambda *_: supervisor.ask_to_stop())
    try:
        run_demo(supervisor)
    except DemoFailed as failure:
        print(failure, file=sys.stderr, flush=True)
        return 1
    except StopRequested:
        return 0
    return 0


def run_demo(supervisor: Supervisor) -> None:
    """Bring everything up, watch it, take it down. Raises DemoFailed with what to read, StopRequested when stopped while starting."""
    port = read_port(os.environ.get("PORT", ""))
    home = Home(Path(os.environ.get("CHORUS_HOME") or "var"))
    home.prepare()
    for number in (port, port + 1):
        require_free_port(number)
    secrets = home.load_or_create_secrets()
    redis = None if os.environ.get("REDIS_URL") else EmbeddedRedis(home.redis_data, log=home.logs / "redis.log")
    redis_url = redis.url if redis else os.environ["REDIS_URL"]
    settings = demo_environment(home, secrets, port=port, redis_url=redis_url)
    home.write_environment(settings)
    try:
        tell("Starting Chorus ...")
        if redis:
            supervisor.bring_up(redis.child)
        elif not redis_answers(redis_url):
            raise DemoFailed("The Redis that REDIS_URL names does not answer. Start it, or unset REDIS_URL to use the demo's own.")
        bring_up_chorus(supervisor, home, settings, port)
        tell(f"Phones: http://127.0.0.1:{port + 1}/")
        tell(f"Console: http://127.0.0.1:{port}/console/")
        tell("Ctrl-C stops all of it. In another terminal, the commands, for example:")
        tell(f"  . {home.environment_file} && {sys.executable} -m flask --app wsgi doctor")
        supervisor.watch()
    finally:
        tell("Stopping ...")
        supervisor.stop(STOP_ORDER)
        if redis:
            redis.close()
    tell("Stopped.")


def bring_up_chorus(supervisor: Supervisor, home: Home, settings: dict[str, str], port: int) -> None:
    """Migrate, seed, then start simulator, web and worker, each once the one before it answers."""
    # A clock that was set for a test would stand still in every program of the demo.
    inherited = {name: value for name, value in os.environ.items() if name not in ("CHORUS_NOW", "FLASK_APP", "FLASK_DEBUG")}
    environment = {**inherited, **settings, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PROJECT)}

    def program(name: str, *command: str, ready: Callable[[Child], bool] | None = None) -> Child:
        return Child(name, [sys.executable, *command], home.logs / f"{name}.log", env=environment, cwd=PROJECT, ready=ready)

    supervisor.run_to_end(program("migrations", "-m", "flask", "--app", "wsgi", "db", "upgrade"))
    supervisor.run_to_end(program("seed", "-m", "bot.demo.seed"))
    # The token reaches the simulator by TWILIO_AUTH_TOKEN: a command line can be read by everybody on the machine.
    account = ("--account", settings["TWILIO_ACCOUNT_SID"], "--config", str(home.simulator_config))
    addresses = ("--port", str(port + 1), "--webhook-base", settings["PUBLIC_URL"])
    supervisor.bring_up(
        program("simulator", "-m", "bot.simulator", *addresses, *account, ready=lambda _: answers(f"http://127.0.0.1:{port + 1}/"))
    )
    # One process with threads: SQLite has one writer at a time. No control socket: it would lie in the home folder of the user.
    gunicorn = ("--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", str(WEB_THREADS), "--no-control-socket")
    supervisor.bring_up(
        program("web", "-m", "gunicorn", "wsgi:app", *gunicorn, ready=lambda _: answers(f"http://127.0.0.1:{port}/healthz"))
    )
    supervisor.bring_up(program("worker", "worker.py", ready=lambda child: worker_registered(settings["REDIS_URL"], child.pid)))


def read_port(text: str) -> int:
    """PORT as a number; 8000 when it is not set. Raises DemoFailed when it is not a port that leaves room for PORT+1."""
    if not text:
        return 8000
    if not text.isdecimal() or not 1024 <= int(text) <= 65534:
        raise DemoFailed(f"PORT is {text!r}. Give a number from 1024 to 65534, for example: PORT=8100 make demo")
    return int(text)


def require_free_port(port: int) -> None:
    """Raises DemoFailed, saying what to do, when another program listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT since the last run is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise DemoFailed(f"Port {port} is taken by another program. Choose another, for example: PORT=8100 make demo") from None


def answers(url: str) -> bool:
    """Whether a web server on this machine answers 200 at `url` now."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy set in the shell knows nothing of this machine
    try:
        with direct.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def worker_registered(redis_url: str, pid: int) -> bool:
    """Whether the RQ worker with this process id has made itself known in Redis."""
    connection = Redis.from_url(redis_url)
    try:
        return any(worker.pid == pid for worker in Worker.all(connection=connection))
    finally:
        connection.close()


def tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
