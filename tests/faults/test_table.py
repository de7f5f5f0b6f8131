"""The crash tables, row by row: what comes in (I1 to I9) and what goes out (O1 to O15). Every row has a test named after it.

I1  crash before the inbound commit          O1  killed before the POST            O9   two schedulers, a restart at the minute
I2  crash after it, before the answer        O2  killed after it, before the commit O10 summer time, clocks an hour off
I3  the same message twice at once           O3  accepted, then no answer          O11  a stale alert
I4  two messages of one member at once       O4  429                               O12  a poisoned row
I5  answers out of order                     O5  400, 21610, 21211                 O13  every process killed, in any order
I6  the database is down                     O6  the receipt before the answer     O14  old and new code at once
I7  Redis is down, or flushed                O7  receipts in any order             O15  a double click
I8  the server was off for a day             O8  STOP in the middle of a broadcast
I9  a signed request replayed months later
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROWS = [*(f"i{n}" for n in range(1, 10)), *(f"o{n}" for n in range(1, 16))]


@cache
def names_by_row() -> dict[str, list[str]]:
    """The names of the tests of each row, over the whole tree."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (named := re.match(r"test_([io]\d+)_", node.name)):
                found.setdefault(named[1], []).append(node.name)
    return found


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_its_test(row: str) -> None:
    assert names_by_row().get(row), f"nothing shows what becomes of row {row.upper()}: name its test test_{row}_..."


def test_no_test_names_a_row_that_is_not_there() -> None:
    assert set(names_by_row()) <= set(ROWS)
