"""One question in flight: a person is not asked two things at once, whichever lines and pumps they come by. Alerts never wait."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.delivery.claims import Claimed, claim_rows
from bot.delivery.leases import LeasedLine, renew_lease, take_lines
from bot.delivery.marks import mark_rows
from bot.delivery.money import Purse
from bot.delivery.sweep import sweep
from bot.delivery.texts import Texts
from models import Consent, Membership
from tests.delivery import ScriptedCarrier, pump_all, rows, send_broadcast
from tests.world import World

LINE, SECOND = "+15550001111", "+15550001112"
ASHA = "+15551000001"
POLL = {"options": {"en": ["Park", "School"]}}


@pytest.fixture
def two_groups(world: World) -> tuple[int, int]:
    """Asha belongs to two collectives, each with a line of its own."""
    for address in (LINE, SECOND):
        world.line(address, mps=200.0)
    one, two = world.collective("SANGHA", lines=[LINE]), world.collective("TENANTS", lines=[SECOND])
    world.member(one, ASHA, name="Asha")
    with world.store.write() as session:
        person = session.scalars(sa.select(Membership.person_id)).one()
        session.add(Membership(person_id=person, collective_id=two, joined_at=world.clock.now()))
    return one, two


def claim_all(world: World) -> list[tuple[LeasedLine, list[Claimed]]]:
    """Two pumps, each with a line and its rows in hand."""
    found = []
    for line in take_lines(world.store, "test", 5):
        with world.store.write() as session:
            claimed, _ = claim_rows(world.store, session, line, 10, 10)
            renew_lease(session, line, line.next_slot)
        found.append((line, claimed))
    return found


@pytest.mark.parametrize("kinds", [("poll", "poll"), ("poll", "check_in")])
def test_two_pumps_that_ask_her_at_the_same_moment(world: World, two_groups: tuple[int, int], kinds: tuple[str, str]) -> None:
    """While one mark is still being written, the other passes her over; then it sees the question in flight."""
    for collective, kind in zip(two_groups, kinds, strict=True):
        if kind == "poll":
            send_broadcast(world, collective, "Where?", kind="poll", **POLL)
        else:
            give_consent(world)
            send_broadcast(world, collective, {}, kind="check_in")
    (one, hers), (two, also) = claim_all(world)
    texts, purse = Texts(world.store), Purse(world.store)
    if world.store.is_sqlite:  # one writer at a time
        with world.store.write() as session:
            assert len(mark_rows(world.store, session, one, hers, texts, purse)[0]) == 1
    else:
        with world.store.write() as session:
            assert len(mark_rows(world.store, session, one, hers, texts, purse)[0]) == 1
            with world.store.write() as beside:
                marked, busy = mark_rows(world.store, beside, two, also, texts, purse)
            assert (marked, busy) == ([], [also[0].id])
    with world.store.write() as session:
        marked, busy = mark_rows(world.store, session, two, also, texts, purse)
    assert (marked, busy) == ([], [])
    assert sorted((each.state, each.reason) for each in rows(world)) == [("attempting", None), ("held", "question")]


def give_consent(world: World) -> None:
    with world.store.write() as session:
        for member in session.scalars(sa.select(Membership.id)):
            session.add(Consent(membership_id=member, kind="check_ins", text_version="x", language="en", given_at=world.clock.now()))


def test_what_asks_nothing_and_alerts_wait_for_no_phone(world: World, two_groups: tuple[int, int]) -> None:
    send_broadcast(world, two_groups[0], "Come", kind="alert")
    send_broadcast(world, two_groups[1], "Notice")
    (one, hers), (two, also) = claim_all(world)
    texts, purse = Texts(world.store), Purse(world.store)
    with world.store.write() as session:
        assert len(mark_rows(world.store, session, one, hers, texts, purse)[0]) == 1
        if not world.store.is_sqlite:
            with world.store.write() as beside:
                assert len(mark_rows(world.store, beside, two, also, texts, purse)[0]) == 1


def test_pumps_at_work_never_put_two_questions_to_her(world: World, two_groups: tuple[int, int]) -> None:
    """Real pumps in threads, question after question on both lines: she gets one, and the next when a day has passed."""
    for number in range(4):
        send_broadcast(world, two_groups[number % 2], f"Where {number}?", kind="poll", **POLL)
    carrier = ScriptedCarrier()
    for asked in range(1, 5):
        threads = [threading.Thread(target=pump_all, args=(world, carrier)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(carrier.taken) == min(asked, 2), "two polls of two days' life, one a day"
        world.clock.advance(timedelta(hours=24, minutes=1))
        sweep(world.store)
