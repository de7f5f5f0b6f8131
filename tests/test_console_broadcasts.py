"""A text from its draft to its end, in the browser: two people's yes, the recall, what is told while it leaves, and who may do what."""

from __future__ import annotations

import re
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.console import standings
from bot.console.access import ROLES
from bot.delivery.plan import plan_broadcast
from models import Audit, Broadcast, Outbound, Role
from models.messages import UNKNOWN
from tests.console import Visitor, code_now, give_factor
from tests.delivery import ScriptedCarrier, change, pump_all, rows, send_broadcast
from tests.test_console_compose import plain
from tests.world import World

ASHA, BELA, CARLA, VERA = "+15558800001", "+15558800002", "+15558800003", "+15558800004"


class Here:
    """A collective with three organizers and a member, each with a browser."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sangha = world.collective("SANGHA")
        self.members = {
            name: world.member(self.sangha, number, name=name, roles=["organizer"])
            for name, number in (("Asha", ASHA), ("Bela", BELA), ("Carla", CARLA))
        }
        world.member(self.sangha, "+15558800009", name="Maya")
        # Asha writes; the others gave a code of their apps a moment ago.
        self.asha, self.bela, self.carla = (Visitor(world, member, proven=name != "Asha") for name, member in self.members.items())

    def write(self, visitor: Visitor | None = None, text: str = "We meet at six.", key: str = "k", **fields: str) -> int:
        """A draft, by the form; its number."""
        form = {"kind": "notice", "text_en": text, "key": key} | fields
        location = (visitor or self.asha).post("/compose", form).headers["Location"]
        return int(location.rsplit("/", 1)[1])

    def say_yes(self, visitor: Visitor, number: int) -> int:
        """Press the button of the page as it stands: a yes to a draft, or to letting go on; the status of the answer."""
        [seen] = set(re.findall(r'name="seen" value="([^"]*)"', visitor.text(f"/broadcasts/{number}"))) or {""}
        return visitor.post(f"/broadcasts/{number}/yes", {"seen": seen}).status_code

    def read(self, number: int) -> Broadcast:
        with self.world.store.read() as session:
            return session.scalars(sa.select(Broadcast).where(Broadcast.number == number)).one()

    def acts(self) -> list[str]:
        with self.world.store.read() as session:
            return list(session.scalars(sa.select(Audit.act).order_by(Audit.id)))

    def plan(self, number: int) -> None:
        self.world.clock.advance(timedelta(seconds=21))
        plan_broadcast(self.world.deployment, self.read(number).id)


@pytest.fixture
def here(world: World) -> Here:
    return Here(world)


@pytest.fixture
def small(small_world: World) -> Here:
    return Here(small_world)


# --- the yes ---------------------------------------------------------------------------------------------------------------


def test_another_organizer_says_yes_and_it_cools_down(here: Here) -> None:
    number = here.write()
    page = plain(here.asha.text(f"/broadcasts/{number}"))
    assert "Step 2 of 3" in page and "Ask the other organizers by text" in page and f"opens text {number}" in page
    assert "Yes, send it" in plain(here.bela.text(f"/broadcasts/{number}"))
    assert here.bela.post(f"/broadcasts/{number}/yes").status_code == 303
    approved = here.read(number)
    assert (approved.state, approved.approved_by, approved.approver_id) == ("scheduled", "organizer", here.members["Bela"])
    page = plain(here.asha.text(f"/broadcasts/{number}"))
    assert "It leaves in 20 seconds" in page and "HOLD" in page and "approved by Bela" in page
    assert here.acts() == ["notice drafted", "approved by organizer"]


def test_her_own_yes_takes_the_code_of_her_app(here: Here) -> None:
    number = here.write()
    asked = here.asha.post(f"/broadcasts/{number}/approve")
    assert "you need an app" in asked.text and here.read(number).state == "draft"
    give_factor(here.world, here.members["Asha"])
    assert "with the code of your app" in here.asha.text(f"/broadcasts/{number}")
    wrong = here.asha.post(f"/broadcasts/{number}/approve", {"proof": "000000"})
    assert wrong.status_code == 403 and here.read(number).state == "draft"
    assert here.asha.post(f"/broadcasts/{number}/approve", {"proof": code_now(here.world)}).status_code == 303
    assert (here.read(number).state, here.read(number).approved_by) == ("scheduled", "code")


def test_another_yes_takes_a_code_as_well_or_her_own_phone(here: Here) -> None:
    number = here.write()
    bela = Visitor(here.world, here.members["Bela"])
    asked = bela.post(f"/broadcasts/{number}/yes")
    assert "you need an app" in asked.text and f"<kbd>OK {number}</kbd>" in asked.text and here.read(number).state == "draft"
    give_factor(here.world, here.members["Bela"])
    assert bela.post(f"/broadcasts/{number}/yes", {"proof": "000000"}).status_code == 403 and here.read(number).state == "draft"
    assert bela.post(f"/broadcasts/{number}/yes", {"proof": code_now(here.world)}).status_code == 303
    assert (here.read(number).state, here.read(number).approved_by) == ("scheduled", "organizer")
    # A hold needs no code: there may be little time.
    assert Visitor(here.world, here.members["Carla"]).post(f"/broadcasts/{number}/hold").status_code == 303
    assert here.read(number).state == "held"
    unproven = Visitor(here.world, here.members["Bela"])
    assert "Is it you?" in unproven.post(f"/broadcasts/{number}/yes").text and here.read(number).state == "held", "letting go sends"


def test_an_app_approves_her_own_drafts_alone(small: Here) -> None:
    number = small.write()
    give_factor(small.world, small.members["Bela"])
    proven = Visitor(small.world, small.members["Bela"], proven=True)
    refused = proven.post(f"/broadcasts/{number}/approve")
    assert refused.status_code == 409 and small.read(number).state == "draft"


def test_nobody_says_yes_to_her_own_words(here: Here) -> None:
    number = here.write()
    refused = Visitor(here.world, here.members["Asha"], proven=True).post(f"/broadcasts/{number}/yes")
    assert refused.status_code == 409 and "another organizer says yes" in refused.text
    # Two organizers on one phone are one hand.
    sister = here.world.member(here.sangha, ASHA, name="Sister", roles=["organizer"])
    assert Visitor(here.world, sister, proven=True).post(f"/broadcasts/{number}/yes").status_code == 409
    assert here.read(number).state == "draft"


def test_two_say_yes_at_once_and_one_of_them_does_it(here: Here) -> None:
    number = here.write()
    answers: dict[str, int] = {}

    def press(name: str, browser: Visitor) -> None:
        answers[name] = browser.post(f"/broadcasts/{number}/yes").status_code

    clicks = [threading.Thread(target=press, args=each) for each in (("Bela", here.bela), ("Carla", here.carla))]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert sorted(answers.values()) == [303, 409]
    assert here.acts().count("approved by organizer") == 1
    late = here.bela.post(f"/broadcasts/{number}/yes")
    assert late.status_code == 409 and "Somebody was first" in late.text and "It leaves in" in plain(late.text)


def test_a_yes_to_the_old_words_finds_nothing(small: Here) -> None:
    number = small.write()
    small.asha.post(f"/broadcasts/{number}/edit", {"text_en": "Pay me.", "draft": str(small.read(number).id)})
    late = small.bela.post(f"/broadcasts/{number}/yes")
    assert late.status_code == 404 and "has a new number" in late.text
    small.world.clock.advance(timedelta(hours=13))
    [draft] = _broadcasts(small.world)
    asha, bela = Visitor(small.world, small.members["Asha"]), Visitor(small.world, small.members["Bela"], proven=True)
    too_old = bela.post(f"/broadcasts/{draft.number}/yes")
    assert too_old.status_code == 409 and "over twelve hours old" in too_old.text
    assert "over twelve hours old" in asha.text(f"/broadcasts/{draft.number}")


def _broadcasts(world: World) -> list[Broadcast]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(Broadcast)))


def test_what_can_not_leave_says_why_before_anybody_says_yes(small: Here) -> None:
    number = small.write()
    change(small.world, Broadcast, Broadcast.number == number, expires_at=small.world.clock.now())
    assert "What it is about is over" in small.bela.text(f"/broadcasts/{number}")
    assert "Yes, send it" not in small.bela.text(f"/broadcasts/{number}")
    assert small.bela.post(f"/broadcasts/{number}/yes").status_code == 409


def test_the_others_are_asked_once_by_text(here: Here) -> None:
    number = here.write(text_es="Nos vemos a las seis.")
    for status in (303, 409):
        assert here.asha.post(f"/broadcasts/{number}/ask").status_code == status
    carrier = ScriptedCarrier()
    pump_all(here.world, carrier, 2.0)
    asked = {text.to: text.body for text in carrier.taken}
    assert set(asked) == {BELA, CARLA}
    assert "We meet at six.\nNos vemos a las seis." in asked[BELA], "whoever says yes has read every language of it"
    assert f"Reply OK {number}" in asked[BELA]
    assert "were asked by text" in here.asha.text(f"/broadcasts/{number}")
    here.world.text(BELA, f"OK {number}")
    assert here.read(number).state == "scheduled"
    assert here.acts() == ["notice drafted", "yes asked for", "approved by organizer"]


def test_what_does_not_fit_into_one_text_is_read_here(small: Here) -> None:
    number = small.write(text="word " * 100)
    assert "too long to be read in one text" in small.asha.text(f"/broadcasts/{number}")
    assert small.asha.post(f"/broadcasts/{number}/ask").status_code == 409
    assert not rows(small.world)


# --- hold, release, stop ------------------------------------------------------------------------------------------------------


def test_a_recall_in_the_cool_down_and_a_release_by_another(here: Here) -> None:
    number = here.write()
    here.bela.post(f"/broadcasts/{number}/yes")
    assert here.asha.post(f"/broadcasts/{number}/hold").status_code == 303
    assert here.asha.post(f"/broadcasts/{number}/hold").status_code == 303, "a double click holds once"
    assert (here.read(number).state, here.read(number).holder_id) == ("held", here.members["Asha"])
    assert "An organizer holds it." in plain(here.carla.text(f"/broadcasts/{number}"))
    assert Visitor(here.world, here.members["Asha"], proven=True).post(f"/broadcasts/{number}/yes").status_code == 409
    assert "Let it go on" in here.carla.text(f"/broadcasts/{number}")
    assert here.say_yes(here.carla, number) == 303
    assert here.read(number).state == "scheduled"
    assert here.acts() == ["notice drafted", "approved by organizer", "held", "released"]


def test_a_held_draft_waits_for_a_third(small: Here) -> None:
    number = small.write()
    small.bela.post(f"/broadcasts/{number}/hold")
    assert small.bela.post(f"/broadcasts/{number}/yes").status_code == 409
    give_factor(small.world, small.members["Asha"])
    assert Visitor(small.world, small.members["Asha"], proven=True).post(f"/broadcasts/{number}/approve").status_code == 409
    assert small.say_yes(small.carla, number) == 303


def test_a_stale_yes_lifts_no_hold(here: Here) -> None:
    """Bela looks at a draft; Carla approves it, Asha holds it. Bela's yes was to the draft, and not to letting go what Asha stopped."""
    number = here.write()
    draft = {"seen": "draft:"}
    assert here.carla.post(f"/broadcasts/{number}/yes", draft).status_code == 303
    here.asha.post(f"/broadcasts/{number}/hold")
    for browser in (here.bela, here.carla):
        late = browser.post(f"/broadcasts/{number}/yes", draft)
        assert late.status_code == 409 and "Something changed since you looked" in late.text
    assert here.read(number).state == "held"
    # Knowingly, she may.
    assert here.say_yes(here.bela, number) == 303 and here.read(number).state == "scheduled"


