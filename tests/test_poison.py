"""Poison: a row whose handling raises, and one that kills its worker, stop neither the line nor the neighbours (crash table, O12)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.delivery import returns, turns
from bot.delivery.claims import claim_rows
from bot.delivery.gateway import Accepted, Outcome
from bot.delivery.leases import renew_lease
from bot.delivery.outcomes import Sent
from bot.delivery.poison import MOST_TRIES, SUSPECT
from bot.delivery.pump import serve_lines
from bot.delivery.sweep import sweep
from models import Line, Outbound
from tests.delivery import (
    ScriptedCarrier,
    change,
    line_row,
    pump_all,
    put_letter,
    row,
    rows,
    send_broadcast,
    states,
    take_the_line,
    two_members,
)
from tests.world import World, new_sid

ORGANIZER = "+15551000009"
PUT_ASIDE = "A text of yours could not be handled and was put aside; all others go on. Please tell whoever runs your Chorus."


@pytest.fixture
def sangha(world: World) -> int:
    """Two members and an organizer on a fast line."""
    collective = two_members(world)
    world.member(collective, ORGANIZER, roles=["organizer"])
    return collective


def raise_over(monkeypatch: pytest.MonkeyPatch, *poisoned: int) -> None:
    """Whoever marks one of these rows breaks over it."""
    mark_rows = turns.mark_rows

    def mark(store: Any, session: Any, line: Any, claimed: Any, texts: Any, purse: Any) -> Any:
        done = mark_rows(store, session, line, claimed, texts, purse)
        if any(each.id in poisoned for each in claimed):
            raise RuntimeError("words that must not be logged")
        return done

    monkeypatch.setattr(turns, "mark_rows", mark)


def test_o12_a_poison_row_is_isolated_and_the_queue_goes_on(
    world: World, sangha: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    number = send_broadcast(world, sangha)
    poisoned, *others = [each.id for each in rows(world, number)]
    raise_over(monkeypatch, poisoned)
    carrier = ScriptedCarrier()
    waits = []
    for tries in range(1, MOST_TRIES):
        pump_all(world, carrier)
        found = row(world, poisoned)
        assert (found.state, found.reason, found.tries, found.attempt) == ("held", "trouble", tries, 0)
        waits.append((found.due_at - world.clock.now()).total_seconds())
        assert states(world, number)[1:] == ["accepted"] * len(others)
        world.clock.freeze(found.due_at)
        assert sweep(world.store).released == 1
    assert waits == [15, 60, 240, 960]
    pump_all(world, carrier)
    found = row(world, poisoned)
    assert (found.state, found.reason, found.tries, found.done_at) == ("failed", "poison", MOST_TRIES, world.clock.now())
    assert len(carrier.taken) == len(others) + 1, "the others once, and the organizer is told"
    assert (carrier.taken[-1].to, carrier.taken[-1].body) == (ORGANIZER, PUT_ASIDE)
    assert sweep(world.store).broadcasts_done == 1
    assert "must not be logged" not in caplog.text and "+1555" not in caplog.text


def test_organizers_are_told_once_a_day_however_many_rows_are_poisoned(world: World, sangha: int, monkeypatch: pytest.MonkeyPatch) -> None:
    number = send_broadcast(world, sangha)
    poisoned = [each.id for each in rows(world, number)]
    change(world, Outbound, tries=MOST_TRIES - 1)
    raise_over(monkeypatch, *poisoned)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert {each.reason for each in rows(world, number)} == {"poison"}
    assert carrier.bodies == [PUT_ASIDE]


def test_an_outcome_that_can_not_be_written_costs_no_other(world: World, sangha: int, monkeypatch: pytest.MonkeyPatch) -> None:
    number = send_broadcast(world, sangha)
    poisoned = rows(world, number)[1].id
    write_outcomes = returns.write_outcomes

    def write(store: Any, session: Any, results: list[Sent]) -> None:
        write_outcomes(store, session, results)
        if any(sent.mark.id == poisoned for sent in results):
            raise RuntimeError("words that must not be logged")

    monkeypatch.setattr(returns, "write_outcomes", write)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert states(world, number) == ["accepted", "attempting", "accepted"]
    change(world, Outbound, Outbound.state == "attempting", lease_until=1.0)
    assert sweep(world.store).unknown == 1
    found = row(world, poisoned)
    assert (found.state, found.checks, found.check_at) == ("unknown", 0, world.clock.now() + timedelta(seconds=60))
    assert pump_all(world, carrier) == 0, "it is never sent again by itself"


def test_a_line_that_can_not_be_claimed_from_leaves_the_others_alone(world: World, sangha: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world.line("+15550001112", mps=500.0)
    broken = world.collective("BROKEN", lines=["+15550001112"])
    world.member(broken, "+15553000001")
    number, stays = send_broadcast(world, sangha), send_broadcast(world, broken)
    claim = turns.claim_rows
    bad = line_row(world, "+15550001112").id

    def claim_or_raise(store: Any, session: Any, line: Any, segments: int, most: int, **named: Any) -> Any:
        if line.id == bad:
            raise RuntimeError("no")
        return claim(store, session, line, segments, most, **named)

    monkeypatch.setattr(turns, "claim_rows", claim_or_raise)
    pump_all(world, ScriptedCarrier())
    assert (set(states(world, number)), states(world, stays)) == ({"accepted"}, ["queued"])


# --- rows of dead pumps ----------------------------------------------------------------------------------------------------


def die_with_claims(world: World) -> list[int]:
    """A pump that claims two and is killed; its lease runs out."""
    line = take_the_line(world)
    with world.store.write() as session:
        claimed, _ = claim_rows(world.store, session, line, 2, 2)
        renew_lease(session, line, line.next_slot)
    change(world, Line, lease_until=1.0, next_slot=0.0)
    change(world, Outbound, Outbound.state == "claimed", lease_until=1.0)
    return [each.id for each in claimed]


def successor(world: World) -> None:
    take_the_line(world)
    change(world, Line, lease_until=1.0)


def swept(world: World) -> None:
    sweep(world.store)


@pytest.mark.parametrize("found_by", [successor, swept])
def test_five_deaths_isolate_the_row_that_killed_and_condemn_no_neighbour(
    world: World, sangha: int, found_by: Callable[[World], None]
) -> None:
    number = send_broadcast(world, sangha)
    killer, neighbour, other = [each.id for each in rows(world, number)]
    deaths = []
    for _ in range(MOST_TRIES):
        deaths.append(die_with_claims(world))
        found_by(world)
    assert deaths == [[killer, neighbour]] * SUSPECT + [[killer]] * (MOST_TRIES - SUSPECT), "the suspect is claimed alone"
    found = row(world, killer)
    assert (found.state, found.reason, found.tries, found.done_at) == ("failed", "poison", MOST_TRIES, world.clock.now())
    assert [(row(world, each).state, row(world, each).tries) for each in (neighbour, other)] == [("queued", SUSPECT), ("queued", 0)]
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert set(states(world, number)[1:]) == {"accepted"}
    assert [text.body for text in carrier.taken if text.to == ORGANIZER][0] == PUT_ASIDE


def test_claims_of_a_pump_that_lives_are_not_taken_from_it(world: World, sangha: int) -> None:
    """A carrier that says 429 makes it wait longer than a claim's lease; it still holds the line."""
    number = send_broadcast(world, sangha)
    line = take_the_line(world)
    with world.store.write() as session:
        claim_rows(world.store, session, line, 10, 10)
        renew_lease(session, line, line.next_slot)
    change(world, Outbound, Outbound.state == "claimed", lease_until=1.0)
    assert sweep(world.store).reclaimed == 0
    change(world, Line, lease_until=1.0)
    assert sweep(world.store).reclaimed == 3
    assert [(each.state, each.tries) for each in rows(world, number)] == [("queued", 1)] * 3


