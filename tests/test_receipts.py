"""Receipts: a state only climbs, whatever the order; an error code stays and changes what may be sent."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.delivery.gateway import Accepted
from bot.delivery.outbox import Letter, put_answered
from bot.delivery.receipts import apply_receipt
from bot.delivery.sweep import sweep
from bot.delivery.tokens import callback_token
from models import Line, Outbound, PhoneLine
from models.messages import RANKS
from tests.delivery import ScriptedCarrier, change, phone_of, pump_all, put_letter, row, rows, send_broadcast, states
from tests.world import World, new_sid


@pytest.fixture
def answered(world: World) -> int:
    """A reply that left in the webhook's response."""
    member = world.member(world.collective(), "+15551000001")
    letter = Letter("reply", "Welcome", "en", world.line(), phone_of(world, member))
    with world.store.write() as session:
        return put_answered(session, world.clock.now(), letter)


def receive(world: World, number: int, status: str, code: int | None = None, attempt: int = 1, sid: str | None = None) -> bool:
    return apply_receipt(world.store, callback_token(world.store, number, attempt), status, code, sid)


@pytest.mark.parametrize("order", list(itertools.permutations(["queued", "sent", "delivered", "undelivered"])), ids="-".join)
def test_o7_a_state_only_climbs_whatever_the_order(world: World, answered: int, order: tuple[str, ...]) -> None:
    reached = 0
    for status in order:
        assert receive(world, answered, status, 30003 if status == "undelivered" else None)
        now = RANKS[row(world, answered).state]
        assert now >= reached
        reached = now
    final = row(world, answered)
    assert final.state == next(status for status in order if status in ("delivered", "undelivered")), "the first end stays"
    assert final.error_code == 30003
    assert final.accepted_at is not None and final.done_at is not None and final.lease_until is None


def test_a_receipt_brings_home_what_was_unknown(world: World, answered: int) -> None:
    change(world, Outbound, Outbound.id == answered, lease_until=1.0)
    assert sweep(world.store).unknown == 1
    assert row(world, answered).state == "unknown"
    sid = new_sid()
    assert receive(world, answered, "sent", sid=sid)
    assert (row(world, answered).state, row(world, answered).sid) == ("sent", sid)


def test_a_receipt_that_comes_twice_changes_nothing(world: World, answered: int) -> None:
    receive(world, answered, "delivered", sid=new_sid())
    before = row(world, answered)
    world.clock.advance(timedelta(hours=1))
    receive(world, answered, "delivered", sid=new_sid())
    after = row(world, answered)
    assert (after.done_at, after.sid, after.accepted_at) == (before.done_at, before.sid, before.accepted_at)


@pytest.mark.parametrize("token", ["", "1", "1-1", "1-1-AAAAAAAAAAAAAAAA", "zz-1-é", "../../etc", "1-1-" + "A" * 400])
def test_a_token_that_is_not_ours_is_nobodys(world: World, answered: int, token: str) -> None:
    assert not apply_receipt(world.store, token, "delivered", None, None)
    assert row(world, answered).state == "attempting"


def test_a_receipt_for_a_row_that_is_gone(world: World, answered: int) -> None:
    assert not receive(world, answered + 1000, "delivered")


@pytest.mark.parametrize("status", ["", "melting", "receiving"])
def test_words_that_say_nothing_change_nothing(world: World, answered: int, status: str) -> None:
    receive(world, answered, status)
    assert row(world, answered).state == "attempting"


def test_read_counts_as_delivered(world: World, answered: int) -> None:
    receive(world, answered, "read")
    assert row(world, answered).state == "delivered"


def test_an_earlier_attempts_failure_is_not_the_present_ones(world: World, answered: int) -> None:
    change(world, Outbound, Outbound.id == answered, attempt=2)
    receive(world, answered, "failed", 30008, attempt=1)
    assert row(world, answered).state == "attempting"
    receive(world, answered, "delivered", attempt=1)
    assert row(world, answered).state == "delivered", "but she has it if the earlier one arrived"


def test_a_later_attempt_that_we_never_made(world: World, answered: int) -> None:
    assert not receive(world, answered, "delivered", attempt=7)


def test_21610_by_receipt_opts_the_phone_out_of_the_line(world: World, answered: int) -> None:
    receive(world, answered, "failed", 21610)
    with world.store.read() as session:
        known = session.scalars(sa.select(PhoneLine)).one()
    assert (known.opted_out_at, known.opted_out_by, known.refused_code) == (world.clock.now(), "21610", None)
    assert (row(world, answered).state, row(world, answered).error_code) == ("failed", 21610)


def test_a_dead_number_by_receipt_is_not_tried_again(world: World) -> None:
    collective = world.collective()
    member = world.member(collective, "+15551000001")
    first = send_broadcast(world, collective)
    pump_all(world, ScriptedCarrier())
    receive(world, rows(world, first)[0].id, "undelivered", 30005)
    second = send_broadcast(world, collective)
    assert [(each.state, each.reason) for each in rows(world, second)] == [("suppressed", "refused")]
    assert phone_of(world, member)


def test_an_unregistered_line_rests(world: World, answered: int) -> None:
    receive(world, answered, "failed", 30034)
    with world.store.read() as session:
        line = session.scalars(sa.select(Line)).one()
    assert line.held_code == 30034 and line.held_until is not None and line.held_until > world.clock.now()


def test_a_question_is_asked_from_its_acceptance_on(world: World) -> None:
    collective = world.collective()
    world.member(collective, "+15551000001")
    asked = send_broadcast(world, collective, kind="alert")
    number = rows(world, asked)[0].id
    change(world, Outbound, Outbound.id == number, state="attempting", attempt=1)
    receive(world, number, "sent")
    first = row(world, number).asked_at
    assert first == world.clock.now()
    world.clock.advance(timedelta(minutes=5))
    receive(world, number, "delivered")
    assert row(world, number).asked_at == first