def test_a_stale_yes_to_a_draft_that_somebody_holds_by_now(small: Here) -> None:
    number = small.write()
    small.carla.post(f"/broadcasts/{number}/hold")
    assert small.bela.post(f"/broadcasts/{number}/yes", {"seen": "draft:"}).status_code == 409
    assert (small.read(number).state, small.read(number).holder_id) == ("draft", small.members["Carla"])


def test_new_words_are_no_way_around_a_hold(here: Here) -> None:
    number = here.write()
    here.bela.post(f"/broadcasts/{number}/yes")
    here.carla.post(f"/broadcasts/{number}/hold")
    location = here.asha.post(f"/broadcasts/{number}/correct", {"text_en": "We meet at six.", "key": "c"}).headers["Location"]
    change_of_it = int(location.rsplit("/", 1)[1])
    assert here.read(change_of_it).holder_id == here.members["Carla"]
    give_factor(here.world, here.members["Asha"])
    own = Visitor(here.world, here.members["Asha"], proven=True)
    assert own.post(f"/broadcasts/{change_of_it}/approve").status_code == 409
    holder = here.members["Carla"]
    assert own.post(f"/broadcasts/{change_of_it}/approve", {"seen": f"draft:{holder}"}).status_code == 409
    assert here.carla.post(f"/broadcasts/{change_of_it}/yes", {"seen": f"draft:{holder}"}).status_code == 409
    assert here.say_yes(here.bela, change_of_it) == 303
    # Whoever holds the old text only because she wrote a correction of it stands in nobody's way.
    second = here.write(text="The park.", key="k2")
    here.bela.post(f"/broadcasts/{second}/yes")
    here.asha.post(f"/broadcasts/{second}/correct", {"text_en": "The hall.", "key": "c2"})
    location = here.carla.post(f"/broadcasts/{second}/correct", {"text_en": "The school.", "key": "c3"}).headers["Location"]
    assert here.read(int(location.rsplit("/", 1)[1])).holder_id is None


