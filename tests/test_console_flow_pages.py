"""The pages of three flows: votes without a peep at tallies, actions with their headcount, care for supporters alone."""

from __future__ import annotations

import re
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.console.weeks import LEAST, WEEKS
from models import Alert, Audit, Broadcast, CareWeek, CheckIn, Collective, PeerRequest, Poll
from tests.console import Visitor
from tests.delivery import ScriptedCarrier, change, pump_all, send_broadcast
from tests.world import World

MEMBERS = [f"+1555880{n:04d}" for n in range(1, 7)]
ASHA, GRACE, VERA = "+15558809001", "+15558809002", "+15558809003"


@pytest.fixture
def sangha(world: World) -> int:
    return world.collective("SANGHA")


@pytest.fixture
def members(world: World, sangha: int) -> list[int]:
    return [world.member(sangha, number, name=f"Maya{n}", spoke_on="+15550001111") for n, number in enumerate(MEMBERS)]


@pytest.fixture
def asha(world: World, sangha: int) -> Visitor:
    return Visitor(world, world.member(sangha, ASHA, name="Asha", roles=["organizer"]), proven=True)


def ask_poll(world: World, sangha: int) -> int:
    """A poll that everybody was asked; its number."""
    now = world.clock.now()
    with world.store.write() as session:
        made = Poll(collective_id=sangha, options=2, closes_at=now + timedelta(days=1), created_at=now)
        session.add(made)
        session.flush()
        poll_id = made.id
    broadcast = send_broadcast(world, sangha, "Where do we meet?", kind="poll", options={"en": ["Park", "<b>School</b>"]}, poll_id=poll_id)
    pump_all(world, ScriptedCarrier(), 5.0)
    with world.store.read() as session:
        return session.scalars(sa.select(Broadcast.number).where(Broadcast.id == broadcast)).one()


def test_turnout_is_shown_and_no_tally_until_the_close(world: World, sangha: int, members: list[int], asha: Visitor) -> None:
    number = ask_poll(world, sangha)
    for phone in MEMBERS[:4]:
        world.text(phone, "A")
    world.text(MEMBERS[4], "B")
    for path in (f"/polls/{number}", f"/polls/{number}/turnout", "/polls"):
        page = asha.text(path)
        assert "5" in page and "outcome" not in page.lower()
    assert 'hx-trigger="every' in asha.text(f"/polls/{number}/turnout")
    assert asha.post(f"/polls/{number}/close").status_code == 303
    page = asha.text(f"/polls/{number}")
    assert "The outcome" in page and "&lt;b&gt;School&lt;/b&gt;" in page
    bars = re.findall(r'bar-name">([^<]*)</span>.*?bar-number">(\d+)', page, re.S)
    assert bars[-2:] == [("Park", "4"), ("&lt;b&gt;School&lt;/b&gt;", "1")]
    assert 'hx-trigger="every' not in asha.text(f"/polls/{number}/turnout")


def test_a_new_vote_becomes_one_draft(world: World, sangha: int, members: list[int], asha: Visitor) -> None:
    key = re.search(r'name="key" value="([^"]+)"', asha.text("/polls/new"))[1]
    fields = {"text_en": "Where?\nPark\nSchool", "text_es": "¿Donde?\nParque\nEscuela", "hours": "24", "key": key}
    first, second = asha.post("/polls/new", fields), asha.post("/polls/new", fields)
    assert first.status_code == second.status_code == 303
    assert first.headers["Location"] == second.headers["Location"]
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count(Poll.id))) == session.scalar(sa.select(sa.func.count(Broadcast.id))) == 1
    other = asha.post("/polls/new", fields | {"text_en": "When?\nPark\nSchool"})
    assert other.status_code == 400 and "with other words" in other.text and "When?" in other.text
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count(Broadcast.id))) == 1


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"text_en": "Where?"},
        {"text_en": "Where?\nPark\nPARK"},
        {"text_en": "Where?\nStop\nGo"},
        {"text_en": "W?\na\nb", "text_es": "D?\na\nb\nc"},
    ],
)
def test_a_vote_that_is_none_is_given_back_with_a_hint(asha: Visitor, world: World, texts: dict[str, str]) -> None:
    response = asha.post("/polls/new", texts | {"hours": "24", "key": "k"})
    assert response.status_code == 400 and 'role="alert"' in response.text
    assert texts.get("text_en", "").split("\n")[0] in response.text
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count(Poll.id))) == 0


