"""One person in two collectives: the second one's list learns nothing of what the first one knows, and changes nothing for it."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.members import add_member
from bot.members.search import index_new_names
from models import Collective, Consent, Membership, NameWord, Outbound, Person, Phone
from models.migrations import upgrade
from tests.cli import commands_of
from tests.console import Visitor
from tests.delivery import send_broadcast
from tests.world import World

HERS, STOPPED, WRONG, NEW = "+15558800001", "+15558800002", "+15558800003", "+15558800004"
FIRST, SECOND = "+15550001111", "+15550002222"


@pytest.fixture
def sangha(world: World) -> int:
    return world.collective("SANGHA", [FIRST])


@pytest.fixture
def maitri(world: World, sangha: int) -> int:
    """The second one, with a line of its own."""
    return world.collective("MAITRI", [SECOND])


@pytest.fixture
def asha(world: World, sangha: int) -> int:
    """Sangha's list gave her name, her language and her zone."""
    return world.member(sangha, HERS, name="Asha Secret", language="hi", timezone="Asia/Kolkata")


@pytest.fixture
def eve(world: World, maitri: int) -> Visitor:
    return Visitor(world, world.member(maitri, "+15558800666", name="Eve", roles=["organizer"]), word="maitri", proven=True)


@pytest.fixture
def adam(world: World, sangha: int) -> Visitor:
    return Visitor(world, world.member(sangha, "+15558800777", name="Adam", roles=["organizer"]), proven=True)


def preview(visitor: Visitor, contents: str) -> str:
    fields = {"how": "signed at the door", "file": (io.BytesIO(contents.encode()), "members.csv")}
    response = visitor.post("/members/import/preview", fields, content_type="multipart/form-data")
    assert response.status_code == 200
    return response.text


def rows_of(page: str) -> dict[str, str]:
    cells = re.findall(r'<td class="number">(\d+)</td>(.*?)</tr>', page, re.DOTALL)
    return {row: " ".join(re.sub(r"<[^>]+>", " ", cell).split()) for row, cell in cells}


def bring(visitor: Visitor, contents: str) -> None:
    found = re.search(r'name="ticket" value="([^"]+)"', preview(visitor, contents))
    assert found is not None
    assert visitor.post("/members/import/do", {"ticket": found[1], "skip": "yes"}).status_code == 303


def membership(world: World, collective: int, number: str = HERS) -> Membership | None:
    with world.store.read() as session:
        hers = sa.select(Membership).join(Person).join(Phone, Phone.id == Person.phone_id)
        mine = hers.where(Phone.number_hash == world.store.hash_number(number), Membership.collective_id == collective)
        return session.scalars(mine).one_or_none()


def person(world: World) -> Person:
    with world.store.read() as session:
        hers = sa.select(Person).join(Phone, Phone.id == Person.phone_id)
        return session.scalars(hers.where(Phone.number_hash == world.store.hash_number(HERS))).one()


def listed(visitor: Visitor, **search: str) -> str:
    return visitor.text(visitor.post("/members/find", search).headers["Location"])


# --- what the preview tells ----------------------------------------------------------------------------------------------


def test_a_preview_tells_what_would_happen_here_and_no_more(world: World, sangha: int, asha: int, eve: Visitor) -> None:
    world.member(sangha, STOPPED, name="Silent", spoke_on=FIRST)
    world.text(STOPPED, "STOP")
    world.text(WRONG, "JOIN SANGHA")
    world.text(WRONG, "WRONG")
    rows = rows_of(preview(eve, f"phone\n{HERS}\n{STOPPED}\n{WRONG}\n{NEW}\n"))
    assert rows["2"] == rows["3"] == rows["5"], "known elsewhere, stopped elsewhere, known nowhere: all the same"
    assert "becomes a member" in rows["2"]
    assert "refused" in rows["4"] and "nothing can be sent to this number" in rows["4"] and "wrong" not in rows["4"]
    bring(eve, f"phone\n{WRONG}\n{NEW}\n")
    with world.store.read() as session:
        assert session.scalars(sa.select(Phone.detached_at).where(Phone.number_hash == world.store.hash_number(WRONG))).one() is not None
        assert session.scalar(sa.select(sa.func.count()).where(Membership.collective_id == 2)) == 2, "Eve and the new one"


