"""What goes out, row by row of the crash table, against the pretend carrier and its ledger (power cuts: test_crashpoints.py)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
import urllib3

from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.gateway import Accepted, Gateway, Outcome
from bot.delivery.leases import take_lines
from bot.delivery.quiet import next_allowed
from bot.delivery.sweep import sweep
from bot.deployment import Deployment
from bot.schedule.clock import ClockThread
from bot.schedule.timers import DueTimer, set_timer
from models import Keyring, PhoneLine, Store, Timer
from models.messages import ACCEPTED, ATTEMPTING, DELIVERED, EXPIRED, FAILED, UNKNOWN
from tests.conftest import START, make_settings
from tests.delivery import ScriptedCarrier, add_many_members, change, pump_all, put_letter, row, rows, send_broadcast, states
from tests.faults.ground import LINE, Ground
from tests.world import World, new_sid

ASHA = "+15551000001"


def people(world: World, count: int, mps: float = 500.0) -> int:
    world.line(LINE, mps=mps)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, count)
    return collective


def gateway_of(ground: Ground, answer_seconds: float = 10.0) -> Gateway:
    gateway = Gateway(ground.settings)
    gateway.transport.timeouts = urllib3.Timeout(connect=5.0, read=answer_seconds)
    return gateway


# --- O3 to O6: what the carrier answers ---------------------------------------------------------------------------------------


def test_o3_accepted_and_then_no_answer_is_never_sent_again(ground: Ground) -> None:
    """The answer hangs, the connection is reset, or a 500 comes although it was taken: unknown each time, and once in the ledger."""
    collective = people(ground.world, 9)
    number = send_broadcast(ground.world, collective)
    member = ground.world.member(collective, ASHA)
    page = put_letter(ground.world, member, "Somebody needs a peer", kind="page")
    ground.carrier.faults(accept_hang={"hang_s": 30, "to": ASHA}, accept_reset={"count": 2}, accept_500={"count": 2})
    gateway = gateway_of(ground, answer_seconds=1.5)
    pump_all(ground.world, gateway)
    ground.carrier.clear_faults()
    assert Counter(states(ground.world, number)) == {UNKNOWN: 4, ACCEPTED: 5}
    assert row(ground.world, page).state == UNKNOWN
    sweep(ground.store)
    pump_all(ground.world, gateway)
    assert Counter(entry["to"] for entry in ground.carrier.ledger()).most_common(1)[0][1] == 1
    assert ground.carrier.count() == 10
    ground.check([number])


def test_o4_429_slows_the_whole_line_and_loses_nothing(ground: Ground) -> None:
    number = send_broadcast(ground.world, people(ground.world, 40))
    ground.carrier.faults(throttle_429={"for_s": 1.5})
    pump_all(ground.world, gateway_of(ground), 30.0)
    assert states(ground.world, number) == [ACCEPTED] * 40
    assert Counter(entry["to"] for entry in ground.carrier.ledger()).most_common(1)[0][1] == 1
    described = ground.carrier.state()
    refused = described["requests"] - described["accepted"]
    # At 500 a second, a line that did not slow down would have been refused some seven hundred times.
    assert 0 < refused < 350
    ground.check([number])


def test_o5_what_is_refused_for_good_is_tried_once(ground: Ground) -> None:
    number = send_broadcast(ground.world, people(ground.world, 8))
    refused = {"+16660000000": 21610, "+16660000001": 21211, "+16660000002": 21614, "+16660000003": 21617}
    ground.carrier.faults(refuse=refused)
    for _ in range(3):
        pump_all(ground.world, gateway_of(ground))
        sweep(ground.store)
    assert Counter(states(ground.world, number)) == {FAILED: 4, ACCEPTED: 4}
    assert {each.error_code for each in rows(ground.world, number) if each.state == FAILED} == set(refused.values())
    described = ground.carrier.state()
    assert (described["requests"], described["accepted"]) == (8, 4), "each was asked once"
    with ground.store.read() as session:
        learned = session.execute(sa.select(PhoneLine.opted_out_by, PhoneLine.refused_code).order_by(PhoneLine.phone_id)).all()
    assert [tuple(each) for each in learned] == [("21610", None), (None, 21211), (None, 21614)]
    again = send_broadcast(ground.world, 1)
    assert Counter((each.state, each.reason) for each in rows(ground.world, again)) == {
        ("queued", None): 5, ("suppressed", "opted_out"): 1, ("suppressed", "refused"): 2,
    }  # fmt: skip
    ground.check([number])


def test_o6_the_receipt_comes_before_the_answer(ground: Ground) -> None:
    """The carrier posts every receipt before it answers the request: merged by our token, under one SID."""
    number = send_broadcast(ground.world, people(ground.world, 6))
    ground.web()
    ground.carrier.faults(receipts={"drop": False, "before_answer": True, "sent_ms": 0, "delivered_ms": 1})
    pump_all(ground.world, gateway_of(ground))
    assert states(ground.world, number) == [DELIVERED] * 6
    sids = {entry["to"]: entry["sid"] for entry in ground.carrier.ledger()}
    assert sorted(each.sid or "" for each in rows(ground.world, number)) == sorted(sids.values())
    ground.check([number])


# --- O8: STOP -----------------------------------------------------------------------------------------------------------------


def test_o8_a_stop_at_any_moment_of_a_broadcast(world: World) -> None:
    """While it goes out, the last ones still unsent text STOP, one after the other: whoever was not marked then hears no more."""
    collective = people(world, 20, mps=12.0)
    world.text(ASHA, "HELP")
    number = send_broadcast(world, collective)
    numbers = [f"+1666{n:07d}" for n in range(20)]
    unmarked: dict[str, bool] = {}
    texting = threading.Lock()

    def answer(_to: str, _sent: int) -> Outcome:
        with texting:
            stopping = numbers.pop()
            assert world.text(stopping, "STOP").status == 200
            unmarked[stopping] = rows(world, number)[int(stopping[-7:])].state not in (ATTEMPTING, ACCEPTED)
        return Accepted(new_sid())

    carrier = ScriptedCarrier(answer)
    pump_all(world, carrier, 20.0)
    heard = Counter(text.to for text in carrier.taken)
    assert any(unmarked.values())
    for stopping, in_time in unmarked.items():
        assert heard[stopping] == (0 if in_time else 1), "no row is marked after the STOP commits; what was marked is counted as sent"
    assert set(states(world, number)) <= {ACCEPTED, "suppressed", "stopped"}
    assert states(world, number).count(ACCEPTED) == len(carrier.taken) == len(heard)


# --- O9 to O11: the clock -----------------------------------------------------------------------------------------------------


class Scheduler:
    """One of several worker's clocks, with a store and a fake clock of its own."""

    def __init__(self, url: str, at: datetime, heard: list[tuple[str, int]]) -> None:
        settings = make_settings(url)
        store = Store(settings.database_url, Keyring(settings.data_keys))
        store.clock.freeze(at)
        self.deployment = Deployment(settings, store)
        self.heard = heard
        every = {"idle": timedelta(minutes=10), "purge": timedelta(hours=1)}
        self.thread = ClockThread(self.deployment, dict.fromkeys(("idle", "purge", "poll_close"), self._hear), lambda _: True, every=every)

    def _hear(self, _deployment: Deployment, timer: DueTimer) -> None:
        self.heard.append((timer.key, timer.attempt))

    def look(self, at: datetime) -> None:
        self.deployment.clock.freeze(at)
        self.thread._sweep_after = 0.0  # five seconds have passed: it books ahead, and sweeps
        self.thread._look()  # as ``tick``, but a database that fails is a red test


