"""Alembic, told in Python instead of an ini file: where the scripts are, which database, which tables."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from models import Base
from models.store import normalise_url


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at ``url`` to ``revision``. Each migration runs in one transaction on both databases."""
    engine = sa.create_engine(normalise_url(url), hide_parameters=True)
    try:
        with engine.begin() as connection:
            command.upgrade(_config(connection), revision)
    finally:
        engine.dispose()


def current_revision(connection: sa.Connection) -> str | None:
    """The revision that the database stands at; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str | None:
    """The newest revision in this checkout."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def differences(connection: sa.Connection) -> list[object]:
    """What the models have and the database has not, or the other way round (empty: they agree)."""
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata))


def write_migration(url: str, message: str, revision: str) -> None:
    """Draft the next migration from the difference between the models and the database at ``url`` (for developers)."""
    engine = sa.create_engine(normalise_url(url))
    with engine.begin() as connection:
        command.revision(_config(connection), message=message, autogenerate=True, rev_id=revision)
