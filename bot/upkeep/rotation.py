"""Moving everything that is sealed under the first key of DATA_KEYS, while Chorus runs.

Each chunk is committed by itself, and a value is changed only if nobody changed it meanwhile: the rotation may be killed and run
again at any point, and until it is through the old key opens what it sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from models import Base, SealBroken, Store
from models.sealing import SealedJSON, SealedText

CHUNK = 500
_KEYS = "keys"


@dataclass(frozen=True)
class SealedColumn:
    """One sealed column, seen as the bytes it stores. ``place`` is None for ``keys``, whose rows are bound to their purpose."""

    table: sa.TableClause
    key: tuple[sa.ColumnClause[Any], ...]
    column: sa.ColumnClause[bytes]
    place: str | None

    @property
    def name(self) -> str:
        return f"{self.table.name}.{self.column.name}"

    def place_of(self, row: Any) -> str:
        """What the value of this row is bound to."""
        return self.place if self.place is not None else f"{_KEYS}.{row[0]}"


def sealed_columns() -> Iterator[SealedColumn]:
    """Every sealed column of every table."""
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, (SealedText, SealedJSON)):
                yield _raw(table, column, column.type.place)
            elif table.name == _KEYS and column.name == "wrapped":
                yield _raw(table, column, None)


def _raw(table: sa.Table, column: sa.Column[Any], place: str | None) -> SealedColumn:
    key = tuple(sa.column(part.name, part.type) for part in table.primary_key.columns)
    raw = sa.column(column.name, sa.LargeBinary())
    return SealedColumn(sa.table(table.name, *key, raw), key, raw, place)


def _under_other_key(store: Store, sealed: SealedColumn) -> sa.ColumnElement[bool]:
    # Bytes 2 to 5 name the key (models.sealing).
    return sa.and_(sealed.column.is_not(None), sa.func.substr(sealed.column, 2, 4, type_=sa.LargeBinary()) != store.keyring.sealing_id)


def count_old_seals(store: Store) -> dict[str, int]:
    """By column, how many values are not under the first key yet (columns with none are left out)."""
    counts: dict[str, int] = {}
    with store.read() as session:
        for sealed in sealed_columns():
            counting = sa.select(sa.func.count()).select_from(sealed.table).where(_under_other_key(store, sealed))
            counts[sealed.name] = session.scalar(counting) or 0
    return {name: count for name, count in counts.items() if count}


def reseal_everything(store: Store, progress: Callable[[str, int], None] | None = None) -> tuple[dict[str, int], dict[str, int]]:
    """Seal every value under the first key. Returns (how many were moved, how many do not open), both by column.

    A value that does not open (its key is no longer in DATA_KEYS) is left as it is.
    """
    moved: dict[str, int] = {}
    broken: dict[str, int] = {}
    for sealed in sealed_columns():
        after: tuple[Any, ...] | None = None
        while True:
            after, done, failed = _reseal_chunk(store, sealed, after)
            if done:
                moved[sealed.name] = moved.get(sealed.name, 0) + done
            if failed:
                broken[sealed.name] = broken.get(sealed.name, 0) + failed
            if progress and done:
                progress(sealed.name, moved[sealed.name])
            if after is None:
                break
    return moved, broken


def _reseal_chunk(store: Store, sealed: SealedColumn, after: tuple[Any, ...] | None) -> tuple[tuple[Any, ...] | None, int, int]:
    """Move the next values behind key ``after``; returns (the last key seen or None at the end, moved, broken)."""
    wanted = sa.select(*sealed.key, sealed.column).where(_under_other_key(store, sealed)).order_by(*sealed.key).limit(CHUNK)
    if after is not None:
        wanted = wanted.where(sa.tuple_(*sealed.key) > sa.tuple_(*after))
    done = failed = 0
    with store.write() as session:
        connection = session.connection()
        rows = connection.execute(wanted).all()
        for row in rows:
            place = sealed.place_of(row)
            try:
                plain = store.keyring.open(row[-1], place)
            except SealBroken:
                failed += 1
                continue
            same = [column == value for column, value in zip(sealed.key, row[:-1], strict=True)]
            update = (
                sa.update(sealed.table)
                .where(*same, sealed.column == row[-1])
                .values({sealed.column.name: store.keyring.seal(plain, place)})
            )
            done += connection.execute(update).rowcount
    return (tuple(rows[-1][:-1]) if rows else None), done, failed