def test_a_stop_is_for_good(here: Here) -> None:
    number = here.write()
    here.bela.post(f"/broadcasts/{number}/yes")
    here.plan(number)
    assert here.carla.post(f"/broadcasts/{number}/stop").status_code == 303
    assert {row.state for row in rows(here.world, here.read(number).id)} == {"stopped"}
    again = here.carla.post(f"/broadcasts/{number}/stop")
    assert again.status_code == 409 and "was stopped" in again.text
    assert here.bela.post(f"/broadcasts/{number}/yes").status_code == 409
    assert here.bela.post(f"/broadcasts/{number}/hold").status_code == 409
    page = plain(here.asha.text(f"/broadcasts/{number}"))
    assert "4 stopped before they left" in page or "stopped before they left 4" in page
    assert here.acts().count("dropped") == 1


# --- while it leaves ----------------------------------------------------------------------------------------------------------


def live(visitor: Visitor, number: int, seen: str = "sending") -> str:
    return visitor.text(f"/broadcasts/{number}/live?seen={seen}")


def test_the_live_part_tells_in_words_what_became_of_it(here: Here) -> None:
    for n in range(10):
        here.world.member(here.sangha, f"+1555880010{n}")
    broadcast = send_broadcast(here.world, here.sangha)
    here.world.clock.advance(timedelta(minutes=1))
    [number] = [each.number for each in _broadcasts(here.world)]
    ids = [row.id for row in rows(here.world, broadcast)]
    moment = here.world.clock.now()

    def set_rows(which: list[int], **values: object) -> None:
        change(here.world, Outbound, Outbound.id.in_(which), **values)

    set_rows(ids[:6], state="delivered", attempted_at=moment - timedelta(seconds=10), cost_micros=8300)
    set_rows(ids[6:8], state="failed", error_code=30003, attempted_at=moment - timedelta(hours=1))
    set_rows(ids[8:9], state="held", reason="quiet_hours", due_at=moment + timedelta(hours=23))
    set_rows(ids[9:10], state="suppressed", reason="opted_out")
    page = live(here.asha, number)
    told = plain(page)
    assert 'hx-trigger="every 3s"' in page
    assert "8 of 13 have left" in told and "0.2 a second" in told and "about 1 minute to go" in told
    assert "arrived 6" in told and "did not arrive 2" in told and "left out 1" in told and "held back for now 1" in told
    assert "1 It is night where she is; it goes in the morning. The first of them go tomorrow at 08:01." in told
    assert "2 Her phone is off or out of reach." in told and "1 She sent STOP" in told
    assert "cost about 0.05" in told
    width = re.search(r'class="progress-left" width="([0-9.]+)"', page)
    assert width is not None and float(width[1]) == pytest.approx(100 * 8 / 13, abs=0.01)


