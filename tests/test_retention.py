"""Purge deletes what is too old, keeps what may stay, and says how much, never what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.upkeep import retention
from bot.upkeep.retention import is_behind, purge
from models import (
    Alert,
    Audit,
    Broadcast,
    BroadcastText,
    CheckIn,
    Conversation,
    Inbound,
    Membership,
    Note,
    Outbound,
    PeerRequest,
    Person,
    Phone,
    PhoneLine,
    Poll,
    Timer,
)  # fmt: skip
from tests.cli import commands_of
from tests.world import World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def collective(world: World) -> int:
    return world.collective()


def put(world: World, *rows: Any) -> None:
    with world.store.write() as session:
        session.add_all(rows)


def only(world: World, column: Any) -> list[Any]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(column).order_by(column.class_.id)))


def outbound(world: World, age: timedelta, **values: Any) -> Outbound:
    at = world.clock.now() - age
    row: dict[str, Any] = {
        "line_id": 1,
        "kind": "reply",
        "lane": 3,
        "language": "en",
        "state": "delivered",
        "body": "words",
        "due_at": at,
        "created_at": at,
    }
    return Outbound(**(row | values))


def inbound(world: World, sid: str, age: timedelta, **values: Any) -> Inbound:
    return Inbound(
        **(
            {"sid_hash": world.store.hash_sid(sid), "body": "words", "answer": "<Response/>", "received_at": world.clock.now() - age}
            | values
        )
    )


def test_words_go_after_a_week(world: World, collective: int) -> None:
    put(world, outbound(world, 6 * DAY), outbound(world, 8 * DAY), outbound(world, 8 * DAY, state="queued"))
    put(world, inbound(world, "a", 6 * DAY), inbound(world, "b", 8 * DAY))
    counts = purge(world.deployment)
    assert only(world, Outbound.body) == ["words", None, "words"], "what still waits to be sent keeps its words"
    assert only(world, Inbound.body) == ["words", None] and only(world, Inbound.answer) == [None, None]
    assert counts["sent messages: words"] == 1 == counts["received messages: words"]


def test_words_of_care_go_after_a_day(world: World, collective: int) -> None:
    member = world.member(collective, "+15550004004")
    with world.store.read() as session:
        person = session.get_one(Membership, member).person_id
    put(
        world,
        PeerRequest(
            collective_id=collective, number=1, membership_id=member, good_time="after six", created_at=world.clock.now() - 25 * HOUR
        ),
    )
    put(world, CheckIn(collective_id=collective, membership_id=member, mood=2, at=world.clock.now()))
    put(
        world,
        *(outbound(world, 25 * HOUR, kind=kind) for kind in ("relay", "page", "check_in", "reply")),
        outbound(world, 23 * HOUR, kind="relay"),
    )
    put(world, outbound(world, 25 * HOUR, kind="relay", state="held"))
    put(
        world,
        inbound(world, "a", 25 * HOUR, person_id=person),
        inbound(world, "b", 25 * HOUR),
        inbound(world, "c", 23 * HOUR, person_id=person),
    )
    purge(world.deployment)
    assert only(world, Outbound.body) == [None, None, None, "words", "words", None]
    assert only(world, Outbound.state)[-1] == "expired", "a late message of care is not sent"
    assert only(world, Inbound.body) == [None, "words", "words"]
    assert only(world, PeerRequest.good_time) == [None]


def test_codes_go_after_ten_minutes(world: World, collective: int) -> None:
    put(world, outbound(world, timedelta(minutes=11), kind="code"), outbound(world, timedelta(minutes=9), kind="code"))
    purge(world.deployment)
    assert only(world, Outbound.body) == [None, "words"]


def test_status_goes_after_a_month_and_the_broadcasts_total_stays(world: World, collective: int) -> None:
    now = world.clock.now()
    broadcast = Broadcast(
        collective_id=collective, number=1, kind="notice", state="done", total=2, created_at=now - 31 * DAY, done_at=now - 31 * DAY
    )
    put(world, broadcast)
    put(world, BroadcastText(broadcast_id=broadcast.id, language="en", body="words", segments=1))
    put(world, outbound(world, 31 * DAY, broadcast_id=broadcast.id), outbound(world, 29 * DAY), outbound(world, 31 * DAY, state="queued"))
    put(world, inbound(world, "a", 31 * DAY, phone_id=1, person_id=1, collective_id=1, line_id=1), inbound(world, "b", 396 * DAY))
    purge(world.deployment)
    assert only(world, Broadcast.total) == [2] and only(world, Outbound.state) == ["delivered", "queued"]
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(BroadcastText)) == 0
    assert only(world, Inbound.sid_hash) == [world.store.hash_sid("a")], "a replay is recognised for thirteen months"
    assert only(world, Inbound.phone_id) == [None] and only(world, Inbound.line_id) == [None]


def test_an_open_poll_can_still_be_read(world: World, collective: int) -> None:
    now = world.clock.now()
    poll, closed = (Poll(collective_id=collective, options=2, created_at=now - 20 * DAY, closed_at=at) for at in (None, now - 9 * DAY))
    put(world, poll, closed)
    for number, each in enumerate((poll, closed)):
        broadcast = Broadcast(
            collective_id=collective,
            number=number,
            kind="poll",
            state="done",
            poll_id=each.id,
            created_at=now - 20 * DAY,
            done_at=now - 20 * DAY,
        )
        put(world, broadcast)
        put(world, BroadcastText(broadcast_id=broadcast.id, language="en", body="words", segments=1, options=["a", "b"]))
    purge(world.deployment)
    with world.store.read() as session:
        left = session.scalars(sa.select(Broadcast.poll_id).join(BroadcastText, BroadcastText.broadcast_id == Broadcast.id)).all()
    assert left == [poll.id]


def test_the_rest_of_the_periods(world: World, collective: int) -> None:
    now = world.clock.now()
    member = world.member(collective, "+15550004001")
    with world.store.read() as session:
        person = session.get_one(Membership, member).person_id
    talk = {"person_id": person, "line_id": 1, "flow": "poll", "session": {"answers": {}}, "opened_at": now - 31 * DAY}
    put(
        world,
        Note(collective_id=collective, number=1, membership_id=member, body="words", created_at=now - 8 * DAY),
        Note(collective_id=collective, number=2, membership_id=member, body="words", created_at=now - 6 * DAY),
        Conversation(**talk, state="done", last_heard_at=now - HOUR),
        Conversation(**talk, state="done", last_heard_at=now - 31 * DAY),
        Conversation(**talk, state="open", last_heard_at=now - HOUR),
        Audit(act="old", at=now - 366 * DAY),
        Audit(act="new", at=now - 364 * DAY),
        Timer(kind="purge", subject_id=0, key="old", due_at=now - 31 * DAY, done_at=now - 31 * DAY),
        Timer(kind="purge", subject_id=0, key="waiting", due_at=now - 31 * DAY),
        Alert(collective_id=collective, created_at=now - 400 * DAY),
    )
    purge(world.deployment)
    assert only(world, Note.body) == [None, "words"]
    assert only(world, Conversation.session) == [None, {"answers": {}}] and only(world, Conversation.state) == ["done", "open"]
    assert only(world, Audit.act) == ["new"] and only(world, Timer.key) == ["waiting"]


def test_what_outlives_its_words_goes_too(world: World, collective: int) -> None:
    now = world.clock.now()
    member = world.member(collective, "+15550004001")
    common = {"collective_id": collective, "membership_id": member}

    def note(number: int, age: timedelta, **values: Any) -> Note:
        return Note(**common, number=number, created_at=now - age, **values)

    put(
        world,
        note(1, 89 * DAY),
        note(2, 91 * DAY),
        note(3, 89 * DAY, state="answered", answered_at=now - 31 * DAY),
        note(4, 89 * DAY, state="answered", answered_at=now - 29 * DAY),
        PeerRequest(**common, number=5, created_at=now - 31 * DAY),
        PeerRequest(**common, number=6, created_at=now - 29 * DAY),
        PeerRequest(**common, number=7, created_at=now - 31 * DAY, answered_at=now - 29 * DAY),
        CheckIn(**common, mood=1, at=now - 181 * DAY),
        CheckIn(**common, mood=2, at=now - 179 * DAY),
    )
    purge(world.deployment)
    assert only(world, Note.number) == [1, 4]
    assert only(world, PeerRequest.number) == [6, 7]
    assert only(world, CheckIn.mood) == [2]


def test_what_a_supporter_answers_is_care(world: World, collective: int) -> None:
    people = {}
    for number, role in (("+15550004001", "supporter"), ("+15550004002", "organizer")):
        member = world.member(collective, number, roles=[role])
        with world.store.read() as session:
            people[role] = session.get_one(Membership, member).person_id
    put(
        world,
        inbound(world, "a", 25 * HOUR, person_id=people["supporter"], handled_as="REPLY"),
        inbound(world, "b", 23 * HOUR, person_id=people["supporter"], handled_as="REPLY"),
        inbound(world, "c", 25 * HOUR, person_id=people["supporter"], handled_as="answer"),
        inbound(world, "d", 25 * HOUR, person_id=people["organizer"], handled_as="REPLY"),
    )
    purge(world.deployment)
    assert only(world, Inbound.body) == [None, "words", "words", "words"]


def test_strangers_are_forgotten_and_a_stop_is_not(world: World, collective: int) -> None:
    old = world.clock.now() - 31 * DAY
    phones = [
        Phone(number=number, number_hash=world.store.hash_number(number), created_at=old) for number in ("+15550006001", "+15550006002")
    ]
    fresh = Phone(number="+15550006003", number_hash=world.store.hash_number("+15550006003"), created_at=world.clock.now())
    put(world, *phones, fresh)
    put(
        world,
        PhoneLine(phone_id=phones[0].id, line_id=1),
        PhoneLine(phone_id=phones[1].id, line_id=1, opted_out_at=old, opted_out_by="word"),
    )
    world.member(collective, "+15550004001")
    with world.store.write() as session:
        session.execute(sa.update(Phone).where(Phone.id > fresh.id).values(created_at=old))
    counts = purge(world.deployment)
    assert counts["numbers of strangers"] == 1
    assert set(only(world, Phone.number)) == {"+15550006002", "+15550006003", "+15550004001"}
    assert only(world, Person.id)


def test_purging_in_small_bites_is_the_same(world: World, collective: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    put(world, *(outbound(world, 8 * DAY) for _ in range(7)))
    told: list[tuple[str, int]] = []
    counts = purge(world.deployment, lambda rule, done: told.append((rule, done)))
    assert counts["sent messages: words"] == 7 and [done for _, done in told] == [2, 4, 6, 7]
    assert not any(purge(world.deployment).values()), "there is nothing left to do"


def test_the_doctor_hears_when_purging_is_behind(world: World, collective: int) -> None:
    put(world, inbound(world, "a", 7 * DAY + HOUR))
    assert not is_behind(world.deployment)
    put(world, inbound(world, "b", 8 * DAY + HOUR))
    assert is_behind(world.deployment)
    purge(world.deployment)
    assert not is_behind(world.deployment)


def test_the_command_prints_counts_only(world: World, collective: int) -> None:
    put(world, outbound(world, 8 * DAY))
    result = commands_of(world.deployment)("purge")
    assert result.exit_code == 0 and "1  sent messages: words" in result.output and "words\n" in result.output
