"""The number of somebody with a role is her powers in all her collectives: none of them moves what is not its own, or sees it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.members.governing import holders
from bot.members.numbers import change_number
from models import Audit, CollectiveLine, Membership, NumberChange, Person, Phone, Role, WebSession
from tests.console import Visitor, give_factor
from tests.delivery import ScriptedCarrier, pump_all
from tests.test_console_login import ask, enter, sent_codes
from tests.world import World

ASHA, BELA, ADAM, EVE, NEW = "+15558800001", "+15558800002", "+15558800003", "+15558800004", "+15558899942"


@pytest.fixture
def sangha(world: World) -> int:
    return world.collective("SANGHA")


@pytest.fixture
def maitri(world: World) -> int:
    return world.collective("MAITRI", ["+15550002222"])


@pytest.fixture
def asha(world: World, sangha: int) -> int:
    """An organizer of Sangha."""
    return world.member(sangha, ASHA, name="Asha", roles=["organizer"])


@pytest.fixture
def there(world: World, asha: int, maitri: int) -> int:
    """The same Asha as a plain member of Maitri."""
    return belongs_too(world, asha, maitri)


def belongs_too(world: World, member: int, collective: int) -> int:
    with world.store.write() as session:
        person = session.get_one(Membership, member).person_id
        made = Membership(person_id=person, collective_id=collective, joined_at=world.clock.now())
        session.add(made)
        session.flush()
        return made.id


def give_role(world: World, member: int, role: str = "organizer") -> None:
    with world.store.write() as session:
        session.add(Role(membership_id=member, role=role))


def organizer(world: World, collective: int, number: str, word: str) -> Visitor:
    return Visitor(world, world.member(collective, number, name=word.title(), roles=["organizer"]), word=word, proven=True)


def book(visitor: Visitor, member: int, number: str = NEW) -> str:
    """Where the form led: what was said of it."""
    return visitor.post(f"/members/{member}/number", {"number": number}).headers["Location"].partition("?")[2]


def changes(world: World) -> list[NumberChange]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(NumberChange).order_by(NumberChange.id)))


def move(world: World) -> list[bool]:
    world.clock.advance(timedelta(days=1))
    return [change_number(world.deployment, change.id) for change in changes(world)]


def acts(world: World, collective: int | None) -> list[tuple[str, str]]:
    with world.store.read() as session:
        rows = session.execute(sa.select(Audit.act, Audit.subject).where(Audit.collective_id == collective).order_by(Audit.id))
        return [(act, subject) for act, subject in rows]


def number_of(world: World, member: int) -> str | None:
    with world.store.read() as session:
        numbers = sa.select(Phone.number).join(Person, Person.phone_id == Phone.id).join(Membership, Membership.person_id == Person.id)
        return session.scalars(numbers.where(Membership.id == member)).one()


# --- whose it is ---------------------------------------------------------------------------------------------------------


def test_a_collective_moves_nobody_for_a_role_elsewhere(world: World, maitri: int, asha: int, there: int) -> None:
    eve = organizer(world, maitri, EVE, "maitri")
    assert book(eve, there) == "trouble=no_role", "the same as of any plain member"
    assert changes(world) == [] and acts(world, maitri) == []


def test_who_has_roles_in_two_is_moved_by_none(world: World, sangha: int, maitri: int, asha: int, there: int) -> None:
    give_role(world, there, "supporter")
    adam, eve = organizer(world, sangha, ADAM, "sangha"), organizer(world, maitri, EVE, "maitri")
    assert book(adam, asha) == "trouble=elsewhere" == book(eve, there)
    assert "no collective moves her number" in adam.text(f"/members/{asha}?trouble=elsewhere")
    assert changes(world) == []


def test_a_role_that_came_meanwhile_keeps_her_number(world: World, sangha: int, maitri: int, asha: int, there: int) -> None:
    assert book(organizer(world, sangha, ADAM, "sangha"), asha) == "done=number"
    give_role(world, there)
    assert move(world) == [False]
    assert number_of(world, asha) == ASHA
    assert acts(world, sangha) == [("number change asked", f"membership {asha}"), ("number change failed", f"membership {asha}")]
    assert acts(world, maitri) == [("number change failed", f"membership {there}")], "wherever she has a role, it is known"


def test_only_the_collective_that_booked_it_sees_it_or_cancels_it(world: World, sangha: int, maitri: int, asha: int, there: int) -> None:
    adam, eve = organizer(world, sangha, ADAM, "sangha"), organizer(world, maitri, EVE, "maitri")
    book(adam, asha)
    assert "ends in 42" in adam.text(f"/members/{asha}") and "Asha gets a new number" in adam.text("/")
    assert "ends in 42" not in eve.text(f"/members/{there}") and "new number" not in eve.text("/")
    eve.post(f"/members/{there}/number/cancel")
    eve.post(f"/members/{there}/remove", {"sure": "yes"})
    [change] = changes(world)
    assert change.collective_id == sangha and change.cancelled_at is None
    assert [act for act, _ in acts(world, maitri)] == ["member removed"]
    adam.post(f"/members/{asha}/number/cancel")
    assert changes(world)[0].cancelled_at is not None
    assert acts(world, sangha)[-1] == ("number change cancelled", f"membership {asha}")


def test_a_change_of_the_collective_she_is_removed_from_ends(world: World, sangha: int, asha: int) -> None:
    adam = organizer(world, sangha, ADAM, "sangha")
    book(adam, asha)
    adam.post(f"/members/{asha}/remove", {"sure": "yes"})
    assert changes(world)[0].cancelled_at is not None and move(world) == [False]


def test_she_herself_always_takes_it_back(world: World, sangha: int, maitri: int, asha: int, there: int) -> None:
    """Sangha booked it; since then she lost her role there, and got one in Maitri, which has nothing to do with it."""
    adam = organizer(world, sangha, ADAM, "sangha")
    hers = Visitor(world, asha)
    book(adam, asha)
    with world.store.write() as session:
        session.execute(sa.delete(Role).where(Role.membership_id == asha))
        session.add(Role(membership_id=there, role="viewer"))
    assert "ends in 42" in hers.text("/console/account")
    hers.post("/console/account/number/cancel")
    assert changes(world)[0].cancelled_at is not None
    assert acts(world, sangha)[-1] == ("number change cancelled", f"membership {asha}") and acts(world, maitri) == []


def test_who_booked_it_may_be_forgotten_before_the_day(world: World, sangha: int, asha: int) -> None:
    adam = organizer(world, sangha, ADAM, "sangha")
    book(adam, asha)
    world.text(ADAM, "FORGET")
    world.text(ADAM, "YES")
    assert move(world) == [True] and number_of(world, asha) == NEW
    assert acts(world, sangha)[-1] == ("number changed", f"membership {asha}") and acts(world, None) == [] == acts(world, 0)
    with world.store.read() as session:
        assert session.scalars(sa.select(Audit.membership_id).where(Audit.act == "number changed")).one() is None


def test_a_member_with_that_number_is_found_after_the_booker_is_forgotten(world: World, sangha: int, asha: int) -> None:
    """Someone here shares the new phone and does not hold it: that is still somebody's number."""
    adam = organizer(world, sangha, ADAM, "sangha")
    book(adam, asha)
    bela = world.member(sangha, NEW, name="Bela")
    with world.store.write() as session:
        phone = sa.select(Person.phone_id).join(Membership, Membership.person_id == Person.id).where(Membership.id == bela)
        session.execute(sa.update(Phone).where(Phone.id == phone.scalar_subquery()).values(current_person_id=None))
    world.text(ADAM, "FORGET")
    world.text(ADAM, "YES")
    assert move(world) == [False] and number_of(world, asha) == ASHA
    assert acts(world, sangha)[-1] == ("number change failed", f"membership {asha}")


