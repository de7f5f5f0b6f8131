"""Where the demo's data lies (CHORUS_HOME), the secrets it made for itself there, and the environment its programs get."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from bot.demo.processes import DemoFailed


@dataclass(frozen=True)
class Secrets:
    """What a deployment would be given by its people and by Twilio; here made once, of chance, and kept."""

    secret_key: str
    data_keys: str
    account_sid: str
    auth_token: str


class Home:
    """The folder of one demo. Only its owner may enter it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.logs = self.folder / "logs"
        self.redis_data = self.folder / "redis"
        self.database = self.folder / "chorus.db"
        self.secrets_file = self.folder / "secrets.json"
        self.simulator_config = self.folder / "simulator.json"
        self.environment_file = self.folder / "env"
        self._lock: IO[str] | None = None

    def prepare(self) -> None:
        """Make the folder and take its lock. Raises DemoFailed when it cannot be made or another demo uses it."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)  # also when it was there before
            self.logs.mkdir(exist_ok=True)
            self._lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise DemoFailed(f"The demo's folder cannot be used: {error}. Choose another one with CHORUS_HOME.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go by the system when this process ends, however it ends
        except BlockingIOError:
            raise DemoFailed(f"Another demo runs in {self.folder}. Stop it first, or choose another folder with CHORUS_HOME.") from None

    def load_or_create_secrets(self) -> Secrets:
        """The secrets of this folder. Raises DemoFailed rather than make new ones for a database that was sealed with lost ones."""
        if self.secrets_file.exists():
            try:
                return Secrets(**json.loads(self.secrets_file.read_text(encoding="utf-8")))
            except (ValueError, TypeError):
                raise DemoFailed(f"{self.secrets_file} is damaged. {self._start_afresh()}") from None
        if self.database.exists():
            raise DemoFailed(f"{self.database} is there, but the keys it was sealed with are gone. {self._start_afresh()}")
        made = Secrets(
            secret_key=secrets.token_urlsafe(48),
            data_keys=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii"),
            account_sid="AC" + secrets.token_hex(16),
            auth_token=secrets.token_hex(16),
        )
        write_private(self.secrets_file, json.dumps(asdict(made), indent=2) + "\n")
        return made

    def write_environment(self, environment: Mapping[str, str]) -> None:
        """Write `env`, which a shell can read, so that `flask …` on another terminal works on this demo."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
        write_private(self.environment_file, "".join(lines))

    def _start_afresh(self) -> str:
        return f"To start afresh, move {self.folder} away, or choose another folder with CHORUS_HOME."


def demo_environment(home: Home, secrets: Secrets, *, port: int, redis_url: str) -> dict[str, str]:
    """The settings of the contract for the demo.

    All of them are named, so that a DATABASE_URL or a Twilio token that happens to stand in the shell never reaches the demo:
    it could write to real people.
    """
    return {
        "CHORUS_HOME": str(home.folder),
        "DATABASE_URL": f"sqlite:///{home.database}",
        "REDIS_URL": redis_url,
        "TWILIO_ACCOUNT_SID": secrets.account_sid,
        "TWILIO_AUTH_TOKEN": secrets.auth_token,
        "TWILIO_API_URL": f"http://127.0.0.1:{port + 1}",
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "SECRET_KEY": secrets.secret_key,
        "DATA_KEYS": secrets.data_keys,
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
