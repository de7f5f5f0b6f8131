"""The canary: a line without fresh proof sends five of a broadcast, and the rest when one arrived or nothing bad was heard of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from werkzeug.serving import make_server

from bot.delivery.broadcasts import release_broadcast
from bot.delivery.canary import CANARIES, MOST_CANARIES, WORTH_IT, needs_canary
from bot.delivery.gateway import Accepted, Gateway, Outcome, Refused, SendsTexts
from bot.delivery.leases import LeasedLine
from bot.delivery.pump import serve_lines
from bot.delivery.receipts import apply_receipt
from bot.delivery.sweep import sweep
from bot.delivery.tokens import callback_token
from bot.deployment import Deployment
from bot.simulator.client import start_simulator
from models import Broadcast, Keyring, Line, Outbound, Store
from tests.conftest import make_settings
from tests.delivery import LINE, ScriptedCarrier, add_many_members, change, line_row, put_letter, row, rows, send_broadcast, states
from tests.waiting import wait_for
from tests.world import ACCOUNT, TOKEN, World, new_sid

MEMBERS = 30
MISCONFIGURED = 30034


@pytest.fixture
def sangha(world: World) -> int:
    """Thirty members on a fast line that nobody has proved."""
    return on_new_line(world)


def on_new_line(world: World, members: int = MEMBERS, mps: float = 200.0) -> int:
    world.line(LINE, mps=mps, proven_at=None)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, members)
    return collective


@contextmanager
def pumping(world: World, carrier: SendsTexts) -> Iterator[None]:
    """A worker's pump at work in the background."""
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            serve_lines(world.deployment, carrier, stop, 60.0)
            stop.wait(0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def see_urgent_ones_pass(world: World) -> None:
    """A reply put now is sent: so whatever could be claimed meanwhile, was."""
    for _ in range(3):
        reply = put_letter(world, MEMBERS, "an answer")
        wait_for(lambda number=reply: row(world, number).state == "accepted", "the reply")


def wait_for_canaries(world: World, broadcast: int, count: int = CANARIES) -> list[Outbound]:
    wait_for(lambda: states(world, broadcast).count("accepted") >= count, "the canaries")
    return [each for each in rows(world, broadcast) if each.state == "accepted"]


def hear(world: World, message: Outbound, status: str, code: int | None = None) -> None:
    assert apply_receipt(world.store, callback_token(world.store, message.id, message.attempt), status, code, message.sid)


def test_five_go_first_and_urgent_messages_do_not_wait_for_them(world: World, sangha: int) -> None:
    carrier = ScriptedCarrier()
    with pumping(world, carrier):
        number = send_broadcast(world, sangha)
        wait_for_canaries(world, number)
        see_urgent_ones_pass(world)
        assert sorted(states(world, number)) == ["accepted"] * CANARIES + ["queued"] * (MEMBERS - CANARIES)
        assert line_row(world).proven_at is None
        hear(world, wait_for_canaries(world, number)[2], "delivered")
        wait_for(lambda: "queued" not in states(world, number), "the rest")
    assert line_row(world).proven_at == world.clock.now()
    assert len(carrier.taken) == MEMBERS + 3


def test_silence_for_ten_seconds_is_no_bad_news(world: World, sangha: int) -> None:
    with pumping(world, ScriptedCarrier()):
        number = send_broadcast(world, sangha)
        wait_for_canaries(world, number)
        world.clock.advance(timedelta(seconds=9))
        see_urgent_ones_pass(world)
        assert states(world, number).count("queued") == MEMBERS - CANARIES
        world.clock.advance(timedelta(seconds=1))
        wait_for(lambda: set(states(world, number)) == {"accepted"}, "the rest")
    assert line_row(world).proven_at is None, "that nobody complained proves nothing"


def test_a_misconfigured_line_loses_five_messages_not_all(world: World, sangha: int) -> None:
    carrier = ScriptedCarrier()
    with pumping(world, carrier):
        number = send_broadcast(world, sangha)
        for each in wait_for_canaries(world, number):
            hear(world, each, "undelivered", MISCONFIGURED)
        wait_for(lambda: line_row(world).lease_holder is None, "the line to be given back")
        world.clock.advance(timedelta(minutes=9))
    assert len(carrier.taken) == CANARIES
    assert (line_row(world).held_code, states(world, number).count("queued")) == (MISCONFIGURED, MEMBERS - CANARIES)
    world.clock.advance(timedelta(minutes=1))
    with pumping(world, carrier):
        wait_for_canaries(world, number)
        see_urgent_ones_pass(world)
        assert len([text for text in carrier.taken if "Rally" in text.body]) == 2 * CANARIES, "after its rest it has to prove itself again"
        hear(world, wait_for_canaries(world, number)[0], "delivered")
        wait_for(lambda: "queued" not in states(world, number), "the rest")
    assert (line_row(world).held_code, line_row(world).proven_at) == (None, world.clock.now())


def test_a_line_put_right_by_hand_proves_itself_again(world: World, sangha: int) -> None:
    """``flask line set --release`` forgets the hold; the five that a wrong set-up ended are no canaries."""
    carrier = ScriptedCarrier()
    with pumping(world, carrier):
        number = send_broadcast(world, sangha)
        for each in wait_for_canaries(world, number):
            hear(world, each, "undelivered", MISCONFIGURED)
        wait_for(lambda: line_row(world).lease_holder is None, "the line to be given back")
        world.clock.advance(timedelta(seconds=30))
        # However often they may still be tried: these are over.
        change(world, Outbound, Outbound.attempt > 0, state="undelivered", error_code=MISCONFIGURED, done_at=world.clock.now())
        change(world, Line, held_until=None, held_code=None)
        wait_for_canaries(world, number)
        see_urgent_ones_pass(world)
        assert states(world, number).count("accepted") == CANARIES


def test_bad_news_in_the_middle_stops_a_proven_line_at_once(world: World) -> None:
    world.line(LINE, mps=20.0)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 400)
    carrier = ScriptedCarrier()
    with pumping(world, carrier):
        number = send_broadcast(world, collective)
        hear(world, wait_for_canaries(world, number)[0], "undelivered", MISCONFIGURED)
        wait_for(lambda: line_row(world).lease_holder is None, "the line to be given back")
        sent = len(carrier.taken)
        world.clock.advance(timedelta(minutes=9))
        see_that_nothing_is_claimed(world)
        assert len(carrier.taken) == sent
    assert {"claimed", "attempting"}.isdisjoint(states(world, number)), "what it had in hand waits again"
    found = line_row(world)
    assert found.held_until is not None and found.proven_at is not None and found.proven_at < found.held_until
    before = len(carrier.taken)
    world.clock.advance(timedelta(minutes=1))
    with pumping(world, carrier):
        wait_for(lambda: len(notices(carrier, before)) == CANARIES, "five more")
        see_urgent_ones_pass(world)
        assert len(notices(carrier, before)) == CANARIES, "what went before the hold is no canary"


