"""STOP, in any state, by anybody, on every kind of line: exactly what the carrier does not do is what we do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from bot.conversation.engine import Session
from bot.conversation.steps import Choice, Hearing, Question
from bot.delivery.outbox import Letter, put
from bot.inbound.twiml import EMPTY
from bot.languages.stop_phrases import TWILIO_STOP
from flows import FLOWS
from models import Conversation, Line, Membership, Outbound, Person, Phone, PhoneLine
from tests.conftest import START as _NOW
from tests.world import Answer, World

ASHA = "+15551000001"
SMS, SHORT_CODE, WHATSAPP = "+15550001111", "22333", "whatsapp:+15550003333"
STOPPED = "You will get no more texts from this number. To come back, send START."
ASKED = "Shall we stop all texts from this number to you? Reply YES or NO."
EIGHT = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT")


def sender(line: str, number: str = ASHA) -> str:
    return "whatsapp:" + number if line.startswith("whatsapp:") else number


def member_on(world: World, line: str, **values: Any) -> int:
    world.line(line, carrier_answers_stop=line == SMS)
    return world.member(world.collective(lines=[line]), ASHA, spoke_on=line, **values)


def text(world: World, body: str, line: str = SMS, **overrides: Any) -> Answer:
    return world.text(sender(line), body, to=line, **overrides)


def stopped_by(world: World, line: str = SMS, number: str = ASHA) -> str | None:
    with world.store.read() as session:
        row = session.execute(
            sa.select(PhoneLine.opted_out_by, PhoneLine.opted_out_at)
            .join(Phone, Phone.id == PhoneLine.phone_id)
            .join(Line, Line.id == PhoneLine.line_id)
            .where(Phone.number_hash == world.store.hash_number(number), Line.address == line)
        ).first()
        if row is None:
            return None
        assert (row.opted_out_by is None) == (row.opted_out_at is None)
        return row.opted_out_by  # type: ignore[no-any-return]


def test_the_eight_words_are_the_ones_of_the_contract() -> None:
    assert {word.casefold() for word in EIGHT} == TWILIO_STOP


VARIANTS: list[Callable[[str], str]] = [
    str.upper,
    str.lower,
    str.title,
    lambda word: f"  {word.lower()} \n",
    lambda word: word + ".",
    lambda word: word.lower() + "!!",
    lambda word: f"\u00a0{word}\u00a0",
    lambda word: f"\u200f{word}\u200b",
]
# No words of the carrier's: only we obey them, so we confirm.
ODD_VARIANTS: list[Callable[[str], str]] = [
    lambda word: f'"{word}"',
    lambda word: f"({word})",
    lambda word: "".join(chr(ord(letter) + 0xFEE0) for letter in word),  # full width
]


@pytest.mark.parametrize("word", EIGHT)
@pytest.mark.parametrize("line", [SMS, SHORT_CODE, WHATSAPP])
def test_the_eight_words_in_every_writing(small_world: World, line: str, word: str) -> None:
    member_on(small_world, line)
    for write in VARIANTS:
        answer = text(small_world, write(word), line)
        # Where the carrier answers, a second answer of ours is one too many; elsewhere nobody else confirms.
        assert answer.texts == ([] if line == SMS else [STOPPED]), write(word)
        assert stopped_by(small_world, line) == ("carrier" if line == SMS else "word")
        text(small_world, "START", line)
        assert stopped_by(small_world, line) is None
    for write in ODD_VARIANTS:
        assert text(small_world, write(word), line).texts == [STOPPED], write(word)
        assert stopped_by(small_world, line) == "word"
        text(small_world, "START", line)


@pytest.mark.parametrize("line", [SMS, SHORT_CODE, WHATSAPP])
def test_the_way_out_and_back(small_world: World, line: str) -> None:
    member_on(small_world, line)
    silent = line == SMS
    for back in ("START", "unstop", " Start. ", "YES", "yes!"):
        text(small_world, "STOP", line)
        answer = text(small_world, back, line)
        assert answer.texts == ([] if silent else ["Welcome back. You will get texts from this number again. STOP ends them."])
        assert stopped_by(small_world, line) is None
        if silent:
            assert answer.raw == EMPTY.encode()
    # YES counts as START only from somebody who is out.
    assert text(small_world, "YES", line).texts == ["Passed on. Thank you."]
    assert text(small_world, "START", line).texts == (
        [] if silent else ["You get texts from this number. STOP ends them. MENU shows more."]
    )


@pytest.mark.parametrize("line", [SMS, SHORT_CODE, WHATSAPP])
def test_opt_out_type_is_obeyed_as_its_word_and_never_answered(small_world: World, line: str) -> None:
    """Advanced Opt-Out has words of its own, in any language, and answers them itself."""
    member_on(small_world, line)
    assert text(small_world, "Ya no quiero", line, OptOutType="STOP").raw == EMPTY.encode()
    assert stopped_by(small_world, line) == "carrier"
    assert text(small_world, "Volver", line, OptOutType="START").raw == EMPTY.encode()
    assert stopped_by(small_world, line) is None
    assert text(small_world, "Ayuda", line, OptOutType="HELP").raw == EMPTY.encode()
    assert text(small_world, "stop", line, OptOutType="stop").raw == EMPTY.encode()
    assert stopped_by(small_world, line) == "carrier"
    text(small_world, "START", line, OptOutType="START")
    assert text(small_world, "We have got to STOP this bill", line, OptOutType="").texts == ["Passed on. Thank you."]


@pytest.mark.parametrize("line", [SMS, SHORT_CODE, WHATSAPP])
@pytest.mark.parametrize("word", ["HELP", "info", "Help!", " INFO. "])
def test_help_is_ours_because_the_carriers_names_no_collective(small_world: World, line: str, word: str) -> None:
    member_on(small_world, line)
    assert text(small_world, word, line).text.startswith("Sangha: we meet and act together. About 4 texts a week.")


@pytest.mark.parametrize("line", [SMS, SHORT_CODE, WHATSAPP])
@pytest.mark.parametrize(
    "body",
    [
        "opt out",
        "Stop texts",
        "stop all",
        "dar de baja",
        "band karo",
        "बंद करो",
        "please stop texting me",
        "no more messages",
        "no me manden mas mensajes",
        "band karo ye sms",
    ],
)
def test_our_own_words_and_plain_requests_get_our_one_confirmation(small_world: World, line: str, body: str) -> None:
    member_on(small_world, line)
    assert text(small_world, body, line).texts == [STOPPED]
    assert stopped_by(small_world, line) == "word"
    assert text(small_world, body, line).texts == []  # one confirmation, not two


@pytest.mark.parametrize(
    "body",
    [
        "ruko",
        "Ruko!",
        "bas",
        "paro",
        "Paro nacional",
        "alto",
        "ALTO",
        "basta",
        "We have got to STOP this bill",
        "रुको",
        "बस",
        "stop the eviction on Elm street",
        "paro el jueves",
        "chakka jam, ruko mat",
    ],
)
def test_words_of_the_street_stop_nothing(small_world: World, body: str) -> None:
    member_on(small_world, SMS)
    assert text(small_world, body).text in ("Passed on. Thank you.", "No question is open now. MENU shows what you can do.")
    assert stopped_by(small_world) is None


def test_a_doubt_is_asked_once(small_world: World) -> None:
    member_on(small_world, SMS)
    assert text(small_world, "stop it").texts == [ASKED]
    assert text(small_world, "no").texts == ["OK. Send STOP any time to end all texts."]
    assert stopped_by(small_world) is None
    assert text(small_world, "stop it").texts == [ASKED]
    assert text(small_world, "yes").texts == [STOPPED]
    assert stopped_by(small_world) == "word"


# --- whose it is ----------------------------------------


def test_stop_holds_for_every_collective_of_the_line_and_for_their_other_lines_until_she_writes_there(world: World) -> None:
    sangha = world.collective("SANGHA", lines=[SMS, WHATSAPP])
    tenants = world.collective("TENANTS", lines=[SMS])
    world.collective("UNION", lines=["+15550004444"])
    world.member(sangha, ASHA, spoke_on=SMS)
    with world.store.write() as session:
        person = session.scalars(sa.select(Person.id)).one()
        session.add(Membership(person_id=person, collective_id=tenants, joined_at=world.clock.now()))
    text(world, "STOP")
    assert stopped_by(world, SMS) == "carrier"
    assert stopped_by(world, WHATSAPP) == "sibling"
    assert stopped_by(world, "+15550004444") is None
    assert text(world, "MENU", WHATSAPP).texts  # she writes there: that line speaks to her again
    assert stopped_by(world, WHATSAPP) is None
    assert stopped_by(world, SMS) == "carrier"
    assert text(world, "MENU").texts == []


def test_a_join_lifts_no_stop_of_the_carrier(world: World) -> None:
    world.collective("SANGHA")
    world.collective("TENANTS")
    text(world, "JOIN SANGHA")
    text(world, "SKIP")
    text(world, "STOP")
    for body in ("JOIN TENANTS", "tenants", "join sangha"):
        assert text(world, body).raw == EMPTY.encode()
        assert stopped_by(world) == "carrier"
    # Nor does our own word make it ours to lift.
    for body in ("band karo", "please stop texting me", "JOIN SANGHA"):
        assert text(world, body).raw == EMPTY.encode()
        assert stopped_by(world) == "carrier"
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Membership).where(Membership.state == "active")) == 2
        assert session.scalar(sa.select(sa.func.count()).select_from(Conversation).where(Conversation.state == "open")) == 0
    text(world, "START")
    assert text(world, "MENU").texts


@pytest.mark.parametrize("back", ["JOIN SANGHA", "Sangha", "START", "comenzar", "shuru karo", "शुरू करें", "yes"])
def test_a_stop_that_only_we_keep_is_lifted_by_joining_again(world: World, back: str) -> None:
    member_on(world, SMS)
    text(world, "please stop texting me")
    assert stopped_by(world) == "word"
    assert text(world, "hello?").texts == ["You stopped texts from this number. To get them again, send START."]
    text(world, back)
    assert stopped_by(world) is None


def test_what_waits_for_her_is_taken_out_in_the_same_transaction(world: World) -> None:
    """Queued, held and claimed; on this line and on the other lines of its collectives; nobody else's, and nothing that already left."""
    collective = world.collective(lines=[SMS, WHATSAPP])
    world.member(collective, ASHA, spoke_on=SMS)
    world.member(collective, "+15551000002", spoke_on=SMS)
    elsewhere = world.line("+15550004444")
    with world.store.write() as session:
        lines = {line.address: line.id for line in session.scalars(sa.select(Line))}
        phones = {phone.number: phone.id for phone in session.scalars(sa.select(Phone))}
        now = world.clock.now()

        def letter(line: int, number: str = ASHA) -> int:
            return put(session, now, Letter(kind="notice", body="hello", language="en", line_id=line, phone_id=phones[number]))

        expected = {
            letter(lines[SMS]): "suppressed",
            letter(lines[WHATSAPP]): "suppressed",
            letter(elsewhere): "queued",
            letter(lines[SMS], "+15551000002"): "queued",
        }
        for state, after in (("held", "suppressed"), ("claimed", "suppressed"), ("attempting", "attempting"), ("delivered", "delivered")):
            row = letter(lines[SMS])
            session.execute(sa.update(Outbound).where(Outbound.id == row).values(state=state))
            expected[row] = after
    text(world, "STOP")
    with world.store.read() as session:
        rows = {row.id: row for row in session.scalars(sa.select(Outbound).where(Outbound.kind == "notice"))}
    assert {row: found.state for row, found in rows.items()} == expected
    assert {found.reason for found in rows.values() if found.state == "suppressed"} == {"opted_out"}