def test_a_question_that_failed_was_never_asked(world: World) -> None:
    collective = world.collective()
    world.member(collective, "+15551000001")
    number = rows(world, send_broadcast(world, collective, kind="alert"))[0].id
    change(world, Outbound, Outbound.id == number, state="attempting", attempt=1)
    receive(world, number, "failed", 30007)
    assert row(world, number).asked_at is None


# --- any order, any number of times, over several attempts (O7) -----------------------------------------------------------

RECEIPTS = [(status, None) for status in ("accepted", "queued", "sending", "sent", "delivered", "read")]
RECEIPTS += [("undelivered", 30003), ("undelivered", 30008), ("failed", 30005), ("failed", None), ("undelivered", 30036)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(st.sampled_from(["an hour passes", "a day passes"]), st.tuples(st.sampled_from(RECEIPTS), st.integers(1, 3))), max_size=12
    )
)
def test_o7_whatever_comes_in_whatever_order(small_world: World, steps: list[object]) -> None:
    """Within an attempt the rank never falls and the code stays; what was delivered stays delivered; every attempt is its own text."""
    world = small_world
    change(world, Outbound, state="stopped")  # what an earlier example left
    carrier = ScriptedCarrier()
    number = put_letter(world, _somebody(world), kind="notice", expires_at=world.clock.now() + timedelta(days=30))
    pump_all(world, carrier)
    before = row(world, number)
    was_delivered = False
    for step in steps:
        if isinstance(step, str):
            world.clock.advance(timedelta(hours=1) if "hour" in step else timedelta(days=1))
            sweep(world.store)
            pump_all(world, carrier)
        else:
            (status, code), attempt = step
            receive(world, number, status, code, attempt, new_sid())
            was_delivered = was_delivered or (status in ("delivered", "read") and attempt <= before.attempt and before.state != "expired")
        after = row(world, number)
        if after.attempt == before.attempt and after.state != "held" and before.state not in ("held", "queued"):
            assert RANKS.get(after.state, 5) >= RANKS.get(before.state, 5)
            assert before.error_code is None or after.error_code == before.error_code
        if before.state in ("delivered", "undelivered", "failed", "expired"):
            assert after.state == before.state, "the end is the end"
        before = after
    if was_delivered:
        assert before.state in ("delivered", "undelivered", "failed")
    assert len(carrier.taken) == before.attempt, "no attempt without its own number"
    callbacks = [taken.callback for taken in carrier.taken]
    assert len(set(callbacks)) == len(callbacks)


def _somebody(world: World) -> int:
    return world.member(world.collective(f"W{new_sid()[:8]}"), f"+1555{int(new_sid()[2:10], 16) % 10_000_000:07d}")


@pytest.mark.parametrize("token", ["nobody", "1-1-AAAAAAAAAAAAAAAA"])
@pytest.mark.parametrize(
    "parameters", [{}, {"MessageSid": "SM" + "9" * 32}, {"ErrorCode": "30003"}, {"ErrorCode": "x" * 90, "MessageSid": "é"}]
)
def test_o7_an_unknown_receipt_is_answered_and_has_no_effect(world: World, answered: int, token: str, parameters: dict[str, str]) -> None:
    assert world.post(f"/twilio/status/{token}", {"MessageStatus": "delivered"} | parameters).status == 204
    assert row(world, answered).state == "attempting"


def test_an_answer_that_the_failure_overtook(world: World) -> None:
    """The receipt of a failure came before our own POST was answered: the retry stands, and learns nothing of the first attempt."""
    number = put_letter(world, _somebody(world), kind="notice", expires_at=world.clock.now() + timedelta(days=2))

    def answer(_to: str, _number: int) -> Accepted:
        receive(world, number, "undelivered", 30003, 1)
        return Accepted(new_sid())

    pump_all(world, ScriptedCarrier(answer))
    waiting = row(world, number)
    assert (waiting.state, waiting.reason, waiting.sid, waiting.accepted_at, waiting.error_code) == ("held", "retry", None, None, 30003)


def test_receipts_at_three_times_the_lines_rate_while_a_broadcast_runs(world: World) -> None:
    """Four people's worth of threads bring sent, delivered and a duplicate for each text, as fast as the carrier takes them."""
    people = 120
    world.line(mps=60.0)
    collective = world.collective()
    for n in range(people):
        world.member(collective, f"+15552{n:06d}")
    broadcast = send_broadcast(world, collective)
    public = world.deployment.settings.public_url
    client = world.app  # built before the threads begin
    assert client is not None
    statuses: list[int] = []

    def bring(callback: str, sid: str) -> None:
        for status in ("sent", "delivered", "sent"):
            answer = world.post(callback.removeprefix(public), {"MessageStatus": status, "MessageSid": sid})
            statuses.append(answer.status)

    with ThreadPoolExecutor(4) as threads:
        jobs = []

        def answer(_to: str, _number: int) -> Accepted:
            sid = new_sid()
            jobs.append(threads.submit(bring, carrier.taken[_number - 1].callback, sid))
            return Accepted(sid)

        carrier = ScriptedCarrier(answer)
        pump_all(world, carrier, seconds=60.0)
        for job in jobs:
            job.result()
    assert statuses == [204] * (3 * people)
    assert states(world, broadcast) == ["delivered"] * people
    assert len(carrier.taken) == people
    assert len({each.sid for each in rows(world, broadcast)}) == people
