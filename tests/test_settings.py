"""Chorus refuses to start with settings that are missing or unsafe, names each of them, and shows no value."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from bot.settings import SettingsRefused, read_settings

GOOD = {
    "DATABASE_URL": "postgresql://chorus:hidden-password@db.example.org/chorus",
    "TWILIO_ACCOUNT_SID": "AC" + "a1" * 16,
    "TWILIO_AUTH_TOKEN": "5ecre75ecre75ecre75ecre75ecre7aa",
    "PUBLIC_URL": "https://chorus.example.org",
    "SECRET_KEY": "a-session-secret-of-some-length",
    "DATA_KEYS": "3q2-796tvu_erb7v3q2-796tvu8BAgMEBQYHCAkKCwwNDg8Q"[:43],
}
NAMES = (*GOOD, "TRUSTED_PROXIES", "REDIS_URL", "TWILIO_API_URL", "CHORUS_NOW", "CHORUS_HOME")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_good_settings_are_read() -> None:
    settings = read_settings()
    assert settings.twilio_api_url == "https://api.twilio.com"
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert len(settings.data_keys) == 1 and len(settings.data_keys[0]) == 32
    assert settings.has_simulator is False


def test_two_tokens_and_two_keys_during_a_rotation(environment: pytest.MonkeyPatch) -> None:
    other = base64.urlsafe_b64encode(bytes(range(32))).decode()
    environment.setenv("TWILIO_AUTH_TOKEN", f"{GOOD['TWILIO_AUTH_TOKEN']}, {'b2' * 16}")
    environment.setenv("DATA_KEYS", f"{other},{GOOD['DATA_KEYS']}")
    settings = read_settings()
    assert settings.twilio_auth_token == (GOOD["TWILIO_AUTH_TOKEN"], "b2" * 16)
    assert settings.data_keys[0] == bytes(range(32)) and len(settings.data_keys) == 2


WRONG = [
    ("DATABASE_URL", "mysql://root:hunter2@db/chorus", "hunter2"),
    ("DATABASE_URL", "sqlite:///:memory:", ":memory:"),
    ("REDIS_URL", "http://user:hunter2@redis", "hunter2"),
    ("TWILIO_ACCOUNT_SID", "SK" + "a1" * 16, "SKa1"),
    ("TWILIO_AUTH_TOKEN", "hunter2", "hunter2"),
    ("TWILIO_AUTH_TOKEN", ",".join(["hunter2hunter2hunter2"] * 3), "hunter2"),
    ("TWILIO_API_URL", "ftp://hunter2.example.org", "hunter2"),
    ("TWILIO_API_URL", "http://hunter2.example.org", "hunter2"),
    ("PUBLIC_URL", "hunter2.example.org", "hunter2"),
    ("PUBLIC_URL", "http://hunter2.example.org", "hunter2"),
    ("PUBLIC_URL", "https://hunter2_host.example.org", "hunter2"),
    ("PUBLIC_URL", "https://example.org/?token=hunter2", "hunter2"),
    ("SECRET_KEY", "hunter2", "hunter2"),
    ("TRUSTED_PROXIES", "hunter2", "hunter2"),
    ("TRUSTED_PROXIES", "-17", "-17"),
    ("DATA_KEYS", "", "hunter2"),
    ("DATA_KEYS", "hunter2", "hunter2"),
    ("DATA_KEYS", base64.urlsafe_b64encode(b"hunter2 ends after 24 b.").decode(), "aHVudGVyMiBlbmRz"),
    ("DATA_KEYS", base64.urlsafe_b64encode(bytes(32)).decode(), "AAAAAAAA"),
    ("CHORUS_NOW", "2026-11-22T09:00", "2026-11-22"),
    ("CHORUS_NOW", "hunter2", "hunter2"),
]


@pytest.mark.parametrize(("name", "value", "secret"), WRONG)
def test_a_wrong_setting_is_named_and_never_shown(environment: pytest.MonkeyPatch, name: str, value: str, secret: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingsRefused) as refusal:
        read_settings()
    told = str(refusal.value)
    assert f"{name}:" in told
    # What the message says of the form ("as 2026-11-22T09:00+00:00") is no value of the environment.
    assert secret not in told.replace("2026-11-22T09:00+00:00", "")
    assert all(f"{other}:" not in told for other in NAMES if other != name)


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_setting_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(SettingsRefused, match=f"{name}: is not set"):
        read_settings()


def test_all_wrong_settings_are_named_at_once(environment: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        environment.delenv(name)
    with pytest.raises(SettingsRefused) as refusal:
        read_settings()
    assert all(f"{name}:" in str(refusal.value) for name in GOOD)


def test_the_settings_hide_their_secrets() -> None:
    shown = repr(read_settings())
    for secret in ("hidden-password", GOOD["TWILIO_AUTH_TOKEN"], GOOD["SECRET_KEY"], GOOD["DATA_KEYS"]):
        assert secret not in shown


def test_the_web_process_ends_with_the_list_and_no_traceback() -> None:
    root = Path(__file__).resolve().parents[1]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root), **GOOD, "SECRET_KEY": "hunter2"}
    ended = subprocess.run([sys.executable, "-c", "import wsgi"], cwd=root, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "SECRET_KEY:" in ended.stderr and "Traceback" not in ended.stderr and "hunter2" not in ended.stderr
