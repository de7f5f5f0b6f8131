"""The process: its command line, its server, and which path goes to which part.

gunicorn's thread worker serves everything from one worker process, which holds all state in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gunicorn.app.base import BaseApplication

from bot.simulator.control import answer_control
from bot.simulator.faults import Faults
from bot.simulator.lines import read_config
from bot.simulator.page import answer_page
from bot.simulator.products import PREFIXES, answer_product
from bot.simulator.rest import API, answer_rest
from bot.simulator.wire import Answer, BadRequest, Request, StartResponse, answer_json
from bot.simulator.world import World

THREADS = 64
READY = "Simulator ready: "  # the line printed when it answers; the URL follows
DEFAULT_ACCOUNT = "AC" + "5" * 32
DEFAULT_TOKEN = "simulator-token"

WsgiApp = Callable[[Mapping[str, Any], StartResponse], Iterable[bytes]]


def make_app(world: World) -> WsgiApp:
    """The WSGI application of one world."""

    def app(environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            request = Request(environ)
        except BadRequest as refused:
            return answer_json({"error": refused.why}, refused.status).write(start_response)
        body = _route(world, request).write(start_response)
        return [] if request.method == "HEAD" else body

    return app


def _route(world: World, request: Request) -> Answer:
    if request.path.startswith((API + "/", *PREFIXES)):
        try:
            return answer_rest(world, request) if request.path.startswith(API) else answer_product(world, request)
        except BadRequest as refused:
            return answer_json({"code": 20001, "message": refused.why, "status": 400}, 400)
    if request.path.startswith("/_sim/"):
        return answer_control(world, request)
    return answer_page(world, request)


class SimulatorServer(BaseApplication):
    """gunicorn around one world. The world is made inside the worker, so that its threads live there."""

    def __init__(self, make_world: Callable[[], World], host: str, port: int, stop_on_eof: bool) -> None:
        self._make_world = make_world
        self._bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._stop_on_eof = stop_on_eof
        self._world: World | None = None
        super().__init__()

    def load_config(self) -> None:
        """gunicorn's settings; called by its constructor."""
        settings: dict[str, Any] = {
            "bind": self._bind, "worker_class": "gthread", "workers": 1, "threads": THREADS, "worker_connections": 2_000, "keepalive": 75,
            "graceful_timeout": 1, "timeout": 120, "loglevel": "error", "control_socket_disable": True, "proc_name": "simulator",
            "post_worker_init": self._announce, "worker_int": self._let_go, "limit_request_line": 8190,
        }  # fmt: skip
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> WsgiApp:
        """The application, made in the worker."""
        self._world = self._make_world()
        if self._stop_on_eof:
            threading.Thread(target=self._wait_for_end_of_input, name="end-of-input", daemon=True).start()
        return make_app(self._world)

    def _announce(self, worker: Any) -> None:
        host, port = worker.sockets[0].getsockname()[:2]
        print(f"{READY}http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        stop = worker.handle_exit

        def stop_at_once(signum: int, frame: object) -> None:
            self._let_go(worker)
            stop(signum, frame)

        signal.signal(signal.SIGTERM, stop_at_once)

    def _let_go(self, worker: Any) -> None:
        """Release whoever hangs, so that the process ends at once."""
        if self._world is not None:
            self._world.stopping.set()
            self._world.faults.released.set()
            self._world.receipts.stop()

    def _wait_for_end_of_input(self) -> None:
        """Whoever started us holds the other end of our input; when he is gone, however he died, so are we."""
        while os.read(0, 1024):
            pass
        os.kill(os.getppid(), signal.SIGTERM)


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line. Exits with status 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bot.simulator", description="A pretend Twilio with phones in the browser.")
    parser.add_argument("--port", type=int, default=8001, help="0 takes any free port, named in the line printed when ready")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--webhook-base", default="http://127.0.0.1:8000", help="where Chorus listens")
    parser.add_argument("--public-base", default="", help="the PUBLIC_URL that Chorus believes in, when it differs (a proxy)")
    parser.add_argument("--account", default=DEFAULT_ACCOUNT)
    parser.add_argument("--token", default=os.environ.get("TWILIO_AUTH_TOKEN", DEFAULT_TOKEN).partition(",")[0])
    parser.add_argument("--config", help="a JSON file: accounts, lines, phones, contents, faults")
    parser.add_argument("--keep", type=int, default=300_000, help="how many messages are remembered")
    parser.add_argument("--stop-on-eof", action="store_true", help="end when standard input ends")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop. Returns 2 when the configuration is refused."""
    told = read_arguments(arguments)
    config: dict[str, Any] = {}
    try:
        if told.config:
            with open(told.config, encoding="utf-8-sig") as file:
                config = json.load(file)
            if not isinstance(config, dict):
                raise BadRequest("it must be a JSON object")
            read_config(config)
            Faults().set(config.get("faults") or {})
    except (OSError, ValueError, BadRequest) as error:
        print(f"The configuration {told.config} is refused: {error}", file=sys.stderr)
        return 2

    def make_world() -> World:
        world = World({told.account: told.token}, told.webhook_base, told.public_base, told.keep)
        world.configure(config)
        return world

    SimulatorServer(make_world, told.host, told.port, told.stop_on_eof).run()
    return 0
