"""The conversations as the code holds them: every text in each language with what it costs, and a phone to try it on.

Nothing here reads or writes a person: the walk and the phone run the flow with the examples that its actions declare.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from bot.console.blueprint import page
from bot.console.views import language, now, refuse, say, show
from bot.conversation.engine import Heard, Session, advance, every_conversation, examples_of
from bot.conversation.steps import Do, FlowEntry, Hearing
from bot.languages import LANGUAGE_NAMES, LANGUAGES, clean_text, words
from bot.languages.collect import collect_from_source, find_gaps
from bot.languages.segments import count_segments

# A reader sees the shape of a talk in a few of its ways; some flows have dozens.
MOST_SHOWN, MOST_TURNS, LONGEST = 8, 30, 400
# How a way through a flow shows that she let a question's time run out.
SILENCE = "…"


@dataclass(frozen=True)
class Cell:
    """One text in one language, and what it costs in segments."""

    text: str
    segments: int
    encoding: str


@page("/<word>/flows")
def flows() -> ResponseReturnValue:
    """Every flow, the words that start it, and how its texts stand in each language."""
    from flows import FLOWS, WORDS  # at module level it would be circular

    started: dict[str, list[str]] = {}
    for word in WORDS:
        started.setdefault(word.flow, []).append(word.name)
    rows = [
        {
            "name": name,
            "about": entry.about,
            "words": started.get(name, []),
            "longest": {code: max((row[code].segments for row in table_of(name)), default=0) for code in LANGUAGES},
            "missing": {code: len(missing_of(name)[code]) for code in LANGUAGES},
        }
        for name, entry in sorted(FLOWS.items())
    ]
    return show("flows.html", rows=rows, codes=LANGUAGE_NAMES)


@page("/<word>/flows/<name>", methods=("GET", "POST"))
def flow(name: str) -> ResponseReturnValue:
    """One flow: its ways, its texts side by side, and a phone. What is typed there comes by form, so that it stands in no log."""
    from flows import FLOWS

    entry = FLOWS.get(name)
    if entry is None:
        return refuse(say("There is no such conversation."), say("Choose one from the list."), 404)
    tongue = request.values.get("tongue", "")
    tongue = tongue if tongue in LANGUAGES else language()
    said = [clean_text(text[:LONGEST]) for text in request.form.getlist("said")[:MOST_TURNS]]
    if request.form.get("again"):
        said = []
    elif "text" in request.form and len(said) < MOST_TURNS:
        said.append(clean_text(request.form["text"][:LONGEST]))
    lines, waits = talk_through(entry, tongue, said)
    ways = ways_of(name, tongue)
    return show(
        "flow.html",
        name=name,
        entry=entry,
        tongue=tongue,
        codes=LANGUAGE_NAMES,
        ways=[(name_way(way), way) for way in ways[:MOST_SHOWN]],
        number=len(ways),
        table=table_of(name),
        missing=missing_of(name),
        lines=lines,
        waits=waits,
        said=said,
    )


@cache
def ways_of(name: str, language: str) -> list[list[tuple[str, str]]]:
    """Every way through a flow, as (who, what) lines. The examples of dates are those of the moment it was first asked for."""
    from flows import FLOWS

    return list(every_conversation(FLOWS[name].function, FLOWS[name].example, language, now()))


def name_way(way: list[tuple[str, str]]) -> str:
    """What tells a way from the others: what the member answers on it. Empty where she only listens."""
    return " · ".join(say("no answer") if text == SILENCE else text for who, text in way if who == "member")


@cache
def table_of(name: str) -> list[dict[str, Cell]]:
    """Every text the bot may say in a flow, once, in each language beside one another."""
    found: dict[str, dict[str, Cell]] = {}
    ways = {code: ways_of(name, code) for code in LANGUAGES}
    for number, english in enumerate(ways["en"]):
        for place, (who, text) in enumerate(english):
            if who != "bot" or not text or text in found:
                continue
            row = {}
            for code in LANGUAGES:
                other = ways[code][number][place][1] if len(ways[code]) > number and len(ways[code][number]) > place else ""
                counted = count_segments(other)
                row[code] = Cell(other, counted.segments, counted.encoding)
            found[text] = row
    return list(found.values())


@cache
def missing_of(name: str) -> dict[str, list[str]]:
    """What of the flow's own file is not translated, by language."""
    from flows import FLOWS

    path = Path(str(inspect.getsourcefile(FLOWS[name].function)))
    found = list(collect_from_source(path.read_text("utf-8"), path.name))
    return {code: [gap.text for gap in find_gaps(found, (code,))] for code in LANGUAGES}


def talk_through(entry: FlowEntry, language: str, said: list[str]) -> tuple[list[tuple[str, str]], bool]:
    """The talk so far as (who, what) lines, and whether it waits for an answer."""

    def give_an_example(step: Do) -> Any:
        return examples_of(step, language)[0]

    session = Session(dict(entry.example))
    lines: list[tuple[str, str]] = []
    waiting: Any = None
    for text in (None, *said):
        heard = None if text is None else Heard(text or None, waiting.name if waiting is not None else None)
        if text is not None:
            if waiting is None:
                break
            lines.append(("member", text or SILENCE))
        outcome = advance(entry.function, session, give_an_example, Hearing(language, now()), heard)
        if outcome.hint is not None:
            lines.append(("bot", words(language, outcome.hint.hint, **outcome.hint.fill)))
            continue
        waiting = outcome.waiting
        spoken = [words(language, "OK, we leave it.")] if outcome.left else outcome.render(language)
        lines += [("bot", "\n".join(spoken))] if spoken else []
    return lines, waiting is not None
