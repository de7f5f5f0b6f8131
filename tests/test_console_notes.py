"""The inbox: threads under aliases, two organizers at once, an answer that goes once, a harmful sender muted in one act."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from models import Audit, Note, NoteAnswer
from tests.console import Visitor
from tests.delivery import ScriptedCarrier, pump_all
from tests.world import World

HERS, ASHA, BELA = "+15558800001", "+15558800002", "+15558800003"


@pytest.fixture
def sangha(world: World) -> int:
    return world.collective("SANGHA")


@pytest.fixture
def member(world: World, sangha: int) -> int:
    return world.member(sangha, HERS, name="Maya", spoke_on="+15550001111")


@pytest.fixture
def asha(world: World, sangha: int) -> Visitor:
    return Visitor(world, world.member(sangha, ASHA, name="Asha", roles=["organizer"]))


@pytest.fixture
def bela(world: World, sangha: int) -> Visitor:
    return Visitor(world, world.member(sangha, BELA, name="Bela", roles=["organizer"]))


def sent_to(world: World, number: str) -> list[str]:
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 5.0)
    return [taken.body for taken in carrier.taken if taken.to == number]


def test_a_note_is_read_without_name_or_number_and_answered(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "Who brings the <b>banner</b> on Sunday?")
    listed, thread = asha.text("/notes"), asha.text(f"/notes/{member}")
    for page in (listed, thread):
        assert "&lt;b&gt;banner&lt;/b&gt;" in page and "Maya" not in page and HERS not in page
    assert asha.post(f"/notes/{member}/answer", {"words": "Devi does.\nThank you", "seen": "0"}).status_code == 303
    assert sent_to(world, HERS) == ["Sangha: Devi does. Thank you"]
    assert "Devi does. Thank you" in asha.text(f"/notes/{member}")
    assert "Nothing is waiting" in asha.text("/notes")
    with world.store.read() as session:
        assert session.scalars(sa.select(Audit.act).order_by(Audit.id)).all() == ["note answered"]


def test_an_answer_by_text_is_in_the_thread_too(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "Who brings the banner on Sunday?")
    with world.store.read() as session:
        number = session.scalars(sa.select(Note.number)).one()
    world.text(ASHA, f"REPLY {number} Devi does")
    assert "Devi does" in asha.text(f"/notes/{member}")


def test_two_organizers_answer_once(world: World, member: int, asha: Visitor, bela: Visitor) -> None:
    world.text(HERS, "Who brings the banner on Sunday?")
    seen = {"seen": re.search(r'name="seen" value="(\d+)"', bela.text(f"/notes/{member}"))[1]}
    asha.post(f"/notes/{member}/answer", {"words": "Devi does", "seen": "0"})
    late = bela.post(f"/notes/{member}/answer", {"words": "Nobody does", **seen}, follow_redirects=True)
    assert "answered a moment ago" in late.text
    assert sent_to(world, HERS) == ["Sangha: Devi does"]
    newest = re.search(r'name="seen" value="(\d+)"', bela.text(f"/notes/{member}"))[1]
    bela.post(f"/notes/{member}/answer", {"words": "And Esha", "seen": newest})
    assert sent_to(world, HERS) == ["Sangha: And Esha"]
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count(NoteAnswer.id))) == 2


def test_a_claim_is_seen_kept_and_let_go(world: World, member: int, asha: Visitor, bela: Visitor) -> None:
    world.text(HERS, "Who brings the banner on Sunday?")
    asha.post(f"/notes/{member}/claim")
    assert "Asha is at it" in bela.text("/notes")
    assert "already" in bela.post(f"/notes/{member}/claim", follow_redirects=True).text
    asha.post(f"/notes/{member}/claim", {"let_go": "yes"})
    assert "is at it" not in bela.text("/notes")
    bela.post(f"/notes/{member}/claim")
    world.clock.advance(timedelta(hours=1))
    assert "Bela is at it" in bela.text("/notes")
    with world.store.write() as session:
        session.execute(sa.update(Note).values(claimed_at=world.clock.now() - timedelta(hours=5)))
    assert "is at it" not in bela.text("/notes")


def test_one_act_mutes_a_harmful_sender(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "I know where you live")
    asha.post(f"/notes/{member}/mute")
    assert "I know where" not in asha.text("/notes?all=1")
    assert world.text(HERS, "and where your children are").status == 200
    assert "Nothing is waiting" in asha.text("/notes")


def test_another_collectives_threads_are_not_there(world: World, member: int, asha: Visitor) -> None:
    others = world.collective("OTHERS", lines=("+15550009999",))
    stranger = world.member(others, "+15558800009", spoke_on="+15550009999")
    world.text("+15558800009", "Where do we meet on Sunday?", to="+15550009999")
    assert asha.get(f"/notes/{stranger}").status_code == 404
    assert asha.post(f"/notes/{stranger}/answer", {"words": "here"}).status_code == 404
    assert asha.post(f"/notes/{stranger}/mute").status_code == 404


def test_old_words_are_gone_and_the_page_says_so(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "Who brings the banner on Sunday?")
    with world.store.write() as session:
        session.execute(sa.update(Note).values(body=None))
    assert "deleted by now" in asha.text(f"/notes/{member}")
