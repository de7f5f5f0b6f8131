"""A process that has imported everything and forks real workers and web servers from itself, in milliseconds instead of seconds each.

It opens nothing and has one thread, so what it forks is a fresh process: own environment, own connections, own session, and it dies by
SIGKILL as any other. Spoken to in lines of JSON (see ``main``); it ends with its standard input.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback
from datetime import timedelta
from typing import Any

from gunicorn.app.base import BaseApplication

import bot.delivery.plan
import bot.inbound.backfill
import worker
from bot import crashpoints, create_app
from bot.demo.processes import end_with_parent


class _Web(BaseApplication):  # type: ignore[misc]
    """``gunicorn wsgi:app`` with the threads of one worker process."""

    def load_config(self) -> None:
        options = {"bind": os.environ["CHORUS_BIND"], "workers": 1, "threads": 8, "worker_class": "gthread", "graceful_timeout": 1}
        for name, value in (options | {"control_socket_disable": True}).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return create_app()


PROGRAMS = {"worker": worker.main, "web": lambda: _Web().run()}


def _be(program: str, environment: dict[str, str], log: str, tune: dict[str, int]) -> None:
    """What a forked child does with the rest of its life. ``tune``: what would need thousands of members, or a minute, to be seen."""
    os.environ.update(environment)
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((0, nothing), (1, written), (2, written)):
        os.dup2(target, number)
    crashpoints.arm(os.environ.get("CHORUS_CRASHPOINT", ""))
    bot.delivery.plan.CHUNK = tune.get("chunk", bot.delivery.plan.CHUNK)
    bot.inbound.backfill.SETTLED = timedelta(seconds=tune.get("settled", bot.inbound.backfill.SETTLED.seconds))
    code: Any = 1
    try:
        code = PROGRAMS[program]()  # type: ignore[no-untyped-call]
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - the last thing it does: the log is all that anybody will see
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


def _start(told: dict[str, Any]) -> dict[str, Any]:
    ask_kernel = end_with_parent(signal.SIGKILL)
    child = os.fork()
    if child == 0:
        os.setsid()
        if ask_kernel is not None:
            ask_kernel()
        _be(told["program"], told["environment"], told["log"], told["tune"])
    return {"pid": child}


def _look(told: dict[str, Any]) -> dict[str, Any]:
    """The exit code (negative: the signal), or null while it runs. Collects it; until then its number is nobody else's."""
    deadline = time.monotonic() + told.get("seconds", 0)
    while True:
        found, status = os.waitpid(told["pid"], os.WNOHANG)
        if found:
            return {"code": os.waitstatus_to_exitcode(status)}
        if time.monotonic() >= deadline:
            return {"code": None}
        time.sleep(0.005)


COMMANDS = {"start": _start, "look": _look}


def main() -> None:
    """{"do": "start", "program", "environment", "log", "tune"} -> {"pid"}; {"do": "look", "pid", "seconds"} -> {"code"}."""
    gc.freeze()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        print(json.dumps(COMMANDS[told["do"]](told)), flush=True)


if __name__ == "__main__":
    main()
