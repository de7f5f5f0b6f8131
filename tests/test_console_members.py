"""Members: found although names are sealed, changed and removed with care; lists in and out; no number on a page or in an address."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from bot.delivery.broadcasts import draft_broadcast
from bot.members.numbers import change_number
from bot.members.search import hashes_of_name, hashes_of_search, index_new_names
from bot.schedule.timers import claim_due
from models import (
    Alert,
    Audit,
    Broadcast,
    Consent,
    Group,
    GroupMember,
    MemberExport,
    MemberImport,
    Membership,
    NameWord,
    NumberChange,
    Person,
    Phone,
    PhoneLine,
    Role,
    Rsvp,
    WebSession,
)
from tests.console import Visitor
from tests.delivery import ScriptedCarrier, pump_all
from tests.world import World

ASHA, MAYA, OTHER, SUNITA = "+15558800001", "+15558800002", "+15558800003", "+15558800004"
KEY = b"k" * 32


@pytest.fixture
def sangha(world: World) -> int:
    return world.collective("SANGHA")


@pytest.fixture
def asha(world: World, sangha: int) -> Visitor:
    return Visitor(world, world.member(sangha, ASHA, name="Asha Devi", roles=["organizer"]), proven=True)


@pytest.fixture
def maya(world: World, sangha: int) -> int:
    return world.member(sangha, MAYA, name="Maya O'Brien")


def find(asha: Visitor, **fields: object) -> str:
    """What the list shows after the form was sent with these fields."""
    response = asha.post("/members/find", fields)
    assert response.status_code == 303
    return asha.text(response.headers["Location"])


def acts(world: World) -> list[str]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(Audit.act).order_by(Audit.id)))


# --- finding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "search"),
    [
        ("Asha Devi", "ash"), ("Asha Devi", "DEVI asha"), ("José Ñuñez", "jose nun"), ("सुनीता शर्मा", "सुनी"), ("Maya O'Brien", "brien"),
        ("Li Wei", "li"), ("Venkatanarasimha", "venkatanarasimharaju"), ("Anne-Marie", "marie"), ("ज़रीना", "ज़रीना"),
    ],
)  # fmt: skip
def test_a_name_is_found_by_its_words_and_their_beginnings(name: str, search: str) -> None:
    found = hashes_of_search(KEY, 1, search)
    assert found and set(found) <= hashes_of_name(KEY, 1, name)
    assert all(0 <= number < 2**63 for number in found)


@pytest.mark.parametrize(("name", "search"), [("Asha Devi", "as"), ("Asha Devi", "sha"), ("Asha Devi", "ashok"), ("सुनीता", "नीता")])
def test_a_name_is_not_found_by_its_middle_or_by_two_letters(name: str, search: str) -> None:
    assert not set(hashes_of_search(KEY, 1, search)) <= hashes_of_name(KEY, 1, name)
    assert hashes_of_name(KEY, 1, name).isdisjoint(hashes_of_name(b"x" * 32, 1, name)), "without the key nobody can try names"
    assert hashes_of_name(KEY, 1, name).isdisjoint(hashes_of_name(KEY, 2, name)), "a name is found in its own collective"


def test_members_are_found_by_name_without_a_name_in_the_address(world: World, sangha: int, asha: Visitor, maya: int) -> None:
    world.member(sangha, SUNITA, name="सुनीता", language="hi")
    assert index_new_names(world.deployment) == 3 and index_new_names(world.deployment) == 0
    response = asha.post("/members/find", {"name": "may"})
    assert "may" not in response.headers["Location"].lower().replace("/members", "")
    page = asha.text(response.headers["Location"])
    assert "Maya O&#39;Brien" in page and "Asha Devi" not in page
    assert "सुनीता" in find(asha, name="सुनी") and "Nobody was found" in find(asha, name="Zoë")


def test_a_new_name_takes_the_place_of_the_old_one(world: World, asha: Visitor, maya: int) -> None:
    index_new_names(world.deployment)
    world.text(MAYA, "NAME Chitra")
    assert "Nobody was found" in find(asha, name="maya"), "at once, before the clock comes"
    assert index_new_names(world.deployment) == 1
    assert "Chitra" in find(asha, name="chi")


def test_forget_leaves_no_hash(world: World, asha: Visitor, maya: int) -> None:
    index_new_names(world.deployment)
    with world.store.read() as session:
        person = session.scalars(sa.select(Membership.person_id).where(Membership.id == maya)).one()
    world.text(MAYA, "FORGET")
    world.text(MAYA, "YES")
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).where(NameWord.person_id == person)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(NameWord)), "the others' are still there"


def test_filters_combine_and_become_a_group(world: World, sangha: int, asha: Visitor) -> None:
    ids = {}
    for number, (name, language) in enumerate([("Ravi", "hi"), ("Rita", "hi"), ("Rosa", "es"), ("Ruth", None)]):
        ids[name] = world.member(sangha, f"+1555881000{number}", name=name, language=language)
    elsewhere = world.collective("ELSEWHERE")
    world.member(elsewhere, "+15558820001", name="Raja", language="hi")
    line = world.line()
    with world.store.write() as session:
        alert = Alert(collective_id=sangha, created_at=world.clock.now())
        session.add(alert)
        session.flush()
        session.add(Broadcast(collective_id=sangha, number=12, kind="alert", alert_id=alert.id, state="done", created_at=world.clock.now()))
        for name, answer in (("Ravi", "yes"), ("Rita", "no"), ("Rosa", "yes")):
            session.add(Rsvp(alert_id=alert.id, membership_id=ids[name], answer=answer, answered_at=world.clock.now()))
        session.add(PhoneLine(phone_id=_phone(session, ids["Ruth"]), line_id=line, opted_out_at=world.clock.now()))
    assert "Ruth" in find(asha, language="en") and "Rosa" not in find(asha, language="en"), "who said none speaks the collective's"
    page = find(asha, language="hi", action=12, answer="yes")
    assert "Ravi" in page and not any(name in page for name in ("Rita", "Rosa", "Ruth", "Raja"))
    assert "Ruth" in find(asha, state="stopped") and "Ravi" not in find(asha, state="stopped")
    assert "Asha" in find(asha, role="organizer") and "Ravi" not in find(asha, role="organizer")
    fields = {"language": "hi", "action": 12, "answer": "yes", "group_name": "  Speaks HINDI  "}
    saved = [asha.post("/members/group", fields).headers["Location"] for _ in range(2)]  # a double click
    assert "saved=1" in saved[0] and "saved=0" in saved[1]
    page = asha.text(saved[1])
    assert "Ravi" in page and "Rita" not in page
    with world.store.read() as session:
        assert session.scalars(sa.select(Group.name)).all() == ["speaks hindi"]
        assert session.scalars(sa.select(GroupMember.membership_id)).all() == [ids["Ravi"]]
        group = session.scalars(sa.select(Group.id)).one()
    theirs = Visitor(world, world.member(elsewhere, "+15558820002", roles=["organizer"]), word="elsewhere")
    assert "Ravi" not in theirs.text(f"/members?group={group}"), "a group of another collective finds nobody"


def _phone(session: sa.orm.Session, membership: int) -> int:
    return session.scalars(sa.select(Person.phone_id).join(Membership).where(Membership.id == membership)).one()


def test_what_makes_no_sense_in_an_address_is_left_out(world: World, asha: Visitor, maya: int) -> None:
    for query in ("words=zz", "words=" + "f" * 17, "group=99999999999999999999", "language=xx", "role=king", "state=dead",
                  "action=x&answer=yes",
                  "before=%00", "words=-1", "group=%D9%A1"):  # fmt: skip
        assert "Maya" in asha.text(f"/members?{query}"), query


def test_the_list_is_paged_by_id_and_shows_no_number(world: World, sangha: int, asha: Visitor) -> None:
    for number in range(60):
        world.member(sangha, f"+155588{number:05d}", name=f"Person{number:02d}x")
    first = asha.text("/members")
    older = re.search(r'href="([^"]*before=\d+)"', first)
    assert older is not None
    second = asha.text(older[1])
    names = re.findall(r"Person\d\dx", first) + re.findall(r"Person\d\dx", second)
    assert len(names) == 60 == len(set(names)) and names == sorted(names, reverse=True)
    assert "+1555" not in first + second and "15558" not in first + second


# --- one member ----------------------------------------------------------------------------------------------------------


def test_her_page_shows_two_digits_and_no_care(world: World, asha: Visitor, maya: int) -> None:
    with world.store.write() as session:
        session.add(
            Consent(membership_id=maya, kind="check_ins", how="by text", text_version="1", language="en", given_at=world.clock.now())
        )
    page = asha.text(f"/members/{maya}")
    assert "ends in 02" in page and MAYA not in page and "5588" not in page
    assert "Agreed" not in page, "that she said yes to check-ins is nobody's business here"


def test_a_member_of_another_collective_is_not_here(world: World, asha: Visitor) -> None:
    stranger = world.member(world.collective("ELSEWHERE"), OTHER, name="Bela")
    assert asha.get(f"/members/{stranger}").status_code == 404
    for act in ("about", "groups", "remove", "roles", "number", "number/cancel"):
        fields = {"sure": "yes", "role": "organizer", "number": "+15558899999", "language": "es"}
        assert asha.post(f"/members/{stranger}/{act}", fields).status_code == 404, act
    with world.store.read() as session:
        assert session.get_one(Membership, stranger).state == "active" and session.scalars(sa.select(Person.language)).all() == [None, None]


def test_groups_language_and_zone(world: World, sangha: int, asha: Visitor, maya: int) -> None:
    elsewhere = world.collective("ELSEWHERE")
    with world.store.write() as session:
        session.add_all([Group(collective_id=sangha, name="drivers"), Group(collective_id=elsewhere, name="theirs")])
        session.flush()
        drivers, theirs = session.scalars(sa.select(Group.id).order_by(Group.name)).all()
        session.add(GroupMember(group_id=drivers, membership_id=1))
    asha.post(f"/members/{maya}/groups", {"group": [str(drivers), str(theirs)], "new_group": "Cooks"})
    assert re.findall(r"(drivers|cooks|theirs)", asha.text("/members?group=" + str(drivers)))
    with world.store.read() as session:
        names = sa.select(Group.name).join(GroupMember).where(GroupMember.membership_id == maya).order_by(Group.name)
        assert session.scalars(names).all() == ["cooks", "drivers"], "a group of another collective is not one"
    asha.post(f"/members/{maya}/groups", {})
    asha.post(f"/members/{maya}/about", {"language": "es", "timezone": "america/mexico_city"})
    asha.post(f"/members/{maya}/about", {"language": "xx", "timezone": "Nowhere/Else"})
    with world.store.read() as session:
        assert session.scalars(sa.select(GroupMember.membership_id)).all() == [1]
        person = session.scalars(sa.select(Person).join(Membership).where(Membership.id == maya)).one()
        assert (person.language, person.timezone) == ("es", "America/Mexico_City")


@pytest.fixture
def drivers(world: World, sangha: int, asha: Visitor, maya: int) -> int:
    asha.post(f"/members/{maya}/groups", {"new_group": "Drivers"})
    with world.store.read() as session:
        return session.scalars(sa.select(Group.id)).one()


def test_a_group_gets_another_name(world: World, sangha: int, asha: Visitor, maya: int, drivers: int) -> None:
    asha.post(f"/members/{maya}/groups", {"group": str(drivers), "new_group": "cooks"})
    answer = asha.post(f"/members/groups/{drivers}/name", {"group_name": "  Night   Drivers "})
    page = asha.text(answer.headers["Location"])
    assert "The group has another name." in page and "The group night drivers" in page
    asha.post(f"/members/groups/{drivers}/name", {"group_name": "Night\u200b; dri\u3164vers,"})
    for name, says in (("Cooks", "Choose another name"), ("", "Give the group a name"), ("x" * 41, "Give the group a name")):
        assert says in asha.text(asha.post(f"/members/groups/{drivers}/name", {"group_name": name}).headers["Location"])
    assert "night drivers" in asha.text(f"/members/{maya}")
    assert asha.post("/members/groups/999/name", {"group_name": "x"}).status_code == 404
    # What nobody sees, and what separates groups in a list, makes no other name.
    assert acts(world) == ["member's groups changed", "member's groups changed", "group renamed"]


def test_a_group_is_dissolved_and_its_people_stay(world: World, sangha: int, asha: Visitor, maya: int, drivers: int) -> None:
    with world.store.write() as session:
        now = world.clock.now()
        draft = draft_broadcast(session, now, sangha, "notice", {"en": "Fill up."}, group_id=drivers)
    waits = asha.post(f"/members/groups/{drivers}/end")
    assert "has not left yet" in asha.text(waits.headers["Location"]) and "drivers" in asha.text("/members")
    with world.store.write() as session:
        session.get_one(Broadcast, draft.id).state = "done"
    page = asha.text(asha.post(f"/members/groups/{drivers}/end").headers["Location"])
    assert "The group is dissolved" in page and ">drivers<" not in page and ">drivers<" not in asha.text("/compose")
    assert "to the group drivers" in asha.text(f"/broadcasts/{draft.number}"), "what went to it still says so"
    assert asha.text(f"/members/{maya}") and asha.post(f"/members/groups/{drivers}/end").status_code == 404
    # The name is free: whoever uses it again begins anew.
    asha.post(f"/members/{maya}/groups", {"new_group": "drivers"})
    assert ">drivers<" in asha.text("/members")


def test_a_group_of_care_or_of_others_is_not_an_organizers(world: World, sangha: int, asha: Visitor, drivers: int) -> None:
    others = world.collective("OTHERS", lines=("+15550007777",))
    bela = Visitor(world, world.member(others, "+15558800055", roles=["organizer"]), word="others")
    for act in ("name", "end"):
        assert bela.post(f"/members/groups/{drivers}/{act}", {"group_name": "x"}).status_code == 404
    with world.store.write() as session:
        draft_broadcast(session, world.clock.now(), sangha, "check_in", {}, group_id=drivers)
    for act in ("name", "end"):
        assert asha.post(f"/members/groups/{drivers}/{act}", {"group_name": "x"}).status_code == 404
    assert "drivers" not in asha.text("/compose") and "drivers" not in asha.text("/members"), "who is asked how she is, supporters know"


def test_removed_like_her_own_leave(world: World, asha: Visitor, maya: int) -> None:
    asha.post(f"/members/{maya}/remove", {})
    with world.store.read() as session:
        assert session.get_one(Membership, maya).state == "active", "the box was not ticked"
    asha.post(f"/members/{maya}/remove", {"sure": "yes"})
    with world.store.read() as session:
        assert session.get_one(Membership, maya).state == "left"
    assert acts(world) == ["member removed"] and "Maya" not in asha.text("/members") and "Maya" in asha.text("/members?state=left")


def test_what_takes_power_asks_for_the_app(world: World, sangha: int, maya: int) -> None:
    asha = Visitor(world, world.member(sangha, ASHA, roles=["organizer"]))
    for act in ("remove", "roles", "number"):
        asha.post(f"/members/{maya}/{act}", {"sure": "yes", "role": "organizer", "number": "+15558899999"})
    asha.post("/members/export/file", {"reason": "to print it"})
    with world.store.read() as session:
        assert session.scalars(sa.select(Role.role)).all() == ["organizer"] and session.get_one(Membership, maya).state == "active"
        assert session.scalar(sa.select(sa.func.count()).select_from(MemberExport)) == 0


def test_who_gets_check_ins_is_told_to_supporters_alone(world: World, sangha: int, asha: Visitor, maya: int) -> None:
    with world.store.write() as session:
        care, plain = Group(collective_id=sangha, name="tuesdaycircle"), Group(collective_id=sangha, name="assembly")
        session.add_all([care, plain])
        session.flush()
        # One notice to it, by somebody who may, makes it no group for everybody.
        for number, (group, kind) in enumerate([(care, "check_in"), (care, "notice"), (plain, "notice")]):
            session.add(
                Broadcast(collective_id=sangha, number=number, kind=kind, state="done", group_id=group.id, created_at=world.clock.now())
            )
        session.add_all([GroupMember(group_id=group.id, membership_id=maya) for group in (care, plain)])
        hidden = care.id
    assert "to a group" in asha.text("/broadcasts/1") and "tuesdaycircle" not in asha.text("/broadcasts/1")
    for path in ("/members", f"/members/{maya}", f"/members?group={hidden}"):
        page = asha.text(path)
        assert "assembly" in page and "tuesdaycircle" not in page
    assert "Asha" in asha.text(f"/members?group={hidden}"), "the filter does not tell who is in it"
    asha.post(f"/members/{maya}/groups", {})
    with world.store.read() as session:
        assert session.scalars(sa.select(GroupMember.group_id)).all() == [hidden], "what she can not see she does not take away"
    supporter = Visitor(world, world.member(sangha, OTHER, roles=["organizer", "supporter"]))
    assert "tuesdaycircle" in supporter.text("/members")
    assert b"tuesdaycircle" not in asha.post("/members/export/file", {"reason": "to print"}).data


def test_a_hidden_group_s_name_is_no_way_into_it(world: World, sangha: int, asha: Visitor, maya: int, drivers: int) -> None:
    with world.store.write() as session:
        care = Group(collective_id=sangha, name="tuesdaycircle")
        session.add(care)
        session.flush()
        session.add(GroupMember(group_id=care.id, membership_id=maya))
        draft_broadcast(session, world.clock.now(), sangha, "check_in", {}, group_id=care.id)
        hidden = care.id
    tried = (
        asha.post("/members/group", {"group_name": "Tuesdaycircle", "group": str(drivers)}),
        asha.post(f"/members/{maya}/groups", {"new_group": "TUESDAYCIRCLE"}),
        asha.post(f"/members/groups/{drivers}/name", {"group_name": "tuesdaycircle"}),
    )
    for answer in tried:
        page = asha.text(answer.headers["Location"])
        assert "Choose another name for the group." in page and "came to this group" not in page and "check-in" not in page
    data = {"how": "signed the list", "country": "US", "file": (io.BytesIO(LISTED.encode()), "members.csv")}
    page = asha.post("/members/import/preview", data, content_type="multipart/form-data").text
    refused = re.search(r"<h2>Refused.*?</table>", page, re.S)
    assert refused is not None and "choose another name for the group" in refused[0] and "Ravi" not in page and "Rita" in page
    asha.post("/members/import/do", {"ticket": ticket(page), "skip": "yes"})
    with world.store.read() as session:
        in_it = sa.select(GroupMember.membership_id).where(GroupMember.group_id == hidden)
        assert session.scalars(in_it).all() == [maya]
        assert session.scalars(sa.select(Group.name).order_by(Group.name)).all() == ["cooks", "drivers", "tuesdaycircle"]
    grace = Visitor(world, world.member(sangha, OTHER, roles=["organizer", "supporter"]))
    grace.post("/members/group", {"group_name": "tuesdaycircle"})
    with world.store.read() as session:
        assert len(session.scalars(in_it).all()) == 4, "who may know of it fills it"


LISTED = "phone,name,groups\n+15558810001,Ravi,cooks;Tuesdaycircle\n+15558810002,Rita,cooks\n"


def test_who_answered_what_organizers_find_alone(world: World, sangha: int, asha: Visitor, maya: int) -> None:
    now = world.clock.now()
    with world.store.write() as session:
        alert = Alert(collective_id=sangha, starts_at=now, created_at=now)
        session.add(alert)
        session.flush()
        session.add(Rsvp(alert_id=alert.id, membership_id=maya, answer="yes", answered_at=now))
        called = draft_broadcast(session, now, sangha, "alert", {"en": "Rally"}, alert_id=alert.id)
    asked = f"/members?action={called.number}&answer=no"
    assert "Maya" not in asha.text(asked) and 'name="answer"' in asha.text(asked)
    admin = Visitor(world, world.member(sangha, OTHER, roles=["admin"]))
    page = admin.text(asked)
    assert "Maya" in page and 'name="answer"' not in page, "to her it is no question"
    assert "answer" not in admin.post("/members/find", {"action": str(called.number), "answer": "no"}).headers["Location"]


@pytest.mark.parametrize("number", [2**31, 999_999_999_999_999, 10**30])
def test_a_number_that_no_action_has_asks_for_nothing(world: World, asha: Visitor, maya: int, number: int) -> None:
    assert "Maya" in asha.text(f"/members?action={number}&answer=yes")


# --- roles ---------------------------------------------------------------------------------------------------------------


def roles_of(world: World, membership: int) -> set[str]:
    with world.store.read() as session:
        return set(session.scalars(sa.select(Role.role).where(Role.membership_id == membership)))


def test_an_organizer_gives_roles_until_there_is_an_admin(world: World, sangha: int, asha: Visitor, maya: int) -> None:
    asha.post(f"/members/{maya}/roles", {"role": ["admin", "king"]})
    assert roles_of(world, maya) == {"admin"}
    asha.post(f"/members/{maya}/roles", {"role": ["admin", "organizer"]})
    assert roles_of(world, maya) == {"admin"}, "now only the admin changes roles"
    asha.post(f"/members/{maya}/remove", {"sure": "yes"})
    assert roles_of(world, maya) == {"admin"}, "and nobody gets rid of the admin by removing her"
    admin = Visitor(world, maya, proven=True)
    admin.post(f"/members/{maya}/roles", {"role": ["admin", "organizer"]})
    assert roles_of(world, maya) == {"admin", "organizer"} and acts(world) == ["admin added", "organizer added"]


def test_the_last_organizer_stays(world: World, asha: Visitor) -> None:
    with world.store.read() as session:
        me = session.scalars(sa.select(Role.membership_id)).one()
    asha.post(f"/members/{me}/roles", {"role": "viewer"})
    asha.post(f"/members/{me}/remove", {"sure": "yes"})
    assert roles_of(world, me) == {"organizer"}


# --- a new number --------------------------------------------------------------------------------------------------------


def texts(world: World) -> dict[str, list[str]]:
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 5.0)
    found: dict[str, list[str]] = {}
    for taken in carrier.taken:
        found.setdefault(taken.to, []).append(taken.body)
    return found


def run_timers(world: World) -> None:
    for timer in claim_due(world.store, world.clock.now()):
        assert timer.kind == "number_change"
        change_number(world.deployment, timer.subject_id)


@pytest.fixture
def bela(world: World, sangha: int) -> int:
    return world.member(sangha, OTHER, name="Bela", roles=["supporter"])


NEW = "+15558899942"


def test_a_number_changes_a_day_later_and_the_old_one_is_told(world: World, asha: Visitor, bela: int) -> None:
    hers = Visitor(world, bela)
    assert asha.post(f"/members/{bela}/number", {"number": NEW}).status_code == 303
    told = texts(world)
    assert "ends in 42" in told[OTHER][0] and len(told[ASHA]) == 1 and NEW not in told
    assert "ends in 42" in asha.text(f"/members/{bela}") and NEW not in asha.text(f"/members/{bela}")
    run_timers(world)
    world.clock.advance(timedelta(hours=23))
    run_timers(world)
    with world.store.read() as session:
        booked = session.scalars(sa.select(NumberChange.id)).one()
    assert change_number(world.deployment, booked) is False, "not before the day is over, whoever asks"
    assert "Sangha" not in world.text(NEW, "STATUS").raw.decode()
    world.clock.advance(timedelta(hours=1))
    run_timers(world)
    with world.store.read() as session:
        person = session.scalars(sa.select(Person).join(Membership).where(Membership.id == bela)).one()
        phone = session.get_one(Phone, person.phone_id)
        assert phone.number == NEW and phone.current_person_id == person.id
        assert session.scalars(sa.select(Phone.current_person_id).where(Phone.number_hash == world.store.hash_number(OTHER))).one() is None
        change = session.scalars(sa.select(NumberChange)).one()
        assert change.number is None and change.done_at is not None
        assert session.scalars(sa.select(WebSession.ended_at).where(WebSession.person_id == person.id)).one() is not None
    assert hers.get("/console/account").status_code == 302, "whoever holds the old phone is logged out"
    assert acts(world) == ["number change asked", "number changed"]


@pytest.mark.parametrize("who", ["organizer", "herself"])
def test_a_change_of_number_is_cancelled(world: World, asha: Visitor, bela: int, who: str) -> None:
    asha.post(f"/members/{bela}/number", {"number": NEW})
    if who == "organizer":
        asha.post(f"/members/{bela}/number/cancel")
    else:
        hers = Visitor(world, bela)
        assert "ends in 42" in hers.text("/console/account")
        hers.post("/console/account/number/cancel")
    world.clock.advance(timedelta(days=2))
    run_timers(world)
    with world.store.read() as session:
        change = session.scalars(sa.select(NumberChange)).one()
        assert change.cancelled_at is not None and change.number is None and change_number(world.deployment, change.id) is False
        assert session.scalar(sa.select(Phone.id).where(Phone.number_hash == world.store.hash_number(NEW))) is None
    assert acts(world) == ["number change asked", "number change cancelled"]


def test_numbers_that_can_not_be_moved_to(world: World, sangha: int, asha: Visitor, maya: int, bela: int) -> None:
    world.member(world.collective("ELSEWHERE"), "+15558820001", name="Bela")
    for member, number in ((bela, MAYA), (bela, OTHER), (bela, "tomorrow"), (maya, NEW)):
        asha.post(f"/members/{member}/number", {"number": number})
        with world.store.read() as session:
            assert session.scalars(sa.select(NumberChange.id)).all() == [], number
    asha.post(f"/members/{bela}/number", {"number": NEW})
    asha.post(f"/members/{bela}/number", {"number": "+15558899943"})
    with world.store.read() as session:
        assert session.scalars(sa.select(NumberChange.number)).all() == [NEW], "one at a time"


# --- lists in and out ----------------------------------------------------------------------------------------------------

FILE = (
    "\ufeffphone;name;language;groups\r\n"
    "(555) 881-0001;Ravi;hi;drivers\r\n"
    "555 881 0002;=HYPERLINK(1);;\r\n"
    "12;Short;;\r\n"
    "+1 555 880 0002;Maya;;\r\n"
    "+1 555 880 0003;Gone;;\r\n"
)


@pytest.fixture
def preview(asha: Visitor) -> Callable[..., TestResponse]:
    def preview(contents: str | bytes, **fields: str) -> TestResponse:
        data = contents.encode() if isinstance(contents, str) else contents
        given = {"how": "signed the list on 3 April", "country": "US", "file": (io.BytesIO(data), "members.csv")} | fields
        return asha.post("/members/import/preview", given, content_type="multipart/form-data")

    return preview


def ticket(page: str) -> str:
    found = re.search(r'name="ticket" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_a_list_is_shown_row_by_row_then_read_in_once_then_taken_back(
    world: World, sangha: int, asha: Visitor, maya: int, preview: Callable[..., TestResponse]
) -> None:
    gone = world.member(sangha, OTHER, name="Gone")
    with world.store.write() as session:
        session.execute(sa.update(Membership).where(Membership.id == gone).values(state="left"))
    page = preview(FILE).text
    cells = re.findall(r'<td class="number">(\d+)</td>(.*?)</tr>', page, re.DOTALL)
    rows = {row: re.sub(r"<[^>]+>|\s+", " ", cell) for row, cell in cells}
    assert "becomes a member" in rows["2"] and "kept as plain text" in rows["3"] and "refused" in rows["4"] and "too short" in rows["4"]
    assert "is a member already" in rows["5"] and "only she can join again" in rows["6"]
    assert "8810001" not in page and "5558800002" not in page and "signed the list" in page
    assert acts(world) == [], "nothing is done yet"
    sealed = ticket(page)
    assert asha.post("/members/import/do", {"ticket": sealed}).status_code == 400, "some rows were refused, and nobody said to go on"
    for _ in range(2):
        assert asha.post("/members/import/do", {"ticket": sealed, "skip": "yes"}).status_code == 303
    with world.store.read() as session:
        done = session.scalars(sa.select(MemberImport)).one()
        assert done.added == 2 and session.scalar(sa.select(sa.func.count()).where(Membership.import_id == done.id)) == 2
        hows = session.scalars(sa.select(Consent.how)).all()
        assert hows == ["signed the list on 3 April"] * 2
        assert session.get_one(Membership, gone).state == "left"
    assert "Ravi" in find(asha, name="ravi"), "found by name at once"
    world.text("+15558810001", "What is this?")
    response = asha.post(f"/members/import/{done.id}/undo")
    assert "1 person was removed" in asha.text(response.headers["Location"])
    with world.store.read() as session:
        left = session.scalars(sa.select(Membership.name)).all()
        assert "Ravi" in left and "=HYPERLINK(1)" not in left, "who wrote stays"
        assert session.scalar(sa.select(Phone.id).where(Phone.number_hash == world.store.hash_number("+15558810002"))) is None
    asha.post(f"/members/import/{done.id}/undo")
    assert acts(world) == ["members imported", "import undone"]


def test_an_undone_list_leaves_stops_and_other_collectives_alone(
    world: World, sangha: int, asha: Visitor, preview: Callable[..., TestResponse]
) -> None:
    elsewhere = world.collective("ELSEWHERE")
    both, line = world.member(elsewhere, "+15558810001", name="Ravi"), world.line()
    with world.store.write() as session:
        session.add(PhoneLine(phone_id=_phone(session, both), line_id=line, opted_out_at=world.clock.now()))
    asha.post("/members/import/do", {"ticket": ticket(preview("phone,name\n+15558810001,Ravi\n+15558810002,Rita\n").text)})
    with world.store.read() as session:
        hers = session.execute(sa.select(Membership.id, Membership.name).where(Membership.collective_id == sangha))
        rita = next(row.id for row in hers if row.name == "Rita")
        everybody = session.scalars(sa.select(Membership.name)).all()
        done = session.scalars(sa.select(MemberImport.id)).one()
        people = session.scalar(sa.select(sa.func.count()).select_from(Person))
    assert sorted(filter(None, everybody)) == ["Asha Devi", "Ravi", "Ravi", "Rita"] and people == 3, "one Ravi, in two collectives"
    with world.store.write() as session:
        session.add(Role(membership_id=rita, role="supporter"))
    asha.post(f"/members/import/{done}/undo")
    with world.store.read() as session:
        assert session.get_one(Membership, rita).state == "active", "she was given a role"
        assert session.get_one(Membership, both).state == "active" and session.scalars(sa.select(PhoneLine.opted_out_at)).one() is not None
        assert session.scalar(sa.select(sa.func.count()).where(Membership.collective_id == sangha)) == 2


def test_a_waiting_list_is_bound_to_its_session_and_its_time(
    world: World, sangha: int, asha: Visitor, preview: Callable[..., TestResponse]
) -> None:
    page = preview("phone,name\n+15558810001,Ravi\n").text
    sealed = ticket(page)
    other = Visitor(world, world.member(sangha, OTHER, roles=["organizer"]))
    assert other.post("/members/import/do", {"ticket": sealed}).status_code == 400
    for broken in ("", "x", sealed[:-9], "AAAA" + sealed[4:], "é"):
        assert asha.post("/members/import/do", {"ticket": broken}).status_code == 400
    world.clock.advance(timedelta(minutes=20))
    assert asha.post("/members/import/do", {"ticket": sealed}).status_code == 400
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(MemberImport)) == 0


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        (b"", "Choose a file."), (b"PK\x03\x04", "this is a workbook"), (b"phone\n\0", "not a text file"),
        (b"name\nMaya\n", "no column named phone"),
        (b'phone,name\n+15558810001,"Ravi\n', "in or before row 2"), (b"phone,phone\n1,2\n", "columns 1 and 2 have the same name"),
        (b"phone\n" + b"1\n" * 5_001, "more than 5,000 rows"), (b"x" * (1024 * 1024 + 1), "larger than 1 MB"),
    ],
)  # fmt: skip
def test_files_that_can_not_be_read(preview: Callable[..., TestResponse], contents: bytes, says: str) -> None:
    response = preview(contents)
    assert response.status_code == 400 and says in response.text


def test_without_consent_nobody_is_taken_in(preview: Callable[..., TestResponse]) -> None:
    assert "Say how and when" in preview(FILE, how=" 12 ").text


def test_what_is_far_too_large_is_refused_kindly(asha: Visitor, preview: Callable[..., TestResponse]) -> None:
    response = preview(b"x" * (3 * 1024 * 1024))
    assert response.status_code == 413 and "too large" in response.text


def test_the_list_goes_out_with_a_reason_and_without_formulas(world: World, sangha: int, asha: Visitor, maya: int) -> None:
    world.member(sangha, OTHER, name="=cmd|' /C calc'!A0")
    assert asha.post("/members/export/file", {"reason": " "}).status_code == 400
    response = asha.post("/members/export/file", {"reason": "the paper list\nfor Sunday", "excel": "yes"})
    assert response.headers["Content-Type"].startswith("text/csv") and "attachment" in response.headers["Content-Disposition"]
    text = response.data.decode()
    assert text.startswith("\ufeffphone,name") and MAYA in text and "'=cmd" in text and "\n=cmd" not in text and ",=cmd" not in text
    with world.store.read() as session:
        taken = session.scalars(sa.select(MemberExport)).one()
        assert (taken.reason, taken.rows) == ("the paper list for Sunday", 3)
    page = asha.text("/members/export")
    assert "the paper list for Sunday" in page and MAYA not in page
    assert acts(world) == ["members exported"]


def test_forget_takes_her_name_off_lists_in_and_out(
    world: World, sangha: int, asha: Visitor, bela: int, preview: Callable[..., TestResponse]
) -> None:
    asha.post("/members/import/do", {"ticket": ticket(preview("phone,name\n+15558810001,Ravi\n").text)})
    asha.post("/members/export/file", {"reason": "the paper list"})
    asha.post(f"/members/{bela}/number", {"number": NEW})
    world.text(ASHA, "FORGET")
    world.text(ASHA, "YES")
    with world.store.read() as session:
        assert session.scalars(sa.select(MemberImport.membership_id)).all() == [None]
        assert session.scalars(sa.select(MemberExport.membership_id)).all() == [None]
        assert session.scalars(sa.select(NumberChange.asked_by)).all() == [0]