def test_a_stop_by_either_of_two_people_on_one_phone(world: World) -> None:
    world.collective()
    text(world, "JOIN SANGHA")
    text(world, "Asha")
    assert "Who are you?" in text(world, "JOIN SANGHA").text
    text(world, "B")
    text(world, "Bela")
    text(world, "STOP")
    assert stopped_by(world) == "carrier"
    assert text(world, "NAME Asha").texts == []
    assert text(world, "MENU").texts == []


@pytest.mark.parametrize("line", [SMS, WHATSAPP])
def test_a_stop_by_a_stranger(small_world: World, line: str) -> None:
    small_world.line(line)
    small_world.collective(lines=[line])
    assert text(small_world, "STOP", line).texts == ([] if line == SMS else [STOPPED])
    assert stopped_by(small_world, line) == ("carrier" if line == SMS else "word")
    assert text(small_world, "hello", line).texts == (
        [] if line == SMS else ["You stopped texts from this number. To get them again, send START."]
    )


def test_after_a_stop_what_protects_her_still_acts(world: World) -> None:
    one, two = world.collective("SANGHA"), world.collective("TENANTS")
    world.member(one, ASHA, spoke_on=SMS)
    world.member(one, "+15551000009", roles=["supporter"], spoke_on=SMS)
    with world.store.write() as session:
        person = session.scalars(sa.select(Person.id).order_by(Person.id)).first()
        session.add(Membership(person_id=person, collective_id=two, joined_at=world.clock.now()))
    text(world, "STOP")
    assert text(world, "SOS").texts == []
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Outbound).where(Outbound.kind == "page")) == 1
    # She could not be asked which one: both.
    assert text(world, "LEAVE").texts == []
    with world.store.read() as session:
        assert session.scalars(sa.select(Membership.state).where(Membership.person_id == person)).all() == ["left", "left"]
    assert text(world, "FORGET").texts == []
    with world.store.read() as session:
        phone = session.scalars(sa.select(Phone).where(Phone.number_hash == world.store.hash_number(ASHA))).one()
        assert phone.number is None  # the hash stays, so that no import texts her again
    assert stopped_by(world) == "carrier"


