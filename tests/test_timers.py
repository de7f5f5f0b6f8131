"""Timers: each occurrence once, whoever looks first; and the clock thread that claims them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from bot.conversation.due import run_out_patience
from bot.deployment import Deployment
from bot.schedule.clock import ClockThread, next_occurrence
from bot.schedule.timers import (
    LONGEST_PUT_OFF_SECONDS,
    PUT_OFF_SECONDS,
    TRIES,
    DueTimer,
    cancel_timers,
    claim_due,
    finish,
    put_off,
    set_timer,
)
from flows import FLOWS
from models import ClockJump, Timer
from models.clock import real_seconds
from tests.conftest import make_settings
from tests.delivery import ScriptedCarrier, change, pump_all, rows, send_broadcast, states
from tests.world import World


def book(world: World, key: str = "poll_close:1", subject: int = 1, kind: str = "poll_close", after: timedelta = timedelta(0)) -> None:
    with world.store.write() as session:
        set_timer(session, kind, subject, key, world.clock.now() + after)


def claim(world: World, limit: int = 20) -> list[DueTimer]:
    return claim_due(world.store, world.clock.now(), limit)


def timers(world: World) -> list[Timer]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(Timer).order_by(Timer.id)))


def test_an_occurrence_is_booked_once(world: World) -> None:
    book(world)
    book(world, after=timedelta(hours=5))
    assert [timer.due_at for timer in timers(world)] == [world.clock.now()]
    (timer,) = claim(world)
    finish(world.store, timer)
    book(world)
    assert claim(world) == [], "also after it was done"


def test_only_what_is_due_the_oldest_first(world: World) -> None:
    for number, minutes in enumerate([5, -2, 0, -1]):
        book(world, f"k{number}", number, after=timedelta(minutes=minutes))
    assert [timer.subject_id for timer in claim(world)] == [1, 3, 2]
    world.clock.advance(timedelta(minutes=5))
    assert [timer.subject_id for timer in claim(world)] == [0]


def test_the_limit(world: World) -> None:
    for number in range(5):
        book(world, f"k{number}", number, after=timedelta(seconds=number - 10))
    assert [timer.subject_id for timer in claim(world, 2)] == [0, 1]
    assert [timer.subject_id for timer in claim(world, 9)] == [2, 3, 4]


def test_a_claim_is_a_lease(world: World) -> None:
    book(world)
    assert [timer.attempt for timer in claim(world)] == [1]
    assert claim(world) == []
    change(world, Timer, lease_until=1.0)
    assert [timer.attempt for timer in claim(world)] == [2], "its worker died"


def test_o9_workers_that_look_at_once_never_hold_the_same_timer(world: World) -> None:
    for number in range(40):
        book(world, f"k{number}", number)
    found: list[list[DueTimer]] = []
    together = threading.Barrier(4)

    def look() -> None:
        together.wait()
        found.append([timer for _ in range(4) for timer in claim(world, 5)])

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rest = claim(world, 100)
    subjects = [timer.subject_id for batch in found for timer in batch] + [timer.subject_id for timer in rest]
    assert sorted(subjects) == list(range(40))


def test_cancelled_ones_are_gone_and_may_be_booked_again(world: World) -> None:
    book(world), book(world, "poll_close:2", 2)
    with world.store.write() as session:
        cancel_timers(session, "poll_close", 1)
    assert [timer.subject_id for timer in timers(world)] == [2]
    book(world)
    assert len(claim(world)) == 2


def test_five_tries_and_it_is_parked(world: World, caplog: pytest.LogCaptureFixture) -> None:
    book(world)
    for attempt in range(1, TRIES + 1):
        (timer,) = claim(world)
        assert timer.attempt == attempt
        put_off(world.store, timer)
        assert claim(world) == [], "not at once again"
        change(world, Timer, lease_until=1.0)
    assert claim(world) == []
    assert timers(world)[0].done_at is None
    assert [record.levelname for record in caplog.records] == ["ERROR"]


# --- the clock -------------------------------------------------------------------------------------------------------------


def make_clock(world: World, handlers: dict[str, object], rings: list[bool] | None = None, **named: object) -> ClockThread:
    def ring(_deployment: Deployment) -> bool:
        if rings is not None:
            rings.append(True)
        return True

    return ClockThread(world.deployment, handlers, ring, **named)  # type: ignore[arg-type]


def test_the_clock_hands_a_due_timer_to_its_handler_once(world: World) -> None:
    book(world, "poll_close:9", 9)
    heard: list[tuple[str, int]] = []
    clock = make_clock(world, {"poll_close": lambda _deployment, timer: heard.append((timer.key, timer.subject_id))})
    clock.tick()
    clock.tick()
    assert heard == [("poll_close:9", 9)]
    assert timers(world)[0].done_at == world.clock.now()


def test_a_poisoned_timer_does_not_stop_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    book(world, "bad", 1, after=timedelta(seconds=-1))
    book(world, "unanswered", 2, kind="nobody")
    book(world, "good", 3)
    heard: list[int] = []

    def handle(_deployment: Deployment, timer: DueTimer) -> None:
        if timer.subject_id == 1:
            raise RuntimeError("+15551000001 said something")
        heard.append(timer.subject_id)

    make_clock(world, {"poll_close": handle}).tick()
    assert heard == [3]
    assert [timer.done_at is None for timer in timers(world)] == [True, True, False]
    assert "+1555" not in caplog.text


def test_o14_a_kind_of_another_version_is_left_to_it_and_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """While two versions run side by side, the older one wears out nothing that only the newer one can do."""
    book(world, "of the next version", 7, kind="festival")
    heard: list[int] = []
    for _ in range(TRIES + 2):
        make_clock(world, {"poll_close": lambda _deployment, timer: heard.append(timer.id)}).tick()
    assert [(timer.attempts, timer.done_at) for timer in timers(world)] == [(0, None)] and caplog.records == []
    world.clock.freeze(world.clock.now() + timedelta(minutes=6))
    old = make_clock(world, {"poll_close": lambda _deployment, timer: heard.append(timer.id)})
    old.tick()
    old._window_after = 0.0
    old.tick()
    assert [record.getMessage() for record in caplog.records] == [
        "timers of kind festival are due, and this version answers none of that kind"
    ]
    make_clock(world, {"festival": lambda _deployment, timer: heard.append(timer.subject_id)}).tick()
    assert heard == [7]


def test_the_clock_rings_while_something_waits(world: World) -> None:
    rings: list[bool] = []
    clock = make_clock(world, {}, rings)
    clock.tick()
    assert rings == []
    collective = world.collective()
    world.member(collective, "+15551000001")
    number = send_broadcast(world, collective)
    clock.tick()
    assert len(rings) == 1
    pump_all(world, ScriptedCarrier())
    clock.tick()
    assert (len(rings), states(world, number)) == (1, ["accepted"])


def test_work_that_comes_again(world: World) -> None:
    heard: list[str] = []
    for _ in range(2):  # two workers, or one that started anew
        clock = make_clock(world, {"purge": lambda _deployment, timer: heard.append(timer.key)}, every={"purge": timedelta(hours=1)})
        clock.tick()
    assert (heard, [timer.key for timer in timers(world)]) == ([], ["purge:2026-04-12T10:00:00Z"])
    world.clock.freeze(world.clock.now() + timedelta(hours=1))  # an advance would be taken back: here the simulator's jumps hold
    for _ in range(2):
        clock = make_clock(world, {"purge": lambda _deployment, timer: heard.append(timer.key)}, every={"purge": timedelta(hours=1)})
        clock.tick()
    assert heard == ["purge:2026-04-12T10:00:00Z"]
    assert next_occurrence(datetime(2026, 4, 12, 10, 0, tzinfo=UTC), timedelta(minutes=10)) == datetime(2026, 4, 12, 10, 10, tzinfo=UTC)


def test_a_clock_that_dies_ends_the_process(small_world: World) -> None:
    died: list[bool] = []

    def ring(_deployment: Deployment) -> bool:
        raise SystemError("not a handler's mistake, nor the database's")

    collective = small_world.collective()
    small_world.member(collective, "+15551000001")
    send_broadcast(small_world, collective)
    ClockThread(small_world.deployment, {}, ring, on_death=lambda: died.append(True)).run()
    assert died == [True]


def test_a_clock_outlives_its_database(small_world: World, caplog: pytest.LogCaptureFixture) -> None:
    clock = make_clock(small_world, {})
    with small_world.store.write() as session:
        session.execute(sa.text("ALTER TABLE timers RENAME TO away"))
    clock.tick()
    assert "database failed" in caplog.text
    with small_world.store.write() as session:
        session.execute(sa.text("ALTER TABLE away RENAME TO timers"))
    book(small_world)
    heard: list[int] = []
    clock.handlers = {"poll_close": lambda _deployment, timer: heard.append(timer.id)}
    clock.tick()
    assert len(heard) == 1


def test_a_database_that_goes_under_a_handler_costs_its_timers_nothing(small_world: World) -> None:
    """Not two minutes of lease, and not one of five tries: it was not their fault. Nor that of those whose turn had not come."""
    for number in (1, 2):
        book(small_world, f"key {number}", number)
    heard: list[int] = []

    def handle(_deployment: Deployment, timer: DueTimer) -> None:
        heard.append(timer.subject_id)
        if len(heard) == 1:
            with small_world.store.write() as session:
                session.execute(sa.text("ALTER TABLE timers RENAME TO away"))
            raise sa.exc.OperationalError("the server went away", None, Exception())

    clock = make_clock(small_world, {"poll_close": handle})
    clock.tick()
    clock.tick()
    assert heard == [1], "the second was claimed, and did not have its turn"
    with small_world.store.write() as session:
        session.execute(sa.text("ALTER TABLE away RENAME TO timers"))
    clock.tick()
    assert heard == [1, 1, 2]
    assert [(timer.attempts, timer.done_at is None) for timer in timers(small_world)] == [(1, False), (1, False)]


def test_the_simulators_jump_is_followed_and_only_there(world: World) -> None:
    with world.store.write() as session:
        session.add(ClockJump(seconds=3600))
    before = world.clock.now()
    make_clock(world, {}).tick()
    assert world.clock.now() == before + timedelta(hours=1), "the tests' carrier is on this machine"
    real = Deployment(make_settings("sqlite:///elsewhere.db", twilio_api_url="https://api.twilio.com"), world.store)
    world.clock.advance(timedelta(hours=-1))
    ClockThread(real, {}, lambda _deployment: True).tick()
    assert world.clock.now() == before


def test_the_clock_stops_when_asked(small_world: World) -> None:
    stop = threading.Event()
    clock = make_clock(small_world, {}, stop=stop)
    clock.start()
    stop.set()
    clock.join(5)
    assert not clock.is_alive()


@pytest.mark.parametrize("kind", ["broadcast", "poll_close"])
def test_what_fails_for_want_of_the_database_is_tried_until_it_is_back(world: World, kind: str) -> None:
    """A statement that runs into its timeout again and again: five tries in three minutes must not lose a broadcast."""
    book(world, f"{kind}:7", 7, kind=kind)
    trouble, heard = [True], []

    def handle(_deployment: Deployment, timer: DueTimer) -> None:
        if trouble:
            raise OperationalError("canceling statement due to statement timeout", None, Exception())
        heard.append(timer.subject_id)

    clock = make_clock(world, {kind: handle})
    waits = []
    for _ in range(3 * TRIES):
        before = real_seconds()
        clock.tick()
        (timer,) = timers(world)
        waits.append(timer.lease_until - before)
        assert timer.attempts == 0
        world.clock.freeze(world.clock.now() + timedelta(minutes=10))
        change(world, Timer, lease_until=1.0)
    assert min(waits) >= PUT_OFF_SECONDS - 1 and waits[1] > waits[0] + 30, "later each time"
    # Real seconds pass while it is written down; nothing else is added.
    assert timers(world)[0].done_at is None and max(waits) < LONGEST_PUT_OFF_SECONDS + 60
    trouble.clear()
    clock.tick()
    assert (heard, timers(world)[0].done_at is not None) == ([7], True)


def test_a_question_put_again_after_a_silence_is_worth_an_hour(world: World) -> None:
    """It waits for the morning, or for a line: whoever comes back the next day is not asked out of nowhere."""
    world.member(world.collective(), "+15551000001")
    world.text("+15551000001", "CHECKIN")
    world.text("+15551000001", "FORGET")
    world.clock.advance(timedelta(hours=11))
    for timer in claim(world):
        if timer.kind == "patience":
            run_out_patience(world.deployment, timer, FLOWS)
    (again,) = [each for each in rows(world) if each.state == "queued"]
    assert again.unprompted and again.expires_at == world.clock.now() + timedelta(hours=1)
