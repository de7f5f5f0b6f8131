"""Lists in statements that are built once: ``IN`` with a parameter for each row would be a new statement for every length."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models import Outbound, Store
from models.messages import ATTEMPTING, CLAIMED, HELD


def in_list(column: Any, name: str, *, sqlite: bool) -> Any:
    """``column`` is one of the integers in the parameter ``name`` (made by ``as_list``)."""
    if sqlite:
        return column.in_(sa.select(sa.func.json_each(sa.bindparam(name, type_=sa.String)).table_valued("value").c.value))
    return column == sa.func.any(sa.bindparam(name, type_=ARRAY(sa.BigInteger)))


# The states of the index of what is under way (``ix_outbound_open``), in the order of its definition.
_OPEN = (HELD, CLAIMED, ATTEMPTING)


def in_states(column: Any, *states: str) -> Any:
    """``column`` is one of these states, as literals: only so can the planner see that a partial index fits.

    SQLite must be told more than PostgreSQL (it reads the whole table else, seen with EXPLAIN on 3.40): one state as an equation, and some
    of an index's states together with the condition of that index, word by word.
    """
    literals: list[Any] = [sa.literal_column(f"'{state}'") for state in states]
    named = column == literals[0] if len(literals) == 1 else column.in_(literals)
    table = getattr(column, "table", None)
    if getattr(table, "element", table) is Outbound.__table__ and set(states) < set(_OPEN):
        return sa.and_(column.in_([sa.literal_column(f"'{state}'") for state in _OPEN]), named)
    return named


def as_list(store: Store, numbers: Iterable[int]) -> Any:
    """The value of such a parameter."""
    return json.dumps(list(numbers)) if store.is_sqlite else list(numbers)
