"""A database that is away, too slow or in a deadlock: worth another try. Everything else is a mistake of ours and goes up."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from models import DatabaseBusy

DATABASE_TROUBLE = (OperationalError, InterfaceError, PoolExhausted, DatabaseBusy)


def name_trouble(error: Exception) -> str:
    """A name for the log, without the values that an error's own text may hold."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    return f"{type(error).__name__} {code}" if code else type(error).__name__