@pytest.fixture
def heard() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def schedulers(world: World, heard: list[tuple[str, int]]) -> Iterator[list[Scheduler]]:
    schedulers = [Scheduler(world.deployment.settings.database_url, START, heard) for _ in range(4)]
    yield schedulers
    for each in schedulers:
        each.deployment.store.close()


def all_look(schedulers: list[Scheduler], moments: list[datetime]) -> None:
    """Each at its own moment, all at once."""
    together = threading.Barrier(len(schedulers))
    failures: list[BaseException] = []

    def look(scheduler: Scheduler, at: datetime) -> None:
        together.wait(30)
        try:
            scheduler.look(at)
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=look, args=pair) for pair in zip(schedulers, moments, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_o9_four_schedulers_and_an_hour(world: World, schedulers: list[Scheduler], heard: list[tuple[str, int]]) -> None:
    """Every occurrence once, though all four look at the same minute, and one of them starts anew at each tenth."""
    with world.store.write() as session:
        for minute in range(1, 60, 3):
            set_timer(session, "poll_close", minute, f"poll_close:{minute}", START + timedelta(minutes=minute))
    for minute in range(0, 62, 2):
        at = START + timedelta(minutes=minute)
        if minute % 10 == 0:
            fresh = Scheduler(world.deployment.settings.database_url, at, heard)
            schedulers[minute % 4].deployment.store.close()
            schedulers[minute % 4] = fresh
        all_look(schedulers, [at] * 4)
    keys = Counter(key for key, _ in heard)
    assert keys == (
        {f"poll_close:{minute}": 1 for minute in range(1, 60, 3)}
        | {f"idle:2026-04-12T{9 + minute // 60:02d}:{minute % 60:02d}:00Z": 1 for minute in range(10, 61, 10)}
        | {"purge:2026-04-12T10:00:00Z": 1}
    )
    assert {attempt for _, attempt in heard} == {1}


def test_o10_clocks_that_are_an_hour_off_do_nothing_twice(world: World, schedulers: list[Scheduler], heard: list[tuple[str, int]]) -> None:
    """One is an hour ahead, one an hour behind, one is set back in between: each occurrence still happens once."""
    with world.store.write() as session:
        for minute in range(0, 120, 10):
            set_timer(session, "poll_close", minute, f"poll_close:{minute}", START + timedelta(minutes=minute))
    hour = timedelta(hours=1)
    for minute in range(0, 180, 10):
        at = START + timedelta(minutes=minute)
        all_look(schedulers, [at, at + hour, at - hour, at - hour if minute % 20 else at])
    polls = Counter(key for key, _ in heard if key.startswith("poll_close"))
    assert polls == {f"poll_close:{minute}": 1 for minute in range(0, 120, 10)}
    assert Counter(key for key, _ in heard).most_common(1)[0][1] == 1


def test_o10_peoples_time_moves_no_lease_and_no_pace(world: World) -> None:
    """A jump of a week, or a clock set back: who holds a line holds it for fifteen real seconds."""
    send_broadcast(world, people(world, 3))
    (line,) = take_lines(world.store, "first", 5)
    for jump in (timedelta(days=7), timedelta(hours=-9), timedelta(hours=1)):
        world.clock.advance(jump)
        assert take_lines(world.store, "second", 5) == []
        assert sweep(world.store).reclaimed == 0
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier, 1.0) == 0
    change(world, Timer, lease_until=0.0)
    assert line.fence == 1


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Africa/Casablanca"])
def test_o10_each_local_morning_comes_once(zone: str) -> None:
    """Minute by minute over a year of two summer times: quiet hours end once a day, at the first minute that is not quiet."""
    for quiet_from, quiet_until in ((21, 8), (23, 2), (1, 3)):
        endings: set[datetime] = set()
        now = datetime(2026, 1, 1, tzinfo=UTC)
        while now < datetime(2027, 1, 1, tzinfo=UTC):
            allowed = next_allowed(now, zone, quiet_from, quiet_until)
            if allowed is not None:
                assert next_allowed(allowed, zone, quiet_from, quiet_until) is None
                endings.add(allowed)
            now += timedelta(minutes=15)
        days = Counter(ending.astimezone(ZoneInfo(zone)).date() for ending in endings)
        assert len(days) in (365, 366)
        twice = [day for day, times in days.items() if times > 1]
        # Where the clock is set back inside the quiet hours, they end, begin and end again: two honest mornings, never three.
        assert len(twice) <= 2 and all(days[day] == 2 for day in twice)


def test_o11_a_rally_notice_never_comes_after_the_rally(world: World) -> None:
    """The worker was down for six hours; the rally is over."""
    collective = people(world, 5)
    with world.store.write() as session:
        drafted = draft_broadcast(session, world.clock.now(), collective, "notice", {"en": "Rally at 11 at Gandhi Chowk"})
        drafted.expires_at = world.clock.now() + timedelta(hours=2)
        assert approve_broadcast(session, world.clock.now(), drafted, how="cli")
    from bot.delivery.plan import plan_broadcast

    plan_broadcast(world.deployment, drafted.id)
    assert states(world, drafted.id) == ["queued"] * 5
    world.clock.advance(timedelta(hours=6))
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    sweep(world.store)
    assert carrier.taken == []
    assert [(each.state, each.reason) for each in rows(world, drafted.id)] == [(EXPIRED, "too_late")] * 5
