"""Conversations under way: begin one, hear an answer, end it, and come back to the one beneath.

The newest open conversation of a person holds the floor. When it ends, the question beneath it is put again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot.conversation.engine import Act, Heard, Outcome, Session, advance, waiting_question
from bot.conversation.notes import keep_note
from bot.conversation.steps import Do, FlowEntry, Hearing, NotUnderstood, Question, is_skip
from bot.conversation.turn import Turn
from bot.delivery.lists import in_states
from bot.delivery.sweep import release_questions
from bot.languages import words
from bot.schedule.timers import set_timer
from models import Conversation, Outbound, Prepared

# An open question is forgotten after a day: nobody answers yesterday's "how are you" with today's news.
IDLE = timedelta(hours=24)
# Kind hints before the talk is ended for her: a robot at the other end must not be hinted at for ever.
MOST_HINTS = 5

_table: Any = Conversation.__table__
_open = Prepared(
    sa.select(
        _table.c.id,
        _table.c.flow,
        _table.c.question,
        _table.c.turn,
        _table.c.hints,
        _table.c.session,
        _table.c.collective_id,
        _table.c.line_id,
        _table.c.last_heard_at,
    )
    .where(
        _table.c.person_id == sa.bindparam("person"),
        in_states(_table.c.state, "open"),
        _table.c.last_heard_at > sa.bindparam("since"),
    )
    .order_by(_table.c.id.desc())
)
_begin = Prepared(_table.insert().returning(_table.c.id))
_change = Prepared(_table.update().where(_table.c.id == sa.bindparam("this")))
_replace = Prepared(
    _table.update()
    .where(_table.c.person_id == sa.bindparam("person"), _table.c.flow == sa.bindparam("of_flow"), in_states(_table.c.state, "open"))
    .values(state="ended", session=None)
)
_asking: Any = Outbound.__table__
_answered = Prepared(_asking.update().where(_asking.c.id == sa.bindparam("this")).values(answered_at=sa.bindparam("now")))


def on_the_floor(turn: Turn, *, idle: bool = True) -> Any:
    """The row of the conversation whose question is open, or None. ``idle`` False counts one that is a day old too."""
    if turn.person_id is None or turn.empty_floor_of == turn.person_id:
        return None
    since = turn.now - (IDLE if idle else 30 * IDLE)
    mine = {belonging.collective_id for belonging in turn.belongings}
    # What one collective asked is never answered on the number of another. (Chosen here: IN with a list is compiled anew every time.)
    found = next(
        (
            row
            for row in _open.all(turn.session, {"person": turn.person_id, "since": since})
            if (row.line_id == turn.line.id if row.collective_id is None else row.collective_id in mine)
        ),
        None,
    )
    if found is None and idle:
        turn.empty_floor_of = turn.person_id
    return found


def hearing_of(turn: Turn, *, digits: bool = True) -> Hearing:
    """How this speaker's text is to be read."""
    return Hearing(turn.language, turn.local_now, digits)


def acting(turn: Turn) -> Act:
    """What performs a Do in this turn. What was read stays read until something is written: a question is looked at, then put."""

    def act(step: Do) -> Any:
        if not getattr(step.action, "reads", False):
            turn.read.clear()
            return step.action(turn, **step.arguments)
        key = f"{step.action.__name__} {sorted(step.arguments.items())!r} {turn.language}"
        if key not in turn.read:
            turn.read[key] = step.action(turn, **step.arguments)
        return turn.read[key]

    return act


def begin(
    turn: Turn,
    entry: FlowEntry,
    arguments: dict[str, Any] | None = None,
    *,
    text: str | None = None,
    outbound_id: int | None = None,
) -> list[str]:
    """Start a flow. ``text`` is given when a first reply opens it lazily: it answers the flow's first question."""
    session = Session(dict(arguments or {}))
    heard = None if text is None else Heard(text)
    outcome = advance(entry.function, session, acting(turn), hearing_of(turn), heard)
    if outbound_id is not None and outcome.hint is None:
        _answered.run(turn.session, {"this": outbound_id, "now": turn.now})
        turn.rings = bool(turn.phone_id and release_questions(turn.session, turn.now, turn.phone_id)) or turn.rings
    if outcome.waiting is not None and not turn.forgotten:
        _open_conversation(turn, entry, session, outcome.waiting, outbound_id)
    return _spoken(turn, entry, outcome, hints=0 if outcome.hint is None else 1, resumes=text is None)


def is_for_another(turn: Turn, conversation: Any, text: str, is_word: Callable[[], bool]) -> bool:
    """Whether ``text`` leaves the open question alone: it may be ignored, and the text is a word of the table, or no answer to it."""
    question = waiting_question(turn.flows[conversation.flow].function, Session.from_json(conversation.session))
    if question is None or not question.optional or is_skip(text):
        return False
    try:
        question.parse(text, hearing_of(turn))
    except NotUnderstood:
        return True
    return is_word()


def answer(turn: Turn, conversation: Any, text: str) -> list[str]:
    """Hear ``text`` as the answer to the open question of ``conversation`` (a row of ``on_the_floor``)."""
    return _go_on(turn, conversation, Heard(text, conversation.question))


