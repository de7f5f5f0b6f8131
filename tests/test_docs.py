"""The documentation is true: what it names exists, and what exists is named.

`python -m tests.test_docs` writes the tables of docs/words.md anew.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest

import flows
from bot.commands import register
from bot.conversation.engine import every_conversation
from bot.conversation.steps import FlowEntry, Word
from bot.languages.stop_phrases import OUR_STOP, TWILIO_STOP
from bot.settings import Settings
from flows import FLOWS, WORDS
from tests.conftest import START
from tests.transcripts import Player
from tests.world import World

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
WORDS_PAGE = ROOT / "docs" / "words.md"
PAGES = sorted([README, *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(path for room in ("bot", "flows", "models", "tests") for path in (ROOT / room).rglob("*.py")) + [
    ROOT / "worker.py",
    ROOT / "wsgi.py",
]
# Flask's own, which the project does not document.
OF_FLASK = {"run", "shell", "routes"}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- commands -----------------------------------------------------------------------------------------------------------


@cache
def flask_commands() -> dict[str, click.Command]:
    """Every command by its words: "doctor", "broadcast send"."""
    found: dict[str, click.Command] = {}

    class Cli:
        def add_command(self, command: click.Command) -> None:
            if isinstance(command, click.Group):
                found.update({f"{command.name} {name}": act for name, act in command.commands.items()})
            else:
                found[str(command.name)] = command

    class App:
        cli = Cli()

    register(App())  # type: ignore[arg-type]
    return found


def named_commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, the rest of its line or code span) for each `flask …` in ``text`` that is written as code."""
    # The same line twice at most: a span inside a line, or a line of a block.
    for code in [*re.findall(r"`([^`\n]+)`", text), *re.findall(r"^(?: {4}|\t)(.+)$", text, re.MULTILINE)]:
        for match in re.finditer(r"\bflask (?:--app wsgi )?([a-z]+)(?: ([a-z]+))?(.*)", code):
            one, two, rest = match.groups()
            yield (f"{one} {two}", rest) if two and f"{one} {two}" in flask_commands() else (one, f" {two or ''}{rest}")


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_command_named_exists(path: Path) -> None:
    for command, rest in named_commands(read(path)):
        assert command in flask_commands() or command in OF_FLASK, f"there is no flask {command}"
        known = {option for parameter in flask_commands()[command].params for option in (*parameter.opts, *parameter.secondary_opts)}
        for option in re.findall(r"(?<![\w-])--[a-z-]+", rest.split(" && ")[0]):
            assert option in known, f"flask {command} has no {option}"


def test_every_command_is_in_the_readme() -> None:
    named = {command for command, _ in named_commands(read(README))}
    assert not set(flask_commands()) - named


def test_the_options_beside_a_command_are_its_own() -> None:
    """The table's second column names further options; each must belong to the command in the first."""
    rows = re.findall(r"^\| `flask ([^`]+)` \| (.+) \|$", read(README), re.MULTILINE)
    assert len(rows) == len(flask_commands())
    for head, about in rows:
        command = next(name for name in flask_commands() if head == name or head.startswith(name + " "))
        known = {option for parameter in flask_commands()[command].params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"`(--[a-z-]+)", about)) <= known, f"flask {command}"


def test_what_make_does_is_in_the_readme() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", read(ROOT / "Makefile"), re.MULTILINE)) - {"help"}
    code = [*re.findall(r"`([^`\n]+)`", read(README)), *re.findall(r"^ {4}(make .+)$", read(README), re.MULTILINE)]
    assert set(re.findall(r"\bmake ([a-z]+)", "\n".join(code))) == targets


def test_commands_named_in_the_code_exist() -> None:
    """What an error message tells somebody to type must work."""
    for path in SOURCES:
        if path.is_relative_to(ROOT / "tests"):
            continue
        for match in re.finditer(r"(?:Run: |See: |`+|\()flask ([a-z]+)(?: ([a-z]+))?", read(path)):
            one, two = match.groups()
            assert one in flask_commands() or f"{one} {two}" in flask_commands(), f"{page_name(path)} names flask {one} {two}"


# --- links, files, functions ----------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", read(path), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_links_resolve(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", read(path))):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = unquote(target).partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in anchors(there), f"{target}: no such heading"


