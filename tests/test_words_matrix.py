"""Every word, in every spelling, said in every state, in every language, on every kind of line: an answer, and never a broken flow.

One world for each state, language and line; in it a phone of its own for each spelling, so that none meets what another did.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.broadcasts import draft_broadcast
from bot.languages import LANGUAGES
from bot.languages.stop_phrases import OUR_STOP, TWILIO_STOP
from flows import WORDS
from models import Conversation, Inbound, Line, Membership, Note, Outbound, Person, Phone, PhoneLine, Poll, Role
from tests.world import Answer, World

# What may follow a word, by what it takes.
FOLLOWS = {
    "days": "3",
    "hours": "22-7",
    "word": "SANGHA",
    "written": "7 Rally today? / Park / School",
    "number": "1",
    "said": "hindi",
    "text": "see you on Sunday",
}
LINES = {"sms": "+15550001111", "whatsapp": "whatsapp:+15550003333", "shared": "+15550002222"}


@dataclass(frozen=True)
class Said:
    """One text of the matrix: the word it belongs to (None: a stop word of ours, which no flow table lists)."""

    text: str
    word: str
    always: bool
    kind: str = "word"  # carrier stop | our stop | start | help | word


def everything_said() -> Iterator[Said]:
    for stop in sorted(TWILIO_STOP):
        yield Said(stop.upper(), "STOP", True, "carrier stop")
    for stop in sorted(OUR_STOP):
        yield Said(stop, "STOP", True, "our stop")
    for word in WORDS:
        for spelling in word.all_spellings():
            kind = {"STOP": "carrier stop", "START": "start", "HELP": "help"}.get(word.name, "word")
            carriers = spelling.lower() in ("start", "unstop", "help", "info")
            if word.name == "STOP":
                continue
            yield Said(spelling, word.name, word.always, kind if carriers else "word")
            if word.takes is not None:
                yield Said(f"{spelling} {FOLLOWS[word.takes]}", word.name, word.always)
    yield Said("unstop", "START", True, "start")
    yield Said("info", "HELP", True, "help")


EVERYTHING = list({said.text: said for said in everything_said()}.values())


def said_in(state: str, language: str, line: str) -> list[Said]:
    """All of it in English; in the other languages, which only change how an answer reads, every word and a third of its spellings,
    another third in every state and line."""
    if language == "en":
        return EVERYTHING
    third = (list(STATES).index(state) + list(LINES).index(line)) % 3
    return [said for index, said in enumerate(EVERYTHING) if said.text.split()[0] == said.word or index % 3 == third]


# --- the states ----------------------------------------


@dataclass
class Place:
    """Where it happens: the session that makes it, the collectives of the line, and a poll that was broadcast there."""

    session: Session
    world: World
    language: str
    collectives: list[int]
    line_id: int
    poll: int

    def phone(self, number: str, **values: Any) -> Phone:
        hashed = self.world.store.hash_number(number)
        phone = Phone(number=number, number_hash=hashed, created_at=self.world.clock.now(), **values)
        self.session.add(phone)
        self.session.flush()
        return phone

    def member(self, number: str, *, roles: tuple[str, ...] = (), **values: Any) -> tuple[Phone, Person, Membership]:
        """Somebody who belongs to every collective of the line; her first membership is given."""
        phone = self.phone(number)
        person = Person(phone_id=phone.id, language=self.language, created_at=self.world.clock.now())
        self.session.add(person)
        self.session.flush()
        phone.current_person_id = person.id
        memberships = [
            Membership(person_id=person.id, collective_id=collective, joined_at=self.world.clock.now(), line_id=self.line_id, **values)
            for collective in self.collectives
        ]
        self.session.add_all(memberships)
        self.session.flush()
        self.session.add_all(Role(membership_id=membership.id, role=role) for membership in memberships for role in roles)
        return phone, person, memberships[0]


def stranger(place: Place, number: str) -> None:
    pass


def idle(place: Place, number: str) -> None:
    place.member(number)


def asked_for_words(place: Place, number: str) -> None:
    _, person, membership = place.member(number)
    now = place.world.clock.now()
    at = {"at": now.isoformat(), "language": place.language}
    record = {
        "arguments": {"broadcast_id": None},
        "answers": {"mood": {"value": 1, **at}, "wants_peer": {"value": True, **at}},
        "done": {"asked": {"text": "Sangha: how are you today?", "supporters": True}, "keep_mood": {}},
    }
    place.session.add(
        Conversation(
            person_id=person.id, collective_id=membership.collective_id, line_id=place.line_id, flow="check_in", state="open",
            question="time", turn=3, hints=0, session=record, opened_at=now, last_heard_at=now,
        )
    )  # fmt: skip


def asked_by_broadcast(place: Place, number: str) -> None:
    phone, person, membership = place.member(number)
    now = place.world.clock.now()
    place.session.add(
        Outbound(
            broadcast_id=place.poll, membership_id=membership.id, person_id=person.id, phone_id=phone.id,
            collective_id=membership.collective_id,
            line_id=place.line_id, kind="poll", lane=5, language=place.language, state="delivered", attempt=1, due_at=now, created_at=now,
            asks="poll", asked_at=now,
        )
    )  # fmt: skip


def opted_out(by: str) -> Callable[[Place, str], None]:
    def make(place: Place, number: str) -> None:
        phone, _, _ = place.member(number)
        place.session.add(PhoneLine(phone_id=phone.id, line_id=place.line_id, opted_out_at=place.world.clock.now(), opted_out_by=by))

    return make


def left(place: Place, number: str) -> None:
    place.member(number, state="left", left_at=place.world.clock.now())


def paused(place: Place, number: str) -> None:
    place.member(number, paused_until=place.world.clock.now() + timedelta(days=7))


def with_role(role: str) -> Callable[[Place, str], None]:
    def make(place: Place, number: str) -> None:
        place.member(number, roles=(role,))

    return make


def detached(place: Place, number: str) -> None:
    phone, _, membership = place.member(number, state="left", left_at=place.world.clock.now())
    phone.current_person_id, phone.detached_at = None, place.world.clock.now()


STATES: dict[str, Callable[[Place, str], None]] = {
    "stranger": stranger,
    "idle": idle,
    "asked for words": asked_for_words,
    "asked by broadcast": asked_by_broadcast,
    "opted out by carrier": opted_out("carrier"),
    "opted out by word": opted_out("word"),
    "left": left,
    "paused": paused,
    "organizer": with_role("organizer"),
    "supporter": with_role("supporter"),
    "detached": detached,
}


def build(world: World, state: str, language: str, line: str) -> dict[str, str]:
    """The world of one cell, and the phone of each text in it."""
    address = LINES[line]
    words = ["SANGHA", "TENANTS"] if line == "shared" else ["SANGHA"]
    collectives = [world.collective(word, lines=[address], language=language) for word in words]
    numbers = {said.text: f"+1556{index:07d}" for index, said in enumerate(said_in(state, language, line), 1000)}
    with world.store.write() as session:
        line_id = session.scalars(sa.select(Line.id).where(Line.address == address)).one()
        poll = Poll(collective_id=collectives[0], options=2, created_at=world.clock.now())
        session.add(poll)
        session.flush()
        options = {language: ["Park", "School"]}
        broadcast = draft_broadcast(
            session, world.clock.now(), collectives[0], "poll", {language: "Where?"}, options=options, poll_id=poll.id
        )
        broadcast.state = "done"
        place = Place(session, world, language, collectives, line_id, broadcast.id)
        place.member("+15559999998", roles=("organizer",))
        place.member("+15559999999", roles=("supporter",))
        for number in numbers.values():
            STATES[state](place, number)
    return numbers


# --- the rules ----------------------------------------


def is_silent(said: Said, state: str, line: str) -> bool:
    """Whether the rules want no answer here."""
    carrier = line != "whatsapp"  # it answers its own words itself
    blocked = state == "opted out by carrier"
    if said.kind in ("carrier stop", "start"):
        return carrier
    if said.word == "HELP":
        return False
    if said.kind == "our stop":
        return state.startswith("opted out")  # one confirmation is enough
    if blocked or said.word == "WRONG":
        return True
    if state == "opted out by word":
        return said.word == "FORGET"
    if state == "detached":
        # Whoever holds the number now learns nothing, unless she asks to come in or what this is.
        return said.word not in ("HELP", "START", "FORGET") and not (said.word == "JOIN" and "SANGHA" in said.text)
    return False


@dataclass
class Trace:
    """What one text left behind."""

    handled_as: str
    conversation: tuple[str, str | None] | None = None  # of the check-in that was open: its state and question
    poll_answered: bool = False


def traces(world: World, numbers: dict[str, str]) -> dict[str, Trace]:
    """What every text left behind, by the text: read once, after all of them."""
    with world.store.read() as session:
        handled = session.scalars(sa.select(Inbound.handled_as).order_by(Inbound.id)).all()
        conversations = sa.select(Phone.number, Conversation.state, Conversation.question).join(Person, Person.phone_id == Phone.id)
        conversations = conversations.join(Conversation, Conversation.person_id == Person.id).where(Conversation.flow == "check_in")
        opened = {row.number: (row.state, row.question) for row in session.execute(conversations.order_by(Conversation.id.desc()))}
        asked = sa.select(Phone.number).join(Outbound, Outbound.phone_id == Phone.id).where(Outbound.answered_at.is_not(None))
        answered = set(session.scalars(asked))
    return {text: Trace(how, opened.get(number), number in answered) for (text, number), how in zip(numbers.items(), handled, strict=True)}


def problem(said: Said, answer: Answer, trace: Trace, state: str, language: str, line: str) -> str | None:
    """What is wrong about one cell of the matrix, None when nothing is."""
    if answer.status != 200:
        return f"HTTP {answer.status}"
    if trace.handled_as in ("", "failed"):
        return "the flow failed"
    if len(answer.texts) != (0 if is_silent(said, state, line) else 1):
        return f"said {answer.texts!r}"
    # Whoever looks for her language must be able to read the question: LANG asks in all of them.
    if language == "hi" and said.word != "LANG" and any(not _DEVANAGARI.search(text) for text in answer.texts):
        return f"not in her language: {answer.texts!r}"
    if trace.poll_answered:
        return "a word was taken for a vote"
    if state == "asked for words" and said.word not in ("STOP", "FORGET", "WRONG"):
        if interrupts(said):
            return None if trace.conversation == ("open", "time") else "the word took the open question"
        return None if (trace.conversation, trace.handled_as) == (("done", None), "answer") else "a word for other moments interrupted"
    return None


_DEVANAGARI = re.compile("[\u0900-\u097f]")
# Obeyed in any state, but not for members; and a JOIN that names nothing is only a text.
_NOT_HERS = frozenset({"ALERT", "SEND", "POLL", "OK", "REPLY", "HOLD", "CHANGE", "DROP", "RESEND", "OFF"})


def interrupts(said: Said) -> bool:
    return said.always and said.word not in _NOT_HERS and not (said.word == "JOIN" and "SANGHA" not in said.text)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("state", STATES)
def test_every_word(small_world: World, state: str, language: str, line: str) -> None:
    numbers = build(small_world, state, language, line)
    prefix = "whatsapp:" if line == "whatsapp" else ""
    answers = {text: small_world.text(prefix + number, text, to=LINES[line]) for text, number in numbers.items()}
    left_behind = traces(small_world, numbers)
    said_here = said_in(state, language, line)
    problems = {said.text: problem(said, answers[said.text], left_behind[said.text], state, language, line) for said in said_here}
    assert not any(problems.values()), "\n".join(
        f"{text!r} ({left_behind[text].handled_as}): {what}" for text, what in problems.items() if what
    )
    with small_world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Note).where(Note.kind == "failed")) == 0
