"""What only discipline would keep is a law here: a broken one is a red test, not a remark in review."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.conversation.engine import every_conversation
from bot.conversation.steps import Choice, Do, Question
from bot.inbound.keywords import WordTable
from bot.languages import LANGUAGES, fold, words
from bot.languages.segments import count_segments
from bot.languages.stop_phrases import OUR_STOP, STOP_WORDS, TWILIO_STOP
from flows import FLOWS, WORDS
from tests.world import World

ROOT = Path(__file__).parent.parent
OURS = [path for room in ("bot", "flows", "models") for path in sorted((ROOT / room).rglob("*.py"))]
NOW = datetime(2026, 4, 12, 9, 0, tzinfo=UTC)
STEPS = {"Say", "Do", "YesNo", "YesNoMaybe", "Choice", "LanguageChoice", "Scale", "FreeText", "PersonName", "Number", "Day"}

# Segments a text may take: one where it can. What says more has its reason here.
BUDGET = {"en": 1, "es": 1, "hi-Latn": 1, "hi": 2}
LONGER = {
    ("join", "hi"): 3,  # the consent, with all that CTIA wants in it
    **{
        (flow, language): 3 if language == "hi" else 2
        for flow in ("send", "alert", "new_poll", "in_language", "at", "change")
        for language in LANGUAGES
    },
    **{("menu", language): 4 if language == "hi" else 2 for language in LANGUAGES},
    **{("help_", language): 3 if language == "hi" else 2 for language in LANGUAGES},
    **{("me", language): 3 if language == "hi" else 1 for language in LANGUAGES},
    **{("lang", language): 1 if language != "hi" else 2 for language in LANGUAGES},
}


def source(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_every_conversation_ends_and_fits_its_budget(flow: str, language: str) -> None:
    entry = FLOWS[flow]
    conversations = list(every_conversation(entry.function, entry.example, language, NOW))
    assert conversations
    most = LONGER.get((flow, language), BUDGET[language])
    for lines in conversations:
        for who, text in lines:
            if who == "bot":
                count = count_segments(text)
                assert count.segments <= most, f"{count.segments} segments, {most} allowed ({''.join(count.culprits)!r} costs): {text!r}"


@pytest.mark.parametrize("path", sorted((ROOT / "flows").glob("*.py")), ids=lambda path: path.stem)
def test_every_step_is_yielded(path: Path) -> None:
    tree = source(path)
    yielded = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Yield) and node.value is not None}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STEPS:
            assert id(node) in yielded, f"line {node.lineno}: {node.func.id}(…) is not yielded"


def step_names() -> set[str]:
    """Every name under which a flow records an answer or an effect."""
    found = set()
    for path in sorted((ROOT / "flows").glob("*.py")):
        for function in [node for node in ast.walk(source(path)) if isinstance(node, ast.FunctionDef)]:
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STEPS - {"Say"}:
                    assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}: a step's name is a plain string"
                    found.add(f"{function.name} {node.func.id} {node.args[0].value}")
                    found |= {
                        f"{function.name} Do {keyword.value.value}"
                        for keyword in node.keywords
                        if keyword.arg == "was" and isinstance(keyword.value, ast.Constant)
                    }
    return found


def test_no_recorded_step_lost_its_name() -> None:
    """A renamed Do acts twice for whoever is in the middle of the talk, unless it says was="old name"; then add the new one to the list."""
    known = set((ROOT / "tests" / "step_names.txt").read_text(encoding="utf-8").splitlines())
    names = step_names()
    assert not {name for name in known - names if " Do " in name}, (
        "these effects vanished: rename with was=, or take them off the list when no conversation can hold them any more"
    )
    assert names <= known, f"add to tests/step_names.txt: {sorted(names - known)}"


def test_no_option_is_a_carriers_word() -> None:
    """Giving up a ride with CANCEL would opt her out at the carrier."""
    for entry in FLOWS.values():
        for language in LANGUAGES:
            for question in questions_of(entry):
                if isinstance(question, Choice):
                    for label in question.options.values():
                        assert fold(words(language, str(label)) if type(label) is str else str(label)) not in STOP_WORDS | {
                            "start",
                            "unstop",
                        }
    spelled = WordTable(WORDS).spellings()
    assert not spelled & (TWILIO_STOP - {"stop"}), "only the STOP flow answers to a carrier's word"
    assert not spelled & OUR_STOP


def questions_of(entry: Any) -> list[Question]:
    """Every question of a flow, found by walking it."""
    found: list[Question] = []

    def recording(**arguments: Any) -> Any:
        steps = entry.function(**arguments)
        answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                return
            if isinstance(step, Question):
                found.append(step)
            answer = yield step

    list(every_conversation(recording, entry.example, "en", NOW))
    return found


def test_no_word_means_something_else_in_a_crowd() -> None:
    crowd = {"ruko", "bas", "paro", "alto", "basta", "no", "stop it", "jai", "march", "strike", "hartal", "bandh", "huelga"}
    assert not crowd & (STOP_WORDS | WordTable(WORDS).spellings())


def test_the_menu_has_at_most_six_lines() -> None:
    for language in LANGUAGES:
        for lines in every_conversation(FLOWS["menu"].function, {}, language, NOW):
            assert len(lines[-1][1].splitlines()) <= 6


def test_every_word_starts_a_flow_that_takes_what_it_gives() -> None:
    for word in WORDS:
        entry = FLOWS[word.flow]
        parameters = entry.function.__code__.co_varnames[: entry.function.__code__.co_argcount]
        assert word.takes is None or word.takes in parameters, f"{word.name} gives {word.takes!r}, {word.flow} takes {parameters}"
        assert set(word.gives) <= set(parameters)
        needed = len(parameters) - len(entry.function.__defaults__ or ())
        assert not (word.alone and needed), f"{word.name} may stand alone, but {word.flow} needs {parameters[:needed]}"


def test_a_hint_and_its_way_out_fit_one_message() -> None:
    hints = {
        "Please reply YES or NO.",
        "Please reply YES, NO or MAYBE.",
        "Please send a few words.",
        "That is a little long. Please send it in fewer words.",
        "Please send a day and an hour, like: tomorrow 10am",
    }
    for language in LANGUAGES:
        for hint in hints:
            text = words(language, hint) + "\n" + words(language, "Or send SKIP to leave it.")
            assert count_segments(text).segments <= BUDGET[language], text


def test_every_route_has_a_door(small_world: World) -> None:
    """A route says by what it is guarded: Twilio's signature, a session, or that it is public and why."""
    for rule in small_world.app.url_map.iter_rules():
        if rule.endpoint.endswith(".static"):
            continue  # files that are the same for everybody
        view = small_world.app.view_functions[rule.endpoint]
        assert getattr(view, "door", None), f"{rule.rule} has no door"


