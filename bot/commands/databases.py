"""``flask db upgrade``."""

from __future__ import annotations

import click
from flask import current_app

from bot.commands.ground import Subject
from models.migrations import current_revision, head_revision, upgrade

db = Subject("db", help="The database and its tables.")
commands: tuple[click.Command, ...] = (db,)


@db.act("upgrade")
def upgrade_database() -> None:
    """Bring the tables to this version. Harmless when they are."""
    deployment = current_app.extensions["chorus"]
    store = deployment.store
    with store.read() as session:
        before = current_revision(session.connection())
    if before != head_revision():
        upgrade(deployment.settings.database_url)
    click.echo(f"The database stands at revision {head_revision()}." + (" Nothing was to do." if before == head_revision() else ""))