def run_out(turn: Turn, conversation: Any) -> list[str]:
    """The patience of the open question is over: the flow goes on with Silence."""
    return _go_on(turn, conversation, Heard(None, conversation.question))


def _go_on(turn: Turn, conversation: Any, heard: Heard) -> list[str]:
    entry = turn.flows[conversation.flow]
    session = Session.from_json(conversation.session)
    outcome = advance(entry.function, session, acting(turn), hearing_of(turn), heard)
    if turn.forgotten:
        return outcome.render(turn.language)
    hints = conversation.hints + 1 if outcome.hint is not None else 0
    if outcome.waiting is None or hints >= MOST_HINTS:
        # "silent": it ended without an answer; what she writes a little later may still belong to that question.
        unanswered = heard.text is None or outcome.hint is not None or outcome.left
        end(turn, conversation.id, "silent" if unanswered else "done")
    else:
        _keep(turn, conversation, session, outcome.waiting, hints)
    return _spoken(turn, entry, outcome, hints)


def _spoken(turn: Turn, entry: FlowEntry, outcome: Outcome, hints: int, resumes: bool = True) -> list[str]:
    """What she reads: the flow's texts, or a hint and, the second time, the way out."""
    turn.of_care = turn.of_care or entry.private
    for words_of_hers in outcome.stranded:
        # Care stays between her and her supporters: a stray answer there is dropped, not passed on.
        if not entry.private:
            keep_note(turn, words_of_hers, kind="stranded")
    if outcome.hint is not None:
        if hints >= MOST_HINTS:
            return [words(turn.language, "Let us leave this question. Send MENU to see what you can do.")]
        hint = words(turn.language, outcome.hint.hint, **outcome.hint.fill)
        return [hint] if hints < 2 else [hint, words(turn.language, "Or send SKIP to leave it.")]
    texts = outcome.render(turn.language)
    if outcome.left:
        texts = [words(turn.language, "OK, we leave it.")]
    if outcome.waiting is None and turn.handoff is None and not turn.forgotten and not turn.silent and resumes:
        texts += _put_again(turn)
    return texts


def _put_again(turn: Turn) -> list[str]:
    """The question of the conversation beneath, put once more; its patience starts anew."""
    beneath = on_the_floor(turn)
    if beneath is None or beneath.flow not in turn.flows:
        return []
    turn.of_care = turn.of_care or turn.flows[beneath.flow].private
    session = Session.from_json(beneath.session)
    outcome = advance(turn.flows[beneath.flow].function, session, acting(turn), hearing_of(turn))
    if outcome.waiting is None:
        end(turn, beneath.id)
        return outcome.render(turn.language)
    _keep(turn, beneath, session, outcome.waiting, 0)
    return [outcome.waiting.render(turn.language)]


def _open_conversation(turn: Turn, entry: FlowEntry, session: Session, question: Question, outbound_id: int | None) -> None:
    # The same flow begun again replaces the older one: two open JOINs would ask for the name twice.
    _replace.run(turn.session, {"person": turn.person_id, "of_flow": entry.name})
    conversation = {
        "person_id": turn.person_id,
        "collective_id": turn.here.collective_id if turn.here else None,
        "line_id": turn.line.id,
        "flow": entry.name,
        "state": "open",
        "question": question.name,
        "turn": 1,
        "hints": 0,
        "session": session.to_json(),
        "outbound_id": outbound_id,
        "opened_at": turn.now,
        "last_heard_at": turn.now,
    }
    conversation_id = int(_begin.scalar(turn.session, conversation))
    turn.empty_floor_of = None
    _be_patient(turn, conversation_id, 1, question)


def _keep(turn: Turn, conversation: Any, session: Session, question: Question, hints: int) -> None:
    number = conversation.turn + 1
    kept = {"question": question.name, "turn": number, "hints": hints, "session": session.to_json(), "last_heard_at": turn.now}
    _change.run(turn.session, {"this": conversation.id} | kept)
    _be_patient(turn, conversation.id, number, question)


def _be_patient(turn: Turn, conversation_id: int, number: int, question: Question) -> None:
    if question.within is not None:
        set_timer(turn.session, "patience", conversation_id, f"patience:{conversation_id}:{number}", turn.now + question.within)


def end(turn: Turn, conversation_id: int, state: str = "done") -> None:
    """End a conversation and forget what was said in it."""
    forgotten = {"state": state, "session": None, "question": None, "last_heard_at": turn.now}
    _change.run(turn.session, {"this": conversation_id} | forgotten)


def end_all(turn: Turn, collective_id: int | None = None) -> None:
    """End every open conversation of the speaker (STOP, LEAVE, FORGET, WRONG)."""
    statement = (
        _table.update()
        .where(_table.c.person_id == turn.person_id, _table.c.state == "open")
        .values(state="ended", session=None, question=None)
    )
    if collective_id is not None:
        statement = statement.where(_table.c.collective_id == collective_id)
    turn.session.execute(statement)


def idle_since(now: datetime) -> datetime:
    """Conversations last heard before this moment are over."""
    return now - IDLE