def test_flows_are_pure() -> None:
    allowed = re.compile(r"^(bot\.conversation\.(steps|actions)|datetime|\.\w*|)$")
    for path in sorted((ROOT / "flows").glob("*.py")):
        for node in ast.walk(source(path)):
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else ["." * node.level + (node.module or "")]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for module in modules:
                assert allowed.match(module), f"{path.name}:{node.lineno} imports {module}"
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("now", "today", "utcnow"), f"{path.name}:{node.lineno} reads the clock"


def test_actions_declare_their_outcomes() -> None:
    from bot.conversation import actions

    for name in actions.__all__:
        assert hasattr(getattr(actions, name), "outcomes"), f"{name} is not marked with @action"


def test_no_swallowed_exceptions_and_no_drawers_without_a_name() -> None:
    for path in OURS:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert path.stem not in ("utils", "helpers", "misc", "common"), f"{path}: name what it holds"
        for node in ast.walk(source(path)):
            if isinstance(node, ast.ExceptHandler):
                bare = node.type is None
                assert not bare, f"{path}:{node.lineno} catches everything"
                silent = all(isinstance(statement, ast.Pass) for statement in node.body)
                reason = "#" in lines[node.body[0].lineno - 1]
                assert not silent or reason, f"{path}:{node.lineno} swallows an exception and gives no reason"


def test_tests_neither_sleep_nor_patch_by_dotted_string() -> None:
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(source(path)):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in ("time.sleep", "sleep"), (
                    f"{path.name}:{node.lineno} sleeps; inject the time, or wait for an event with a deadline"
                )
                dotted = (
                    node.args
                    and isinstance(node.args[0], ast.Constant)
                    and isinstance(node.args[0].value, str)
                    and "." in node.args[0].value
                )
                assert not (name.endswith(("setattr", "patch")) and dotted), f"{path.name}:{node.lineno} patches by a dotted string"


def test_every_queue_has_a_listener() -> None:
    """The bell's queue is the one the worker listens to, and its job exists."""
    import importlib

    from bot.delivery.bell import JOB, QUEUE

    module, function = JOB.rsplit(".", 1)
    assert callable(getattr(importlib.import_module(module), function))
    worker = (ROOT / "worker.py").read_text(encoding="utf-8")
    assert "from bot.delivery.bell import QUEUE" in worker
    assert "Queue(QUEUE" in worker, f"nobody listens to {QUEUE}"


def test_do_is_only_given_actions() -> None:
    """Outside input never picks a function by name: what a Do performs is one of bot.conversation.actions."""
    from bot.conversation import actions

    known = {getattr(actions, name) for name in actions.__all__}
    for entry in FLOWS.values():

        def checking(entry: Any = entry, **arguments: Any) -> Any:
            steps = entry.function(**arguments)
            answer = None
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration:
                    return
                assert not isinstance(step, Do) or step.action in known, f"{entry.name} does {step.name!r} by something that is no action"
                answer = yield step

        list(every_conversation(checking, entry.example, "en", NOW))
