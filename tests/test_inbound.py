"""One message, one effect: repeats, races, first contacts, and what the row of a message says of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

import flows
from bot.conversation.actions.acting import action
from bot.conversation.steps import Do, Flow, FlowEntry, Say, Word
from bot.inbound.keywords import WordTable
from bot.inbound.lines import LineBook
from bot.inbound.message import read_message
from bot.inbound.receive import Reception, receive
from bot.inbound.twiml import EMPTY
from models import Ballot, Collective, Consent, Conversation, Inbound, Membership, Note, Outbound, Person, Phone, PhoneLine
from tests.world import Answer, World, inbound_parameters, new_sid

ASHA, BELA = "+15551000001", "+15551000002"


def count(world: World, table: Any, *where: Any) -> int:
    with world.store.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0


def all_at_once(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """Run every call on a thread of its own, all starting at the same moment."""
    barrier = threading.Barrier(len(calls))
    answers: list[Answer | BaseException | None] = [None] * len(calls)

    def run(index: int, call: Callable[[], Answer]) -> None:
        barrier.wait(30)
        try:
            answers[index] = call()
        except BaseException as error:  # noqa: BLE001 - shown below
            answers[index] = error

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(isinstance(answer, Answer) for answer in answers), answers
    return answers  # type: ignore[return-value]


# --- the same message again ----------------------------------------


def test_i2_the_same_message_again_gets_the_same_answer_and_no_second_effect(world: World) -> None:
    world.collective()
    sid = new_sid()
    answers = [world.text(ASHA, "JOIN SANGHA", MessageSid=sid, SmsSid=sid) for _ in range(5)]
    assert len({answer.raw for answer in answers}) == 1
    assert "Welcome to Sangha" in answers[0].text
    assert [count(world, table) for table in (Inbound, Outbound, Membership, Consent, Person)] == [1, 1, 1, 1, 1]


def test_a_repeat_does_not_answer_the_question_that_followed(world: World) -> None:
    world.collective()
    sid = new_sid()
    world.text(ASHA, "JOIN SANGHA", MessageSid=sid)
    assert "Thank you, Asha" in world.text(ASHA, "Asha").text
    assert "Welcome" in world.text(ASHA, "JOIN SANGHA", MessageSid=sid).text
    assert count(world, Conversation, Conversation.state == "open") == 0


def test_a_repeat_after_ten_minutes_gets_nothing(world: World) -> None:
    world.collective()
    sid = new_sid()
    first = world.text(ASHA, "JOIN SANGHA", MessageSid=sid)
    world.clock.advance(timedelta(minutes=9, seconds=59))
    assert world.text(ASHA, "JOIN SANGHA", MessageSid=sid).raw == first.raw
    world.clock.advance(timedelta(seconds=1))
    assert world.text(ASHA, "JOIN SANGHA", MessageSid=sid).raw == EMPTY.encode()


def test_a_repeat_after_a_stop_gets_nothing(world: World) -> None:
    world.collective()
    sid = new_sid()
    world.text(ASHA, "JOIN SANGHA", MessageSid=sid)
    world.text(ASHA, "STOP")
    assert world.text(ASHA, "JOIN SANGHA", MessageSid=sid).raw == EMPTY.encode()
    assert count(world, PhoneLine, PhoneLine.opted_out_by == "carrier") == 1


def test_a_repeated_stop_gets_its_confirmation_again(world: World) -> None:
    """Its first answer may have been lost on the way, and it is the one text that may follow a STOP."""
    line = "whatsapp:+15550003333"
    world.member(world.collective(lines=[line]), ASHA, spoke_on=line)
    sid = new_sid()
    first = world.text("whatsapp:" + ASHA, "STOP", line, MessageSid=sid)
    assert "no more texts" in first.text
    assert world.text("whatsapp:" + ASHA, "STOP", line, MessageSid=sid).raw == first.raw


def test_i9_a_replay_months_later_has_no_effect(world: World) -> None:
    world.collective()
    sid = new_sid()
    world.text(ASHA, "JOIN SANGHA", MessageSid=sid)
    world.text(ASHA, "SKIP")
    world.text(ASHA, "LEAVE")
    with world.store.write() as session:  # as the purge leaves it: the hash without the words
        session.execute(sa.update(Inbound).values(body=None, answer=None, phone_id=None, person_id=None))
    world.clock.advance(timedelta(days=200))
    assert world.text(ASHA, "JOIN SANGHA", MessageSid=sid).raw == EMPTY.encode()
    assert count(world, Membership, Membership.state == "active") == 0


def test_a_replay_of_what_was_forgotten_has_no_effect(world: World) -> None:
    world.collective()
    sid = new_sid()
    world.text(ASHA, "JOIN SANGHA", MessageSid=sid)
    world.text(ASHA, "SKIP")
    world.text(ASHA, "FORGET")
    assert "deleted" in world.text(ASHA, "YES").text
    assert world.text(ASHA, "JOIN SANGHA", MessageSid=sid).raw == EMPTY.encode()
    assert [count(world, table) for table in (Phone, Person, Membership)] == [0, 0, 0]


def test_i3_thirty_two_threads_with_the_same_message(world: World) -> None:
    world.collective()
    world.text(BELA, "HELP")
    before = count(world, Inbound)
    sid = new_sid()
    answers = all_at_once([lambda: world.text(ASHA, "JOIN SANGHA", MessageSid=sid)] * 32)
    assert [answer.status for answer in answers] == [200] * 32
    assert len({answer.raw for answer in answers}) == 1
    assert count(world, Inbound) == before + 1
    assert [count(world, table) for table in (Membership, Consent, Person)] == [1, 1, 1]


# --- several messages at once ----------------------------------------


@pytest.mark.parametrize("threads", [2, 8])
def test_i4_first_contact_by_several_messages_at_once_makes_one_phone(world: World, threads: int) -> None:
    world.collective()
    bodies = ["JOIN SANGHA"] + ["HELP"] * (threads - 1)
    answers = all_at_once([lambda body=body: world.text(ASHA, body) for body in bodies])  # type: ignore[misc]
    assert [answer.status for answer in answers] == [200] * threads
    assert all(answer.texts for answer in answers)
    assert [count(world, table) for table in (Phone, PhoneLine, Person, Membership)] == [1, 1, 1, 1]
    assert count(world, Inbound) == count(world, Outbound) == threads


def test_i4_no_effect_is_lost_between_messages_of_one_member(world: World) -> None:
    member = world.member(world.collective(), ASHA, spoke_on="+15550001111")
    answers = all_at_once([lambda n=n: world.text(ASHA, f"Note number {n} for the organizers") for n in range(8)])  # type: ignore[misc]
    assert [answer.texts for answer in answers] == [["Passed on. Thank you."]] * 8
    assert count(world, Note, Note.membership_id == member) == 8
    with world.store.read() as session:
        assert sorted(session.scalars(sa.select(Note.number))) == list(range(1, 9))


def test_an_answer_given_twice_at_once_goes_on_once(world: World) -> None:
    """Two fast texts while one question is open: one answers it, the other meets what came after."""
    collective = world.collective()
    world.member(collective, ASHA, spoke_on="+15550001111")
    world.member(collective, BELA, roles=["supporter"], spoke_on="+15550001111")
    world.text(ASHA, "CHECKIN")
    answers = all_at_once([lambda: world.text(ASHA, "2"), lambda: world.text(ASHA, "2")])
    said = sorted(answer.text for answer in answers)
    assert said[1].startswith("That sounds hard")
    assert said[0] == "Please reply YES or NO."


# --- two members who write to each other ----------------------------------------


def relay_reception(world: World) -> Reception:
    """A deployment with one more word: PING writes to everybody else, marks them, and meets at a barrier half way."""
    meeting = threading.Barrier(2)

    @action()
    def write_to_others(turn: Any) -> dict[str, Any]:
        from bot.conversation.actions.reaching import those_with_role, write_to
        from bot.conversation.notes import keep_note

        if not world.store.is_sqlite:  # SQLite lets one in at a time: nobody else would come to the meeting
            meeting.wait(20)
        keep_note(turn, "PING", kind="sos")
        for other in those_with_role(turn, turn.here.collective_id, ["supporter"]):
            if other.membership_id != turn.here.membership_id:
                write_to(turn, other, "OK. We write in English from now on.", kind="relay", unprompted=False)
        return {}

    def ping() -> Flow:
        yield Do("write", write_to_others)
        yield Say("Passed on. Thank you.")

    table = WordTable((*flows.WORDS, Word("PING", "ping")))
    return Reception(world.deployment, flows.FLOWS | {"ping": FlowEntry(ping, "a test")}, table, LineBook(world.store))


def test_two_members_who_write_to_each_other_do_not_deadlock(world: World) -> None:
    collective = world.collective()
    for number in (ASHA, BELA):
        world.member(collective, number, roles=["supporter"], spoke_on="+15550001111")
    reception = relay_reception(world)

    def text(number: str) -> Answer:
        twiml = receive(reception, read_message(inbound_parameters(number, "PING", "+15550001111")))
        return Answer(200, [twiml])

    for _ in range(5):
        answers = all_at_once([lambda: text(ASHA), lambda: text(BELA)])
        assert all("Passed on" in answer.text for answer in answers)
    assert count(world, Outbound, Outbound.kind == "relay") == 10
    assert count(world, Note) == 10


def test_two_calls_for_help_across_two_collectives_do_not_deadlock(world: World) -> None:
    """Each writes into both collectives; they belong to them in opposite orders."""
    line = "+15550001111"
    one, two = world.collective("SANGHA"), world.collective("TENANTS")
    for first, second, number in ((one, two, ASHA), (two, one, BELA)):
        world.member(first, number, roles=["organizer"], spoke_on=line)
        with world.store.write() as session:
            person = session.scalars(sa.select(Phone.current_person_id).where(Phone.number_hash == world.store.hash_number(number))).one()
            session.add(Membership(person_id=person, collective_id=second, joined_at=world.clock.now()))
    for _ in range(6):
        answers = all_at_once([lambda: world.text(ASHA, "SOS"), lambda: world.text(BELA, "SOS")] * 2)
        assert [answer.status for answer in answers] == [200] * 4
        assert all(answer.text for answer in answers)
    assert count(world, Outbound, Outbound.kind == "page") == 6 * 4
    assert count(world, Note, Note.kind == "sos") == 6 * 4 * 2


def test_votes_and_stops_at_once(world: World) -> None:
    """STOP and other words of one phone at the same moment: the STOP always stands afterwards."""
    world.member(world.collective(), ASHA, spoke_on="+15550001111")
    for _ in range(3):
        bodies = ["STOP", "MENU", "hello there", "LANG ES"]
        assert [answer.status for answer in all_at_once([lambda b=b: world.text(ASHA, b) for b in bodies])] == [200] * 4  # type: ignore[misc]
        assert count(world, PhoneLine, PhoneLine.opted_out_by == "carrier") == 1
        world.text(ASHA, "START")
    assert count(world, Ballot) == 0


# --- what the row says ----------------------------------------


def test_a_flow_that_raises_keeps_the_message_and_tells_the_organizers(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.member(world.collective(), ASHA, spoke_on="+15550001111")

    @action()
    def break_down(turn: Any, text: str) -> dict[str, Any]:
        turn.session.add(Collective(name="Half", word="half done", created_at=turn.now))
        turn.session.flush()
        raise ValueError(text)

    def note(text: str) -> Flow:
        yield Do("pass_on", break_down, {"text": text})

    entry = FlowEntry(note, "a test")
    reception = Reception(world.deployment, flows.FLOWS | {"note": entry}, WordTable(flows.WORDS), LineBook(world.store))
    parameters = inbound_parameters(ASHA, "my secret words", "+15550001111")
    twiml = receive(reception, read_message(parameters))
    assert "went wrong on our side" in twiml
    assert receive(reception, read_message(parameters)) == twiml  # the same message again: the same apology
    with world.store.read() as session:
        [row] = session.scalars(sa.select(Inbound)).all()
        assert (row.body, row.handled_as) == ("my secret words", "failed")
        [kept] = session.scalars(sa.select(Note)).all()
        assert (kept.body, kept.kind) == ("my secret words", "failed")
    assert count(world, Collective) == 1  # nothing of the failed flow stayed
    assert "ValueError at test_inbound.py" in caplog.text
    assert "secret" not in caplog.text


def test_a_statement_that_the_database_refuses_is_a_failed_flow_not_a_lost_message(world: World) -> None:
    world.member(world.collective(), ASHA, spoke_on="+15550001111")

    @action()
    def break_a_rule(turn: Any, text: str) -> dict[str, Any]:
        turn.session.add(Membership(person_id=turn.person_id, collective_id=turn.here.collective_id, joined_at=turn.now))
        turn.session.flush()
        return {}

    def note(text: str) -> Flow:
        yield Do("pass_on", break_a_rule, {"text": text})

    reception = Reception(
        world.deployment, flows.FLOWS | {"note": FlowEntry(note, "a test")}, WordTable(flows.WORDS), LineBook(world.store)
    )
    assert "went wrong" in receive(reception, read_message(inbound_parameters(ASHA, "hello there", "+15550001111")))
    assert count(world, Inbound, Inbound.handled_as == "failed") == 1


def test_an_answer_of_care_that_fails_never_reaches_the_organizers_notes(world: World) -> None:
    world.member(world.collective(), ASHA, spoke_on="+15550001111")
    world.text(ASHA, "CHECKIN")

    @action()
    def break_down(turn: Any, mood: int) -> dict[str, Any]:
        raise RuntimeError

    def check_in(broadcast_id: int | None = None) -> Flow:
        yield from _first_steps()

    def _first_steps() -> Flow:
        from bot.conversation.steps import OwnWords, Scale

        mood = yield Scale("mood", OwnWords("How are you?"))
        yield Do("keep_mood", break_down, {"mood": mood})

    reception = Reception(
        world.deployment,
        flows.FLOWS | {"check_in": FlowEntry(check_in, "care", private=True)},
        WordTable(flows.WORDS),
        LineBook(world.store),
    )
    receive(reception, read_message(inbound_parameters(ASHA, "1", "+15550001111")))
    with world.store.read() as session:
        [kept] = session.scalars(sa.select(Note)).all()
        assert (kept.kind, kept.body) == ("failed", "")


def test_a_question_of_one_collective_is_not_answered_on_the_number_of_another(world: World) -> None:
    """Her check-in with Sangha stays open on Sangha's number; the tenants' organizers get what she writes to theirs."""
    sangha, tenants = world.collective("SANGHA"), world.collective("TENANTS", lines=["+15550002222"])
    world.member(sangha, ASHA, spoke_on="+15550001111")
    with world.store.write() as session:
        person = session.scalars(sa.select(Person.id)).one()
        session.add(Membership(person_id=person, collective_id=tenants, joined_at=world.clock.now()))
    world.text(ASHA, "CHECKIN")
    assert "Passed on" in world.text(ASHA, "The boiler is broken", to="+15550002222").text
    with world.store.read() as session:
        assert session.scalars(sa.select(Note.collective_id)).all() == [tenants]
    assert "Thank you for checking in" in world.text(ASHA, "4").text


def test_a_collective_that_got_a_line_a_moment_ago_can_be_joined_at_once(world: World) -> None:
    world.collective("SANGHA")
    world.text(ASHA, "JOIN SANGHA")  # the line is known by now
    world.collective("TENANTS")
    assert "Tenants" in world.text(BELA, "JOIN TENANTS").text
    world.collective("UNION", lines=["+15550009999"])
    assert "Union" in world.text(BELA, "UNION", to="+15550009999").text
