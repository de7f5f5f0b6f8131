"""Find, by reading the source, every English text a member may be sent, and say what is not translated.

A text is found where it stands as a literal (or as a module's constant): in `words()`, `count_words()`, `mark()` and the calls that
pass a text on to them, as the text of a step (`Say("…")`, `YesNo("name", "…")`), among a Choice's options, and as a hint (argument,
default or assignment whose name ends in "hint"). A text of nothing but placeholders needs no translation.
"""

import ast
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bot.languages.catalog import LANGUAGES, translation

FOLDERS = ("flows", "bot")

# Where each callable keeps its texts, by position and by keyword.
_CALLS: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "words": ((1,), ()),
    "count_words": ((1, 2), ()),
    "mark": ((0,), ()),
    "write_to": ((2,), ("text",)),
    "NotUnderstood": ((0,), ()),
    "Say": ((0,), ("text",)),
    "YesNo": ((1,), ("text",)),
    "YesNoMaybe": ((1,), ("text",)),
    "Scale": ((1,), ("text",)),
    "FreeText": ((1,), ("text",)),
    "PersonName": ((1,), ("text",)),
    "Number": ((1,), ("text",)),
    "Day": ((1,), ("text",)),
    "Choice": ((1, 2), ("text", "options")),
    "LanguageChoice": ((1, 2), ("text", "options")),
}


@dataclass(frozen=True, slots=True)
class Found:
    """One English text, where it stands; `many` is its plural form."""

    text: str
    many: str | None
    place: str


@dataclass(frozen=True, slots=True)
class Gap:
    """What is wrong with one text in one language."""

    language: str
    text: str
    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.language}: {self.problem}: {self.text!r} ({self.place})"


def collect_texts(root: Path) -> list[Found]:
    """All texts in `flows/` and `bot/` under `root`, each once, in the order of the files."""
    found: dict[tuple[str, str | None], Found] = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            for item in collect_from_source(path.read_text("utf-8"), path.relative_to(root).as_posix()):
                found.setdefault((item.text, item.many), item)
    return list(found.values())


def collect_from_source(source: str, name: str) -> Iterator[Found]:
    """The texts of one file. An f-string where a text belongs raises SyntaxError: it can not be translated."""
    tree = ast.parse(source, name)
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if name.startswith(("bot/console/", "bot/simulator/")) and isinstance(node, ast.Call) and getattr(node.func, "id", "") == "mark":
            continue  # their pages have catalogs of their own (bot/console/words, bot/simulator/words)
        for group in _texts_of(node):
            literals = [_literals(part, constants, name) for part in group]
            if len(group) == 2:  # the two forms of a counted text
                for one, many in zip(*literals, strict=True):
                    yield Found(one.value, many.value, f"{name}:{one.lineno}")
            else:
                for literal in literals[0]:
                    if _has_words(literal.value):
                        yield Found(literal.value, None, f"{name}:{literal.lineno}")


@dataclass(frozen=True, slots=True)
class _Literal:
    value: str
    lineno: int


def _texts_of(node: ast.AST) -> Iterator[list[ast.expr]]:
    """The expressions under `node` that hold texts, as groups of one, or of two for a counted text."""
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        positions, keywords = _CALLS.get(called, ((), ()))
        group = [node.args[at] for at in positions if at < len(node.args)]
        if called == "count_words":
            if len(group) == 2:
                yield group
        else:
            yield from ([part] for part in group)
        yield from ([word.value] for word in node.keywords if word.arg and (word.arg in keywords or _is_hint(word.arg)))
    elif isinstance(node, ast.FunctionDef):
        arguments = node.args.posonlyargs + node.args.args
        pairs: list[tuple[ast.arg, ast.expr | None]] = list(zip(reversed(arguments), reversed(node.args.defaults), strict=False))
        pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        yield from ([default] for argument, default in pairs if default is not None and _is_hint(argument.arg))
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and _is_hint(target.id) for target in targets):
            yield [node.value]


def _has_words(template: str) -> bool:
    return any(char.isalpha() for char in re.sub(r"\{[^{}]*\}", "", template))


def _is_hint(name: str) -> bool:
    return name.lower().endswith(("hint", "hints")) and name != "param_hint"  # that one is click's, for the command line


def _literals(node: ast.expr, constants: dict[str, ast.expr], name: str) -> list[_Literal]:
    """The string literals an expression may be: through a module's constant, a condition, a list, the values of a dict."""
    parts: Iterable[ast.expr]
    match node:
        case ast.Constant(value=str(value)):
            return [_Literal(value, node.lineno)]
        case ast.JoinedStr():
            raise SyntaxError(f"{name}:{node.lineno}: an f-string can not be translated, give the values by name")
        case ast.Name(id=constant) if constant in constants:
            return _literals(constants[constant], {key: kept for key, kept in constants.items() if key != constant}, name)
        case ast.IfExp():
            parts = (node.body, node.orelse)
        case ast.List() | ast.Tuple():
            parts = node.elts
        case ast.Dict():
            parts = node.values
        case ast.Subscript():
            parts = (node.value,)
        case _:
            return []
    return [literal for part in parts for literal in _literals(part, constants, name)]


def placeholders(template: str) -> list[str]:
    """The names in braces, sorted. Raises ValueError for a template that `str.format` can not read."""
    return sorted({field for _, field, _, _ in string.Formatter().parse(template) if field is not None})


def find_gaps(found: Iterable[Found], languages: Iterable[str] = LANGUAGES) -> list[Gap]:
    """Every text that a language lacks, or says with other placeholders than the English (a counted form may leave out `{n}`)."""
    gaps = []
    for language in languages:
        for item in found:
            templates = translation(language, item.text)
            if not templates or (item.many and language != "en" and len(templates) != 2):
                gaps.append(Gap(language, item.text, item.place, "not translated"))
                continue
            wanted = set(placeholders(item.text)) | set(placeholders(item.many or ""))
            for template in templates:
                given = set(placeholders(template))
                if (given ^ wanted) - ({"n"} if item.many else set()):
                    gaps.append(Gap(language, item.text, item.place, f"placeholders {sorted(given)} instead of {sorted(wanted)}"))
    return gaps