# --- the phone she moves to ----------------------------------------------------------------------------------------------


def test_after_the_move_she_logs_in_by_the_new_number(world: World, sangha: int, asha: int) -> None:
    book(organizer(world, sangha, ADAM, "sangha"), asha)
    assert move(world) == [True]
    pump_all(world, ScriptedCarrier(), 5.0)
    visitor = Visitor(world)
    _, ticket = ask(visitor, NEW)
    [(to, code)] = sent_codes(world)
    assert to == NEW and enter(visitor, ticket, code).status_code == 303
    with world.store.read() as session:
        assert session.get_one(Membership, asha).person_id == session.scalars(
            sa.select(WebSession.person_id).where(WebSession.ended_at.is_(None)).order_by(WebSession.id.desc()).limit(1)
        ).one()


@pytest.mark.parametrize("of", ["here", "elsewhere"])
def test_a_phone_that_somebody_else_holds_is_nobodys_to_give(world: World, sangha: int, maitri: int, asha: int, of: str) -> None:
    """Neither before the booking nor between it and the day; and what is said does not tell where that somebody is."""
    adam = organizer(world, sangha, ADAM, "sangha")
    theirs = sangha if of == "here" else maitri
    world.member(theirs, BELA, name="Bela")
    assert book(adam, asha, BELA) == "trouble=taken"
    assert book(adam, asha) == "done=number"
    chitra = world.member(theirs, NEW, name="Chitra")
    assert move(world) == [False] and number_of(world, asha) == ASHA
    with world.store.read() as session:
        holder = session.scalars(sa.select(Phone.current_person_id).where(Phone.number_hash == world.store.hash_number(NEW))).one()
        assert holder == session.get_one(Membership, chitra).person_id


