"""Alembic runs this: it migrates over the connection that models.migrations hands it."""

from typing import Any, Literal

from alembic import context

from models import Base, Moment
from models.sealing import SealedJSON, SealedText


def spell_out(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Migrations name plain column types, so that an old one still runs when a class of ours has moved."""
    if kind == "type" and isinstance(item, Moment):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, (SealedText, SealedJSON)):
        return "sa.LargeBinary()"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    # SQLite can not alter columns: Alembic copies the table instead.
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=spell_out,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