def test_the_page_is_loaded_anew_when_the_state_changes_and_asks_no_more_when_it_is_over(here: Here) -> None:
    number = here.write()
    assert 'hx-trigger="every 3s"' in live(here.asha, number, "draft")
    here.bela.post(f"/broadcasts/{number}/yes")
    stale = here.asha.get(f"/broadcasts/{number}/live?seen=draft")
    assert stale.headers["HX-Refresh"] == "true"
    here.plan(number)
    assert "hx-trigger" in live(here.asha, number)
    pump_all(here.world, ScriptedCarrier(), 2.0)
    change(here.world, Outbound, Outbound.broadcast_id == here.read(number).id, state="delivered")
    change(here.world, Broadcast, Broadcast.number == number, state="done", done_at=here.world.clock.now())
    assert "hx-trigger" not in live(here.asha, number, "done")
    assert "4 of 4 have left" in plain(live(here.asha, number, "done"))
    assert here.asha.get("/broadcasts/999/live").headers["HX-Refresh"] == "true"


def test_a_session_that_is_over_sends_the_page_to_the_login(small: Here) -> None:
    number = small.write()
    nobody = Visitor(small.world)
    answer = nobody.get(f"/broadcasts/{number}/live", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/console/login")


def test_many_pages_count_a_big_one_once(small: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standings, "MANY", 3)
    send_broadcast(small.world, small.sangha)
    [number] = [each.number for each in _broadcasts(small.world)]
    reads: list[int] = []
    real = standings.read_standing

    def counting(session: object, moment: object, broadcast: int) -> object:
        reads.append(broadcast)
        return real(session, moment, broadcast)  # type: ignore[arg-type]

    monkeypatch.setattr(standings, "read_standing", counting)
    for visitor in (small.asha, small.bela, small.carla, small.asha):
        assert "0 of 4 have left" in plain(live(visitor, number))
    assert len(reads) == 1
    small.bela.post(f"/broadcasts/{number}/hold")
    assert "held back for now 4" in plain(small.asha.text(f"/broadcasts/{number}")), "what was done shows at once"


def test_what_is_not_certain_goes_again_once_after_a_code(here: Here) -> None:
    broadcast = send_broadcast(here.world, here.sangha)
    [number] = [each.number for each in _broadcasts(here.world)]
    ids = [row.id for row in rows(here.world, broadcast)]
    change(here.world, Outbound, Outbound.id.in_(ids), state="delivered")
    change(here.world, Outbound, Outbound.id.in_(ids[:2]), state=UNKNOWN, checks=2, check_at=None)
    change(here.world, Broadcast, Broadcast.id == broadcast, state="done")
    page = plain(here.asha.text(f"/broadcasts/{number}"))
    assert "2 are not certain: send them again?" in page and "some may read the text twice" in page
    assert "you need an app" in here.asha.post(f"/broadcasts/{number}/again").text
    assert UNKNOWN in {row.state for row in rows(here.world, broadcast)}
    proven = Visitor(here.world, here.members["Asha"], proven=True)
    assert proven.post(f"/broadcasts/{number}/again").status_code == 303
    assert sorted(row.state for row in rows(here.world, broadcast)) == ["delivered", "delivered", "queued", "queued"]
    again = proven.post(f"/broadcasts/{number}/again")
    assert again.status_code == 409 and "nothing to send again" in again.text
    assert "send them again?" not in here.asha.text(f"/broadcasts/{number}")


# --- who sees what -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "act", "allowed"),
    [
        ("viewer", "hold", False),
        ("viewer", "yes", False),
        ("broadcaster", "ask", True),
        ("broadcaster", "yes", False),
        ("broadcaster", "approve", False),
        ("broadcaster", "hold", False),
        ("broadcaster", "stop", False),
        ("steward", "hold", True),
        ("steward", "yes", False),
        ("steward", "stop", False),
    ],
)
def test_who_may_do_what(small: Here, role: str, act: str, allowed: bool) -> None:
    vera = Visitor(small.world, small.world.member(small.sangha, VERA, name="Vera", roles=[role]), proven=True)
    number = small.write(vera) if role == "broadcaster" else small.write()
    shown = vera.text(f"/broadcasts/{number}")
    assert "We meet at six." in vera.text("/broadcasts") and "We meet at six." in shown
    assert (f'/broadcasts/{number}/{act}"' in shown) is allowed
    before = small.acts()
    assert vera.post(f"/broadcasts/{number}/{act}").status_code == (303 if allowed else 403)
    assert (small.acts() != before) is allowed


