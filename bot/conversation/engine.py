"""The replay engine: runs a flow from its first line, feeding recorded answers by question name.

One rule: whatever the flow says before the answer just heard was said on an earlier turn, so only what follows is new.
Answers are parsed once, when heard, and recorded with the language, the moment and the options shown; replay never parses again.
So a deploy that inserts, renames or removes a question strands nobody (docs/decisions/0002-replay.md).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bot.conversation.steps import SILENCE, Choice, Do, Flow, Hearing, NotUnderstood, Question, Say, is_skip

Act = Callable[[Do], Any]

_SILENCE_RECORD = {"silence": True}


class AskedTwice(Exception):
    """A flow used one name for two steps; give each step a name of its own."""


class NotYielded(Exception):
    """A flow yielded something that is no step."""


class ActedTooEarly(Exception):
    """A flow that answers a broadcast question acted on the world before its first question; it may only read there."""


@dataclass
class Session:
    """What is remembered of a conversation: plain JSON under the seal, cleared at its end.

    ``kept``: texts whose question is not reached any more (a deploy put another one before it, or took it away), by its name.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> Session:
        stored = stored or {}
        return cls(
            dict(stored.get("arguments", {})), dict(stored.get("answers", {})), dict(stored.get("done", {})), dict(stored.get("kept", {}))
        )

    def to_json(self) -> dict[str, Any]:
        return {"arguments": self.arguments, "answers": self.answers, "done": self.done, "kept": self.kept}


@dataclass(frozen=True)
class Heard:
    """What has just been heard: a text (or silence), and the question it belongs to (None: the first one still open)."""

    text: str | None
    question: str | None = None


@dataclass
class Outcome:
    """What came of a turn: what to say, the question now open (None: the flow ended), whether it was understood."""

    says: list[Say | Question] = field(default_factory=list)
    waiting: Question | None = None
    hint: NotUnderstood | None = None
    stranded: list[str] = field(default_factory=list)  # answers whose question is gone from the flow, once it has ended
    left: bool = False  # she skipped a question that had to be answered: the talk ends

    def render(self, language: str) -> list[str]:
        return [step.render(language) for step in self.says]


def advance(function: Callable[..., Flow], session: Session, act: Act, hearing: Hearing, heard: Heard | None = None) -> Outcome:
    """Run ``function`` as far as the record and ``heard`` allow. Changes ``session``; ``act`` performs a Do and gives its outcome.

    Raises AskedTwice or NotYielded on a flow that breaks the vocabulary, and whatever an action raises.
    """
    outcome = Outcome()
    unheard = heard
    seen: set[str] = set()
    steps = function(**session.arguments)
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            if unheard is not None and unheard.text is not None:
                outcome.stranded.append(unheard.text)
            outcome.stranded += session.kept.values()
            return outcome
        answer = None
        if isinstance(step, Say):
            outcome.says.append(step)
            continue
        if not isinstance(step, (Do, Question)):
            raise NotYielded(f"{function.__name__} yielded {type(step).__name__}; a flow yields Say, Do or a question")
        if step.name in seen:
            raise AskedTwice(f"{function.__name__} uses the name {step.name!r} twice; give each step its own name")
        seen.add(step.name)
        if isinstance(step, Do):
            answer = _done(step, session, act)
            continue
        if step.name in session.answers:
            answer = _revive(step, session.answers[step.name])
            outcome.says.clear()
            continue
        if unheard is not None and unheard.question not in (None, step.name) and unheard.text is not None:
            # A deploy put this question before the one she answered, or renamed that one: her words are kept for it.
            session.kept[str(unheard.question)] = unheard.text
            unheard = None
        listening = unheard
        if step.name in session.kept:
            listening = Heard(session.kept.pop(step.name), step.name)
        elif listening is None or listening.question not in (None, step.name):
            outcome.says.append(step)
            outcome.waiting = step
            return outcome
        try:
            recorded = _record(step, listening, hearing)
        except NotUnderstood as hint:
            if listening is not unheard:  # a kept text that does not fit: the question is simply put
                outcome.says.append(step)
                outcome.waiting = step
                return outcome
            outcome.says.clear()
            outcome.waiting, outcome.hint = step, hint
            return outcome
        if recorded is None:
            outcome.says.clear()
            outcome.left = True
            return outcome
        session.answers[step.name] = recorded
        outcome.says.clear()
        if listening is unheard:
            unheard = None
        answer = _revive(step, recorded)


def _done(step: Do, session: Session, act: Act) -> Any:
    if step.name in session.done:
        return copy.deepcopy(session.done[step.name])
    if step.was is not None and step.was in session.done:
        return copy.deepcopy(session.done[step.was])
    session.done[step.name] = act(step)
    return copy.deepcopy(session.done[step.name])


