"""What comes in, row by row of the crash table (power cuts: test_crashpoints.py; one message at a time: tests/test_inbound.py)."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.demo.embedded_redis import EmbeddedRedis
from models import Ballot, CheckIn, Inbound, Membership, Note, Outbound, Poll, Rsvp
from models.messages import ACCEPTED, UNKNOWN
from tests.conftest import make_settings, open_frozen
from tests.delivery import ScriptedCarrier, add_many_members, pump_all, send_broadcast, states
from tests.faults.ground import LINE, Ground
from tests.faults.processes import Nursery
from tests.faults.proxy import Proxy
from tests.servers import PostgresServer
from tests.test_inbound import all_at_once, count
from tests.waiting import wait_for
from tests.world import World, new_sid

ASHA = "+15551000001"


def a_poll(world: World, collective: int, options: list[str]) -> int:
    """A poll that the carrier has accepted for everybody; returns the poll's id."""
    with world.store.write() as session:
        poll = Poll(collective_id=collective, options=len(options), created_at=world.clock.now())
        session.add(poll)
        session.flush()
    send_broadcast(world, collective, "Where?", kind="poll", poll_id=poll.id, options={"en": options})
    pump_all(world, ScriptedCarrier())
    return poll.id


# --- I4, I5: several messages of one member -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 8])
def test_i4_votes_of_one_member_at_once_are_one_vote(world: World, threads: int) -> None:
    world.line(LINE, mps=500.0)
    collective = world.collective(lines=[LINE])
    world.member(collective, ASHA, spoke_on=LINE)
    poll = a_poll(world, collective, ["Park", "School", "Street"])
    letters = "ABCABCAB"[:threads]
    answers = all_at_once([lambda letter=letter: world.text(ASHA, letter) for letter in letters])  # type: ignore[misc]
    assert [answer.status for answer in answers] == [200] * threads
    with world.store.read() as session:
        (vote,) = session.scalars(sa.select(Ballot).where(Ballot.poll_id == poll))
        last = session.scalars(sa.select(Inbound.body).order_by(Inbound.id.desc()).limit(1)).one()
    assert 0 <= vote.choice < 3 and last in letters
    assert count(world, Inbound) == threads


# Each text, and what it may at most become.
SCRIPT = ("B", "CHECKIN", "4", "YES", "My street is flooded")
_serial = itertools.count(1)


@dataclass
class Became:
    """What the five texts of one member led to."""

    votes: list[int]
    moods: list[int]
    comes: list[str]
    notes: list[str | None]


def play(world: World, order: tuple[str, ...], repeat: int) -> Became:
    """A member of her own collective is asked a poll and called to a rally; she texts the script in this order, one text twice."""
    serial = next(_serial)
    number = f"+1555{serial:07d}"
    world.line(LINE, mps=500.0)
    collective = world.collective(f"C{serial}", lines=[LINE])
    member = world.member(collective, number, spoke_on=LINE)
    a_poll(world, collective, ["Park", "School"])
    sids = {text: new_sid() for text in order}
    for place, text in enumerate(order):
        assert world.text(number, text, MessageSid=sids[text]).status == 200
        if place >= repeat:
            # The carrier tries an earlier one again, late.
            earlier = order[place - repeat]
            assert world.text(number, earlier, MessageSid=sids[earlier]).status == 200
    with world.store.read() as session:
        return Became(
            list(session.scalars(sa.select(Ballot.choice).where(Ballot.membership_id == member))),
            list(session.scalars(sa.select(CheckIn.mood).where(CheckIn.membership_id == member))),
            list(session.scalars(sa.select(Rsvp.answer).where(Rsvp.membership_id == member))),
            list(session.scalars(sa.select(Note.body).where(Note.membership_id == member))),
        )


def check_answers(order: tuple[str, ...], became: Became) -> None:
    """An answer is applied only to the question it can belong to."""
    assert became.votes in ([], [1]), "only B votes, once"
    assert became.moods in ([], [4]), "only 4 is a mood, once"
    assert became.comes == [], "nobody was called to anything: YES answers nothing"
    scale_was_open = order.index("CHECKIN") < order.index("4")
    assert bool(became.moods) <= scale_was_open, "a digit before the scale is no answer to it"
    if order.index("CHECKIN") > order.index("B"):
        assert became.votes == [1], "a letter while the poll alone was open"
    assert "4" not in became.notes or not scale_was_open, "an answer to a check-in never reaches the organizers"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(SCRIPT), repeat=st.integers(1, 4))