def test_a_broadcaster_s_draft_is_for_any_organizer_to_approve(small: Here) -> None:
    vera = Visitor(small.world, small.world.member(small.sangha, VERA, name="Vera", roles=["broadcaster"]))
    number = small.write(vera)
    page = small.asha.text(f"/broadcasts/{number}")
    assert "written by Vera" in page
    assert "written by" not in vera.text(f"/broadcasts/{number}"), "names are for those who read the audit"
    assert small.bela.post(f"/broadcasts/{number}/yes").status_code == 303


def test_care_shows_to_those_who_approve_it_alone(small: Here) -> None:
    send_broadcast(small.world, small.sangha, {}, kind="check_in")
    [number] = [each.number for each in _broadcasts(small.world)]
    for role in ROLES:
        visitor = Visitor(small.world, small.world.member(small.sangha, f"+1555880020{ROLES.index(role)}", roles=[role]))
        listed, page = visitor.get("/broadcasts"), visitor.get(f"/broadcasts/{number}")
        sees = role == "organizer"
        assert ("check-in" in listed.text, page.status_code == 200) == (sees, sees)
        assert visitor.get(f"/broadcasts/{number}/live").headers.get("HX-Refresh") != "true" or not sees
    steward = Visitor(small.world, small.world.member(small.sangha, "+15558800209", roles=["steward"]))
    assert steward.post(f"/broadcasts/{number}/hold").status_code == 404