def test_a_wrong_number_says_the_same(world: World, sangha: int, maitri: int, asha: int) -> None:
    world.text(BELA, "JOIN MAITRI", to="+15550002222")
    world.text(BELA, "WRONG", to="+15550002222")
    assert book(organizer(world, sangha, ADAM, "sangha"), asha, BELA) == "trouble=taken"


def test_the_organizers_are_told_even_where_she_has_no_line(world: World, sangha: int, asha: int) -> None:
    adam = world.member(sangha, ADAM, name="Adam", roles=["organizer"], spoke_on="+15550001111")
    with world.store.write() as session:
        # The collective gave up its line: who wrote on it keeps it, she never wrote.
        session.execute(sa.delete(CollectiveLine).where(CollectiveLine.collective_id == sangha))
    assert book(Visitor(world, adam, proven=True), asha) == "done=number"
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 5.0)
    assert [(taken.to, "gets a new number" in taken.body) for taken in carrier.taken] == [(ADAM, True)]


# --- who holds the phone, who is left ------------------------------------------------------------------------------------


def test_a_code_opens_nothing_for_who_holds_the_phone_now(world: World, sangha: int) -> None:
    """Two organizers share a phone: the one asked for a code, then the other one took the phone."""
    world.member(sangha, ASHA, name="Ana", roles=["organizer"])
    bea = world.member(sangha, ASHA, name="Bea", roles=["viewer"])
    visitor = Visitor(world)
    _, ticket = ask(visitor, ASHA)
    [(_, code)] = sent_codes(world)
    with world.store.write() as session:
        session.execute(sa.update(Phone).values(current_person_id=session.get_one(Membership, bea).person_id))
    assert enter(visitor, ticket, code).status_code == 403
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(WebSession)) == 0


def test_two_organizers_who_remove_each_other_leave_one(world: World, sangha: int, asha: int) -> None:
    bela = world.member(sangha, BELA, name="Bela", roles=["organizer"])
    for each in (asha, bela):
        give_factor(world, each)
    visitors = [(Visitor(world, asha, proven=True), bela), (Visitor(world, bela, proven=True), asha)]
    if world.store.is_sqlite:
        for visitor, other in visitors:
            visitor.post(f"/members/{other}/remove", {"sure": "yes"})
    else:
        _remove_at_once(world, visitors)
    with world.store.read() as session:
        assert len(holders(session, sangha, "organizer")) == 1
        assert session.scalars(sa.select(Membership.state).order_by(Membership.state)).all() == ["active", "left"]


def _remove_at_once(world: World, visitors: list[tuple[Visitor, int]]) -> None:
    """Both requests are under way before either can end: a third transaction holds what each of them writes last."""
    threads = [
        threading.Thread(target=visitor.post, args=(f"/members/{other}/remove", {"sure": "yes"})) for visitor, other in visitors
    ]
    with world.store.write() as session:
        session.execute(sa.text("LOCK TABLE audit IN SHARE MODE"))
        for thread in threads:
            thread.start()
        _wait_until_stuck(world, len(threads))
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def _wait_until_stuck(world: World, number: int) -> None:
    waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    pause = threading.Event()
    for _ in range(200):
        with world.store.read() as session:
            if session.scalar(waiting) == number:
                return
        pause.wait(0.05)
    raise AssertionError("the two requests never met")