def notices(carrier: ScriptedCarrier, since: int) -> list[str]:
    return [body for body in carrier.bodies[since:] if "Rally" in body]


def see_that_nothing_is_claimed(world: World) -> None:
    put_letter(world, 1, "an answer on a line that rests")
    assert not sweep(world.store).is_waiting


def test_a_worker_killed_half_way_is_followed_by_one_that_counts_its_canaries(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    lost = [each.id for each in rows(world, number)[:3]]
    # Marked and posted, or not: the worker is dead, its lease over.
    change(world, Outbound, Outbound.id.in_(lost), state="attempting", attempt=1, attempted_at=world.clock.now(), lease_until=1.0)
    with pumping(world, ScriptedCarrier()):
        wait_for_canaries(world, number, CANARIES - len(lost))
        see_urgent_ones_pass(world)
        assert states(world, number).count("accepted") == CANARIES - len(lost)
        world.clock.advance(timedelta(seconds=10))
        see_urgent_ones_pass(world)
        assert states(world, number).count("accepted") == CANARIES - len(lost), "what is still on its way may bring bad news"
        assert sweep(world.store).unknown == len(lost)
        wait_for(lambda: set(states(world, number)) == {"accepted", "unknown"}, "the rest")
    assert states(world, number).count("unknown") == len(lost)


def test_turn_after_turn_of_duty_the_same_five_count(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    carrier = ScriptedCarrier()
    for _ in range(4):
        serve_lines(world.deployment, carrier, threading.Event(), 0.4)
    assert len(carrier.taken) <= CANARIES
    assert states(world, number).count("queued") == MEMBERS - len(carrier.taken)


def test_a_phone_that_is_refused_says_nothing_about_the_line(world: World, sangha: int) -> None:
    def answer(_to: str, sent: int) -> Outcome:
        return Refused(21211) if sent <= 2 else Accepted(new_sid())

    with pumping(world, ScriptedCarrier(answer)):
        number = send_broadcast(world, sangha)
        wait_for_canaries(world, number, CANARIES - 2)
        see_urgent_ones_pass(world)
        assert states(world, number).count("queued") == MEMBERS - CANARIES
        world.clock.advance(timedelta(seconds=10))
        wait_for(lambda: "queued" not in states(world, number), "the rest")
    assert line_row(world).held_until is None


def broadcast_row(world: World, number: int) -> Broadcast:
    with world.store.read() as session:
        return session.get_one(Broadcast, number)


@pytest.mark.parametrize("code", [21714, 400])
def test_when_all_of_them_fail_the_broadcast_is_held_and_organizers_are_told(world: World, sangha: int, code: int) -> None:
    """An error that is in no table, a bare status of something between us and Twilio: it fails alike for everybody."""
    world.member(sangha, "+15551000009", roles=["organizer"])
    good = {"now": False}

    def answer(_to: str, _sent: int) -> Outcome:
        return Accepted(new_sid()) if good["now"] else Refused(code)

    with pumping(world, ScriptedCarrier(answer)):
        number = send_broadcast(world, sangha)
        wait_for(lambda: broadcast_row(world, number).state == "held", "the hold")
        held = broadcast_row(world, number)
        assert (held.hold_reason, held.hold_code) == ("line", code)
        assert sorted(states(world, number)) == ["failed"] * CANARIES + ["held"] * (MEMBERS + 1 - CANARIES)
        assert [each.membership_id for each in rows(world) if each.kind == "report"] == [MEMBERS + 1]
        assert line_row(world).proven_at is None
        # Put right, and let go on: it sends five more, and what failed before counts no more.
        good["now"] = True
        world.clock.advance(timedelta(minutes=5))
        with world.store.write() as session:
            assert release_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
        hear(world, wait_for_canaries(world, number)[0], "delivered")
        wait_for(lambda: "queued" not in states(world, number), "the rest")
    assert states(world, number).count("failed") == CANARIES


def test_when_they_fail_again_it_is_held_again(world: World, sangha: int) -> None:
    world.member(sangha, "+15551000009", roles=["organizer"])
    carrier = ScriptedCarrier(lambda _to, _sent: Refused(21714))
    with pumping(world, carrier):
        number = send_broadcast(world, sangha)
        for round_ in (1, 2):
            wait_for(lambda: broadcast_row(world, number).state == "held", "the hold")
            assert states(world, number).count("failed") == round_ * CANARIES
            world.clock.advance(timedelta(minutes=5))
            if round_ == 1:
                with world.store.write() as session:
                    assert release_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
    assert len([each for each in rows(world) if each.kind == "report"]) == 2


def test_what_a_dead_worker_saw_fail_is_no_silence(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    failed = [each.id for each in rows(world, number)[:CANARIES]]
    before = world.clock.now() - timedelta(minutes=1)
    change(world, Outbound, Outbound.id.in_(failed), state="failed", error_code=21714, attempt=1, attempted_at=before, done_at=before)
    carrier = ScriptedCarrier()
    with pumping(world, carrier):
        wait_for(lambda: broadcast_row(world, number).state == "held", "the hold")
    assert carrier.taken == []


def test_a_receipt_that_one_arrived_nowhere_holds_it_too(world: World, sangha: int) -> None:
    with pumping(world, ScriptedCarrier()):
        number = send_broadcast(world, sangha)
        for each in wait_for_canaries(world, number):
            hear(world, each, "undelivered", 63013)
        wait_for(lambda: broadcast_row(world, number).state == "held", "the hold")
    assert states(world, number).count("undelivered") == CANARIES


def test_readers_who_can_not_be_reached_say_nothing_about_the_line(world: World, sangha: int) -> None:
    """Old numbers come first in a list: others go in their place, and after twenty-five of them the rest goes."""
    carrier = ScriptedCarrier(lambda _to, sent: Refused(21211) if sent <= MOST_CANARIES else Accepted(new_sid()))
    with pumping(world, carrier):
        number = send_broadcast(world, sangha)
        wait_for(lambda: "queued" not in states(world, number), "the rest")
        wait_for(lambda: states(world, number).count("accepted") == MEMBERS - MOST_CANARIES, "those who can be reached")
    assert broadcast_row(world, number).hold_reason is None


def test_twenty_messages_are_worth_no_canary(world: World) -> None:
    collective = on_new_line(world, WORTH_IT)
    with pumping(world, ScriptedCarrier()):
        number = send_broadcast(world, collective)
        wait_for(lambda: set(states(world, number)) == {"accepted"}, "all of them")


def test_proof_is_good_for_a_day_and_until_the_next_hold(world: World) -> None:
    now = world.clock.now()
    hour = timedelta(hours=1)

    def line(**known: object) -> LeasedLine:
        return LeasedLine(1, "sms", LINE, 10.0, 1, 0.0, None, **known)  # type: ignore[arg-type]

    assert needs_canary(line(), now)
    assert not needs_canary(line(proven_at=now - 24 * hour), now)
    assert needs_canary(line(proven_at=now - 24 * hour - timedelta(seconds=1)), now)
    assert needs_canary(line(proven_at=now - 2 * hour, held_until=now - hour), now)
    assert not needs_canary(line(proven_at=now - hour, held_until=now - 2 * hour), now)


@contextmanager
def web_of(world: World) -> Iterator[str]:
    """Where receipts go: the application, served."""
    server = make_server("127.0.0.1", 0, world.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("code", [None, MISCONFIGURED])
def test_over_the_simulator(database_url: str, code: int | None) -> None:
    """The whole round, over HTTP: messages out, receipts in."""
    public = "https://chorus.example.org"
    with start_simulator(account=ACCOUNT, token=TOKEN, webhook_base="http://127.0.0.1:9", public_base=public, lines=[LINE]) as carrier:
        settings = make_settings(database_url, twilio_api_url=carrier.url, public_url=public)
        world = World(Deployment(settings, Store(settings.database_url, Keyring(settings.data_keys))))
        collective = on_new_line(world)
        if code is not None:
            carrier.client.faults(receipts={"final": {"*": code}})
        with web_of(world) as url, pumping(world, Gateway(settings)):
            carrier.client.configure(webhook_base=url, public_base=public)
            number = send_broadcast(world, collective)
            if code is None:
                wait_for(lambda: set(states(world, number)) == {"delivered"}, "all deliveries", 60)
            else:
                wait_for(lambda: line_row(world).held_code == code and line_row(world).lease_holder is None, "the hold", 60)
        assert (line_row(world).proven_at is None) == (code is not None)
        assert carrier.client.count() == (MEMBERS if code is None else CANARIES)
        world.store.close()