def test_another_collective_s_number_is_nothing_here(small: Here) -> None:
    number = small.write()
    others = small.world.collective("OTHERS")
    bela = Visitor(small.world, small.world.member(others, VERA, roles=["organizer"]), word="others", proven=True)
    assert bela.get(f"/broadcasts/{number}").status_code == 404
    for act in ("yes", "hold", "stop", "ask", "approve", "again"):
        assert bela.post(f"/broadcasts/{number}/{act}").status_code == 404
    assert small.read(number).state == "draft"


def test_the_list_pages_by_id(small: Here) -> None:
    numbers = [small.write(key=f"k{n}", text=f"Text number {n}.") for n in range(32)]
    first = small.asha.text("/broadcasts")
    assert f"/broadcasts/{numbers[-1]}" in first and "Text number 1." not in first
    older = re.search(r'href="([^"]+before=\d+)"', first)
    assert older is not None
    second = small.asha.text(older[1])
    assert "Text number 1." in second and "Text number 0." in second and "Text number 2." not in second and "Older" not in second


def test_a_role_that_was_taken_away_counts_at_once(small: Here) -> None:
    number = small.write()
    with small.world.store.write() as session:
        session.execute(sa.delete(Role).where(Role.membership_id == small.members["Bela"]))
    assert small.bela.post(f"/broadcasts/{number}/yes").status_code == 403
    assert small.read(number).state == "draft"
