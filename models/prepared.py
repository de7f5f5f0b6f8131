"""Statements that every message pays for: written in Core, compiled once, handed to the driver as they are.

What SQLAlchemy does around each statement (contexts, events, result objects) costs about three times what the statement itself costs
(measured: 90 us of a message's CPU against 15 to 30 us). So here the SQL text, how each parameter is bound and how each column is read are
worked out at the first use, by SQLAlchemy's own compiler and types; after that only the driver works. Errors are the same as always.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .watchdog import watchdog_of

Process = Callable[[Any], Any]


class Prepared:
    """One statement. ``statement`` is Core, or a mapping from a dialect's name to the statement in that dialect.

    The parameters are a mapping from names to values, as Core takes them: of an INSERT or UPDATE without ``values`` they also name the
    columns. A default must be a plain value, and IN takes no list (``bot.delivery.lists`` has one that does); TypeError otherwise. Rows
    are named tuples. Nothing pending in the session is flushed first. Raises what SQLAlchemy raises.
    """

    def __init__(self, statement: Any) -> None:
        self._statement = statement

    def all(self, session: Session, values: Mapping[str, Any]) -> list[Any]:
        """Every row."""
        return self._run(session.connection(), values)[0]

    def first(self, session: Session, values: Mapping[str, Any]) -> Any:
        """The first row, or None."""
        rows = self._run(session.connection(), values)[0]
        return rows[0] if rows else None

    def one(self, session: Session, values: Mapping[str, Any]) -> Any:
        """The one row there is. Raises sqlalchemy.exc.NoResultFound when there is none."""
        row = self.first(session, values)
        if row is None:
            raise sa.exc.NoResultFound("No row was found when one was required")
        return row

    def scalar(self, session: Session, values: Mapping[str, Any]) -> Any:
        """The first column of the first row; None when there is no row."""
        rows = self._run(session.connection(), values)[0]
        return rows[0][0] if rows else None

    def run(self, session: Session, values: Mapping[str, Any]) -> int:
        """How many rows it changed."""
        return self._run(session.connection(), values)[1]

    def _run(self, connection: sa.Connection, values: Mapping[str, Any]) -> tuple[list[Any], int]:
        if not connection.in_transaction():
            connection.begin()
        ready = self._ready(connection.dialect, values)
        parameters = ready.bind(values)
        held = connection.connection
        cursor = _cursor_of(held)
        watchdog = watchdog_of(connection.dialect)
        if watchdog is not None:
            watchdog.waits(held.driver_connection)
        try:
            cursor.execute(ready.sql, parameters)
            rows = ready.read(cursor.fetchall()) if ready.makes_row is not None else []
            return rows, cursor.rowcount
        except BaseException as error:  # noqa: BLE001 - told on, in SQLAlchemy's words
            held.info.pop(_CURSOR, None)
            # Its own handler: a lost connection leaves the pool, a driver's error becomes SQLAlchemy's, parameters stay hidden.
            connection._handle_dbapi_exception(error, ready.sql, parameters, cursor, None)
        finally:
            if watchdog is not None:
                watchdog.waits_no_more(held.driver_connection)

    def _ready(self, dialect: Any, values: Mapping[str, Any]) -> _Ready:
        # Kept with the dialect, that is with the engine: its keyring is bound into the parameters.
        known = dialect.__dict__.setdefault(_COMPILED, {})
        key = (self, *values)
        ready: _Ready | None = known.get(key)
        if ready is None:
            statement = self._statement[dialect.name] if isinstance(self._statement, Mapping) else self._statement
            ready = known[key] = _Ready(statement, dialect, frozenset(values))
        return ready


# Where the cursor of a driver's connection, and the compiled statements of a dialect, are kept.
_CURSOR, _COMPILED = "chorus cursor", "chorus_compiled"


def _cursor_of(held: Any) -> Any:
    """One cursor for each of the driver's connections: it has one user at a time, and every result is read at once."""
    cursor = held.info.get(_CURSOR)
    if cursor is None:
        cursor = held.info[_CURSOR] = held.cursor()
    return cursor


def run_plainly(connection: sa.Connection, sql: str) -> None:
    """A statement without parameters and rows (BEGIN). Raises what SQLAlchemy raises."""
    held = connection.connection
    cursor = _cursor_of(held)
    try:
        cursor.execute(sql)
    except BaseException as error:  # noqa: BLE001 - told on, in SQLAlchemy's words
        held.info.pop(_CURSOR, None)
        connection._handle_dbapi_exception(error, sql, None, cursor, None)


class _Ready:
    """A statement for one dialect and one set of parameters."""

    def __init__(self, statement: Any, dialect: sa.Dialect, names: frozenset[str]) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=sorted(names))
        if compiled.post_compile_params or compiled.literal_execute_params:
            raise TypeError("a prepared statement is the same text every time: it takes no list of parameters")
        self.sql = str(compiled)
        defaults = {column.key: _plain(column.default) for column in (*compiled.insert_prefetch, *compiled.update_prefetch)}
        slots = {name: _slot(bind, dialect, names, defaults) for bind, name in compiled.bind_names.items()}
        self._names, self._slots = list(slots), list(slots.values())
        # A name may stand in the text many times; it is bound once.
        self._places = [self._names.index(name) for name in compiled.positiontup] if compiled.positional else None
        # An INSERT gives its key back by itself on some databases; only what was asked for is read.
        returns = statement.is_select or bool(statement._returning)
        columns = list(statement.exported_columns) if returns else []
        row: Any = namedtuple("Row", [column.key for column in columns], rename=True) if columns else None
        self.makes_row: Any = row._make if columns else None
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._readers = [(place, reader) for place, reader in enumerate(readers) if reader is not None]

    def bind(self, values: Mapping[str, Any]) -> Any:
        """The parameters as the driver takes them."""
        cells = []
        for key, fixed, process in self._slots:
            cell = fixed if key is None else values[key]
            cells.append(cell if process is None else process(cell))
        if self._places is None:
            return dict(zip(self._names, cells, strict=True))
        return [cells[place] for place in self._places]

    def read(self, rows: Sequence[Any]) -> list[Any]:
        """The driver's rows as rows of ours."""
        if not self._readers:
            return [self.makes_row(row) for row in rows]
        read = []
        for row in rows:
            cells = list(row)
            for place, reader in self._readers:
                cells[place] = reader(cells[place])
            read.append(self.makes_row(cells))
        return read


def _slot(bind: Any, dialect: sa.Dialect, names: frozenset[str], defaults: Mapping[str, Any]) -> tuple[str | None, Any, Process | None]:
    """Where one parameter's value comes from (a name, or None and the value itself), and how it is bound."""
    process = bind.type.dialect_impl(dialect).bind_processor(dialect)
    if bind.key in names:
        return bind.key, None, process
    if bind.key in defaults:
        return None, defaults[bind.key], process
    if bind.required:
        raise TypeError(f"the statement needs a value for {bind.key}")
    return None, bind.effective_value, process


def _plain(default: Any) -> Any:
    if not default.is_scalar:
        raise TypeError("a prepared statement takes plain values as defaults only")
    return default.arg
