"""Several lines of one collective share the work; each member keeps the line that is hers, and a STOP holds on all of them."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bot.delivery.routes import BUCKETS, line_for, share_buckets, spread_members
from models import CollectiveLine, Line, Membership, PhoneLine
from tests.delivery import ScriptedCarrier, add_many_members, change, phone_of, pump_all, put_letter, row, rows, send_broadcast
from tests.world import World

LINE, SECOND, THIRD, ONE_WAY, WHATSAPP = "+15550001111", "+15550001112", "+15550001113", "+15559990000", "whatsapp:+15550003333"
ASHA = "+15551000001"

lines = st.dictionaries(st.integers(1, 10_000), st.floats(0.1, 1000.0), min_size=1, max_size=6).map(lambda found: tuple(found.items()))


# --- the rule ------------------------------------------------------------------------------------------------------------


@given(lines, st.integers(10_001, 20_000), st.floats(0.1, 1000.0))
def test_a_line_that_is_added_takes_only_its_share(before: tuple[tuple[int, float], ...], added: int, mps: float) -> None:
    old, new = share_buckets(before), share_buckets((*before, (added, mps)))
    assert len(old) == BUCKETS
    assert all(now in (then, added) for then, now in zip(old, new, strict=True)), "nobody changes from one old line to another"
    assert share_buckets(tuple(reversed(before))) == old, "the order of the lines does not matter"


@given(lines, st.floats(1.0, 10.0))
def test_a_line_that_grows_faster_only_gains(before: tuple[tuple[int, float], ...], factor: float) -> None:
    (grown, mps), *others = before
    old, new = share_buckets(before), share_buckets(((grown, mps * factor), *others))
    assert all(now in (then, grown) for then, now in zip(old, new, strict=True))


def test_the_shares_follow_the_pace() -> None:
    """Over many pairs of lines: a line three times as fast bears three quarters, give or take what 128 buckets allow."""
    shares = [Counter(share_buckets(((first, 10.0), (first + 1, 30.0))))[first + 1] / BUCKETS for first in range(1, 400, 2)]
    assert 0.72 < sum(shares) / len(shares) < 0.78
    assert all(0.55 < share < 0.92 for share in shares)


# --- in the fan-out and for letters --------------------------------------------------------------------------------------


def test_members_are_shared_out_and_every_letter_takes_the_same_line(world: World) -> None:
    world.line(ONE_WAY, two_way=False)
    world.line(WHATSAPP)
    world.line(THIRD, country="CA")
    world.line(SECOND, mps=30.0)
    collective = world.collective(lines=[ONE_WAY, LINE, SECOND, WHATSAPP, THIRD])
    add_many_members(world, collective, 3 * BUCKETS)
    chosen = {each.membership_id: each.line_id for each in rows(world, send_broadcast(world, collective))}
    assert set(chosen.values()) == {world.line(LINE), world.line(SECOND)}, "two-way lines of the first one's kind and country"
    with world.store.read() as session:
        assert {member: line_for(session, member) for member in chosen if member} == chosen
        spread = spread_members(session, collective)
    assert Counter(chosen.values()) == {line: 3 * count for line, count in Counter(spread.buckets).items()}
    assert {each.membership_id: each.line_id for each in rows(world, send_broadcast(world, collective))} == chosen, "and keeps it"


def test_one_line_costs_no_choice(world: World) -> None:
    collective = world.collective(lines=[LINE])
    with world.store.read() as session:
        spread = spread_members(session, collective)
        assert spread.buckets == ()
        assert "CASE" not in str(spread.sql(Membership.id))


def test_whoever_wrote_keeps_the_line_she_wrote_on(world: World) -> None:
    collective = world.collective(lines=[LINE, SECOND])
    members = [world.member(collective, f"+155510000{n:02d}", spoke_on=LINE if n % 2 else SECOND) for n in range(20)]
    found = {each.membership_id: each.line_id for each in rows(world, send_broadcast(world, collective))}
    assert found == {member: world.line(LINE if n % 2 else SECOND) for n, member in enumerate(members)}


# --- STOP ----------------------------------------------------------------------------------------------------------------


def add_line(world: World, collective: int, address: str) -> int:
    line = world.line(address, mps=1000.0)
    with world.store.write() as session:
        session.add(CollectiveLine(collective_id=collective, line_id=line, position=9))
    return line


@pytest.mark.parametrize("how", ["text", "21610", "her sister"])
def test_after_a_stop_no_other_line_writes_to_her(world: World, how: str) -> None:
    """Not a line that shares the work, and not one that is added later and would get her share of members."""
    collective = world.collective(lines=[LINE, SECOND])
    members = [world.member(collective, f"+155510000{n:02d}", name="Asha") for n in range(12)]
    for number, member in enumerate(members):
        if how == "text":
            world.text(f"+155510000{number:02d}", "STOP", to=LINE)
        else:
            with world.store.read() as session:
                line = line_for(session, member)
            with world.store.write() as session:
                stopped = PhoneLine(phone_id=phone_of(world, member), line_id=line, opted_out_at=world.clock.now(), opted_out_by="21610")
                session.add(stopped)
    if how == "her sister":  # she uses the same phone, never wrote, and has no line of her own
        members = [world.member(collective, f"+155510000{n:02d}", name="Bela") for n in range(12)]
        change(world, Membership, Membership.id.not_in(members), state="left")
    added = add_line(world, collective, THIRD)
    if how != "text":
        with world.store.read() as session:
            assert added in {line_for(session, member) for member in members}, "some would have moved to the new line"
    number = send_broadcast(world, collective)
    assert {(each.state, each.reason) for each in rows(world, number)} == {("suppressed", "opted_out")}
    letters = [put_letter(world, member, kind="notice", line_id=line) for member in members for line in (world.line(SECOND), added)]
    change_to_queued = [row(world, letter).state for letter in letters]
    assert set(change_to_queued) == {"queued"}
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert carrier.taken == []
    assert {row(world, letter).reason for letter in letters} == {"opted_out"}


def test_where_she_writes_again_she_is_written_to_again(world: World) -> None:
    collective = world.collective(lines=[LINE, SECOND])
    world.member(collective, ASHA)
    world.text(ASHA, "STOP", to=LINE)
    world.text(ASHA, "hello", to=SECOND)
    assert [(each.state, each.line_id) for each in rows(world, send_broadcast(world, collective))] == [("queued", world.line(SECOND))]
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert [text.sender for text in carrier.taken] == [SECOND]


def test_a_stop_elsewhere_concerns_the_same_collective_only(world: World) -> None:
    sangha, tenants = world.collective("SANGHA", lines=[LINE]), world.collective("TENANTS", lines=[SECOND])
    world.member(sangha, ASHA, name="Asha")
    with world.store.write() as session:
        person = session.scalars(sa.select(Membership.person_id)).one()
        session.add(Membership(person_id=person, collective_id=tenants, joined_at=world.clock.now()))
    world.text(ASHA, "STOP", to=LINE)
    assert [each.state for each in rows(world, send_broadcast(world, tenants))] == ["queued"]
    pump_all(world, ScriptedCarrier())
    with world.store.read() as session:
        assert session.scalars(sa.select(Line.address).where(Line.id == rows(world)[-1].line_id)).one() == SECOND
    assert rows(world)[-1].state == "accepted"
