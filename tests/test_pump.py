"""The pump: who may get a message is asked at the last moment; each leaves once, at the line's pace; its outcome is written down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.delivery import senders as senders_module
from bot.delivery.broadcasts import hold_broadcast, stop_broadcast
from bot.delivery.claims import claim_rows
from bot.delivery.gateway import Accepted, Lost, Outcome, Refused, Throttled
from bot.delivery.leases import LeasedLine, LeaseLost, is_anything_waiting, release_line, renew_lease, take_lines
from bot.delivery.marks import Marked, mark_rows
from bot.delivery.pace import Meter, PacedLine
from bot.delivery.pump import serve_lines
from bot.delivery.senders import Senders
from bot.delivery.sweep import sweep
from bot.delivery.texts import Texts
from bot.delivery.tokens import read_token
from models import Broadcast, BroadcastText, Collective, Line, Membership, Outbound, Phone, PhoneLine
from models.clock import real_seconds
from tests.delivery import (
    ScriptedCarrier,
    add_many_members,
    change,
    most_in_a_second,
    phone_of,
    pump_all,
    put_letter,
    row,
    rows,
    send_broadcast,
    states,
)
from tests.world import World, new_sid

LINE, SECOND, WHATSAPP = "+15550001111", "+15550001112", "whatsapp:+15550003333"


@pytest.fixture
def sangha(world: World) -> int:
    """A collective with two members on a fast line."""
    world.line(LINE, mps=500.0)
    collective = world.collective(lines=[LINE])
    world.member(collective, "+15551000001", name="Asha")
    world.member(collective, "+15551000002", name="Bela", language="es")
    return collective


def line_row(world: World, address: str = LINE) -> Line:
    with world.store.read() as session:
        return session.scalars(sa.select(Line).where(Line.address == address)).one()


# --- the way out -----------------------------------------------------------------------------------------------------------


def test_everybody_gets_it_once_in_her_language(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha, {"en": "Rally today", "es": "Marcha hoy"})
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier) == 2
    assert sorted((text.to, text.body) for text in carrier.taken) == [
        ("+15551000001", "Sangha: Rally today"),
        ("+15551000002", "Sangha: Marcha hoy"),
    ]
    assert {text.sender for text in carrier.taken} == {LINE}
    for each in rows(world, number):
        assert (each.state, each.attempt, each.attempted_at, each.accepted_at) == ("accepted", 1, world.clock.now(), world.clock.now())
        assert each.sid is not None and each.lease_until is None
    assert pump_all(world, carrier) == 0
    assert sweep(world.store).broadcasts_done == 1


def test_the_callback_says_which_row_and_attempt(world: World, sangha: int) -> None:
    number = rows(world, send_broadcast(world, sangha))[0].id
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    prefix = "https://chorus.example.org/twilio/status/"
    assert all(text.callback.startswith(prefix) for text in carrier.taken)
    assert (number, 1) in [read_token(world.store, text.callback.removeprefix(prefix)) for text in carrier.taken]


def test_a_letter_goes_as_it_was_written(world: World, sangha: int) -> None:
    member = world.member(sangha, "+15551000003")
    put_letter(world, member, "Your note 7: thank you! €5 {braces} 🌱")
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert carrier.bodies == ["Your note 7: thank you! €5 {braces} 🌱"]


def test_whatsapp_and_messaging_services(world: World) -> None:
    world.line(WHATSAPP), world.line("MG" + "a" * 32)
    first, second = world.collective(lines=[WHATSAPP]), world.collective("OTHER", lines=["MG" + "a" * 32])
    world.member(first, "+15551000001", spoke_on=WHATSAPP)
    world.member(second, "+15551000002")
    send_broadcast(world, first), send_broadcast(world, second)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert sorted((text.to, text.sender) for text in carrier.taken) == [
        ("+15551000002", "MG" + "a" * 32),
        ("whatsapp:+15551000001", WHATSAPP),
    ]


def test_urgent_lanes_overtake_and_broadcasts_take_turns(world: World) -> None:
    world.line(LINE, mps=40.0)
    first, second = world.collective("FIRST", lines=[LINE]), world.collective("SECOND", lines=[LINE])
    for number in range(3):
        world.member(first, f"+1555100000{number}")
        world.member(second, f"+1555200000{number}")
    member = world.member(first, "+15551000009")
    change(world, Membership, Membership.id == member, paused_until=world.clock.now() + timedelta(days=1))
    send_broadcast(world, first, "one")
    send_broadcast(world, second, "two")
    put_letter(world, member, "code", kind="code", unprompted=False)
    put_letter(world, member, "reply")
    put_letter(world, member, "stopped", kind="stop")
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert carrier.bodies == [
        "stopped",
        "code",
        "reply",
        "First: one",
        "Second: two",
        "First: one",
        "Second: two",
        "First: one",
        "Second: two",
    ]


# --- the last look ---------------------------------------------------------------------------------------------------------


def opt_out(world: World, member: int) -> None:
    phone, line = phone_of(world, member), world.line(LINE)
    with world.store.write() as session:
        session.add(PhoneLine(phone_id=phone, line_id=line, opted_out_at=world.clock.now(), opted_out_by="carrier"))


def leave(world: World, member: int) -> None:
    change(world, Membership, Membership.id == member, state="left")


def pause(world: World, member: int) -> None:
    change(world, Membership, Membership.id == member, paused_until=world.clock.now() + timedelta(hours=1))


def detach(world: World, _member: int) -> None:
    change(world, Phone, detached_at=world.clock.now())


def forget_number(world: World, _member: int) -> None:
    change(world, Phone, number=None)


def refuse(world: World, member: int) -> None:
    opt_out(world, member)
    change(world, PhoneLine, opted_out_at=None, refused_code=21614)


def be_late(world: World, _member: int) -> None:
    world.clock.advance(timedelta(days=4))


def fall_asleep(world: World, _member: int) -> None:
    change(world, Collective, quiet_from=8, quiet_until=12)


def stop(world: World, _member: int) -> None:
    with world.store.write() as session:
        stop_broadcast(session, world.clock.now(), session.scalars(sa.select(Broadcast)).one())


def hold(world: World, _member: int) -> None:
    with world.store.write() as session:
        hold_broadcast(session, world.clock.now(), session.scalars(sa.select(Broadcast)).one())


def hold_quietly(world: World, _member: int) -> None:
    change(world, Broadcast, state="held")


def stop_quietly(world: World, _member: int) -> None:
    change(world, Broadcast, state="stopped")


@pytest.mark.parametrize(
    ("happens", "state", "reason"),
    [
        (opt_out, "suppressed", "opted_out"),
        (leave, "suppressed", "left"),
        (pause, "suppressed", "paused"),
        (detach, "suppressed", "detached"),
        (forget_number, "suppressed", "detached"),
        (refuse, "suppressed", "refused"),
        (be_late, "expired", "too_late"),
        (fall_asleep, "held", "quiet_hours"),
        (stop, "stopped", None),
        (hold, "held", "organizer"),
        (hold_quietly, "held", "organizer"),
        (stop_quietly, "stopped", "stopped"),
    ],
)
def test_what_happened_since_the_planning_counts(
    world: World, happens: Callable[[World, int], None], state: str, reason: str | None
) -> None:
    collective = world.collective(lines=[LINE])
    member = world.member(collective, "+15551000001")
    number = send_broadcast(world, collective)
    happens(world, member)
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier) == 0
    assert carrier.taken == []
    assert [(each.state, each.reason, each.attempt) for each in rows(world, number)] == [(state, reason, 0)]


def test_held_by_quiet_hours_leaves_when_they_end(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    fall_asleep(world, 0)
    pump_all(world, ScriptedCarrier())
    assert {each.due_at for each in rows(world, number)} == {world.clock.now() + timedelta(hours=3)}
    world.clock.advance(timedelta(hours=3) - timedelta(seconds=1))
    assert sweep(world.store).released == 0
    world.clock.advance(timedelta(seconds=1))
    assert sweep(world.store).released == 2
    assert pump_all(world, ScriptedCarrier()) == 2


def test_an_answer_to_her_own_text_is_not_held(world: World, sangha: int) -> None:
    member = world.member(sangha, "+15551000003")
    fall_asleep(world, member)
    pause(world, member)
    put_letter(world, member, "answer")
    assert pump_all(world, ScriptedCarrier()) == 1


def test_only_the_confirmation_follows_an_opt_out(world: World, sangha: int) -> None:
    member = world.member(sangha, "+15551000003")
    put_letter(world, member, "an answer")
    put_letter(world, member, "You will get nothing more", kind="stop")
    opt_out(world, member)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert carrier.bodies == ["You will get nothing more"]


def test_a_row_that_can_not_be_read_holds_nobody_up(world: World, sangha: int) -> None:
    broken = put_letter(world, world.member(sangha, "+15551000003"), "lost words")
    with world.store.write() as session:
        session.execute(
            sa.text("UPDATE outbound SET body = :body WHERE id = :row"),
            {"body": b"\x01not sealed by us at all...............", "row": broken},
        )
    number = send_broadcast(world, sangha)
    assert pump_all(world, ScriptedCarrier()) == 3
    assert (row(world, broken).state, row(world, broken).reason) == ("failed", "unreadable")
    assert states(world, number) == ["accepted"] * 3


def test_a_broadcast_without_words_ends(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    with world.store.write() as session:
        session.execute(sa.delete(BroadcastText))
    assert pump_all(world, ScriptedCarrier()) == 0
    assert states(world, number) == ["failed", "failed"]


def take_the_line(world: World) -> LeasedLine:
    (line,) = take_lines(world.store, "test", 1)
    return line


def test_no_row_is_marked_after_a_stop_commits(world: World, sangha: int) -> None:
    """A STOP that is still being written holds the phone: its row is passed over, and suppressed once the STOP is through."""
    number = send_broadcast(world, sangha)
    phone = rows(world, number)[0].phone_id
    line = take_the_line(world)
    with world.store.write() as session:
        claimed, _ = claim_rows(world.store, session, line, 10, 10)
        renew_lease(session, line, line.next_slot)
    texts = Texts(world.store)
    if world.store.is_sqlite:  # one writer at a time: the STOP is before or after the mark, never beside it
        opt_out(world, 1)
        with world.store.write() as session:
            marked, busy = mark_rows(world.store, session, line, claimed, texts)
        assert ([mark.phone_id for mark in marked], busy) == ([rows(world, number)[1].phone_id], [])
    else:
        with world.store.write() as stopping:
            stopping.execute(sa.select(Phone.id).where(Phone.id == phone).with_for_update(key_share=True))
            stopping.add(PhoneLine(phone_id=phone, line_id=line.id, opted_out_at=world.clock.now(), opted_out_by="word"))
            stopping.flush()
            with world.store.write() as session:
                marked, busy = mark_rows(world.store, session, line, claimed, texts)
            assert [mark.phone_id for mark in marked] == [rows(world, number)[1].phone_id]
            assert busy == [rows(world, number)[0].id]
        with world.store.write() as session:
            again, busy = mark_rows(world.store, session, line, claimed[:1], texts)
        assert (again, busy) == ([], [])
    assert [(each.state, each.reason) for each in rows(world, number)] == [("suppressed", "opted_out"), ("attempting", None)]


def test_a_stop_waits_for_a_mark_and_not_the_other_way_round(world: World, sangha: int) -> None:
    if world.store.is_sqlite:
        return  # see above: writers queue
    number = send_broadcast(world, sangha)
    phone = rows(world, number)[0].phone_id
    line = take_the_line(world)
    with world.store.write() as session:
        claimed, _ = claim_rows(world.store, session, line, 10, 10)
        renew_lease(session, line, line.next_slot)
        marked, _ = mark_rows(world.store, session, line, claimed, Texts(world.store))
        assert len(marked) == 2
        with world.store.write() as stopping:
            taken = stopping.execute(sa.select(Phone.id).where(Phone.id == phone).with_for_update(key_share=True, skip_locked=True)).first()
            assert taken is None, "while the mark is being written, her STOP has to wait"


# --- leases ----------------------------------------------------------------------------------------------------------------


def test_one_pump_a_line(world: World, sangha: int) -> None:
    send_broadcast(world, sangha)
    take_the_line(world)
    assert take_lines(world.store, "other", 5) == []
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier) == 0


def test_a_pump_whose_fence_is_old_marks_nothing(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    old = take_the_line(world)
    with world.store.write() as session:
        claimed, _ = claim_rows(world.store, session, old, 1, 1)
        renew_lease(session, old, old.next_slot)
    change(world, Line, lease_until=1.0)
    assert states(world, number) == ["claimed", "queued"]
    new = take_the_line(world)
    assert new.fence == old.fence + 1
    assert states(world, number) == ["queued", "queued"], "what the dead pump had claimed is there again at once"
    with world.store.write() as session:
        assert mark_rows(world.store, session, old, claimed, Texts(world.store))[0] == []
    with pytest.raises(LeaseLost), world.store.write() as session:
        claim_rows(world.store, session, old, 10, 10)
        renew_lease(session, old, old.next_slot)
    with world.store.write() as session:
        release_line(session, old, 0.0)
    assert line_row(world).lease_holder == "test"
    assert states(world, number) == ["queued", "queued"]


def test_a_fence_that_moves_between_claim_and_mark(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    old = take_the_line(world)
    with world.store.write() as session:
        claimed, _ = claim_rows(world.store, session, old, 10, 10)
        renew_lease(session, old, old.next_slot)
    change(world, Line, fence=old.fence + 1)
    with pytest.raises(LeaseLost), world.store.write() as session:
        mark_rows(world.store, session, old, claimed, Texts(world.store))
    assert states(world, number) == ["claimed", "claimed"]


def test_a_pump_that_loses_its_lease_goes_on_without_the_line(world: World, sangha: int) -> None:
    world.line(SECOND, mps=2.0)
    slow = world.collective("SLOW", lines=[SECOND])
    for number in range(4):
        world.member(slow, f"+1555300000{number}")
    number = send_broadcast(world, slow)
    stolen = threading.Event()

    def answer(_to: str, sent: int) -> Outcome:
        if sent == 1:
            change(world, Line, Line.address == SECOND, fence=99, lease_holder="thief", lease_until=real_seconds() + 60)
            stolen.set()
        return Accepted(new_sid())

    carrier = ScriptedCarrier(answer)
    pump_all(world, carrier, 3.0)
    assert stolen.is_set() and 1 <= len(carrier.taken) <= 2
    assert line_row(world, SECOND).lease_holder == "thief"
    assert "attempting" not in states(world, number)


def test_a_successor_begins_where_the_pace_allows(world: World, sangha: int) -> None:
    send_broadcast(world, sangha)
    ahead = real_seconds() + 0.4
    change(world, Line, next_slot=ahead)
    carrier = ScriptedCarrier()
    began = time.monotonic()
    pump_all(world, carrier)
    assert carrier.taken[0].at - began > 0.3
    assert line_row(world).next_slot > ahead


def test_what_is_claimed_is_spoken_for_in_the_database(world: World, sangha: int) -> None:
    """A pump that is killed right after its claim leaves a next_slot that no successor can exceed the pace with."""
    world.line(SECOND, mps=10.0)
    slow = world.collective("SLOW", lines=[SECOND])
    add_many_members(world, slow, 30)
    send_broadcast(world, slow)
    seen: list[tuple[float, int]] = []

    def answer(_to: str, _number: int) -> Outcome:
        with world.store.read() as session:
            claimed = session.scalar(sa.select(sa.func.count()).where(Outbound.state.in_(("claimed", "attempting"))))
            slot = session.scalar(sa.select(Line.next_slot).where(Line.address == SECOND))
        seen.append((slot - real_seconds(), claimed))
        return Accepted(new_sid())

    pump_all(world, ScriptedCarrier(answer), 1.5)
    assert seen
    assert all(claimed <= 10 for _, claimed in seen), "at most a second of pace"
    assert all(-0.2 < ahead <= 1.1 for ahead, _ in seen)


def test_a_clock_that_was_set_back_does_not_stop_the_line(world: World) -> None:
    line = LeasedLine(1, "sms", LINE, 10.0, 1, real_seconds() + 86_400, None)
    now = real_seconds()
    assert PacedLine(line, now).next_slot == now


# --- the pace --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mps", "count"), [(80.0, 160), (10.0, 21), (2.0, 4)])
def test_the_pace_is_kept(world: World, mps: float, count: int) -> None:
    world.line(LINE, mps=mps)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, count)
    send_broadcast(world, collective)
    carrier = ScriptedCarrier()
    assert pump_all(world, carrier) == count
    moments = [text.at for text in carrier.taken]
    ideal = (count - 1) / mps
    assert ideal * 0.99 < max(moments) - min(moments) < ideal * 1.02 + 0.1
    assert most_in_a_second(moments) <= mps + 1


def test_late_threads_do_not_crowd() -> None:
    meter = Meter(5.0)
    assert [meter.start(1) for _ in range(6)] == [0.0] * 6
    assert 0.9 < meter.start(1) <= 1.01, "the seventh waits until the first is a second old"
    assert Meter(1.0).start(10) == 0.0, "a long message alone may go"


def test_the_pace_counts_segments(world: World) -> None:
    world.line(LINE, mps=20.0)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 6)
    send_broadcast(world, collective, "a long text of several segments " * 20)
    assert rows(world)[0].segments == 5
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    moments = [text.at for text in carrier.taken]
    assert max(moments) - min(moments) > 5 * 5 / 20.0 * 0.97


def test_a_claim_is_a_second_of_pace_in_segments(world: World, sangha: int) -> None:
    for number in range(8):
        put_letter(world, 1, f"{number} " + "x" * 300)
    line = take_the_line(world)
    with world.store.write() as session:
        claimed, is_dry = claim_rows(world.store, session, line, 4, 8)
    assert ([each.segments for each in claimed], is_dry) == ([2, 2], False)
    assert sorted(states(world)) == ["claimed"] * 2 + ["queued"] * 6


def test_429_slows_the_line_and_loses_nothing(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    began = time.monotonic()
    carrier = ScriptedCarrier(lambda _to, sent: Throttled(20429) if sent <= 3 else Accepted(new_sid()))
    pump_all(world, carrier)
    assert states(world, number) == ["accepted", "accepted"]
    assert len(carrier.taken) == 5
    assert time.monotonic() - began > 0.2


# --- outcomes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "state", "reason", "code"),
    [
        (Refused(21610), "failed", None, 21610),
        (Refused(21211), "failed", None, 21211),
        (Refused(21614), "failed", None, 21614),
        (Refused(21612), "failed", None, 21612),
        (Refused(21617), "failed", None, 21617),
        (Refused(99999), "failed", None, 99999),
        (Refused(21408), "held", "line", 21408),
        (Refused(21606), "held", "line", 21606),
        (Refused(20003), "held", "line", 20003),
        (Refused(21611), "held", "line", 21611),
        (Refused(63016), "held", "window", 63016),
        (Lost("ReadTimeoutError"), "unknown", None, None),
        (Lost("HTTP 500"), "unknown", None, None),
    ],
    ids=lambda value: str(value),
)
def test_what_becomes_of_it(world: World, outcome: Outcome, state: str, reason: str | None, code: int | None) -> None:
    collective = world.collective(lines=[LINE])
    world.member(collective, "+15551000001")
    number = send_broadcast(world, collective)
    carrier = ScriptedCarrier(lambda _to, _sent: outcome)
    pump_all(world, carrier)
    (found,) = rows(world, number)
    assert (found.state, found.reason, found.error_code, found.attempt) == (state, reason, code, 1)
    assert (found.done_at is not None) == (state == "failed")
    pump_all(world, carrier)
    sweep(world.store)
    pump_all(world, carrier)
    assert len(carrier.taken) == 1, "nothing goes twice by itself"


def test_21610_ends_it_for_this_phone_on_this_line_only(world: World) -> None:
    collective = world.collective(lines=[LINE, SECOND])
    world.member(collective, "+15551000001")
    send_broadcast(world, collective)
    pump_all(world, ScriptedCarrier(lambda _to, _sent: Refused(21610)))
    with world.store.read() as session:
        (known,) = session.scalars(sa.select(PhoneLine))
    assert (known.line_id, known.opted_out_at, known.opted_out_by) == (world.line(LINE), world.clock.now(), "21610")
    again = send_broadcast(world, collective)
    assert [(each.state, each.reason) for each in rows(world, again)] == [("suppressed", "opted_out")]


def test_a_misconfigured_line_rests_and_one_message_tries_it(world: World, sangha: int) -> None:
    add_many_members(world, sangha, 8)
    number = send_broadcast(world, sangha)
    broken = ScriptedCarrier(lambda _to, _sent: Refused(21606))
    pump_all(world, broken)
    first = len(broken.taken)
    found = line_row(world)
    assert found.held_code == 21606 and found.held_until is not None
    assert pump_all(world, broken) == 0
    world.clock.advance(timedelta(minutes=10))
    pump_all(world, broken)
    assert len(broken.taken) <= first + 1, "one message, not a second's worth"
    world.clock.advance(timedelta(minutes=30))
    sweep(world.store)
    pump_all(world, ScriptedCarrier())
    for _ in range(8):  # what was put off again and again, hour by hour
        world.clock.advance(timedelta(hours=6))
        sweep(world.store)
        pump_all(world, ScriptedCarrier())
    assert set(states(world, number)) == {"accepted"}
    assert (line_row(world).held_code, line_row(world).held_until) == (None, None)


def test_a_country_that_is_switched_off_stops_nobody_else(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)
    carrier = ScriptedCarrier(lambda to, _sent: Refused(21408) if to == "+15551000001" else Accepted(new_sid()))
    pump_all(world, carrier)
    assert sorted(states(world, number)) == ["accepted", "held"]
    assert line_row(world).held_until is None


def test_a_receipt_that_overtakes_the_answer(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)

    def answer(_to: str, _sent: int) -> Outcome:
        change(world, Outbound, Outbound.state == "attempting", state="delivered", sid="SM" + "f" * 32)
        return Accepted(new_sid())

    pump_all(world, ScriptedCarrier(answer))
    assert set(states(world, number)) == {"delivered"}
    assert {each.sid for each in rows(world, number)} == {"SM" + "f" * 32}


def test_a_gateway_that_breaks_leaves_the_outcome_unknown(world: World, sangha: int) -> None:
    number = send_broadcast(world, sangha)

    def answer(_to: str, _sent: int) -> Outcome:
        raise RuntimeError("words that must not be logged")

    pump_all(world, ScriptedCarrier(answer))
    assert states(world, number) == ["unknown", "unknown"]


def test_a_mark_older_than_two_seconds_is_not_sent(small_world: World) -> None:
    line = LeasedLine(1, "sms", LINE, 10.0, 1, 0.0, None)
    carrier = ScriptedCarrier()
    senders = Senders(carrier, 2, 1)
    old, fresh = real_seconds() - senders_module.FRESH_SECONDS - 0.01, real_seconds()
    senders.submit(0.0, Meter(10.0), Marked(1, 1, 1, line, "+15551000001", "stale", 1, old), "https://x")
    senders.submit(0.0, Meter(10.0), Marked(2, 1, 1, line, "+15551000001", "fresh", 1, fresh), "https://x")
    results = []
    while len(results) < 2:
        assert senders.ready.wait(5)
        results += senders.collect()
    senders.close()
    assert carrier.bodies == ["fresh"]
    assert {sent.mark.body: sent.outcome is None for sent in results} == {"stale": True, "fresh": False}


def test_a_message_whose_seconds_were_over_goes_later(world: World, sangha: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders_module, "FRESH_SECONDS", -1.0)
    number = send_broadcast(world, sangha)
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 0.3)
    assert carrier.taken == []
    assert set(states(world, number)) == {"queued"}
    monkeypatch.undo()
    pump_all(world, carrier)
    assert set(states(world, number)) == {"accepted"}


def test_nothing_stays_claimed_when_the_worker_is_asked_to_stop(world: World) -> None:
    world.line(LINE, mps=20.0)
    collective = world.collective(lines=[LINE])
    add_many_members(world, collective, 60)
    number = send_broadcast(world, collective)
    stopping = threading.Event()

    def answer(_to: str, sent: int) -> Outcome:
        if sent == 10:
            stopping.set()
        return Accepted(new_sid())

    carrier = ScriptedCarrier(answer)
    began = time.monotonic()
    serve_lines(world.deployment, carrier, stopping, 30.0)
    assert time.monotonic() - began < 5
    found = states(world, number)
    assert set(found) == {"accepted", "queued"}
    assert found.count("accepted") == len(carrier.taken) < 25
    line = line_row(world)
    assert (line.lease_holder, line.lease_until) == (None, 0.0)
    with world.store.read() as session:
        assert is_anything_waiting(session, world.clock.now())


def test_two_pumps_at_once_send_everything_once(world: World) -> None:
    lines = [f"+1555000111{n}" for n in range(4)]
    for address in lines:
        world.line(address, mps=200.0)
    collectives = [world.collective(f"C{n}", lines=[address]) for n, address in enumerate(lines)]
    for collective in collectives:
        for n in range(30):
            world.member(collective, f"+1555{collective}0000{n:02d}")
        send_broadcast(world, collective)
    carrier = ScriptedCarrier()
    threads = [threading.Thread(target=pump_all, args=(world, carrier)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pump_all(world, carrier)
    assert len(carrier.taken) == len({(text.to, text.sender) for text in carrier.taken}) == 120
    assert set(states(world)) == {"accepted"}
