"""The table of guards fits the code: each text stands once in its file, and its test exists (`make guards` runs them, for minutes)."""

from __future__ import annotations

import ast
import re

import pytest

from tests.guard_table import GUARDS, Guard
from tests.guards import ROOT


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_where_the_table_says(guard: Guard) -> None:
    for cut in guard.cuts:
        text = (ROOT / cut.path).read_text(encoding="utf-8")
        assert text.count(cut.text) == 1, f"{cut.path} has it {text.count(cut.text)} times: bring tests/guard_table.py up to date"
        assert cut.text != cut.instead
        ast.parse(text.replace(cut.text, cut.instead))
    tree = ast.parse((ROOT / guard.test).read_text(encoding="utf-8"))
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    (wanted,) = re.findall(r"test_\w+", guard.named)[:1]
    assert any(wanted in name for name in names), f"{guard.test} has no {wanted}"


def test_every_guard_has_a_name_of_its_own() -> None:
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