def test_what_happened_here_is_told(world: World, maitri: int, eve: Visitor) -> None:
    world.text(STOPPED, "JOIN MAITRI", to=SECOND)
    world.text(STOPPED, "STOP", to=SECOND)
    world.text(WRONG, "JOIN MAITRI", to=SECOND)
    world.text(WRONG, "WRONG", to=SECOND)
    rows = rows_of(preview(eve, f"phone\n{STOPPED}\n{WRONG}\n"))
    assert "Sent STOP" in rows["2"] and "said it is a wrong number" in rows["3"]


def test_the_command_line_tells_no_more(world: World, sangha: int, maitri: int, tmp_path) -> None:  # type: ignore[no-untyped-def]
    world.member(sangha, STOPPED, spoke_on=FIRST)
    world.text(STOPPED, "STOP")
    world.text(WRONG, "JOIN SANGHA")
    world.text(WRONG, "WRONG")
    (tmp_path / "members.csv").write_text(f"phone\n{STOPPED}\n{WRONG}\n")
    run = commands_of(world.deployment)
    told = run("members", "import", str(tmp_path / "members.csv"), "--collective", "MAITRI", "--consent", "signed at the door").output
    assert "STOP" not in told and "wrong number" not in told and "nothing can be sent to this number: row 3" in told


# --- what the list brought -----------------------------------------------------------------------------------------------


def test_a_bare_number_brings_no_name_no_language_and_no_zone(world: World, maitri: int, asha: int, eve: Visitor) -> None:
    bring(eve, f"phone\n{HERS}\n")
    index_new_names(world.deployment)
    hers = membership(world, maitri)
    assert hers is not None and hers.person_id == person(world).id, "she is the same person"
    page = eve.text(f"/members/{hers.id}")
    assert "Asha" not in page and "Asha" not in eve.text("/members") and "no name" in page
    assert 'value="hi" selected' not in page and "Asia/Kolkata" not in page
    assert "no name" not in listed(eve, language="hi"), "nor by trying languages"
    assert "no name" not in listed(eve, name="asha"), "nor by trying names"
    assert "no name" in listed(eve, language="en"), "as the collective, like anybody who said nothing"
    exported = eve.post("/members/export/file", {"reason": "to look"}).text
    assert HERS in exported and "Asha" not in exported and ",hi," not in exported and "Kolkata" not in exported


def test_each_collective_has_its_own_name_for_her(world: World, sangha: int, maitri: int, asha: int, adam: Visitor, eve: Visitor) -> None:
    index_new_names(world.deployment)
    bring(eve, f"phone,name,language,timezone\n{HERS},Maya Other,es,America/Chicago\n")
    index_new_names(world.deployment)
    assert "Maya Other" in listed(eve, name="maya") and "Asha" not in eve.text("/members")
    assert "Asha Secret" in listed(adam, name="asha") and "Maya" not in adam.text("/members")
    assert "Nobody was found" in listed(adam, name="maya") and "Nobody was found" in listed(eve, name="asha")
    assert (person(world).language, person(world).timezone) == ("hi", "Asia/Kolkata"), "what holds for Sangha stays"
    assert 'value="hi" selected' in adam.text(f"/members/{asha}"), "and Sangha sees it as before"