def test_a_suspect_waits_until_nothing_else_is_in_hand(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    first, suspect, third = [each.id for each in rows(world, number)]
    change(world, Outbound, Outbound.id == suspect, tries=SUSPECT)
    line = take_the_line(world)
    claims = []
    with world.store.write() as session:
        for is_alone in (True, False, True, True):
            claimed, is_dry = claim_rows(world.store, session, line, 10, 10, is_alone=is_alone)
            claims.append(([each.id for each in claimed], is_dry))
    assert claims == [([first], False), ([], False), ([suspect], False), ([third], True)]


def test_suspects_and_the_rest_all_leave(world: World, sangha: int) -> None:
    for n in range(12):
        put_letter(world, 1, f"letter {n}")
    with world.store.write() as session:
        session.execute(sa.update(Outbound).where(Outbound.id % 3 == 0).values(tries=SUSPECT))
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier) == 12
    assert sorted(carrier.bodies) == sorted(f"letter {n}" for n in range(12))
    assert set(states(world)) == {"accepted"}


def test_asked_to_stop_nothing_counts_as_a_try(world: World, sangha: int) -> None:
    change(world, Line, mps=20.0)
    for n in range(40):
        put_letter(world, 1, f"letter {n}")
    stop = threading.Event()

    def answer(_to: str, sent: int) -> Outcome:
        if sent == 3:
            stop.set()
        return Accepted(new_sid())

    serve_lines(world.deployment, ScriptedCarrier(answer), stop, 30.0)
    assert "queued" in states(world) and {each.tries for each in rows(world)} == {0}
