"""The replay engine: parse once, act once, and a deploy strands nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.conversation.actions.acting import action
from bot.conversation.engine import (
    ActedTooEarly,
    AskedTwice,
    Heard,
    NotYielded,
    Outcome,
    Session,
    advance,
    every_conversation,
    first_question,
    waiting_question,
)
from bot.conversation.steps import SILENCE, Choice, Day, Do, Flow, FreeText, Hearing, Number, OwnWords, Say, Scale, YesNo

NOW = datetime(2026, 4, 12, 9, 0, tzinfo=UTC)
ENGLISH = Hearing("en", NOW)


class Talk:
    """A flow and its session, without a database: text in, lines out."""

    def __init__(self, flow: Any) -> None:
        self.flow, self.session, self.waiting = flow, Session(), None
        self.acts: list[str] = []
        self.lines = self._take(advance(flow, self.session, self._act, ENGLISH))

    def _act(self, step: Do) -> Any:
        self.acts.append(step.name)
        return step.action(**step.arguments)

    def _take(self, outcome: Outcome) -> list[str]:
        self.outcome = outcome
        self.waiting = outcome.waiting.name if outcome.waiting else None
        # Through JSON, as the database keeps it.
        self.session = Session.from_json(self.session.to_json())
        return [f"hint: {outcome.hint.hint}"] if outcome.hint else outcome.render("en")

    def say(self, text: str | None, flow: Any = None) -> list[str]:
        return self._take(advance(flow or self.flow, self.session, self._act, ENGLISH, Heard(text, self.waiting)))


def number_given(**_: Any) -> int:
    return 7


def check_in() -> Flow:
    mood = yield Scale("mood", "How are you?")
    if mood <= 2:
        yield Say("That sounds hard.")
        if (yield YesNo("peer", "A peer?")):
            time = yield FreeText("time", "When?")
            number = yield Do("tell", number_given, {"mood": mood, "time": time})
            yield Say("Number {n}.", {"n": number})
    yield Say("Thank you.")


def test_reads_as_the_conversation() -> None:
    talk = Talk(check_in)
    assert talk.lines == ["How are you?"]
    assert talk.say("two") == ["That sounds hard.", "A peer?"]
    assert talk.say("haan") == ["When?"]
    assert talk.say("after 6") == ["Number 7.", "Thank you."]
    assert talk.waiting is None
    assert talk.acts == ["tell"]


def test_a_text_that_does_not_fit_gets_a_hint_and_the_question_stays() -> None:
    talk = Talk(check_in)
    assert talk.say("dreadful") == ["hint: Please send a number from {low} to {high}."]
    assert talk.waiting == "mood"
    assert talk.say("5") == ["Thank you."]


def test_an_answer_is_parsed_once_and_kept_with_what_she_saw() -> None:
    def vote() -> Flow:
        place = yield Choice("place", "Where?", options={"park": "Park", "school": "School"})
        yield YesNo("sure", "Sure?")
        yield Say(OwnWords(place))

    talk = Talk(vote)
    talk.say("b")
    assert talk.session.answers["place"] == {"value": "school", "at": NOW.isoformat(), "language": "en", "options": ["park", "school"]}

    def vote_after_a_deploy() -> Flow:
        # The options changed places: "b" would be the park now, had it been kept as text.
        place = yield Choice("place", "Where?", options={"school": "School", "park": "Park"})
        yield YesNo("sure", "Sure?")
        yield Say(OwnWords(place))

    assert talk.say("yes", vote_after_a_deploy) == ["school"]


def test_a_deploy_that_inserts_a_question_keeps_the_answer_given() -> None:
    talk = Talk(check_in)
    talk.say("1")

    def with_a_new_question() -> Flow:
        yield Scale("mood", "How are you?")
        yield YesNo("safe", "Are you in a safe place?")
        peer = yield YesNo("peer", "A peer?")
        yield Say("With a peer." if peer else "Alone.")

    assert talk.say("yes", with_a_new_question) == ["Are you in a safe place?"]
    assert talk.say("yes", with_a_new_question) == ["With a peer."]
    assert talk.outcome.stranded == []


def test_a_deploy_that_renames_a_question_asks_again_and_gives_the_words_to_the_organizers() -> None:
    talk = Talk(check_in)
    talk.say("1")

    def renamed() -> Flow:
        yield Scale("mood", "How are you?")
        yield FreeText("wish", "What do you wish for?")
        yield Say("Thank you.")

    assert talk.say("yes, someone who speaks Hindi", renamed) == ["What do you wish for?"]
    assert talk.say("a peer", renamed) == ["Thank you."]
    assert talk.outcome.stranded == ["yes, someone who speaks Hindi"]


def test_a_deploy_that_removes_the_rest_ends_kindly() -> None:
    talk = Talk(check_in)
    talk.say("1")

    def shorter() -> Flow:
        yield Scale("mood", "How are you?")
        yield Say("Thank you.")

    talk.say("yes", shorter)
    assert talk.waiting is None
    assert talk.outcome.stranded == ["yes"]


def test_do_acts_once_even_under_its_old_name() -> None:
    def flow() -> Flow:
        yield Do("count", number_given)
        yield YesNo("more", "More?")
        yield Say("Done.")

    def renamed() -> Flow:
        number = yield Do("counted", number_given, was="count")
        yield YesNo("more", "More?")
        yield Say("Done {n}.", {"n": number})

    talk = Talk(flow)
    assert talk.say("no", renamed) == ["Done 7."]
    assert talk.acts == ["count"]


def test_what_an_action_gave_can_not_be_changed_by_the_flow() -> None:
    def given() -> list[int]:
        return [1]

    def flow() -> Flow:
        result = yield Do("list", given)
        result.append(2)
        yield YesNo("more", "More?")
        yield Say(OwnWords(result))

    talk = Talk(flow)
    talk.say("yes")
    assert talk.session.done["list"] == [1]


def test_silence_is_an_answer() -> None:
    def flow() -> Flow:
        answer = yield YesNo("coming", "Coming?", within=timedelta(hours=2))
        yield Say("Nobody spoke." if answer is SILENCE else "Spoke.")

    assert Talk(flow).say(None) == ["Nobody spoke."]


def test_skip_leaves_a_question_and_answers_an_optional_one() -> None:
    def flow() -> Flow:
        name = yield FreeText("name", "Your name?", optional=True)
        yield Say("Hello." if name is None else "Hello, {name}.", {"name": name})
        yield Number("seats", "Seats?")
        yield Say("Thanks.")

    talk = Talk(flow)
    assert talk.say("SKIP") == ["Hello.", "Seats?"]
    assert talk.say("skip") == []
    assert talk.outcome.left


def test_a_day_comes_back_as_a_day() -> None:
    def flow() -> Flow:
        day = yield Day("day", "When?")
        yield YesNo("right", "Right?")
        yield Say(OwnWords(f"{day.date} {day.time}"))

    talk = Talk(flow)
    talk.say("tomorrow 10am")
    assert talk.say("yes") == ["2026-04-13 10:00:00"]


def test_a_name_used_twice_is_refused() -> None:
    def flow() -> Flow:
        yield YesNo("again", "Again?")
        yield YesNo("again", "Again?")

    talk = Talk(flow)
    with pytest.raises(AskedTwice, match="'again' twice"):
        talk.say("yes")


def test_a_stray_yield_is_refused() -> None:
    def flow() -> Flow:
        yield "How are you?"  # type: ignore[misc]

    with pytest.raises(NotYielded, match="flow yielded str"):
        Talk(flow)


def test_a_broadcast_question_is_looked_at_without_acting() -> None:
    @action(reads=True)
    def look() -> str:
        return "Rally?"

    def reads_first() -> Flow:
        text = yield Do("look", look)
        yield YesNo("coming", OwnWords(text))

    def acts_first() -> Flow:
        yield Do("count", number_given)
        yield YesNo("coming", "Coming?")

    question = first_question(reads_first, {}, lambda step: step.action())
    assert question is not None
    assert question.render("en") == "Rally?"
    with pytest.raises(ActedTooEarly, match="'count' before its first question"):
        first_question(acts_first, {}, lambda step: step.action())


def test_looking_at_the_open_question_performs_nothing() -> None:
    """A deploy may put an effect before the question she waits at; it must happen once, when she answers."""

    def before() -> Flow:
        yield FreeText("name", "Your name?", optional=True)

    def after() -> Flow:
        yield Do("count", number_given)
        yield FreeText("name", "Your name?", optional=True)

    talk = Talk(before)
    question = waiting_question(before, talk.session)
    assert question is not None
    assert question.name == "name"
    assert waiting_question(after, talk.session) is None
    assert talk.session.done == {}


def test_every_conversation_walks_each_answer_and_each_outcome() -> None:
    @action(outcomes=[{"told": 2}, {"told": 0}])
    def tell() -> dict[str, int]:
        raise AssertionError("walking performs nothing")

    def flow() -> Flow:
        if (yield YesNo("peer", "A peer?")):
            told = yield Do("tell", tell)
            yield Say("Told." if told["told"] else "Nobody free.")
        yield Say("Thank you.")

    walked = [tuple(line for _, line in lines) for lines in every_conversation(flow, {}, "en", NOW)]
    assert walked == [
        ("A peer?", "yes", "Told.\nThank you."),
        ("A peer?", "yes", "Nobody free.\nThank you."),
        ("A peer?", "no", "Thank you."),
    ]


def test_a_conversation_that_never_ends_is_found() -> None:
    def flow() -> Flow:
        for turn in range(100):
            yield YesNo(f"again{turn}", "Again?")

    with pytest.raises(RecursionError, match="does not end"):
        list(every_conversation(flow, {}, "en", NOW))