def test_headcount_and_names(world: World, sangha: int, members: list[int], asha: Visitor) -> None:
    now = world.clock.now()
    with world.store.write() as session:
        alert = Alert(collective_id=sangha, starts_at=now + timedelta(hours=5), created_at=now)
        session.add(alert)
        session.flush()
        alert_id = alert.id
    broadcast = send_broadcast(world, sangha, "Rally at Gandhi Chowk", kind="alert", alert_id=alert_id)
    pump_all(world, ScriptedCarrier(), 5.0)
    with world.store.read() as session:
        number = session.scalars(sa.select(Broadcast.number).where(Broadcast.id == broadcast)).one()
    world.text(MEMBERS[0], "yes")
    world.text(MEMBERS[1], "yes")
    world.text(MEMBERS[2], "no")
    page = asha.text(f"/actions/{number}")
    bars = dict(re.findall(r'bar-name">([^<]*)</span>.*?bar-number">(\d+)', page, re.S))
    assert bars["Come"] == "2" and bars["Do not come"] == "1"
    assert "Maya" not in page
    assert "Maya0" in asha.text(f"/actions/{number}/names") and "Maya2" not in asha.text(f"/actions/{number}/names")
    assert "Maya2" in asha.text(f"/actions/{number}/names?answer=no")
    viewer = Visitor(world, world.member(sangha, VERA, roles=["viewer"]))
    assert viewer.get(f"/actions/{number}").status_code == 200
    assert viewer.get(f"/actions/{number}/names").status_code == 403
    assert "/names" not in viewer.text(f"/actions/{number}")


@pytest.fixture
def grace(world: World, sangha: int) -> Visitor:
    return Visitor(world, world.member(sangha, GRACE, name="Grace", roles=["supporter"]))


def test_a_supporter_answers_somebody_who_would_like_to_talk(world: World, sangha: int, members: list[int], grace: Visitor) -> None:
    with world.store.write() as session:
        session.add(
            PeerRequest(
                collective_id=sangha, number=90, membership_id=members[0], good_time="after <i>six</i>", created_at=world.clock.now()
            )
        )
    page = grace.text("/care")
    assert "after &lt;i&gt;six&lt;/i&gt;" in page and "Maya" not in page and MEMBERS[0] not in page
    assert grace.post("/care/90/answer", {"words": "I am here", "seen": ""}).headers["Location"].endswith("/care")
    assert "trouble=answered" in grace.post("/care/90/answer", {"words": "I am here", "seen": ""}).headers["Location"]
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 5.0)
    assert [(taken.to, taken.body) for taken in carrier.taken] == [(MEMBERS[0], "Sangha: I am here")]
    for nobodys in (91, 2**31):
        assert grace.post(f"/care/{nobodys}/answer", {"words": "x"}).status_code == 404
    with world.store.read() as session:
        assert [(row.act, row.subject) for row in session.execute(sa.select(Audit.act, Audit.subject))] == [("peer answered", "")]


def answer_check_ins(world: World, sangha: int, moods: list[tuple[int, int]], weeks_ago: int = 1) -> None:
    """(membership, mood), a minute apart, in a week that is over."""
    at = world.clock.now() - timedelta(weeks=weeks_ago)
    with world.store.write() as session:
        for minute, (member, mood) in enumerate(moods):
            session.add(CheckIn(membership_id=member, collective_id=sangha, mood=mood, at=at + timedelta(minutes=minute)))


def weeks_told(page: str) -> list[tuple[str, str, str, str]]:
    """Monday, people, mean and hard days of each week that shows numbers, the newest first."""
    cells = r'<td class="number">(\d+)</td><td class="number">([\d.]+)</td><td class="number">(\d+) %'
    return re.findall(r'<time datetime="([^"]+)">[^<]*</time></td>\s*' + cells, page)


def test_a_week_with_fewer_than_five_people_shows_no_number(world: World, sangha: int, members: list[int], grace: Visitor) -> None:
    answer_check_ins(world, sangha, [(member, 2 if n else 5) for n, member in enumerate(members[:LEAST])], weeks_ago=2)
    answer_check_ins(world, sangha, [(member, 1 + n % 2) for n, member in enumerate(members[: LEAST - 1])])
    page = grace.text("/care")
    assert weeks_told(page) == [("2026-03-23", "5", "2.6", "80")] and page.count('class="dot"') == 1
    assert page.count("not shown") == WEEKS - 1


