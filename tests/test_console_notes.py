"""The inbox: threads under aliases, two organizers at once, an answer that goes once, a harmful sender muted in one act, no SOS lost."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.console.threads import PAGE
from models import Audit, Collective, Membership, Note, NoteAnswer
from tests.console import Visitor
from tests.delivery import ScriptedCarrier, pump_all
from tests.world import World

HERS, ASHA, BELA = "+15558800001", "+15558800002", "+15558800003"


@pytest.fixture
def sangha(world: World) -> int:
    collective = world.collective("SANGHA")
    with world.store.write() as session:
        # No note has the number of a membership: whose page is meant is told apart.
        session.get_one(Collective, collective).next_number = 700
    return collective


@pytest.fixture
def member(world: World, sangha: int) -> int:
    return world.member(sangha, HERS, name="Maya", spoke_on="+15550001111")


@pytest.fixture
def asha(world: World, sangha: int) -> Visitor:
    return Visitor(world, world.member(sangha, ASHA, name="Asha", roles=["organizer"]))


@pytest.fixture
def bela(world: World, sangha: int) -> Visitor:
    return Visitor(world, world.member(sangha, BELA, name="Bela", roles=["organizer"]))


def open_notes(world: World) -> list[tuple[int, str]]:
    """Number and kind of what waits, the oldest first."""
    with world.store.read() as session:
        rows = session.execute(sa.select(Note.number, Note.kind).where(Note.state == "open").order_by(Note.id))
        return [(row.number, row.kind) for row in rows]


def acts(world: World) -> list[tuple[str, str]]:
    with world.store.read() as session:
        return [(row.act, row.subject) for row in session.execute(sa.select(Audit.act, Audit.subject).order_by(Audit.id))]


def what_it_shows(page: str) -> dict[str, str]:
    """What the form of an answer says that its page has shown."""
    return dict(re.findall(r'name="(seen|answered)" value="(\d+)"', page))


def sent_to(world: World, number: str) -> list[str]:
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 5.0)
    return [taken.body for taken in carrier.taken if taken.to == number]


def test_a_note_is_read_without_name_or_number_and_answered(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "Who brings the <b>banner</b> on Sunday?")
    listed, thread = asha.text("/notes"), asha.text("/notes/700")
    for page in (listed, thread):
        assert "&lt;b&gt;banner&lt;/b&gt;" in page and "Maya" not in page and HERS not in page
    assert asha.post("/notes/700/answer", {"words": "Devi does.\nThank you", **what_it_shows(thread)}).status_code == 303
    assert sent_to(world, HERS) == ["Sangha: Devi does. Thank you"]
    assert "Devi does. Thank you" in asha.text("/notes/700")
    assert "Nothing is waiting" in asha.text("/notes")
    assert acts(world) == [("note answered", "note 700")]


def test_no_page_of_the_notes_leads_to_her_name(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "Who brings the banner on Sunday?")
    world.text(HERS, "SOS")
    numbers = {"700", "701"}
    for page in (asha.text("/notes"), asha.text("/notes?all=1"), asha.text("/notes/700"), asha.text("/notes/701"), asha.text("/")):
        assert set(re.findall(r"/notes/(\d+)", page)) <= numbers and "/members/" not in page
    assert "/notes/701" in asha.text("/notes") and "/notes/701" in asha.text("/")
    assert alias_on(asha.text("/notes/700")) == alias_on(asha.text("/notes/701"))
    assert asha.get(f"/notes/{member}").status_code == asha.get(f"/notes/{2**31}").status_code == 404


def alias_on(page: str) -> str:
    return re.search(r"<h1>([A-Z][a-z]+ \d{4})</h1>", page)[1]


def test_an_answer_by_text_is_in_the_thread_too(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "Who brings the banner on Sunday?")
    world.text(ASHA, "REPLY 700 Devi does")
    assert "Devi does" in asha.text("/notes/700")


def test_two_organizers_answer_once(world: World, member: int, asha: Visitor, bela: Visitor) -> None:
    world.text(HERS, "Who brings the banner on Sunday?")
    shown = what_it_shows(bela.text("/notes/700"))
    asha.post("/notes/700/answer", {"words": "Devi does", **shown})
    late = bela.post("/notes/700/answer", {"words": "Nobody does", **shown})
    assert late.status_code == 409 and "answered a moment ago" in late.text and ">Nobody does</textarea>" in late.text
    assert sent_to(world, HERS) == ["Sangha: Devi does"]
    assert asha.post("/notes/700/answer", {"words": "Devi does", **shown}).status_code == 303, "her own second click is no news to her"
    assert sent_to(world, HERS) == []
    bela.post("/notes/700/answer", {"words": "And Esha", **what_it_shows(late.text)})
    assert sent_to(world, HERS) == ["Sangha: And Esha"]
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count(NoteAnswer.id))) == 2


def test_an_answer_to_an_older_page_leaves_her_call_for_help_open(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "NOTE When is the meeting?")
    shown = what_it_shows(asha.text("/notes/700"))
    world.text(HERS, "SOS")
    late = asha.post("/notes/700/answer", {"words": "At <b>six</b>", **shown})
    assert late.status_code == 409 and "She wrote again meanwhile: read it first." in late.text and "SOS" in late.text
    assert "At &lt;b&gt;six&lt;/b&gt;</textarea>" in late.text, "what she typed is not lost"
    assert open_notes(world) == [(700, "note"), (701, "sos")] and sent_to(world, HERS) == [] and acts(world) == []
    assert asha.post("/notes/700/answer", {"words": "I am coming", **what_it_shows(late.text)}).status_code == 303
    assert open_notes(world) == [] and sent_to(world, HERS) == ["Sangha: I am coming"]
    assert acts(world) == [("note answered", "note 701")]


def test_closing_an_older_page_closes_nothing_that_was_not_read(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "NOTE When is the meeting?")
    shown = what_it_shows(asha.text("/notes/700"))
    world.text(HERS, "SOS")
    late = asha.post("/notes/700/close", shown)
    assert late.status_code == 409 and "She wrote again meanwhile: read it first." in late.text
    assert asha.post("/notes/700/close").status_code == 409, "a form that does not say what it has shown has shown nothing"
    assert open_notes(world) == [(700, "note"), (701, "sos")] and acts(world) == []
    for _ in range(2):
        assert asha.post("/notes/700/close", what_it_shows(late.text)).status_code == 303
    assert open_notes(world) == [] and acts(world) == [("note closed", "note 701")], "a double click leaves one trace"


def test_an_answer_goes_to_the_call_for_help_and_so_at_once(world: World, sangha: int, member: int, asha: Visitor) -> None:
    with world.store.write() as session:
        hers = session.get_one(Collective, sangha)
        hers.quiet_from, hers.quiet_until = 8, 20
    world.text(HERS, "SOS")
    world.text(HERS, "NOTE Is anybody there?")
    world.clock.advance(timedelta(minutes=90))
    asha.post("/notes/700/answer", {"words": "I am here", **what_it_shows(asha.text("/notes/700"))})
    with world.store.read() as session:
        answered = sa.select(Note.number).join(NoteAnswer, NoteAnswer.note_id == Note.id)
        assert session.scalars(answered).all() == [700]
    assert open_notes(world) == [] and sent_to(world, HERS) == ["Sangha: I am here"], "it is night, and she waits"


def test_calls_for_help_are_never_paged_away(world: World, sangha: int, asha: Visitor) -> None:
    many = [world.member(sangha, f"+155588100{n:02d}") for n in range(PAGE + 4)]
    with world.store.write() as session:
        for n, member in enumerate(many):
            kind = "sos" if n < 2 else "note"
            session.add(Note(collective_id=sangha, number=800 + n, membership_id=member, body="x", kind=kind, created_at=world.clock.now()))
            session.flush()
    first = asha.text("/notes")
    numbers = re.findall(r"/notes/(\d+)", first)
    assert numbers[:2] == ["801", "800"] and len(numbers) == PAGE + 2
    older = re.search(r'href="([^"]*before=\d+)"', first)
    assert older is not None
    rest = re.findall(r"/notes/(\d+)", asha.text(older[1]))
    assert sorted(numbers + rest) == [str(800 + n) for n in range(PAGE + 4)], "each of them once"
    assert ">Older<" not in asha.text(older[1])


def test_a_claim_is_seen_kept_and_let_go(world: World, member: int, asha: Visitor, bela: Visitor) -> None:
    world.text(HERS, "Who brings the banner on Sunday?")
    for _ in range(2):
        asha.post("/notes/700/claim")
    assert "Asha is at it" in bela.text("/notes")
    assert "already" in bela.post("/notes/700/claim", follow_redirects=True).text
    for _ in range(2):
        asha.post("/notes/700/claim", {"let_go": "yes"})
    assert "is at it" not in bela.text("/notes")
    bela.post("/notes/700/claim")
    world.clock.advance(timedelta(hours=1))
    assert "Bela is at it" in bela.text("/notes")
    with world.store.write() as session:
        session.execute(sa.update(Note).values(claimed_at=world.clock.now() - timedelta(hours=5)))
    assert "is at it" not in bela.text("/notes")
    assert acts(world) == [("note claimed", "note 700"), ("note let go", "note 700"), ("note claimed", "note 700")]


def test_a_claim_outlasts_her_next_note(world: World, member: int, asha: Visitor, bela: Visitor) -> None:
    world.text(HERS, "Who brings the banner on Sunday?")
    asha.post("/notes/700/claim")
    world.text(HERS, "And the flags?")
    assert "Asha is at it" in bela.text("/notes") and "Asha is at it" in bela.text("/notes/700")
    assert "claimed" in bela.post("/notes/701/claim").headers["Location"]
    asha.post("/notes/701/claim", {"let_go": "yes"})
    assert "is at it" not in bela.text("/notes") and "I am at it" in bela.text("/notes/701")


def test_one_act_mutes_a_harmful_sender(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "I know where you live")
    for _ in range(2):
        asha.post("/notes/700/mute")
    assert "I know where" not in asha.text("/notes?all=1")
    assert world.text(HERS, "and where your children are").status == 200
    assert "Nothing is waiting" in asha.text("/notes") and "children" not in asha.text("/notes/700") + asha.text("/notes?muted=1")
    assert acts(world) == [("member muted", "note 700")], "a double click leaves one trace"


def test_by_text_a_muted_sender_is_not_heard_either(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "I know where you live")
    asha.post("/notes/700/mute")
    world.text(HERS, "and where your children are")
    assert world.text(ASHA, "NOTES").texts == ["No notes are waiting."]
    world.text(HERS, "SOS")
    heard = " ".join(world.text(ASHA, "NOTES").texts)
    assert "702" in heard and "701" not in heard and "children" not in heard


def test_a_muted_sender_is_heard_again_and_has_no_name(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "I know where you live")
    alias = alias_on(asha.text("/notes/700"))
    asha.post("/notes/700/mute")
    world.text(HERS, "I am sorry")
    listed = asha.text("/notes?muted=1")
    assert alias in listed and "Maya" not in listed and "/notes/701/unmute" in listed and "/notes/701/unmute" in asha.text("/notes/701")
    assert "Maya" not in asha.text("/audit")
    for path in ("/members?state=muted", f"/members/{member}"):
        page = asha.text(path).replace("state=muted", "")
        assert "Maya" in page and "mute" not in page.lower()
    assert "Asha" in asha.text("/members?state=muted"), "it is no way to ask who is muted"
    for _ in range(2):
        assert "put before organizers again" in asha.post("/notes/701/unmute", follow_redirects=True).text
    assert acts(world) == [("member muted", "note 700"), ("member unmuted", "note 701")]
    assert "I am sorry" in asha.text("/notes") and alias not in asha.text("/notes?muted=1")


def test_a_muted_sender_calls_for_help(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "I know where you live")
    world.text(HERS, "SOS")
    asha.post("/notes/700/mute")
    assert open_notes(world) == [(701, "sos")], "to mute somebody is no answer to her call"
    world.text(HERS, "and where your children are")
    home, listed, thread = asha.text("/"), asha.text("/notes"), asha.text("/notes/701")
    assert "SOS: somebody asked for help" in home and "/notes/701" in home and "/notes/701" in listed
    assert "Members wrote to you" not in home
    for page in (listed, thread):
        assert "SOS" in page and "I know where" not in page and "children" not in page
    asha.post("/notes/701/answer", {"words": "What happened?", **what_it_shows(thread)})
    assert sent_to(world, HERS) == ["Sangha: What happened?"]
    assert open_notes(world) == [(702, "note")] and "SOS: somebody" not in asha.text("/")


def test_who_left_no_note_can_not_be_muted(world: World, sangha: int, asha: Visitor, bela: Visitor) -> None:
    with world.store.read() as session:
        members = session.scalars(sa.select(Membership.id)).all()
    assert [asha.post(f"/notes/{number}/mute").status_code for number in members] == [404, 404]


def test_another_collectives_threads_are_not_there(world: World, member: int, asha: Visitor) -> None:
    others = world.collective("OTHERS", lines=("+15550009999",))
    world.member(others, "+15558800009", spoke_on="+15550009999")
    world.text("+15558800009", "Where do we meet on Sunday?", to="+15550009999")
    with world.store.read() as session:
        theirs = session.scalars(sa.select(Note.number)).one()
    assert asha.get(f"/notes/{theirs}").status_code == 404
    for act in ("answer", "claim", "close", "mute", "unmute"):
        assert asha.post(f"/notes/{theirs}/{act}", {"words": "here"}).status_code == 404
    assert open_notes(world) == [(theirs, "note")]


def test_old_words_are_gone_and_the_page_says_so(world: World, member: int, asha: Visitor) -> None:
    world.text(HERS, "Who brings the banner on Sunday?")
    with world.store.write() as session:
        session.execute(sa.update(Note).values(body=None))
    assert "deleted by now" in asha.text("/notes/700")
