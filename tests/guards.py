"""What only a guard keeps: each one is taken out of a copy of the tree, and a test must go red. ``python -m tests.guards [name …]``.

A guard whose test stays green is one that nobody would miss. The checkout itself is never touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.guard_table import GUARDS, Guard

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis")
# Of pytest: tests ran and some failed. Anything else (no test found, an import that breaks) shows nothing.
RED = 1


def copy_the_tree(target: Path) -> None:
    """The checkout without what running it left behind; the environment is shared."""
    shutil.copytree(ROOT, target, ignore=LEFT_OUT, symlinks=True)


def run_test(tree: Path, test: str, named: str) -> tuple[int, str]:
    """(pytest's exit code, the end of what it said)"""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-q", "-x", "-p", "no:cacheprovider", test, "-k", named],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout[-1500:] + done.stderr[-500:]


def cut(tree: Path, guard: Guard) -> dict[Path, str]:
    """Take the guard out of the tree; gives the files as they were. Raises LookupError when its text does not stand there once."""
    kept: dict[Path, str] = {}
    for each in guard.cuts:
        path = tree / each.path
        text = path.read_text(encoding="utf-8")
        kept.setdefault(path, text)
        if text.count(each.text) != 1:
            raise LookupError(f"{each.path} has this {text.count(each.text)} times: {each.text!r}")
        path.write_text(text.replace(each.text, each.instead), encoding="utf-8")
    return kept


def try_guard(tree: Path, guard: Guard) -> str | None:
    """None: its test is green with it and red without it. Else what is wrong."""
    code, said = run_test(tree, guard.test, guard.named)
    if code != 0:
        return f"its test is not green to begin with (pytest ends with {code}):\n{said}"
    try:
        kept = cut(tree, guard)
    except LookupError as error:
        return str(error)
    try:
        code, said = run_test(tree, guard.test, guard.named)
    finally:
        for path, text in kept.items():
            path.write_text(text, encoding="utf-8")
    return None if code == RED else f"no test goes red (pytest ends with {code}):\n{said}"


def main(names: Sequence[str]) -> int:
    """0: every guard (or every one whose name holds one of ``names``) is missed when it is gone. 1: one is not."""
    chosen = [each for each in GUARDS if not names or any(name in each.name for name in names)]
    unguarded = 0
    with tempfile.TemporaryDirectory(prefix="chorus-guards-") as folder:
        tree = Path(folder) / "tree"
        copy_the_tree(tree)
        for each in chosen:
            began = time.monotonic()
            trouble = try_guard(tree, each)
            unguarded += trouble is not None
            color, seconds = "green" if trouble else "red", time.monotonic() - began
            print(f"{color}  {each.name}  ({each.test} -k {each.named!r}, {seconds:.0f} s)", flush=True)
            if trouble:
                print(trouble, flush=True)
    print(f"{len(chosen) - unguarded} of {len(chosen)} guards are missed when they are gone")
    return 1 if unguarded or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
