"""Every setting, read once from the environment, typed. Chorus refuses to start when something unsafe is missing, and names each."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models import decode_key

TWILIO_API = "https://api.twilio.com"


class SettingsRefused(Exception):
    """The environment is not fit to start with; the message has a line for each setting and says what to do."""


class Settings(BaseSettings):
    """The environment of the contract (README, "Configuration"). Secrets never show in repr or in errors."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    database_url: str = Field(repr=False)
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", repr=False)
    twilio_account_sid: str = Field(pattern=r"^AC[0-9a-fA-F]{32}$")
    # Two during a rotation: webhooks signed with either are accepted, the first one sends.
    twilio_auth_token: Annotated[tuple[str, ...], NoDecode] = Field(repr=False)
    twilio_api_url: str = TWILIO_API
    public_url: str
    secret_key: str = Field(min_length=24, repr=False)
    data_keys: Annotated[tuple[bytes, ...], NoDecode] = Field(repr=False)
    # How many proxies of ours stand in front, each of which adds to X-Forwarded-For; what stands left of theirs anybody can write.
    trusted_proxies: int = Field(default=0, ge=0, le=9)
    chorus_now: datetime | None = None
    chorus_home: Path = Path("var")

    @field_validator("twilio_auth_token", mode="before")
    @classmethod
    def _tokens(cls, value: Any) -> tuple[str, ...]:
        tokens = tuple(part.strip() for part in str(value).split(",") if part.strip())
        if not 1 <= len(tokens) <= 2:
            raise ValueError("give one token, or two separated by a comma during a rotation")
        if any(len(token) < 16 for token in tokens):
            raise ValueError("a token is too short to be Twilio's")
        return tokens

    @field_validator("data_keys", mode="before")
    @classmethod
    def _keys(cls, value: Any) -> tuple[bytes, ...]:
        parts = [part for part in str(value).split(",") if part.strip()]
        if not parts:
            raise ValueError(
                "give at least one key: python -c 'import base64,os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
            )
        keys = []
        for position, part in enumerate(parts, 1):
            try:
                keys.append(decode_key(part))
            except ValueError as error:
                raise ValueError(f"key {position} {error}") from None
        return tuple(keys)

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql://", "postgres://", "postgresql+psycopg://")):
            raise ValueError("use sqlite:///PATH or postgresql://USER@HOST/NAME")
        if value in ("sqlite:///", "sqlite:///:memory:"):
            raise ValueError("an in-memory database would lose every message at the next start")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str) -> str:
        if not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("use redis://HOST:PORT/0, rediss:// or unix://PATH")
        return value

    @field_validator("public_url", "twilio_api_url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("use http(s)://HOST without a query")
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("plain http is for this machine only: members' words would cross the network unsealed; use https")
        if "_" in parts.hostname:
            raise ValueError("Twilio refuses a host name with an underscore")
        return value.rstrip("/")

    @field_validator("chorus_now")
    @classmethod
    def _now(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("give the moment with its zone, as 2026-11-22T09:00+00:00")
        return value

    @property
    def has_simulator(self) -> bool:
        """Whether a simulator on this machine is the carrier: only then may the clock jump."""
        return urlsplit(self.twilio_api_url).hostname in ("127.0.0.1", "localhost", "::1")


def read_settings(**overrides: Any) -> Settings:
    """The settings from the environment (``overrides`` for tests). Raises SettingsRefused, naming every setting that is wrong."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_input=False):
            name = str(problem["loc"][0]).upper() if problem["loc"] else "settings"
            reason = "is not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
            lines.append(f"  {name}: {reason}")
        raise SettingsRefused("Chorus can not start with these settings:\n" + "\n".join(lines)) from None