def _record(question: Question, heard: Heard, hearing: Hearing) -> dict[str, Any] | None:
    """What is kept of an answer, or None when she left a question that can not be left open."""
    if heard.text is None:
        return dict(_SILENCE_RECORD)
    if is_skip(heard.text):
        if not question.optional:
            return None
        return {"value": None, "at": hearing.now.isoformat(), "language": hearing.language}
    record = {"value": question.parse(heard.text, hearing), "at": hearing.now.isoformat(), "language": hearing.language}
    if isinstance(question, Choice):
        record["options"] = list(question.options)
    return record


def _revive(question: Question, recorded: Mapping[str, Any]) -> Any:
    if recorded.get("silence"):
        return SILENCE
    return None if recorded["value"] is None else question.revive(recorded["value"])


def first_question(function: Callable[..., Flow], arguments: Mapping[str, Any], read: Act) -> Question | None:
    """The first question of a flow that answers a broadcast, found without acting: only actions that read are performed.

    Raises ActedTooEarly when the flow would write before it asks.
    """

    def only_read(step: Do) -> Any:
        if not getattr(step.action, "reads", False):
            raise ActedTooEarly(f"{function.__name__} does {step.name!r} before its first question")
        return read(step)

    return advance(function, Session(dict(arguments)), only_read, Hearing("en", datetime(1970, 1, 1, tzinfo=UTC))).waiting


def waiting_question(function: Callable[..., Flow], session: Session) -> Question | None:
    """The question that is open, found from the record alone: nothing is performed. None when an action not yet done stands before it."""

    def perform_nothing(step: Do) -> Any:
        raise _Undecided(step)

    try:
        return advance(function, session, perform_nothing, Hearing("en", datetime(1970, 1, 1, tzinfo=UTC))).waiting
    except _Undecided:
        return None


Line = tuple[str, str]  # who ("bot" or "member"), what


def every_conversation(
    function: Callable[..., Flow], arguments: Mapping[str, Any], language: str, now: datetime, *, deepest: int = 12
) -> Iterator[list[Line]]:
    """Every conversation this flow can have: each example answer at each question, each example outcome of each action.

    Actions are not performed: ``@action(outcomes=[...])`` names what may come back. Raises RecursionError when a path is longer than
    ``deepest`` turns: somebody would be stuck.
    """

    def walk(session: Session, heard: Heard | None, lines: list[Line], depth: int) -> Iterator[list[Line]]:
        if depth > deepest:
            raise RecursionError(f"{function.__name__} does not end within {deepest} turns")
        for outcome, after in _branches(function, session, heard, Hearing(language, now)):
            spoken = [*lines, ("bot", "\n".join(outcome.render(language)))] if outcome.says else list(lines)
            if outcome.waiting is None:
                yield spoken
                continue
            question = outcome.waiting
            replies: list[str | None] = [
                *question.examples(),
                *(["skip"] if question.optional else []),
                *([None] if question.within else []),
            ]
            for reply in replies:
                said = [*spoken, ("member", reply if reply is not None else "…")]
                yield from walk(Session.from_json(copy.deepcopy(after.to_json())), Heard(reply, question.name), said, depth + 1)

    yield from walk(Session(dict(arguments)), None, [], 0)


def examples_of(step: Do, language: str) -> tuple[Any, ...]:
    """What the step's action may give back, by the examples that it declares, with their words in this language."""
    declared: Any = getattr(step.action, "outcomes", ({},))
    return tuple(declared(language) if callable(declared) else declared)


class _Undecided(BaseException):
    """An action was reached whose outcome this branch has not chosen (BaseException: no flow may swallow it)."""

    def __init__(self, step: Do) -> None:
        super().__init__(step.name)
        self.step = step


def _branches(function: Callable[..., Flow], session: Session, heard: Heard | None, hearing: Hearing) -> Iterator[tuple[Outcome, Session]]:
    """One turn, once for each combination of outcomes of the actions met in it."""

    def undecided(step: Do) -> Any:
        raise _Undecided(step)

    pending = [session]
    while pending:
        start = pending.pop()
        attempt = Session.from_json(copy.deepcopy(start.to_json()))
        try:
            outcome = advance(function, attempt, undecided, hearing, heard)
        except _Undecided as met:
            for result in reversed(examples_of(met.step, hearing.language)):
                chosen = Session.from_json(copy.deepcopy(start.to_json()))
                chosen.done[met.step.name] = copy.deepcopy(result)
                pending.append(chosen)
            continue
        yield outcome, attempt
