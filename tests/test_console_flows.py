"""The pages that show each flow from its code, and the phone to try it on."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from bot.console.pages.flows import missing_of
from bot.languages import collect
from flows import FLOWS
from models import Base
from tests.console import Visitor
from tests.world import World


@pytest.fixture
def visitor(small_world: World) -> Visitor:
    sangha = small_world.collective("SANGHA")
    return Visitor(small_world, small_world.member(sangha, "+15558800001", roles=["viewer"]))


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_every_flow_can_be_read(visitor: Visitor, name: str) -> None:
    page = visitor.text(f"/flows/{name}")
    assert FLOWS[name].about in page.replace("&#39;", "'")
    assert "Not translated" not in page


def test_the_words_around_an_example_are_in_the_language_shown(visitor: Visitor) -> None:
    assert "Sangha: how are you" not in visitor.text("/flows/check_in?tongue=es").split("<table>")[0]
    assert "Reply with a letter" not in visitor.text("/flows/poll?tongue=hi").split("<table>")[0]


def test_the_list_names_every_flow_and_its_words(visitor: Visitor) -> None:
    page = visitor.text("/flows")
    assert all(f"/flows/{name}" in page for name in FLOWS)
    assert "CHECKIN" in page and "missing" not in page
    assert visitor.get("/flows/nothing").status_code == 404


def test_what_is_not_translated_is_named(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    missing_of.cache_clear()
    monkeypatch.setattr(collect, "translation", lambda language, text: () if language == "hi" else (text,))
    assert "Not translated into हिन्दी" in visitor.text("/flows/check_in")
    missing_of.cache_clear()


def test_a_talk_goes_on_and_nothing_is_written(visitor: Visitor, small_world: World) -> None:
    def rows() -> int:
        with small_world.store.read() as session:
            tables = [table for table in Base.metadata.sorted_tables if table.name != "web_sessions"]
            return sum(session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in tables)

    before = rows()
    page = visitor.post("/flows/check_in", {"text": "2", "tongue": "es"}).text
    assert 'name="said" value="2"' in page and 'lang="es"' in page
    further = visitor.post("/flows/check_in", {"said": "2", "text": "no", "tongue": "es"}).text
    assert "talk is over" in further.lower()
    assert rows() == before


def test_rubbish_on_the_phone_is_shown_inert(visitor: Visitor) -> None:
    page = visitor.post("/flows/check_in", {"text": "<script>alert(1)</script>\x00\u202egnp" + "x" * 9_000, "tongue": "xx"}).text
    assert "<script>alert" not in page and "\u202e" not in page and "\x00" not in page
    assert visitor.post("/flows/check_in", {"said": ["1"] * 500, "text": "1"}).status_code == 200