def test_blanks_are_filled_only_where_no_other_collective_is(world: World, sangha: int, maitri: int, eve: Visitor) -> None:
    world.member(sangha, HERS)
    bring(eve, f"phone,name,language,timezone\n{HERS},Maya,es,America/Chicago\n")
    assert (person(world).language, person(world).timezone) == (None, None)
    with world.store.write() as session:
        given = {"number": HERS, "name": "Someone", "language": "es", "how": "told us", "kind": "import"}
        add_member(session, world.store, collective=session.get_one(Collective, maitri), **given)
    assert person(world).language is None
    hers = membership(world, maitri)
    assert hers is not None and hers.name == "Maya"
    world.text(HERS, "LEAVE")
    bring(eve, f"phone,name,language\n{HERS},,es\n")
    assert person(world).language == "es", "now she is Maitri's alone"


def test_a_name_that_she_says_is_known_where_she_says_it(world: World, sangha: int, maitri: int, asha: int, eve: Visitor) -> None:
    bring(eve, f"phone\n{HERS}\n")
    world.text(HERS, "NAME Chitra", to=FIRST)
    index_new_names(world.deployment)
    assert "Chitra" not in eve.text("/members") and "Nobody was found" in listed(eve, name="chitra")
    world.text(HERS, "NAME Devi", to=SECOND)
    index_new_names(world.deployment)
    assert "Devi" in listed(eve, name="devi")
    here, there = membership(world, sangha), membership(world, maitri)
    assert here is not None and there is not None and (here.name, there.name) == ("Chitra", "Devi")
    assert "Chitra" in world.text(HERS, "ME", to=FIRST).text and "Devi" in world.text(HERS, "ME", to=SECOND).text


def test_on_a_shared_line_the_name_goes_to_whom_she_tells_it(world: World, sangha: int) -> None:
    """Asked by the one that she joins, she answers that one; NAME by itself is said to every one on the line."""
    world.member(sangha, HERS, name="Asha")
    maitri = world.collective("MAITRI", [FIRST])
    world.text(HERS, "JOIN MAITRI")
    world.text(HERS, "1")
    assert "Devi" in world.text(HERS, "Devi").text
    here, there = membership(world, sangha), membership(world, maitri)
    assert here is not None and there is not None and (here.name, there.name) == ("Asha", "Devi")
    assert "Asha, Devi" in world.text(HERS, "ME").text
    world.text(HERS, "NAME Chitra")
    here, there = membership(world, sangha), membership(world, maitri)
    assert here is not None and there is not None and here.name == there.name == "Chitra"


def test_a_sister_takes_the_phone_by_the_name_that_a_list_gave_her(world: World, sangha: int, adam: Visitor) -> None:
    bring(adam, f"phone,name\n{HERS},Ana\n")
    world.text(HERS, "JOIN SANGHA")
    world.text(HERS, "2")
    world.text(HERS, "Bea")
    world.text(HERS, "NAME Ana")
    with world.store.read() as session:
        holder = sa.select(Membership.name).join(Phone, Phone.current_person_id == Membership.person_id)
        assert session.scalars(holder.where(Phone.number_hash == world.store.hash_number(HERS))).one() == "Ana"


def test_who_comes_by_her_own_join_is_seen_as_she_is(world: World, maitri: int, asha: int, eve: Visitor) -> None:
    """Her language is hers, wherever she writes; the name that a list gave her stays where the list was."""
    world.text(HERS, "JOIN MAITRI", to=SECOND)
    hers = membership(world, maitri)
    assert hers is not None
    page = eve.text(f"/members/{hers.id}")
    assert 'value="hi" selected' in page and "Asha" not in page


def test_a_list_in_two_languages_gets_her_a_broadcast_once_and_in_hers(
    world: World, sangha: int, maitri: int, asha: int, eve: Visitor
) -> None:
    bring(eve, f"phone,name\n{HERS},Maya\n")
    old = send_broadcast(world, maitri)
    with world.store.read() as session:
        hers = session.scalars(
            sa.select(Outbound).join(Phone, Phone.id == Outbound.phone_id).where(
                Outbound.broadcast_id == old, Phone.number_hash == world.store.hash_number(HERS)
            )
        ).all()
    assert [row.language for row in hers] == ["hi"]
    assert "Maitri" in world.text(HERS, "LEAVE", to=SECOND).text, "and she leaves it by text like anybody"
    gone, stays = membership(world, maitri), membership(world, sangha)
    assert gone is not None and stays is not None and (gone.state, stays.state) == ("left", "active")


