"""A small TCP proxy that stands in front of a database or a carrier, and can be cut, hang, reset, or lose answers."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from types import TracebackType
from typing import Any

from sqlalchemy.engine import make_url

MODES = (
    "forward",
    "swallow",  # nothing passes any more, in either direction, and nobody is told
    "swallow answers",  # requests arrive, answers do not
    "swallow commits",  # a PostgreSQL connection falls silent just before its COMMIT arrives
    "swallow answers to commits",  # ... just after
    "reset",  # whoever speaks next is hung up on, with a RST
)


class Proxy:
    """Listens on ``port`` and carries everything to ``upstream`` (a (host, port), or the path of a unix socket), as ``mode`` says.

    A context manager. ``mode`` is one of MODES and may change at any time; a connection that fell silent stays silent.
    """

    def __init__(self, upstream: tuple[str, int] | str) -> None:
        self._upstream: Any = upstream
        self._closed = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._carriers: list[threading.Thread] = []
        self.port = 0
        self.mode = "forward"
        self.url = ""
        self._open_the_door()

    @classmethod
    def before_postgres(cls, server_url: str) -> Proxy:
        """One in front of the PostgreSQL of this URL; its own ``url`` leads to the same database through it."""
        url = make_url(server_url)
        host = str(url.query.get("host") or url.host or "127.0.0.1")
        port = int(str(url.query.get("port") or url.port or 5432))
        proxy = cls(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port))
        query = {key: value for key, value in url.query.items() if key not in ("host", "port")}
        query |= {"sslmode": "disable", "gssencmode": "disable"}
        through = url.set(drivername="postgresql", host="127.0.0.1", port=proxy.port, query=query)
        proxy.url = through.render_as_string(hide_password=False)
        return proxy

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open_the_door(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self._door_shuts = threading.Event()
        self._doorman = threading.Thread(target=self._accept, daemon=True)
        self._doorman.start()

    def _accept(self) -> None:
        while not self._door_shuts.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            server = socket.socket(socket.AF_UNIX if isinstance(self._upstream, str) else socket.AF_INET, socket.SOCK_STREAM)
            try:
                server.connect(self._upstream)
            except OSError:  # the server itself is gone: so are we, for this caller
                client.close()
                server.close()
                continue
            self._pairs.append((client, server))
            thread = threading.Thread(target=self._carry, args=(client, server), daemon=True)
            self._carriers.append(thread)
            thread.start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        deaf = False
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            while not self._closed.is_set():
                for key, _ in ready.select(0.1):
                    from_client = key.fileobj is client
                    try:
                        data = (client if from_client else server).recv(65536)
                        if from_client and data and self.mode == "reset":
                            # Zero seconds to linger: a RST instead of a goodbye.
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                            raise OSError("reset")
                        if from_client and b"COMMIT" in data and self.mode.endswith("commits"):
                            deaf = True
                            if self.mode == "swallow answers to commits":
                                server.sendall(data)
                        if deaf or self.mode == "swallow" or (self.mode == "swallow answers" and not from_client):
                            if not data:
                                return
                            continue
                        if not data:
                            raise OSError("closed")
                        (server if from_client else client).sendall(data)
                    except OSError:
                        client.close()
                        server.close()
                        return

    def cut(self) -> None:
        """The server is gone: what is open breaks, what is new is refused."""
        self._door_shuts.set()
        self._doorman.join(5)
        self._listener.close()
        for pair in self._pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # this end is closed already
        self._pairs.clear()

    def mend(self) -> None:
        """The server is back, on the same port."""
        self.mode = "forward"
        self._open_the_door()

    def close(self) -> None:
        self._closed.set()
        self.cut()
        for thread in self._carriers:
            thread.join(5)