# --- in the middle of anything ----------------------------------------


def questions_of_all_flows() -> list[tuple[str, str, dict[str, Any]]]:
    """Every question of every flow, with a record that stands before it: (flow, question, session as JSON)."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name, entry in FLOWS.items():
        pending = [Session(dict(entry.example))]
        while pending:
            for after, question in _next_questions(entry.function, pending.pop()):
                if (name, question.name) in found:
                    continue
                found[name, question.name] = after.to_json()
                for example in question.examples():
                    answered = Session.from_json(after.to_json())
                    hearing = Hearing("en", _NOW)
                    answered.answers[question.name] = {"value": question.parse(example, hearing), "at": _NOW.isoformat(), "language": "en"}
                    if isinstance(question, Choice):
                        answered.answers[question.name]["options"] = list(question.options)
                    pending.append(answered)
    return [(flow, question, record) for (flow, question), record in sorted(found.items())]


def _next_questions(function: Any, session: Session) -> list[tuple[Session, Question]]:
    """Where the flow waits next, for every combination of its actions' example outcomes."""
    from bot.conversation.engine import _branches

    return [
        (after, outcome.waiting)
        for outcome, after in _branches(function, session, None, Hearing("en", _NOW))
        if outcome.waiting is not None
    ]


QUESTIONS = questions_of_all_flows()