# --- what an organizer may say for her -----------------------------------------------------------------------------------


def test_nobody_says_her_language_for_another_collective(
    world: World, sangha: int, maitri: int, asha: int, adam: Visitor, eve: Visitor
) -> None:
    bring(eve, f"phone\n{HERS}\n")
    hers = membership(world, maitri)
    assert hers is not None
    for visitor, member in ((eve, hers.id), (adam, asha)):
        answer = visitor.post(f"/members/{member}/about", {"language": "es", "timezone": "America/Chicago"}).headers["Location"]
        assert "trouble=belongs_elsewhere" in answer and "by text (LANG)" in visitor.text(answer)
    assert (person(world).language, person(world).timezone) == ("hi", "Asia/Kolkata")
    eve.post(f"/members/{hers.id}/remove", {"sure": "yes"})
    adam.post(f"/members/{asha}/about", {"language": "es", "timezone": ""})
    assert (person(world).language, person(world).timezone) == ("es", None)


# --- taking it back ------------------------------------------------------------------------------------------------------


def test_an_undone_list_leaves_no_trace_and_tells_nothing(world: World, sangha: int, maitri: int, asha: int, eve: Visitor) -> None:
    index_new_names(world.deployment)
    with world.store.read() as session:
        before = set(session.scalars(sa.select(NameWord.hash).where(NameWord.person_id == person(world).id)))
    bring(eve, f"phone,name\n{HERS},Maya Other\n")
    index_new_names(world.deployment)
    world.clock.advance(timedelta(minutes=1))
    world.text(HERS, "MENU", to=FIRST)
    said = eve.text(eve.post("/members/import/1/undo").headers["Location"])
    assert "1 person was removed" in said, "that she wrote to the other collective keeps her in none"
    index_new_names(world.deployment)
    assert membership(world, maitri) is None and membership(world, sangha) is not None
    with world.store.read() as session:
        assert set(session.scalars(sa.select(NameWord.hash).where(NameWord.person_id == person(world).id))) == before


# --- what was there before -----------------------------------------------------------------------------------------------


def test_names_from_before_go_to_the_collective_that_had_her_first(world: World) -> None:
    """The tables as they are one revision back, with a person in two collectives, and one who joined both herself."""
    store = world.store
    sangha, maitri = world.collective("SANGHA"), world.collective("MAITRI")
    with store.write() as session:
        for number, both in ((HERS, False), (NEW, True)):
            phone = Phone(number=number, number_hash=store.hash_number(number), created_at=world.clock.now())
            session.add(phone)
            session.flush()
            who = Person(phone_id=phone.id, name=number, created_at=world.clock.now(), name_indexed=True)
            session.add(who)
            session.flush()
            for collective in (sangha, maitri):
                made = Membership(person_id=who.id, collective_id=collective, joined_at=world.clock.now())
                session.add(made)
                session.flush()
                kind = "join" if both else "import"
                session.add(Consent(membership_id=made.id, kind=kind, text_version="1", language="en", given_at=world.clock.now()))
    with store.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE memberships DROP COLUMN name"))
        connection.execute(sa.text("ALTER TABLE people DROP COLUMN names_indexed"))
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('0004')"))
    upgrade(str(store.url.render_as_string(hide_password=False)))
    with store.read() as session:
        names = session.execute(sa.select(Membership.collective_id, Membership.name).order_by(Membership.id)).all()
        assert [tuple(row) for row in names] == [(sangha, HERS), (maitri, None), (sangha, NEW), (maitri, NEW)]
        assert session.scalars(sa.select(Person.names_indexed)).all() == [False, False]
    assert index_new_names(world.deployment) == 2
