"""The outbox and the life of a broadcast: what a row is when it is written, what an organizer may do to it, how it stands."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from redis import Redis

from bot.delivery import bell
from bot.delivery.bell import Bell
from bot.delivery.broadcasts import (
    approve_broadcast,
    broadcast_status,
    draft_broadcast,
    hold_broadcast,
    refuse_reason,
    release_broadcast,
    stop_broadcast,
    take_number,
)
from bot.delivery.errors import Reaction, reaction_to
from bot.delivery.kinds import LANES
from bot.delivery.outbox import Letter, put, put_answered
from bot.delivery.sweep import release_open_windows, release_window, sweep
from bot.delivery.tokens import callback_token, read_token
from models import Alert, Broadcast, Line, Outbound, PhoneLine, Poll, Timer
from models.clock import real_seconds
from models.messages import LANE_BROADCAST, LANE_REPLY, LANE_STOP, OUTBOUND_STATES
from tests.delivery import ScriptedCarrier, add_many_members, change, phone_of, pump_all, put_letter, row, rows, send_broadcast, states
from tests.world import World

LINE, WHATSAPP = "+15550001111", "whatsapp:+15550003333"


def draft(world: World, collective: int, text: str = "Rally today", kind: str = "notice", **named: object) -> Broadcast:
    with world.store.write() as session:
        return draft_broadcast(session, world.clock.now(), collective, kind, {"en": text}, **named)  # type: ignore[arg-type]


def why_refused(world: World, broadcast: Broadcast) -> str | None:
    with world.store.read() as session:
        return refuse_reason(session, world.clock.now(), session.get_one(Broadcast, broadcast.id))


def status(world: World, broadcast: Broadcast | int) -> dict[str, object]:
    with world.store.read() as session:
        return broadcast_status(session, broadcast if isinstance(broadcast, int) else broadcast.id)


# --- letters ---------------------------------------------------------------------------------------------------------------


def test_a_letter_is_queued_in_its_lane(world: World) -> None:
    member = world.member(world.collective(), "+15551000001")
    found = row(world, put_letter(world, member, "x" * 161))
    assert (found.state, found.lane, found.segments, found.attempt, found.unprompted) == ("queued", LANE_REPLY, 2, 0, False)
    assert row(world, put_letter(world, member, "stopped", kind="stop")).lane == LANE_STOP
    assert row(world, put_letter(world, member, "", kind="notice")).segments == 1
    with pytest.raises(KeyError):
        put_letter(world, member, kind="advert")


def test_a_reply_in_the_webhooks_response_is_on_its_way(world: World) -> None:
    member = world.member(world.collective(), "+15551000001")
    letter = Letter("reply", "Welcome", "en", world.line(), phone_of(world, member))
    with world.store.write() as session:
        number = put_answered(session, world.clock.now(), letter)
    found = row(world, number)
    assert (found.state, found.attempt, found.attempted_at) == ("attempting", 1, world.clock.now())
    assert sweep(world.store).unknown == 0
    assert found.lease_until is not None and 55 < found.lease_until - real_seconds() <= 60
    assert pump_all(world, ScriptedCarrier()) == 0, "it is not sent a second time"


def test_a_letter_to_somebody_who_is_written_in_the_same_transaction(world: World) -> None:
    from models import Phone

    collective = world.collective()
    line, hashed = world.line(), world.store.hash_number("+15551000077")
    with world.store.write() as session:
        phone = Phone(number="+15551000077", number_hash=hashed, created_at=world.clock.now())
        session.add(phone)
        session.flush()
        put(session, world.clock.now(), Letter("reply", "Hello", "en", line, phone.id, collective_id=collective, unprompted=False))
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert [text.to for text in carrier.taken] == ["+15551000077"]


def test_every_kind_has_a_lane() -> None:
    assert LANES["alert"] == LANES["notice"] == LANE_BROADCAST
    assert LANES["stop"] < LANES["code"] < LANES["relay"] < LANES["reply"] < LANES["check_in"] < LANES["poll"] < LANES["notice"]


# --- tokens ----------------------------------------------------------------------------------------------------------------


def test_tokens(small_world: World) -> None:
    store = small_world.store
    for number, attempt in [(1, 1), (35, 2), (36, 1), (2**53, 12)]:
        token = callback_token(store, number, attempt)
        assert read_token(store, token) == (number, attempt)
        assert token.replace("-", "").replace("_", "").isalnum(), "safe in a URL"
    token = callback_token(store, 36, 1)
    named, attempt, mac = token.split("-", 2)
    assert (named, attempt, len(mac)) == ("10", "1", 16)
    for forged in (f"11-1-{mac}", f"10-2-{mac}", f"10-1-{mac[:-1]}", f"10-1-{mac}A", mac, "", "--", "10-1-" + "é" * 16):
        assert read_token(store, forged) is None


# --- a broadcast's life ----------------------------------------------------------------------------------------------------


def test_numbers_are_shared_by_everything_organizers_name(world: World) -> None:
    collective, other = world.collective(), world.collective("OTHER")
    assert draft(world, collective).number == 1
    with world.store.write() as session:
        assert take_number(session, collective) == 2
    assert draft(world, collective).number == 3
    assert draft(world, other).number == 1


@pytest.mark.parametrize(
    ("prepare", "kind", "text", "reason"),
    [
        ("members", "notice", "Rally today", None),
        ("members", "notice", "   ", "no_words"),
        ("members", "notice", "x" * 1530, "too_long"),
        ("nobody", "notice", "Rally today", "nobody"),
        ("one way", "notice", "Rally today", None),
        ("one way", "alert", "Rally today", "one_way"),
        ("no line", "notice", "Rally today", "no_line"),
    ],
)
def test_why_a_broadcast_can_not_be_sent(world: World, prepare: str, kind: str, text: str, reason: str | None) -> None:
    world.line(LINE, two_way=prepare != "one way")
    collective = world.collective(lines=[] if prepare == "no line" else [LINE])
    if prepare != "nobody":
        world.member(collective, "+15551000001")
    assert why_refused(world, draft(world, collective, text, kind)) == reason


def test_an_alert_is_not_sent_after_the_action(world: World) -> None:
    collective = world.collective()
    world.member(collective, "+15551000001")
    now = world.clock.now()
    with world.store.write() as session:
        alert = Alert(collective_id=collective, starts_at=now + timedelta(hours=1), created_at=now)
        session.add(alert)
        session.flush()
    drafted = draft(world, collective, kind="alert", alert_id=alert.id)
    assert why_refused(world, drafted) is None
    number = send_broadcast(world, collective, kind="alert", alert_id=alert.id)
    assert rows(world, number)[0].expires_at == now + timedelta(hours=3)
    world.clock.advance(timedelta(hours=3))
    assert why_refused(world, drafted) == "too_late"
    pump_all(world, ScriptedCarrier())
    assert states(world, number) == ["expired"]


def test_an_approval_books_the_fan_out_once(world: World) -> None:
    collective = world.collective()
    drafted = draft(world, collective)
    at = world.clock.now() + timedelta(hours=5)
    outcomes = []
    for _ in range(2):
        with world.store.write() as session:
            outcomes.append(
                approve_broadcast(session, world.clock.now(), session.get_one(Broadcast, drafted.id), how="organizer", approver_id=7, at=at)
            )
    assert outcomes == [True, False]
    with world.store.read() as session:
        timer, report = session.scalars(sa.select(Timer).order_by(Timer.id))
        broadcast = session.get_one(Broadcast, drafted.id)
    assert (report.kind, report.subject_id) == ("report", drafted.id) and report.due_at > at
    assert (timer.kind, timer.subject_id, timer.due_at) == ("broadcast", drafted.id, at)
    assert (broadcast.state, broadcast.approved_by, broadcast.approver_id, broadcast.due_at) == ("scheduled", "organizer", 7, at)


def test_two_organizers_who_approve_at_once(world: World) -> None:
    drafted = draft(world, world.collective())
    outcomes: list[bool] = []
    together = threading.Barrier(2)

    def approve() -> None:
        together.wait()
        with world.store.write() as session:
            outcomes.append(approve_broadcast(session, world.clock.now(), session.get_one(Broadcast, drafted.id), how="organizer"))

    threads = [threading.Thread(target=approve) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, True]


def test_a_poll_closes_as_many_hours_after_its_sending(world: World) -> None:
    collective = world.collective()
    world.member(collective, "+15551000001")
    now = world.clock.now()
    with world.store.write() as session:
        poll = Poll(collective_id=collective, options=2, open_hours=24, created_at=now)
        session.add(poll)
        session.flush()
    number = send_broadcast(world, collective, "Where?", kind="poll", poll_id=poll.id, options={"en": ["Park", "School"]})
    with world.store.read() as session:
        assert session.get_one(Poll, poll.id).closes_at == now + timedelta(hours=24)
        assert session.scalars(sa.select(Timer.key).where(Timer.kind == "poll_close")).one() == f"poll_close:{poll.id}"
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert carrier.bodies == ["Sangha: Where?\nA Park\nB School\nReply with a letter."]
    assert rows(world, number)[0].asked_at == now


def test_hold_and_release(world: World) -> None:
    collective = world.collective()
    add_many_members(world, collective, 3)
    number = send_broadcast(world, collective)
    with world.store.write() as session:
        assert hold_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
        assert not hold_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
    assert status(world, number)["state"] == "held"
    world.clock.advance(timedelta(hours=1))
    sweep(world.store)
    assert pump_all(world, ScriptedCarrier()) == 0
    with world.store.write() as session:
        assert release_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
        assert not release_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
    assert pump_all(world, ScriptedCarrier()) == 3


def test_a_hold_before_its_hour(world: World) -> None:
    collective = world.collective()
    world.member(collective, "+15551000001")
    drafted = draft(world, collective)
    with world.store.write() as session:
        broadcast = session.get_one(Broadcast, drafted.id)
        approve_broadcast(session, world.clock.now(), broadcast, how="cli", at=world.clock.now() + timedelta(hours=1))
        hold_broadcast(session, world.clock.now(), broadcast)
        assert session.scalars(sa.select(Timer)).all() == []
        release_broadcast(session, world.clock.now(), broadcast)
        assert broadcast.state == "scheduled"
        assert session.scalars(sa.select(Timer.due_at)).all() == [world.clock.now() + timedelta(hours=1)]


def test_stop_is_for_ever_and_says_how_many_were_unsent(world: World) -> None:
    collective = world.collective()
    add_many_members(world, collective, 4)
    number = send_broadcast(world, collective)
    change(world, Outbound, Outbound.id == rows(world, number)[0].id, state="accepted")
    with world.store.write() as session:
        assert stop_broadcast(session, world.clock.now(), session.get_one(Broadcast, number)) == 3
        assert stop_broadcast(session, world.clock.now(), session.get_one(Broadcast, number)) == 0
        assert not release_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
    assert sorted(states(world, number)) == ["accepted", "stopped", "stopped", "stopped"]
    assert status(world, number)["state"] == "stopped"
    assert pump_all(world, ScriptedCarrier()) == 0


def test_the_status_names_every_state(world: World) -> None:
    collective = world.collective()
    add_many_members(world, collective, 2)
    drafted = draft(world, collective)
    empty = {"id": drafted.id, "state": "draft", "total": 0, "counts": dict.fromkeys(OUTBOUND_STATES, 0), "resent": 0}
    assert json.loads(json.dumps(status(world, drafted))) == empty
    number = send_broadcast(world, collective)
    change(world, Outbound, Outbound.id == rows(world, number)[0].id, state="delivered", resent=True)
    found = status(world, number)
    assert (found["total"], found["resent"]) == (2, 0), "it is to go again, and has not yet"
    change(world, Outbound, Outbound.id == rows(world, number)[0].id, attempt=2)
    found = status(world, number)
    assert (found["total"], found["resent"]) == (2, 1)
    assert found["counts"] == dict.fromkeys(OUTBOUND_STATES, 0) | {"delivered": 1, "queued": 1}
    with pytest.raises(LookupError):
        status(world, 4711)


# --- the sweep -------------------------------------------------------------------------------------------------------------


def test_the_sweep_puts_everything_right(world: World) -> None:
    collective = world.collective()
    add_many_members(world, collective, 8)
    number = send_broadcast(world, collective)
    ids = [each.id for each in rows(world, number)]
    now, real = world.clock.now(), real_seconds()

    def make(row_id: int, **values: object) -> None:
        change(world, Outbound, Outbound.id == row_id, **values)

    make(ids[0], state="claimed", lease_until=real - 1)
    make(ids[1], state="claimed", lease_until=real + 15)
    make(ids[2], state="attempting", lease_until=real - 1)
    make(ids[3], state="attempting", lease_until=real + 60)
    make(ids[4], state="held", reason="quiet_hours", due_at=now)
    make(ids[5], state="held", reason="quiet_hours", due_at=now + timedelta(seconds=1))
    make(ids[6], state="held", reason="organizer", due_at=now)
    make(ids[7], state="held", reason="window", due_at=now, expires_at=now)
    swept = sweep(world.store)
    assert (swept.reclaimed, swept.unknown, swept.released, swept.expired, swept.broadcasts_done, swept.is_waiting) == (1, 1, 1, 1, 0, True)
    assert states(world, number) == ["queued", "claimed", "unknown", "attempting", "queued", "held", "held", "expired"]
    again = sweep(world.store)
    assert (again.reclaimed, again.unknown, again.released, again.expired) == (0, 0, 0, 0)


@pytest.mark.parametrize("state", OUTBOUND_STATES)
def test_a_broadcast_is_done_when_nothing_of_it_is_open(world: World, state: str) -> None:
    collective = world.collective()
    world.member(collective, "+15551000001")
    number = send_broadcast(world, collective)
    change(world, Outbound, state=state, lease_until=real_seconds() + 60, reason="organizer")
    done = state not in ("held", "queued", "claimed", "attempting")
    assert sweep(world.store).broadcasts_done == int(done)
    assert status(world, number)["state"] == ("done" if done else "sending")


def test_a_resting_line_does_not_keep_a_broadcast_open_for_ever(world: World) -> None:
    collective = world.collective()
    world.member(collective, "+15551000001")
    number = send_broadcast(world, collective)
    world.clock.advance(timedelta(days=4))
    change(world, Line, held_until=world.clock.now() + timedelta(minutes=10), held_code=30034)
    swept = sweep(world.store)
    assert (swept.expired, swept.is_waiting) == (1, False)
    assert states(world, number) == ["expired"]


def test_what_waited_for_her_to_write_goes_when_she_does(world: World) -> None:
    world.line(WHATSAPP)
    collective = world.collective(lines=[WHATSAPP])
    members = [world.member(collective, f"+155510000{n:02d}", spoke_on=WHATSAPP) for n in range(2)]
    change(world, PhoneLine, last_inbound_at=world.clock.now() - timedelta(days=2))
    number = send_broadcast(world, collective)
    phones = [phone_of(world, member) for member in members]
    line = world.line(WHATSAPP)
    with world.store.write() as session:
        assert release_window(session, world.clock.now(), phones[0], line) == 1
    assert states(world, number) == ["queued", "held"]
    change(world, PhoneLine, PhoneLine.phone_id == phones[1], last_inbound_at=world.clock.now())
    assert release_open_windows(world.store) == 1


# --- errors and the bell ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reaction"),
    [
        (21610, Reaction.OPT_OUT),
        (21211, Reaction.REFUSE),
        (21614, Reaction.REFUSE),
        (30005, Reaction.REFUSE),
        (30006, Reaction.REFUSE),
        (21606, Reaction.HOLD_LINE),
        (20003, Reaction.HOLD_LINE),
        (30034, Reaction.HOLD_LINE),
        (404, Reaction.HOLD_LINE),
        (21408, Reaction.WAIT),
        (20429, Reaction.SLOW),
        (30001, Reaction.BACK_OFF),
        (21611, Reaction.BACK_OFF),
        (63016, Reaction.WINDOW),
        (30003, Reaction.UNREACHABLE),
        (12345, Reaction.FAIL),
        (None, Reaction.FAIL),
    ],
)
def test_what_an_error_code_means(code: int | None, reaction: Reaction) -> None:
    assert reaction_to(code) is reaction


def test_the_bell_lets_one_job_through_until_it_is_answered(redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    redis.flushdb()
    rung = Bell(redis_url)
    assert [rung.ring() for _ in range(5)] == [True] * 5
    assert redis.llen("rq:queue:chorus") == 1
    assert 0 < redis.ttl(bell.MARK) <= bell.MARK_SECONDS
    rung.answer()
    rung.ring()
    assert redis.llen("rq:queue:chorus") == 2


def test_a_bell_without_redis_is_quick_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    silent = Bell("redis://127.0.0.1:1/0")
    began = time.monotonic()
    assert [silent.ring() for _ in range(50)] == [False] * 50
    assert time.monotonic() - began < 1.0
    assert len(caplog.records) == 1
    silent.answer()
