"""Settings and posters: organizers and admins look, an admin changes (an organizer where there is none), with a code where it counts."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pytest
import sqlalchemy as sa

from bot.delivery.prices import MICROS
from bot.delivery.ready_templates import READY
from bot.languages import words
from bot.simulator.client import RunningSimulator
from models import Audit, Collective, Line, Price, Spending, Template
from tests.console import Visitor
from tests.world import World

ASHA, MAYA = "+15558800001", "+15558800002"


@pytest.fixture
def sangha(small_world: World) -> int:
    return small_world.collective("SANGHA", lines=("+15550001111", "whatsapp:+15550003333"))


@pytest.fixture
def asha(small_world: World, sangha: int) -> Visitor:
    return Visitor(small_world, small_world.member(sangha, ASHA, name="Asha", roles=["organizer"]), proven=True)


def collective(world: World, number: int = 1) -> Collective:
    with world.store.read() as session:
        return session.get_one(Collective, number)


HOURS = {"timezone": "asia/kolkata", "quiet_from": "22", "quiet_until": "7", "cool_down": "60"}


def test_an_organizer_sets_it_where_there_is_no_admin(small_world: World, asha: Visitor) -> None:
    asha.post("/settings/words", {"name": "Sangha of  cooks", "about": "we cook\nand act", "language": "hi"})
    asha.post("/settings/hours", HOURS)
    asha.post("/settings/cap", {"cap": "50.00"})
    now = collective(small_world)
    assert (now.name, now.about, now.language, now.public) == ("Sangha of cooks", "we cook and act", "hi", False)
    assert (now.timezone, now.quiet_from, now.quiet_until, now.cool_down_seconds) == ("Asia/Kolkata", 22, 7, 60)
    assert now.monthly_cap_micros == 50 * MICROS
    asha.post("/settings/hours", HOURS | {"quiet_from": "", "quiet_until": ""})
    asha.post("/settings/cap", {"cap": ""})
    now = collective(small_world)
    assert (now.quiet_from, now.quiet_until, now.monthly_cap_micros) == (None, None, None)
    with small_world.store.read() as session:
        acts = session.scalars(sa.select(Audit.act).order_by(Audit.id)).all()
        assert acts == ["words changed", "hours changed", "monthly cap set", "hours changed", "monthly cap set"]
        assert session.scalars(sa.select(Audit.membership_id)).all() == [1] * 5


def test_where_there_is_an_admin_an_organizer_only_looks(small_world: World, sangha: int, asha: Visitor) -> None:
    admin = Visitor(small_world, small_world.member(sangha, MAYA, name="Maya", roles=["admin"]), proven=True)
    before = collective(small_world)
    for path, fields in (("words", {"name": "X", "about": "x", "language": "es"}), ("hours", HOURS), ("cap", {"cap": "1"})):
        response = asha.post(f"/settings/{path}", fields)
        assert "Only an admin changes this" in asha.text(response.headers["Location"])
    after = collective(small_world)
    assert (after.about, after.timezone, after.monthly_cap_micros) == (before.about, before.timezone, None)
    assert "you may look" in asha.text("/settings") and "disabled" in asha.text("/settings")
    admin.post("/settings/cap", {"cap": "12.5"})
    assert collective(small_world).monthly_cap_micros == 12_500_000


@pytest.mark.parametrize(("path", "fields"), [("hours", HOURS), ("cap", {"cap": "1"})])
def test_what_touches_sending_and_money_asks_for_the_app(small_world: World, sangha: int, path: str, fields: dict[str, Any]) -> None:
    visitor = Visitor(small_world, small_world.member(sangha, ASHA, roles=["organizer"]))
    assert visitor.post(f"/settings/{path}", fields).status_code == 200
    now = collective(small_world)
    assert now.timezone == "UTC" and now.monthly_cap_micros is None


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("words", {"name": "X", "about": "x" * 121, "language": "en"}), ("words", {"name": "X", "about": "x", "language": "fr"}),
        ("words", {"name": "", "about": "x", "language": "en"}), ("words", {"name": "x" * 81, "about": "x", "language": "en"}),
        ("word", {"wanted": "two words"}), ("word", {"wanted": "stop"}), ("word", {"wanted": "x"}), ("word", {"wanted": "१२३"}),
        ("line", {"line": "+15550001111", "pace": "0"}), ("line", {"line": "+15550001111", "pace": "inf"}),
        ("line", {"line": "+15550001111", "pace": "many"}), ("line", {"line": "+15550009999", "pace": "3"}),
        ("price", {"channel": "sms", "country": "Mars", "price": "1"}), ("price", {"channel": "fax", "country": "", "price": "1"}),
        ("price", {"channel": "sms", "country": "", "price": "-1"}), ("price", {"channel": "sms", "country": "", "price": "11"}),
        ("hours", HOURS | {"timezone": "Nowhere"}), ("hours", HOURS | {"quiet_from": "7"}), ("hours", HOURS | {"quiet_until": ""}),
        ("hours", HOURS | {"quiet_from": "24"}), ("hours", HOURS | {"cool_down": "-1"}), ("hours", HOURS | {"cool_down": "3601"}),
        ("cap", {"cap": "-1"}), ("cap", {"cap": "NaN"}), ("cap", {"cap": "1e99"}), ("cap", {"cap": "fifty"}), ("cap", {"cap": "0.0000001"}),
    ],
)  # fmt: skip
def test_nonsense_changes_nothing(small_world: World, asha: Visitor, path: str, fields: dict[str, Any]) -> None:
    before = collective(small_world)
    response = asha.post(f"/settings/{path}", fields)
    assert "trouble=" in response.headers["Location"] and 'role="alert"' in asha.text(response.headers["Location"])
    after = collective(small_world)
    for name in ("name", "word", "about", "language", "timezone", "quiet_from", "quiet_until", "cool_down_seconds", "monthly_cap_micros"):
        assert getattr(before, name) == getattr(after, name)


def test_everything_stands_on_the_page(small_world: World, sangha: int, asha: Visitor) -> None:
    now = small_world.clock.now()
    with small_world.store.write() as session:
        session.add(Spending(collective_id=sangha, month=f"{now:%Y-%m}", micros=3_210_000, segments=40, messages=20))
        session.add(
            Template(kind="knock", language="en", name="chorus_knock_en", body="A note is waiting.", state="paused", changed_at=now)
        )
        session.execute(sa.update(Line).where(Line.address == "+15550001111").values(held_until=now + timedelta(hours=1), held_code=30034))
    page = asha.text("/settings")
    assert "3.21" in page and "paused by WhatsApp" in page and "not registered with US carriers" in page and "+15550001111" in page
    assert "Asha" in page and "180 days" in page and ASHA not in page
    spanish = Visitor(small_world, 1, language="es").text("/settings")
    assert "Ajustes" in spanish and "180 días" in spanish and "El número no está registrado" in spanish


# --- the word to join by, lines, prices, templates --------------------------------------------------------------------------


def test_another_word_to_join_by(small_world: World, sangha: int, asha: Visitor) -> None:
    small_world.collective("MAITRI", lines=("+15550004444",))
    taken = asha.post("/settings/word", {"wanted": "Maitri"})
    assert "Another collective has this word" in asha.text(taken.headers["Location"])
    answer = asha.post("/settings/word", {"wanted": "Saheli"})
    assert answer.headers["Location"].startswith("/console/saheli/settings")
    assert "JOIN SAHELI" in asha.text(answer.headers["Location"])
    assert "Welcome" in small_world.text("+15558800077", "JOIN SAHELI").text
    assert "Welcome" not in small_world.text("+15558800078", "JOIN SANGHA").text
    unproven = Visitor(small_world, 1, word="saheli")
    assert unproven.post("/settings/word", {"wanted": "Sangha"}).status_code == 200 and collective(small_world, sangha).word == "saheli"


def line(world: World, address: str) -> Line:
    with world.store.read() as session:
        return session.scalars(sa.select(Line).where(Line.address == address)).one()


def test_a_line_of_her_own_is_changed_and_let_go_on(small_world: World, asha: Visitor) -> None:
    held = small_world.clock.now() + timedelta(hours=1)
    with small_world.store.write() as session:
        session.execute(sa.update(Line).where(Line.address == "+15550001111").values(held_until=held, held_code=30034))
    answer = asha.post("/settings/line", {"line": "+15550001111", "pace": "3.5", "two_way": "yes"})
    assert "Saved." in asha.text(answer.headers["Location"])
    changed = line(small_world, "+15550001111")
    assert (changed.mps, changed.two_way, changed.carrier_answers_stop, changed.held_until) == (3.5, True, False, held)
    asha.post("/settings/line", {"line": "+15550001111", "let_go": "yes"})
    let_go = line(small_world, "+15550001111")
    assert (let_go.mps, let_go.held_until, let_go.held_code) == (3.5, None, None)
    with small_world.store.read() as session:
        traces = session.execute(sa.select(Audit.act, Audit.subject, Audit.membership_id)).all()
    assert traces == [("line changed", "+15550001111", 1), ("line let go on", "+15550001111", 1)]


def test_a_shared_line_and_what_all_share_are_not_hers_to_change(small_world: World, asha: Visitor) -> None:
    small_world.collective("OTHERS", lines=("+15550001111",))
    page = asha.text("/settings")
    assert page.count("Change this line") == 1, "the WhatsApp sender is hers alone"
    shared = asha.post("/settings/line", {"line": "+15550001111", "pace": "500"})
    assert "speaks through this line, too" in asha.text(shared.headers["Location"]) and line(small_world, "+15550001111").mps != 500
    assert "Set this price" not in page and "Hand WhatsApp" not in page
    for path, fields in (("price", {"channel": "sms", "country": "IN", "price": "0.01"}), ("templates", {"submit": "yes"})):
        answer = asha.post(f"/settings/{path}", fields)
        assert "shared with other collectives" in asha.text(answer.headers["Location"])
    with small_world.store.read() as session:
        assert session.scalars(sa.select(Price)).all() == [] and session.scalars(sa.select(Template)).all() == []


def test_prices_and_templates_where_the_collective_is_alone(simulator: RunningSimulator, at_twilio: World) -> None:
    world = at_twilio
    sangha = world.collective("SANGHA")
    asha = Visitor(world, world.member(sangha, ASHA, roles=["organizer"]), proven=True)
    answer = asha.post("/settings/price", {"channel": "sms", "country": "in", "price": "0.0123"})
    assert "0.0123" in asha.text(answer.headers["Location"])
    submitted = asha.post("/settings/templates", {"submit": "yes"})
    page = asha.text(submitted.headers["Location"])
    assert "WhatsApp has them all" in page and page.count("WhatsApp looks at it") == len(READY)
    again = asha.post("/settings/templates", {"submit": "yes"})
    assert "WhatsApp has them all" in asha.text(again.headers["Location"])
    simulator.client.account(templates={READY[0].name: "approved"})
    read = asha.post("/settings/templates")
    assert asha.text(read.headers["Location"]).count('badge well">approved') == 1
    with world.store.read() as session:
        acts = session.execute(sa.select(Audit.act, Audit.membership_id).order_by(Audit.id)).all()
    assert acts == [("price set", 1)] + [("template submitted", 1)] * len(READY), "what WhatsApp has is not handed to it again"


def test_templates_while_twilio_is_away(small_world: World, asha: Visitor) -> None:
    answer = asha.post("/settings/templates", {"submit": "yes"})
    page = asha.text(answer.headers["Location"])
    assert "Twilio did not answer" in page and "127.0.0.1" not in page


@pytest.mark.parametrize("language", ["en", "es", "hi"])
def test_a_poster_says_how_to_join_and_what_it_means(small_world: World, asha: Visitor, language: str) -> None:
    page = asha.text(f"/poster?in={language}")
    assert f'lang="{language}"' in page and "JOIN SANGHA" in page and "STOP" in page and "/about/sangha" in page
    assert page.count("<svg") - page.count('class="icon"') == 2 and " style=" not in page
    assert "+1 555-000-1111" in page and "JOIN%20SANGHA" not in page, "the link stands in the picture"


def test_the_poster_links_are_what_phones_understand(small_world: World, asha: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.console.pages import posters

    drawn: list[str] = []

    def keep(link: str) -> str:
        drawn.append(link)
        return ""

    monkeypatch.setattr(posters, "draw", keep)
    asha.text("/poster")
    assert drawn == ["sms:+15550001111?&body=JOIN%20SANGHA", "https://wa.me/15550003333?text=JOIN%20SANGHA"]
    assert unquote(drawn[0]).endswith("JOIN SANGHA")


def test_without_a_line_there_is_nothing_to_print(small_world: World) -> None:
    empty = small_world.collective("EMPTY", lines=())
    visitor = Visitor(small_world, small_world.member(empty, MAYA, roles=["viewer"]), word="empty")
    assert "nothing to print" in visitor.text("/poster")


def test_the_texts_about_a_new_number_fit_one_segment() -> None:
    from bot.languages.segments import count_segments

    text = "{collective}: tomorrow your number here changes to one that ends in {end}. Not you? Tell another organizer today."
    for language, most in (("en", 1), ("es", 1), ("hi-Latn", 1), ("hi", 2)):
        assert count_segments(words(language, text, collective="Sangha", end="42")).segments <= most
    assert re.search("mañana", words("es", text, collective="Sangha", end="42"))