def test_people_are_counted_once_a_week_by_their_last_answer(world: World, sangha: int, members: list[int], grace: Visitor) -> None:
    answer_check_ins(world, sangha, [(members[0], 1)] * 3 + [(members[1], 4)] * 3, weeks_ago=2)
    answer_check_ins(world, sangha, [(members[0], 1), *((member, 4) for member in members[:4]), (members[4], 5)])
    assert weeks_told(grace.text("/care")) == [("2026-03-30", "5", "4.2", "0")], "six answers of two people are those of two people"


def test_a_week_in_which_all_said_the_same_shows_no_number(world: World, sangha: int, members: list[int], grace: Visitor) -> None:
    answer_check_ins(world, sangha, [(member, 2) for member in members])
    assert weeks_told(grace.text("/care")) == []


def test_a_week_is_told_when_it_is_over_and_then_stands(world: World, sangha: int, members: list[int], grace: Visitor) -> None:
    answer_check_ins(world, sangha, [(member, 1 + n) for n, member in enumerate(members[:LEAST])], weeks_ago=0)
    assert weeks_told(grace.text("/care")) == [], "this week is not over"
    world.clock.advance(timedelta(days=1))  # from Sunday to Monday
    grace = Visitor(world, world.member(sangha, VERA, roles=["supporter"]))
    told = [("2026-04-06", "5", "3.0", "40")]
    assert weeks_told(grace.text("/care")) == told
    with world.store.write() as session:
        session.execute(sa.delete(CheckIn).where(CheckIn.membership_id == members[0]))
        session.add(CheckIn(membership_id=members[5], collective_id=sangha, mood=5, at=world.clock.now() - timedelta(days=2)))
    assert weeks_told(grace.text("/care")) == told, "the difference would tell how she was who is gone"


def test_two_who_look_first_see_the_same(world: World, sangha: int, members: list[int], grace: Visitor) -> None:
    answer_check_ins(world, sangha, [(member, 1 + n % 5) for n, member in enumerate(members)])
    pages: list[str] = []
    visitors = [grace, Visitor(world, world.member(sangha, VERA, roles=["supporter"]))]
    looking = [threading.Thread(target=lambda visitor=visitor: pages.append(visitor.text("/care"))) for visitor in visitors]
    for each in looking:
        each.start()
    for each in looking:
        each.join()
    assert [weeks_told(page) for page in pages] == [[("2026-03-30", "6", "2.7", "50")]] * 2
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(CareWeek)) == WEEKS


def test_moving_the_clocks_counts_no_answer_twice(world: World, sangha: int, members: list[int], grace: Visitor) -> None:
    change(world, Collective, timezone="America/Los_Angeles")
    # Sunday evening in Los Angeles, Monday morning in Kolkata.
    world.clock.advance(timedelta(hours=13))
    answer_check_ins(world, sangha, [(member, 1 + n % 5) for n, member in enumerate(members)], weeks_ago=0)
    world.clock.advance(timedelta(hours=10))
    los_angeles = weeks_told(Visitor(world, world.member(sangha, VERA, roles=["supporter"])).text("/care"))
    assert los_angeles == [("2026-04-06", "6", "2.7", "50")]
    change(world, Collective, timezone="Asia/Kolkata")
    world.clock.advance(timedelta(weeks=1))
    kolkata = Visitor(world, world.member(sangha, ASHA, roles=["supporter"]))
    assert weeks_told(kolkata.text("/care")) == los_angeles, "what is told already keeps its dates; the week beside it is left out"
    answer_check_ins(world, sangha, [(member, 2 + n % 3) for n, member in enumerate(members)], weeks_ago=0)
    world.clock.advance(timedelta(weeks=1))
    assert [week[0] for week in weeks_told(visit_again(world, sangha))] == ["2026-04-20", "2026-04-06"]


def visit_again(world: World, sangha: int) -> str:
    """The page, to a supporter who has just logged in: sessions do not last for weeks."""
    return Visitor(world, world.member(sangha, "+15558809009", roles=["supporter"])).text("/care")


def test_care_is_closed_to_organizers_and_admins(world: World, sangha: int) -> None:
    visitor = Visitor(world, world.member(sangha, VERA, roles=["organizer", "admin", "steward", "viewer", "broadcaster"]), proven=True)
    assert visitor.get("/care").status_code == visitor.post("/care/1/answer").status_code == 403
    assert "/care" not in visitor.text("/")
