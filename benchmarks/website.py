"""`python -m benchmarks.website`: Chorus and a bare Flask application in one process behind one gunicorn (16 threads, as deployed).

Both are reached through the same server, the same sockets and the same few lines of dispatch, so that what they differ in is what they
do. The settings are those of the environment. The first line printed is the port; `/cpu` tells the process's CPU seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from flask import Flask, Response, request
from gunicorn.app.base import BaseApplication

from bot import create_app
from bot.deployment import open_deployment
from bot.inbound.message import read_message
from bot.inbound.twiml import EMPTY
from bot.inbound.webhooks import signed_by_twilio

THREADS = 16


def make_bare() -> Flask:
    """The least that Flask can do with the same request: find the view, give an answer."""
    app = Flask("bare", static_folder=None)

    @app.post("/bare")
    def bare() -> Response:
        return Response(EMPTY, content_type="text/xml")

    @app.post("/bare-form")
    def bare_form() -> Response:
        return Response(EMPTY if request.form["MessageSid"] else "", content_type="text/xml")

    return app


def make_chorus() -> Flask:
    """Chorus, with one door more that is signed and needs no database."""
    app = create_app(open_deployment())

    @app.post("/signed")
    @signed_by_twilio
    def signed(parameters: Any) -> Response:
        return Response(EMPTY if read_message(parameters).sid else "", content_type="text/xml")

    return app


class Website(BaseApplication):
    def load_config(self) -> None:
        """gunicorn's settings; called by its constructor."""
        settings: dict[str, Any] = {
            "bind": "127.0.0.1:0", "worker_class": "gthread", "workers": 1, "threads": THREADS, "keepalive": 75, "timeout": 120,
            "graceful_timeout": 1, "loglevel": "warning", "control_socket_disable": True, "post_worker_init": announce,
        }  # fmt: skip
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Both applications, made in the worker process."""
        threading.Thread(target=end_with_starter, name="end of input", daemon=True).start()
        bare, chorus = make_bare(), make_chorus()

        def dispatch(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            if path == "/cpu":
                told = repr(time.process_time()).encode()
                start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(told)))])
                return [told]
            return (bare if path.startswith("/bare") else chorus)(environ, start_response)

        return dispatch


def announce(worker: Any) -> None:
    print(worker.sockets[0].getsockname()[1], worker.pid, flush=True)


def end_with_starter() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getppid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    Website().run()