@cache
def defined_in(path: Path) -> frozenset[str]:
    """Functions, classes, methods ("Class.method") and module constants of a file."""
    names: set[str] = set()
    for node in ast.parse(read(path)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                parts = target.elts if isinstance(target, ast.Tuple) else [target]
                names |= {part.id for part in parts if isinstance(part, ast.Name)}
    return frozenset(names)


def blocks(text: str) -> list[str]:
    """Paragraphs, list items and table rows, without the fenced code."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [block for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.) ?)", text) if block.strip()]


OUR_PATH = re.compile(r"(?:bot|flows|models|tests|docs|benchmarks|\.ci)/[\w./-]*|wsgi\.py|worker\.py")


@pytest.mark.parametrize("path", [path for path in PAGES if path != README], ids=page_name)
def test_files_and_functions_named_exist(path: Path) -> None:
    """`path/file.py` exists; `function()` is defined in a file that the same paragraph names."""
    for block in blocks(read(path)):
        spans = re.findall(r"`([^`\n]+)`", block)
        files = []
        for span in spans:
            if OUR_PATH.fullmatch(span) and "*" not in span and span != "flows/potluck.py":
                assert (ROOT / span).exists(), f"there is no {span}"
                files.append(ROOT / span)
        for span in spans:
            if function := re.fullmatch(r"([A-Za-z_][\w.]*)\(\)", span):
                known = {name for file in files if file.suffix == ".py" for name in defined_in(file)}
                assert function[1] in known, f"no file named beside it defines {span}: {' '.join(block.split())[:100]}"


def test_pages_named_in_the_code_exist() -> None:
    for path in SOURCES:
        for page in re.findall(r"docs/[\w./-]+\.md", read(path)):
            assert (ROOT / page).exists(), f"{page_name(path)} sends its reader to {page}"


def test_tests_named_in_the_docs_exist() -> None:
    for path in PAGES:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", read(path)):
            assert name in defined_in(ROOT / file), f"{page_name(path)}: there is no {file}::{name}"
        for file in re.findall(r"`(tests/conversations/\w+\.txt)`", read(path)):
            assert (ROOT / file).exists(), f"{page_name(path)}: there is no {file}"


# --- the tree and the settings --------------------------------------------------------------------------------------------


def kept(folder: Path) -> set[str]:
    """What stands in a folder, without what .gitignore names; of hidden entries (editors leave theirs) only our own."""
    ignored = [line.rstrip("/") for line in read(ROOT / ".gitignore").splitlines() if line.strip()]
    names = {path.name for path in folder.iterdir() if not any(fnmatch(path.name, pattern) for pattern in ignored)}
    return {name for name in names if not name.startswith(".") or name in (".ci", ".gitignore")}


def test_the_tree_names_every_entry() -> None:
    tree = read(README).partition("## What is where")[2]
    top = {name.rstrip("/") for name in re.findall(r"^ {4}(\S+)", tree, re.MULTILINE)}
    below = {name.rstrip("/") for name in re.findall(r"^ {6}(\S+) ", tree, re.MULTILINE)}
    assert kept(ROOT) == top
    assert kept(ROOT / "bot") == below


def test_every_setting_is_in_the_readme() -> None:
    table = read(README).partition("## Configuration")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE))
    assert {name.upper() for name in Settings.model_fields} <= named


def test_the_walk_is_the_one_in_the_pictures() -> None:
    """Each text of the walk is typed by the script that takes the pictures, which fails when Chorus answers otherwise."""
    script = read(ROOT / "docs" / "images" / "take_screenshots.py")
    walk = read(README).partition("### Two minutes on the phones")[2].partition("\n\n")[2].partition("\n\n")[0]
    typed = [text for row in walk.splitlines()[2:] for text in re.findall(r"`([^`]+)`", row.split("|")[2])]
    assert len(typed) > 12
    for text in typed:
        assert re.sub(r"(REPLY|OK) \d+", r"\1 {number}", text) in script, f"the pictures do not show {text!r}"


# --- the example flow -----------------------------------------------------------------------------------------------------


def potluck() -> FlowEntry:
    """The flow of docs/writing-flows.md, from its text."""
    (source,) = re.findall(r"```python\n(.*?)```", read(ROOT / "docs" / "writing-flows.md"), re.DOTALL)
    scope: dict[str, Any] = {}
    exec(compile(source, "docs/writing-flows.md", "exec"), scope)
    return FlowEntry(scope["potluck"], "what she brings on Sunday")


def test_the_example_flow_runs() -> None:
    said = {line for lines in every_conversation(potluck().function, {}, "en", START) for who, line in lines if who == "bot"}
    assert said == {
        "What can you bring on Sunday?\nA Food\nB Chairs\nC Only myself",
        "Lovely! What will it be?",
        "Thank you. See you on Sunday.",
    }


def test_the_example_transcript_plays(small_world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = read(ROOT / "docs" / "writing-flows.md")
    (transcript,) = re.findall(r"^(    # Two sisters.*?)\n\n`People`", page, re.DOTALL | re.MULTILINE)
    file = tmp_path / "potluck.txt"
    file.write_text(re.sub(r"^    ", "", transcript, flags=re.MULTILINE), encoding="utf-8")
    monkeypatch.setattr(flows, "WORDS", (*WORDS, Word("POTLUCK", "potluck", ("comida", "khana"))))
    monkeypatch.setitem(FLOWS, "potluck", potluck())
    Player(small_world, file).play()


# --- the table of words ---------------------------------------------------------------------------------------------------


def followed_by(word: Word) -> str:
    if word.takes is None:
        return ""
    shown = {"number": "47", "days": "30", "hours": "22-7", "word": "SANGHA", "written": "…", "said": "…", "text": "…"}[word.takes]
    return f" `{shown}`" if not word.alone else f" (`{shown}`)"


def tables() -> dict[str, str]:
    """What docs/words.md must hold between its marks."""
    lines = ["| word | also | when | for | what it does |", "| --- | --- | --- | --- | --- |"]
    for word in WORDS:
        when = "any time" if word.always else "no question open"
        also = ", ".join((*word.spellings, *(["in capitals only"] if word.capitals else [])))
        lines.append(f"| `{word.name}`{followed_by(word)} | {also} | {when} | {word.who} | {FLOWS[word.flow].about} |")
    return {
        "words": "\n".join(lines),
        "carriers": ", ".join(f"`{word.upper()}`" for word in sorted(TWILIO_STOP)),
        "ours": ", ".join(sorted(OUR_STOP, key=lambda word: (not word.isascii(), word))),
    }


def with_tables(page: str) -> str:
    for name, table in tables().items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}{table}\n{end}{rest.partition(end)[2]}"
    return page


def test_the_words_page_agrees_with_the_code() -> None:
    page = read(WORDS_PAGE)
    assert page == with_tables(page), "write it anew: .venv/bin/python -m tests.test_docs"


if __name__ == "__main__":
    WORDS_PAGE.write_text(with_tables(read(WORDS_PAGE)), encoding="utf-8")
