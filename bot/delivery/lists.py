"""Lists in statements that are built once: ``IN`` with a parameter for each row would be a new statement for every length."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models import Store


def in_list(column: Any, name: str, *, sqlite: bool) -> Any:
    """``column`` is one of the integers in the parameter ``name`` (made by ``as_list``)."""
    if sqlite:
        return column.in_(sa.select(sa.func.json_each(sa.bindparam(name, type_=sa.String)).table_valued("value").c.value))
    return column == sa.func.any(sa.bindparam(name, type_=ARRAY(sa.BigInteger)))


def in_states(column: Any, *states: str) -> Any:
    """``column`` is one of these states, as literals: only so can the planner see that a partial index fits."""
    return column.in_([sa.literal_column(f"'{state}'") for state in states])


def as_list(store: Store, numbers: Iterable[int]) -> Any:
    """The value of such a parameter."""
    return json.dumps(list(numbers)) if store.is_sqlite else list(numbers)