def test_i5_answers_in_any_order_go_to_their_own_question(world: World, order: tuple[str, ...], repeat: int) -> None:
    check_answers(tuple(order), play(world, tuple(order), repeat))


# --- I6: the database goes while people text ----------------------------------------------------------------------------------


@pytest.fixture
def behind_a_wire(postgres: PostgresServer) -> Iterator[tuple[World, Proxy]]:
    with postgres.fresh_database(f"load_{os.getpid()}") as url, Proxy.before_postgres(url) as wire:
        deployment = open_frozen(make_settings(wire.url))
        yield World(deployment), wire
        deployment.store.close()


def test_i6_stopped_under_load_it_never_says_yes_to_what_it_did_not_keep(behind_a_wire: tuple[World, Proxy]) -> None:
    """Six phones text on while the database is taken away and given back: every 200 is stored, everything else is a 503."""
    world, wire = behind_a_wire
    world.collective(lines=[LINE])
    assert world.text(ASHA, "JOIN SANGHA").status == 200
    said: list[tuple[str, int, float]] = []
    over = threading.Event()

    def text_on(number: str) -> None:
        while not over.is_set():
            sid, began = new_sid(), time.monotonic()
            said.append((sid, world.text(number, "MENU", MessageSid=sid).status, time.monotonic() - began))

    threads = [threading.Thread(target=text_on, args=(f"+155530000{n:02d}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        kept = len(said)
        wait_for(lambda kept=kept: len(said) > kept + 12, "texts that are kept")
        wire.cut()
        wait_for(lambda: sum(status == 503 for _, status, _ in said[-6:]) == 6, "refusals")
        wire.mend()
        wait_for(lambda: said[-1][1] == 200, "texts that are kept again")
    over.set()
    for thread in threads:
        thread.join(30)
    assert {status for _, status, _ in said} == {200, 503}
    # A refusing database is told at once: half of them well within the two seconds, whatever else the machine is doing.
    refused = sorted(seconds for _, status, seconds in said if status == 503)
    assert refused[len(refused) // 2] < 2.0
    with world.store.read() as session:
        stored = set(session.scalars(sa.select(Inbound.sid_hash)))
    for sid, status, _ in said:
        assert status != 200 or world.store.hash_sid(sid) in stored, "a 200 for a message that was not kept"
    assert len(stored) >= sum(status == 200 for _, status, _ in said)


# --- I7: Redis ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as redis:
        yield redis


def test_i7_redis_flushed_and_killed_in_the_middle_of_a_broadcast(
    database_url: str, own_redis: EmbeddedRedis, nursery: Nursery, simulator: object, tmp_path: Path
) -> None:
    """Its bells are lost, then it is gone: replies go on, everybody gets the broadcast once, and it resumes when Redis is back."""
    from bot.simulator.client import RunningSimulator

    assert isinstance(simulator, RunningSimulator)
    simulator.client.reset()
    simulator.client.faults(receipts={"drop": True})
    with Ground(database_url, own_redis.url, nursery, simulator) as ground:
        world = ground.world
        world.line(LINE, mps=40.0)
        collective = world.collective(lines=[LINE])
        add_many_members(world, collective, 80)
        ground.web()
        ground.worker()
        number = ground.approve(collective)
        wait_for(lambda: states(world, number).count(ACCEPTED) > 5, "the sending", 30.0)
        for _ in range(3):
            ground.redis.flushall()
        assert ground.text(ASHA, "JOIN SANGHA").status == 200
        before = states(world, number).count(ACCEPTED)
        wait_for(lambda: states(world, number).count(ACCEPTED) > before, "the sending goes on", 30.0)
        os.kill(own_redis.child.pid, 9)
        wait_for(lambda: own_redis.child.exit_code() is not None, "the end of Redis")
        answer = ground.text("+15551000002", "JOIN SANGHA")
        assert answer.status == 200 and "Welcome" in answer.replies[0], "replies need no Redis"
        late = send_broadcast(world, collective, "Rally moved")
        own_redis.child.start()
        wait_for(ground.is_settled, "everything to be over", 60.0)
        found = Counter(states(world, number) + states(world, late))
        assert found == {ACCEPTED: 80 + 82} and not found[UNKNOWN]
        assert Counter(entry["to"] for entry in ground.carrier.ledger()).most_common(1)[0][1] == 2, "one of each broadcast"
        assert [ground.count(Membership), ground.count(Outbound, Outbound.kind == "reply")] == [82, 2]
        ground.check([number, late])
