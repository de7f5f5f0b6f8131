"""The first page: what needs a hand, for whom, and where each card leads."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from bot.delivery.broadcasts import draft_broadcast, hold_broadcast
from models import (
    Alert,
    Audit,
    Broadcast,
    Collective,
    Line,
    Membership,
    Note,
    NumberChange,
    Outbound,
    PeerRequest,
    Poll,
    Spending,
)
from models import broadcasts as states
from models.clock import real_seconds
from tests.console import Visitor
from tests.delivery import ScriptedCarrier, change, pump_all, send_broadcast
from tests.world import World

MEMBERS = [f"+1555880{n:04d}" for n in range(1, 6)]


@pytest.fixture
def sangha(world: World) -> int:
    return world.collective("SANGHA")


@pytest.fixture
def members(world: World, sangha: int) -> list[int]:
    return [world.member(sangha, number, name=f"Maya{n}", spoke_on="+15550001111") for n, number in enumerate(MEMBERS)]


_numbers = itertools.count(1)


def person(world: World, sangha: int, *roles: str) -> int:
    """A member with these roles, on a phone of her own."""
    return world.member(sangha, f"+1555880{9000 + next(_numbers)}", name="Asha", roles=roles)


def visit(world: World, sangha: int, *roles: str) -> Visitor:
    return Visitor(world, person(world, sangha, *roles))


def cards(page: str) -> dict[str, tuple[str, str]]:
    """The cards by their title: (all their words, where their one link or button leads)."""
    found = {}
    for card in re.findall(r"<li>\s*<div class=\"card.*?</div>\s*</li>", page, re.S):
        title = re.search(r"<h3>(.*?)</h3>", card)[1]
        ways = re.findall(r'(?:href|action)="([^"]+)"', card)
        assert len(ways) == 1, f"{title} leads to {ways}"
        found[title] = (re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", card)), ways[0])
    return found


def draft(world: World, sangha: int, author: int | None, body: str = "Rally at six") -> int:
    with world.store.write() as session:
        return draft_broadcast(session, world.clock.now(), sangha, "notice", {"en": body}, author_id=author).number


def test_a_fresh_collective_is_told_to_write_its_first_text(world: World, sangha: int) -> None:
    world.member(sangha, "+15558807777", roles=["supporter"])
    asha = visit(world, sangha, "organizer")
    page = asha.text("/")
    assert "Nothing needs a hand now" in page and cards(page) == {}
    assert page.count("Write the first text") == 2 and 'href="/console/sangha/compose"' in page
    viewer = visit(world, sangha, "viewer", "steward").text("/")
    assert "Nothing needs a hand now" in viewer and "/compose" not in viewer


def test_what_is_done_already_is_not_the_next_step(world: World, sangha: int, members: list[int]) -> None:
    world.member(sangha, "+15558807777", roles=["supporter"])
    asha = visit(world, sangha, "organizer")
    send_broadcast(world, sangha)
    pump_all(world, ScriptedCarrier(), 5.0)
    change(world, Broadcast, state=states.DONE)
    page = asha.text("/")
    assert "Write the first text" not in page and "Ask everyone a question" in page


def test_a_draft_waits_for_the_others_and_tells_its_author_so(world: World, sangha: int, members: list[int]) -> None:
    author = person(world, sangha, "organizer")
    miguel, dora, vera = (visit(world, sangha, role) for role in ("organizer", "broadcaster", "viewer"))
    number = draft(world, sangha, author, "<script>alert(1)</script> " + "x" * 200)
    title, link = f"Draft {number} waits for a yes", f"/console/sangha/broadcasts/{number}"
    page = Visitor(world, author).text("/")
    assert "You wrote it" in cards(page)[title][0] and "<script>alert" not in page
    says, way = cards(miguel.text("/"))[title]
    assert "Nothing leaves before you" in says and way == link and "…" in says
    assert title not in cards(dora.text("/")) and title not in cards(vera.text("/"))
    change(world, Broadcast, holder_id=author)
    assert "An organizer holds it" in cards(miguel.text("/"))[title][0]
    world.clock.advance(timedelta(hours=13))
    assert title not in cards(Visitor(world, author).text("/")), "too old for a yes"


def test_a_text_on_its_way_held_and_about_to_leave(world: World, sangha: int, members: list[int]) -> None:
    vera, asha = visit(world, sangha, "viewer"), visit(world, sangha, "organizer")
    broadcast = send_broadcast(world, sangha)
    says, link = cards(vera.text("/"))["Text 1 is on its way"]
    assert "0 of 7 have left" in says and link == "/console/sangha/broadcasts/1"
    with world.store.write() as session:
        assert hold_broadcast(session, world.clock.now(), session.get_one(Broadcast, broadcast), reason="filtered", code=30007)
    assert "spam" in cards(vera.text("/"))["Text 1 is held"][0]
    assert "Decide what becomes of it" in cards(asha.text("/"))["Text 1 is held"][0]
    soon = world.clock.now() + timedelta(seconds=20)
    change(world, Broadcast, state=states.SCHEDULED, due_at=soon, hold_reason=None)
    assert "Text 1 is about to leave" in cards(asha.text("/"))
    change(world, Broadcast, due_at=world.clock.now() + timedelta(days=1))
    page = asha.text("/")
    assert "Text 1 is about to leave" not in cards(page) and "Text 1 leaves" in page


def test_that_somebody_is_asked_how_she_is_shows_to_organizers_alone(world: World, sangha: int, members: list[int]) -> None:
    now = world.clock.now()
    with world.store.write() as session:
        draft_broadcast(session, now, sangha, "check_in", {})
        booked = draft_broadcast(session, now, sangha, "check_in", {})
        booked.state, booked.due_at = states.SCHEDULED, now + timedelta(days=1)
    for roles, sees in ((("viewer",), False), (("broadcaster", "viewer"), False), (("steward",), False), (("organizer",), True)):
        page = visit(world, sangha, *roles).text("/")
        assert ("Draft 1 waits for a yes" in cards(page), "Text 2 leaves" in page) == (sees, sees), roles


def test_notes_and_calls_for_help_are_the_organizers(world: World, sangha: int, members: list[int]) -> None:
    now = world.clock.now()
    with world.store.write() as session:
        for n, (member, kind, state) in enumerate(
            [(0, "note", "open"), (0, "note", "open"), (1, "sos", "open"), (2, "note", "closed"), (3, "note", "open")], 1
        ):
            session.add(
                Note(collective_id=sangha, number=n, membership_id=members[member], kind=kind, state=state, body="x", created_at=now)
            )
    change(world, Membership, Membership.id == members[3], muted_at=now)
    asha = visit(world, sangha, "organizer")
    page = asha.text("/")
    found = cards(page)
    assert next(iter(found)) == "SOS: somebody asked for help"
    assert found["SOS: somebody asked for help"][1] == "/console/sangha/notes/3"
    assert "1 person waits" in found["Members wrote to you"][0]
    assert "Maya" not in page
    assert not {"SOS: somebody asked for help", "Members wrote to you"} & set(cards(visit(world, sangha, "supporter").text("/")))


def test_who_asked_for_a_peer_shows_to_supporters_alone(world: World, sangha: int, members: list[int]) -> None:
    now = world.clock.now()
    with world.store.write() as session:
        session.add(PeerRequest(collective_id=sangha, number=9, membership_id=members[0], good_time="six", created_at=now))
        session.add(PeerRequest(collective_id=sangha, number=8, membership_id=members[1], good_time="six", created_at=now, answered_at=now))
    says, link = cards(visit(world, sangha, "supporter").text("/"))["Somebody would like to talk"]
    assert "1 person waits" in says and link == "/console/sangha/care"
    page = visit(world, sangha, "organizer", "admin", "steward", "viewer").text("/")
    assert "Somebody would like to talk" not in page and "/care" not in page


def test_supporters_who_are_missing(world: World, sangha: int, members: list[int]) -> None:
    organizer = person(world, sangha, "organizer")
    assert cards(Visitor(world, organizer).text("/"))["There is no supporter"][1] == "/console/sangha/members"
    supporter = person(world, sangha, "supporter")
    assert cards(Visitor(world, organizer).text("/")) == {}, "it is morning"
    world.clock.advance(timedelta(hours=9))  # 18:00, and night begins at nine
    asha, grace, title = Visitor(world, organizer), Visitor(world, supporter), "No supporter is ON tonight"
    assert cards(asha.text("/"))[title][1] == "/console/sangha/members?role=supporter"
    assert cards(grace.text("/"))[title][1] == "/console/sangha/duty"
    assert asha.post("/duty", {"on": "yes"}).status_code == 403
    for _ in range(2):
        assert grace.post("/duty", {"on": "yes"}).status_code == 303
    page = grace.text("/")
    assert title not in cards(page) and "You are ON" in page
    assert grace.post("/duty").status_code == 303
    assert "You are OFF" in grace.text("/") and title in cards(asha.text("/"))
    with world.store.read() as session:
        assert session.scalars(sa.select(Audit.act).order_by(Audit.id)).all() == ["on duty", "off duty"], "a double click is one act"
    change(world, Collective, quiet_from=23, quiet_until=6)
    assert title not in cards(asha.text("/")), "this collective goes to bed late"


def test_lines_that_fail_and_lists_that_nobody_reads(world: World, sangha: int, members: list[int]) -> None:
    now = world.clock.now()
    world.member(sangha, "+15558807777", roles=["supporter"])
    asha, vera = visit(world, sangha, "organizer"), visit(world, sangha, "viewer")
    real = datetime.fromtimestamp(real_seconds(), UTC)
    change(world, Line, read_through=real - timedelta(minutes=5))
    assert cards(asha.text("/")) == {}
    change(world, Line, held_until=now + timedelta(hours=1), held_code=30034, read_through=real - timedelta(minutes=95))
    found = cards(asha.text("/"))
    assert "registered with US carriers" in found["Texts from +15550001111 wait"][0]
    assert "9" in found["Texts to +15550001111 may be missing"][0]
    assert cards(vera.text("/")) == {}
    world.clock.advance(timedelta(hours=1))
    change(world, Line, read_through=real)
    assert cards(asha.text("/")) == {}


def test_money_numbers_and_what_is_not_certain(world: World, sangha: int, members: list[int]) -> None:
    now = world.clock.now()
    world.member(sangha, "+15558807777", roles=["supporter"])
    asha, adam, vera = (visit(world, sangha, role) for role in ("organizer", "admin", "viewer"))
    broadcast = send_broadcast(world, sangha)
    pump_all(world, ScriptedCarrier(), 5.0)
    change(world, Outbound, state="unknown", checks=2, check_at=None)
    change(world, Broadcast, state=states.DONE)
    change(world, Collective, Collective.id == sangha, monthly_cap_micros=10_000_000)
    with world.store.write() as session:
        session.merge(Spending(collective_id=sangha, month="2026-04", micros=7_900_000))
        hers = session.get_one(Membership, members[0]).person_id
        booked = {"collective_id": sangha, "asked_by": members[0], "asked_at": now, "due_at": now + timedelta(days=1)}
        session.add(NumberChange(person_id=hers, **booked))
    found = cards(asha.text("/"))
    assert "For 9 people nobody can tell" in found["Text 1: not certain"][0]
    assert found["Text 1: not certain"][1] == "/console/sangha/broadcasts/1"
    assert "Maya0 gets a new number tomorrow at 09:00" in found["A number is about to change"][0]
    assert found["A number is about to change"][1] == f"/console/sangha/members/{members[0]}"
    assert "The money for texts runs out" not in found
    change(world, Spending, micros=8_000_000)
    found = cards(asha.text("/"))
    assert "8.00 of 10.00" in found["The money for texts runs out"][0] and "80%" in found["The money for texts runs out"][0]
    assert set(cards(adam.text("/"))) == {"The money for texts runs out", "A number is about to change"}
    assert cards(vera.text("/")) == {}
    change(world, Outbound, Outbound.broadcast_id == broadcast, resent=True)
    change(world, NumberChange, cancelled_at=now)
    assert set(cards(asha.text("/"))) == {"The money for texts runs out"}


def test_what_is_coming_stands_by_its_hour(world: World, sangha: int, members: list[int]) -> None:
    now = world.clock.now()
    with world.store.write() as session:
        poll = Poll(collective_id=sangha, options=2, closes_at=now + timedelta(hours=30), created_at=now)
        alert = Alert(collective_id=sangha, starts_at=now + timedelta(hours=5), created_at=now)
        over = Alert(collective_id=sangha, starts_at=now - timedelta(hours=5), created_at=now)
        session.add_all([poll, alert, over])
        session.flush()
        ids = poll.id, alert.id, over.id
    send_broadcast(world, sangha, "Where?", kind="poll", options={"en": ["Park", "School"]}, poll_id=ids[0])
    send_broadcast(world, sangha, "Rally", kind="alert", alert_id=ids[1])
    page = visit(world, sangha, "viewer").text("/")
    coming = re.search(r'id="coming".*?</ul>', page, re.S)[0]
    assert re.findall(r'href="([^"]+)">([^<]+)<', coming) == [
        ("/console/sangha/actions/2", "Action 2 begins"),
        ("/console/sangha/polls/1", "Vote 1 closes"),
    ]
    assert "Nothing is booked" in visit(world, sangha, "supporter").text("/")


def test_how_it_goes_in_small_numbers(world: World, sangha: int, members: list[int]) -> None:
    change(world, Membership, Membership.id == members[0], state="left", left_at=world.clock.now())
    change(world, Membership, Membership.id == members[1], joined_at=world.clock.now() - timedelta(days=40))
    with world.store.write() as session:
        poll = Poll(collective_id=sangha, options=2, closes_at=world.clock.now() + timedelta(hours=30), created_at=world.clock.now())
        session.add(poll)
        session.flush()
        poll_id = poll.id
    send_broadcast(world, sangha, "Where?", kind="poll", options={"en": ["Park", "School"]}, poll_id=poll_id)
    pump_all(world, ScriptedCarrier(), 5.0)
    change(world, Outbound, state="delivered")
    change(world, Outbound, Outbound.membership_id == members[1], state="undelivered")
    world.text(MEMBERS[2], "A")
    page = visit(world, sangha, "viewer").text("/")
    doing = page[page.index('id="doing"') :]
    assert re.search(r"<dt>active members</dt><dd>5</dd>", doing)
    bars = re.findall(r'bar-name">([^<]*)</span>.*?bar-number">(\d+)(?: <small>of (\d+))?', doing, re.S)
    assert bars == [("Came", "4", ""), ("Went", "1", ""), ("Arrived", "3", "4"), ("Turnout", "1", "4")]


def test_the_live_part_is_sent_only_when_it_changed(world: World, sangha: int, members: list[int]) -> None:
    asha = visit(world, sangha, "organizer")
    live = re.search(r'hx-get="([^"]+)" hx-trigger="every 10s"', asha.text("/"))[1].replace("&amp;", "&")
    assert asha.get(live).status_code == 204
    draft(world, sangha, None)
    response = asha.get(live)
    assert response.status_code == 200 and "<html" not in response.text and "Draft 1 waits for a yes" in cards(response.text)
    assert asha.get(re.search(r'hx-get="([^"]+)"', response.text)[1].replace("&amp;", "&")).status_code == 204
