"""Every word of the console exists in Spanish and Hindi, with the same placeholders; vendored files are those we know."""

from __future__ import annotations

import ast
import hashlib
import re
import string
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from bot.console import words
from bot.delivery.trouble_words import every_explanation
from flows import FLOWS

CONSOLE = Path(words.__file__).parent
VENDOR = CONSOLE / "static" / "vendor"
_STRING = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_CALLS = {"say": 1, "count": 2, "mark": 1, "refuse": 0}


def texts() -> dict[str, str | None]:
    """Every English text of the console's templates and modules, with its plural."""
    found: dict[str, str | None] = {}
    for path in sorted((CONSOLE / "templates").rglob("*.html")):
        source = path.read_text("utf-8")
        for one in re.findall(r"\b_\(\s*" + _STRING, source):
            found[ast.literal_eval(one)] = None
        for one, many in re.findall(r"\b_n\(\s*" + _STRING + r"\s*,\s*" + _STRING, source):
            found[ast.literal_eval(one)] = ast.literal_eval(many)
    for path in sorted(CONSOLE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and _CALLS.get(node.func.id):
                literals = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
                if literals:
                    found[literals[0]] = literals[1] if _CALLS[node.func.id] == 2 and len(literals) > 1 else None
    # What went wrong with a text is explained in the room below, and said here in the page's language.
    found |= dict.fromkeys(every_explanation())
    # What each conversation is about stands beside it, and heads its page.
    return found | dict.fromkeys(entry.about for entry in FLOWS.values())


def holes(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", [code for code in words.LANGUAGES if code != "en"])
def test_every_word_is_translated(language: str) -> None:
    with (words.FOLDER / f"{language}.po").open("rb") as file:
        catalog = {message.id if isinstance(message.id, str) else message.id[0]: message for message in read_po(file) if message.id}
    problems = []
    for text, many in texts().items():
        message = catalog.get(text)
        forms = (message.string,) if message is not None and isinstance(message.string, str) else tuple(message.string) if message else ()
        if not forms or not all(forms) or (many is not None) is not (len(forms) == 2):
            problems.append(f"not translated: {text!r}")
        elif many is None and holes(text) != holes(forms[0]):
            problems.append(f"other placeholders: {text!r}")
    unused = sorted(set(catalog) - set(texts()))
    assert not problems, "\n".join(problems)
    assert not unused, f"nobody says these any more: {unused}"


def test_vendored_files_are_the_ones_we_know() -> None:
    known = dict(reversed(line.split()) for line in (VENDOR / "SHA256SUMS").read_text("ascii").splitlines())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir() if path.suffix in (".js", ".css")}
    assert found == known
    for name in found:
        assert (VENDOR / f"{name.split('-')[0]}.LICENSE").is_file()
