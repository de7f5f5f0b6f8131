"""The last look: who may get a message is asked at the moment it is marked, never before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.delivery.broadcasts import hold_broadcast, release_broadcast, stop_broadcast
from bot.delivery.claims import claim_rows
from bot.delivery.leases import renew_lease
from bot.delivery.marks import mark_rows
from bot.delivery.money import Purse
from bot.delivery.sweep import release_left_behind, sweep
from bot.delivery.texts import Texts
from models import Broadcast, BroadcastText, Collective, Membership, Outbound, Phone, PhoneLine
from tests.delivery import (
    LINE,
    ScriptedCarrier,
    change,
    phone_of,
    pump_all,
    put_letter,
    row,
    rows,
    send_broadcast,
    states,
    take_the_line,
    two_members,
)
from tests.world import World


@pytest.fixture
def sangha(world: World) -> int:
    """A collective with two members on a fast line."""
    return two_members(world)


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
            marked, busy = mark_rows(world.store, session, line, claimed, texts, Purse(world.store))
        assert ([mark.phone_id for mark in marked], busy) == ([rows(world, number)[1].phone_id], [])
    else:
        with world.store.write() as stopping:
            stopping.execute(sa.select(Phone.id).where(Phone.id == phone).with_for_update(key_share=True))
            stopping.add(PhoneLine(phone_id=phone, line_id=line.id, opted_out_at=world.clock.now(), opted_out_by="word"))
            stopping.flush()
            with world.store.write() as session:
                marked, busy = mark_rows(world.store, session, line, claimed, texts, Purse(world.store))
            assert [mark.phone_id for mark in marked] == [rows(world, number)[1].phone_id]
            assert busy == [rows(world, number)[0].id]
        with world.store.write() as session:
            again, busy = mark_rows(world.store, session, line, claimed[:1], texts, Purse(world.store))
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
        marked, _ = mark_rows(world.store, session, line, claimed, Texts(world.store), Purse(world.store))
        assert len(marked) == 2
        with world.store.write() as stopping:
            taken = stopping.execute(sa.select(Phone.id).where(Phone.id == phone).with_for_update(key_share=True, skip_locked=True)).first()
            assert taken is None, "while the mark is being written, her STOP has to wait"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_row_that_is_marked_while_its_broadcast_is_released_goes_with_the_others(world: World, sangha: int) -> None:
    """Neither transaction sees the other's work: the row is held once more, after the release looked for held ones."""
    broadcast = send_broadcast(world, sangha)
    with world.store.write() as session:
        assert hold_broadcast(session, world.clock.now(), session.get_one(Broadcast, broadcast))
    change(world, Outbound, state="queued", reason=None)
    line = take_the_line(world)
    with world.store.write() as session:
        taken, _ = claim_rows(world.store, session, line, 10, 10)
    purse = Purse(world.store)
    with world.store.write() as releasing:
        assert release_broadcast(releasing, world.clock.now(), releasing.get_one(Broadcast, broadcast))
        with world.store.write() as session:
            purse.begin(session)
            assert mark_rows(world.store, session, line, taken, Texts(world.store), purse) == ([], [])
    assert states(world, broadcast) == ["held", "held"]
    assert release_left_behind(world.store) == 2
    assert states(world, broadcast) == ["queued", "queued"]


@pytest.mark.parametrize(
    ("state", "left_behind"), [("sending", True), ("done", True), ("held", False), ("stopped", False), ("draft", False)]
)
def test_what_an_organizer_holds_waits_for_her_alone(world: World, sangha: int, state: str, left_behind: bool) -> None:
    broadcast = send_broadcast(world, sangha)
    first, second = (each.id for each in rows(world, broadcast))
    change(world, Outbound, Outbound.id == first, state="held", reason="organizer")
    change(world, Outbound, Outbound.id == second, state="held", reason="quiet_hours")
    change(world, Broadcast, state=state)
    assert release_left_behind(world.store) == int(left_behind)
    assert (row(world, first).state, row(world, second).state) == ("queued" if left_behind else "held", "held")
