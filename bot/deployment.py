"""One running Chorus: its settings and its store, opened together. Every process has exactly one."""

from __future__ import annotations

from dataclasses import dataclass

from bot.settings import Settings, read_settings
from models import Clock, Keyring, Store


@dataclass(frozen=True)
class Deployment:
    """What every room is handed instead of reaching for globals."""

    settings: Settings
    store: Store

    @property
    def clock(self) -> Clock:
        return self.store.clock


def open_deployment(settings: Settings | None = None, clock: Clock | None = None) -> Deployment:
    """Open the deployment that the environment (or ``settings``) describes. Raises SettingsRefused."""
    settings = settings or read_settings()
    store = Store(settings.database_url, Keyring(settings.data_keys), clock or Clock(settings.chorus_now))
    return Deployment(settings, store)