def test_the_questions_are_found() -> None:
    assert {("join", "name"), ("check_in", "time"), ("poll", "vote"), ("lang", "language"), ("forget", "sure")} <= {
        (flow, name) for flow, name, _ in QUESTIONS
    }


def open_question(world: World, line: str, flow: str, question: str, record: dict[str, Any]) -> None:
    with world.store.write() as session:
        person = session.scalars(sa.select(Person)).one()
        line_id = session.scalars(sa.select(Line.id).where(Line.address == line)).one()
        collective = session.scalars(sa.select(Membership.collective_id)).one()
        now = world.clock.now()
        session.add(
            Conversation(
                person_id=person.id, collective_id=collective, line_id=line_id, flow=flow, state="open", question=question, turn=1, hints=0,
                session=record, opened_at=now, last_heard_at=now,
            )
        )  # fmt: skip


@pytest.mark.parametrize(("flow", "question", "record"), QUESTIONS, ids=[f"{flow}-{question}" for flow, question, _ in QUESTIONS])
@pytest.mark.parametrize(("line", "body"), [(SMS, "STOP"), (WHATSAPP, "quit"), (SMS, "please stop texting me"), (SHORT_CODE, "cancel")])
def test_stop_in_the_middle_of_every_question(
    small_world: World, flow: str, question: str, record: dict[str, Any], line: str, body: str
) -> None:
    member_on(small_world, line)
    open_question(small_world, line, flow, question, record)
    answer = text(small_world, body, line)
    assert answer.texts == ([] if (line, body) == (SMS, "STOP") else [STOPPED])
    assert stopped_by(small_world, line) is not None
    with small_world.store.read() as session:
        [conversation] = session.scalars(sa.select(Conversation)).all()
        assert (conversation.state, conversation.session, conversation.question) == ("ended", None, None)


@pytest.mark.parametrize(("flow", "question", "record"), QUESTIONS, ids=[f"{flow}-{question}" for flow, question, _ in QUESTIONS])
def test_yes_is_an_answer_and_no_start_while_a_question_is_open(
    small_world: World, flow: str, question: str, record: dict[str, Any]
) -> None:
    member_on(small_world, SMS)
    open_question(small_world, SMS, flow, question, record)
    text(small_world, "YES")
    with small_world.store.read() as session:
        handled = sa.text("SELECT handled_as FROM inbound")
        assert session.scalars(handled).all() != ["START"]
    assert stopped_by(small_world) == ("word" if flow == "stop_asked" else None)
