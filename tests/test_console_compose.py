"""The form of a text to many: one draft however often it is sent, meters that are the server's, words and hours that are refused kindly."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
import sqlalchemy as sa

from bot.console import looks
from bot.console.meters import measure, to_plain
from bot.delivery.broadcasts import draft_broadcast, read_texts
from bot.languages.segments import count_segments
from models import Alert, Audit, Broadcast, BroadcastText, Group, GroupMember, Membership
from tests.console import Visitor
from tests.delivery import change, send_broadcast
from tests.world import World

ASHA, BELA = "+15558800001", "+15558800002"


def make(world: World, **values: Any) -> tuple[int, Visitor]:
    """A collective with an organizer, two Spanish readers and a Hindi one."""
    sangha = world.collective("SANGHA", **values)
    asha = world.member(sangha, ASHA, name="Asha", roles=["organizer"])
    world.member(sangha, "+15558800011", language="es")
    world.member(sangha, "+15558800012", language="es")
    world.member(sangha, "+15558800013", language="hi")
    return sangha, Visitor(world, asha)


def drafts(world: World) -> list[Broadcast]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(Broadcast).order_by(Broadcast.id)))


def texts_of(world: World, broadcast: int) -> dict[str, str]:
    with world.store.read() as session:
        return {code: text.body for code, text in read_texts(session, broadcast).items()}


def plain(html: str) -> str:
    """What a reader sees, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<head>.*?</head>", "", html, flags=re.S))).split())


FORM = {"kind": "notice", "text_en": "We meet at six.", "key": "k1"}


# --- once ------------------------------------------------------------------------------------------------------------------


def test_a_form_makes_a_draft_and_leads_to_its_page(world: World) -> None:
    _, asha = make(world)
    made = asha.post("/compose", FORM)
    [draft] = drafts(world)
    assert (made.status_code, made.headers["Location"]) == (303, f"/console/sangha/broadcasts/{draft.number}")
    assert (draft.state, draft.kind, draft.group_id, texts_of(world, draft.id)) == ("draft", "notice", None, {"en": "We meet at six."})
    with world.store.read() as session:
        assert session.scalars(sa.select(Audit.act).where(Audit.subject == f"broadcast {draft.number}")).all() == ["notice drafted"]


def test_the_same_form_again_makes_no_second_draft(world: World) -> None:
    _, asha = make(world)
    alert = FORM | {"kind": "alert", "starts_day": "2026-04-13", "starts_hour": "17:00"}
    answers = [asha.post("/compose", alert).headers["Location"] for _ in range(3)]
    assert len(drafts(world)) == 1 and len(set(answers)) == 1
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Alert)) == 1
        assert session.scalar(sa.select(sa.func.count()).select_from(Audit).where(Audit.act == "alert drafted")) == 1


def test_two_clicks_at_the_same_moment_make_one_draft(world: World) -> None:
    sangha, _ = make(world)
    bela = world.member(sangha, BELA, roles=["organizer"])
    browsers = [Visitor(world, bela), Visitor(world, bela)]
    answers: list[int] = []

    def press(browser: Visitor) -> None:
        answers.append(browser.post("/compose", FORM).status_code)

    clicks = [threading.Thread(target=press, args=[browser]) for browser in browsers]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert answers == [303, 303] and len(drafts(world)) == 1


def test_another_collective_s_key_and_group_are_not_ours(small_world: World) -> None:
    _, asha = make(small_world)
    others = small_world.collective("OTHERS")
    with small_world.store.write() as session:
        theirs = Group(collective_id=others, name="drivers")
        session.add(theirs)
        session.flush()
        group = theirs.id
    bela = Visitor(small_world, small_world.member(others, BELA, roles=["organizer"]), word="others")
    assert bela.post("/compose", FORM).status_code == 303
    assert asha.post("/compose", FORM).status_code == 303
    assert len(drafts(small_world)) == 2
    refused = asha.post("/compose", FORM | {"key": "k2", "group": str(group)})
    assert refused.status_code == 400 and "This group is not there any more" in refused.text


# --- what is written -------------------------------------------------------------------------------------------------------


def test_a_group_and_texts_in_several_languages(small_world: World) -> None:
    sangha, asha = make(small_world)
    maya = small_world.member(sangha, "+15558800021", language="es")
    with small_world.store.write() as session:
        group = Group(collective_id=sangha, name="drivers")
        session.add(group)
        session.flush()
        session.add(GroupMember(group_id=group.id, membership_id=maya))
        number = group.id
    assert "drivers (1)" in asha.text("/compose")
    look = asha.post("/compose/look", FORM | {"group": str(number), "text_es": ""}).text
    assert "1 person gets it" in look and "1 reads Spanish and gets English" in plain(look)
    asha.post("/compose", FORM | {"group": str(number), "text_es": "Nos vemos a las seis."})
    [draft] = drafts(small_world)
    assert draft.group_id == number
    assert texts_of(small_world, draft.id) == {"en": "We meet at six.", "es": "Nos vemos a las seis."}


def test_the_meter_is_the_one_that_counts_the_send(small_world: World) -> None:
    _, asha = make(small_world)
    look = plain(asha.post("/compose/look", FORM | {"text_en": "Bring friends’ water – now 🙂"}).text)
    counted = count_segments("Sangha: Bring friends’ water – now 🙂")
    assert f"1 segment · {counted.remaining} characters left · UCS-2" in look
    assert "’ → '" in look and "– → -" in look and "not 70: 🙂" in look
    assert "2 read Spanish and get English" in look and "1 reads Hindi and gets English" in look
    assert "Together about" in look
    alert = plain(asha.post("/compose/look", FORM | {"kind": "alert"}).text)
    assert "Coming? Reply YES, NO or MAYBE." in alert, "the phone shows the whole text, as a member gets it"


def test_an_alphabet_is_named_and_not_called_a_mistake(small_world: World) -> None:
    _, asha = make(small_world)
    look = plain(asha.post("/compose/look", FORM | {"text_hi": "कल सुबह दस बजे गांधी चौक"}).text)
    assert "This alphabet takes more room" in look and "Without these" not in look
    assert "1 reads this" in look


@pytest.mark.parametrize(
    ("character", "written"), [("’", "'"), ("…", "..."), ("á", "a"), ("ç", "c"), ("\u00a0", " "), ("🙂", None), ("क", None), ("½", None)]
)
def test_how_to_write_it_plainly(character: str, written: str | None) -> None:
    assert to_plain(character) == written
    if written is not None:
        assert count_segments(written).encoding == "GSM-7"


def test_readers_of_latin_hindi_never_fall_to_devanagari() -> None:
    meters = measure("notice", "Sangha", "hi", {"hi": "नमस्ते", "en": "Hello"}, {"hi-Latn": 3, "es": 1})
    assert (meters["hi-Latn"].fall_to, meters["es"].fall_to, meters["hi"].fall_to) == ("en", "hi", None)


# --- quiet hours, an hour of its own -----------------------------------------------------------------------------------------


def test_the_look_says_who_gets_it_in_the_morning(world: World) -> None:
    """09:00 UTC is 14:30 in Kolkata, and quiet there from two in the afternoon until eight."""
    _, asha = make(world, timezone="Asia/Kolkata", quiet_from=14, quiet_until=8)
    look = plain(asha.post("/compose/look", FORM).text)
    assert "4 get it tomorrow at 08:00" in look and "It is night where she is" in look
    later = plain(asha.post("/compose/look", FORM | {"day": "2026-04-13", "hour": "09:00"}).text)
    assert "4 people get it" in later and "get it tomorrow" not in later


def test_early_texts_reach_those_who_agreed(small_world: World) -> None:
    sangha, asha = make(small_world, quiet_from=21, quiet_until=10)  # it is nine
    change(small_world, Membership, Membership.id == small_world.member(sangha, "+15558800031"), early_texts=True)
    alert = FORM | {"kind": "alert"}
    assert "5 get it today at 10:00" in plain(asha.post("/compose/look", alert).text)
    assert "4 get it today at 10:00" in plain(asha.post("/compose/look", alert | {"early": "yes"}).text)
    assert "5 get it today at 10:00" in plain(asha.post("/compose/look", FORM | {"early": "yes"}).text), "a notice is never early"
    asha.post("/compose", alert | {"early": "yes"})
    asha.post("/compose", FORM | {"early": "yes", "key": "k2"})
    assert [draft.early for draft in drafts(small_world)] == [True, False]


def test_an_hour_of_the_collective_s_clocks(small_world: World) -> None:
    _, asha = make(small_world, timezone="Asia/Kolkata")
    asha.post(
        "/compose", FORM | {"kind": "alert", "day": "2026-04-13", "hour": "08:00", "starts_day": "2026-04-13", "starts_hour": "10:30"}
    )
    [draft] = drafts(small_world)
    assert draft.due_at == datetime(2026, 4, 13, 2, 30, tzinfo=UTC)
    assert draft.expires_at == datetime(2026, 4, 13, 7, 0, tzinfo=UTC), "two hours after it began nobody is called any more"
    with small_world.store.read() as session:
        assert session.scalars(sa.select(Alert.starts_at)).one() == datetime(2026, 4, 13, 5, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"day": "2027-03-28", "hour": "02:30"}, "this hour does not exist"),
        ({"day": "2026-04-12", "hour": "08:00"}, "This moment is past"),
        ({"day": "2029-04-12", "hour": "08:00"}, "more than a year away"),
        ({"day": "2026-04-13", "hour": ""}, "Give both the day and the hour"),
        ({"day": "next week", "hour": "soon"}, "can not be read"),
        ({"day": "9999-12-31", "hour": "23:59"}, "more than a year away"),
        ({"day": "0001-01-01", "hour": "00:00"}, "can not be read"),
        ({"kind": "alert", "starts_day": "2026-04-13", "starts_hour": "09:00", "day": "2026-04-13", "hour": "09:00"}, "has begun already"),
        ({"text_en": " \x00 "}, "Write the text first"),
        ({"text_en": "x" * 10_240}, "Shorten it"),
        ({"text_en": "x" * 1_600}, "11 segments"),
        ({"text_en": "x", "text_hi": "क" * 700}, "The text in Hindi takes 11 segments"),
    ],
)
def test_what_can_not_be_is_refused_kindly_and_nothing_is_lost(small_world: World, fields: dict[str, str], says: str) -> None:
    _, asha = make(small_world, timezone="Europe/Berlin")
    refused = asha.post("/compose", FORM | fields)
    assert refused.status_code == 400 and says in unescape(refused.text)
    assert not drafts(small_world)
    assert "Nothing is lost" in refused.text
    written = fields.get("text_en", FORM["text_en"]).replace("\x00", "").strip()[:10_000]
    assert f">{written}</textarea>" in refused.text


def test_harmful_words_are_inert(small_world: World) -> None:
    _, asha = make(small_world)
    harm = "<script>alert(1)</script> \u202eevil\u202c \x00 {{ 7 * 7 }} 🙂"
    page = asha.post("/compose/look", FORM | {"text_en": harm}).text
    assert "<script>" not in page and "&lt;script&gt;" in page and "{{ 7 * 7 }}" in page and "\u202e" not in page and "\x00" not in page
    asha.post("/compose", FORM | {"text_en": harm})
    [draft] = drafts(small_world)
    shown = asha.text(f"/broadcasts/{draft.number}")
    assert "alert(1)</script>" not in shown.replace("&lt;", "<!").replace("&gt;", "!>") and "\u202e" not in shown


def test_without_script_the_button_looks_again(small_world: World) -> None:
    _, asha = make(small_world)
    looked = asha.post("/compose", FORM | {"look": "again", "text_es": "Hola"})
    assert looked.status_code == 200 and not drafts(small_world)
    seen = plain(looked.text)
    assert "4 people get it" in seen and "Sangha: Hola" in seen and "2 read this" in seen
    key = re.search(r'name="key" value="([^"]+)"', looked.text)
    assert key is not None and key[1] == FORM["key"], "the form stays the same form"


def test_the_form_of_another_session_does_nothing(small_world: World) -> None:
    _, asha = make(small_world)
    assert asha.post("/compose", FORM | {"csrf": "0" * 32}).status_code == 400
    assert asha.post("/compose", FORM, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 400
    assert asha.post("/compose/look", FORM | {"csrf": ""}).status_code == 400
    assert not drafts(small_world)


# --- changing a draft --------------------------------------------------------------------------------------------------------


def made(world: World, asha: Visitor, **fields: str) -> Broadcast:
    asha.post("/compose", FORM | fields)
    return drafts(world)[-1]


def test_a_group_of_care_is_offered_to_supporters_alone(small_world: World) -> None:
    sangha, asha = make(small_world)
    both = Visitor(small_world, small_world.member(sangha, BELA, roles=["organizer", "supporter"]))
    with small_world.store.write() as session:
        group = Group(collective_id=sangha, name="tuesdaycircle")
        session.add(group)
        session.flush()
        number, now = group.id, small_world.clock.now()
        session.add(GroupMember(group_id=number, membership_id=1))
        before = draft_broadcast(session, now, sangha, "notice", {"en": "Hi"}, group_id=number, author_id=1).number
        draft_broadcast(session, now, sangha, "check_in", {}, group_id=number)
    assert "tuesdaycircle" in both.text("/compose") and "tuesdaycircle" not in asha.text("/compose")
    refused = asha.post("/compose", FORM | {"group": str(number)})
    assert refused.status_code == 400 and "Choose another one" in refused.text and len(drafts(small_world)) == 2
    page = asha.text(f"/broadcasts/{before}/edit")
    assert "Choose another one" in page and "tuesdaycircle" not in page, "it is not made a text to everyone without a word"


def test_a_check_in_is_nothing_to_who_may_not_know_of_it(small_world: World) -> None:
    sangha, asha = make(small_world)
    with small_world.store.write() as session:
        made = draft_broadcast(session, small_world.clock.now(), sangha, "check_in", {})
        number, row = made.number, made.id
    dora = Visitor(small_world, small_world.member(sangha, BELA, roles=["broadcaster"]))
    nothing = dora.get("/broadcasts/999/edit")
    for answer in (
        dora.get(f"/broadcasts/{number}/edit"),
        dora.post("/broadcasts/999/edit", {"draft": str(row), "text_en": "x"}),
    ):
        assert answer.status_code == 404 and plain(answer.text) == plain(nothing.text)
    ahead = dora.post(f"/compose/look?change={number}", {"text_en": "x"}).text
    assert ahead == dora.post("/compose/look?change=999", {"text_en": "x"}).text
    assert asha.get(f"/broadcasts/{number}/edit").status_code == 409, "who says yes to it knows of it"


def test_a_change_gives_a_new_number(world: World) -> None:
    _, asha = make(world)
    old = made(world, asha, text_es="Hola")
    form = asha.text(f"/broadcasts/{old.number}/edit")
    assert "We meet at six." in form and f'name="draft" value="{old.id}"' in form
    world.clock.advance(timedelta(hours=1))
    changed = {"kind": "notice", "draft": str(old.id), "text_en": "We meet at seven.", "day": "2026-04-13", "hour": "08:00"}
    answer = asha.post(f"/broadcasts/{old.number}/edit", changed)
    [now] = drafts(world)
    assert now.number > old.number and answer.headers["Location"].endswith(f"/broadcasts/{now.number}")
    assert texts_of(world, now.id) == {"en": "We meet at seven."}, "a language that was emptied is gone"
    assert now.due_at == datetime(2026, 4, 13, 8, 0, tzinfo=UTC) and now.created_at == world.clock.now()
    with world.store.read() as session:
        assert session.scalars(sa.select(BroadcastText.segments)).all() == [1]
    # A second click finds its own work done, a stale tab is told.
    again = asha.post(f"/broadcasts/{old.number}/edit", changed)
    assert again.status_code == 303 and again.headers["Location"].endswith(f"/broadcasts/{now.number}")
    stale = asha.post(f"/broadcasts/{old.number}/edit", changed | {"text_en": "We meet at eight."})
    assert stale.status_code == 400 and "was changed in the meantime" in stale.text and "We meet at eight." in stale.text
    assert f"/broadcasts/{now.number}/edit" in stale.text
    assert texts_of(world, now.id) == {"en": "We meet at seven."}


def test_only_its_author_changes_it_and_only_while_it_is_a_draft(small_world: World) -> None:
    sangha, asha = make(small_world)
    draft = made(small_world, asha)
    bela = Visitor(small_world, small_world.member(sangha, BELA, roles=["organizer"]), proven=True)
    form = {"draft": str(draft.id), "text_en": "Pay me."}
    assert bela.post(f"/broadcasts/{draft.number}/edit", form).status_code == 409
    assert bela.get(f"/broadcasts/{draft.number}/edit").status_code == 409
    assert bela.post(f"/broadcasts/{draft.number}/yes").status_code == 303
    late = asha.post(f"/broadcasts/{draft.number}/edit", form)
    assert late.status_code == 409 and "no draft any more" in late.text
    assert texts_of(small_world, draft.id) == {"en": "We meet at six."}


def test_a_draft_of_another_collective_is_not_found_by_its_id(small_world: World) -> None:
    _, asha = make(small_world)
    others = small_world.collective("OTHERS")
    draft = made(small_world, asha)
    bela = Visitor(small_world, small_world.member(others, BELA, roles=["organizer"]), word="others")
    assert bela.post("/broadcasts/999/edit", {"draft": str(draft.id), "text_en": "Pay me."}).status_code == 404


# --- a correction ------------------------------------------------------------------------------------------------------------


def test_a_correction_is_drafted_once(world: World) -> None:
    sangha, asha = make(world)
    old = send_broadcast(world, sangha, "Rally at five")
    change(world, Broadcast, Broadcast.id == old, state="done")
    with world.store.read() as session:
        number = session.get_one(Broadcast, old).number
    page = asha.text(f"/broadcasts/{number}/correct")
    assert "Rally at five" in page and "Who gets it?" not in page
    look = plain(asha.post(f"/compose/look?change={number}", {"text_en": "Rally at six"}).text)
    assert "Sangha: Change: Rally at six" in look and "4 people get it" in look
    form = {"key": "c1", "text_en": "Rally at six"}
    first, second = (asha.post(f"/broadcasts/{number}/correct", form).headers["Location"] for _ in range(2))
    assert first == second
    _, correction = drafts(world)
    assert (correction.corrects_id, correction.state, texts_of(world, correction.id)) == (old, "draft", {"en": "Change: Rally at six"})
    with world.store.read() as session:
        assert session.scalars(sa.select(Audit.act)).all() == [f"change of {number} drafted"]


def test_a_form_sent_twice_with_other_words_tells_so(world: World) -> None:
    """The back button: what she sees then is not what was kept, and neither is lost."""
    _, asha = make(world)
    asha.post("/compose", FORM)
    again = asha.post("/compose", FORM | {"text_en": "We meet at SEVEN."})
    assert again.status_code == 400 and "with other words: they are text 1" in plain(again.text) and "We meet at SEVEN." in again.text
    assert len(drafts(world)) == 1
    key = re.search(r'name="key" value="([^"]+)"', again.text)
    assert key is not None and key[1] != FORM["key"]
    asha.post("/compose", FORM | {"text_en": "We meet at SEVEN.", "key": key[1]})
    assert [texts_of(world, draft.id)["en"] for draft in drafts(world)] == ["We meet at six.", "We meet at SEVEN."]


def test_a_correction_moves_the_action_once_it_is_approved(world: World) -> None:
    sangha, asha = make(world)
    bela = Visitor(world, world.member(sangha, BELA, roles=["organizer"]), proven=True)
    day = f"{world.clock.now() + timedelta(days=2):%Y-%m-%d}"
    alert = {"kind": "alert", "text_en": "Rally at 5.", "key": "a", "starts_day": day, "starts_hour": "17:00"}
    number = int(asha.post("/compose", alert).headers["Location"].rsplit("/", 1)[1])
    bela.post(f"/broadcasts/{number}/yes")
    form = asha.text(f"/broadcasts/{number}/correct")
    assert f'value="{day}"' in form and 'value="17:00"' in form, "the hour stands there as it is"
    fields = {"text_en": "Rally at 6.", "key": "c", "starts_day": day, "starts_hour": "18:00"}
    corrected = int(asha.post(f"/broadcasts/{number}/correct", fields).headers["Location"].rsplit("/", 1)[1])
    assert "18:00" in bela.text(f"/broadcasts/{corrected}") and "17:00" in bela.text(f"/actions/{number}")
    bela.post(f"/broadcasts/{corrected}/yes")
    for page in (f"/actions/{number}", f"/broadcasts/{corrected}", "/actions"):
        assert f"{day} 18:00" in bela.text(page), page


def test_what_is_larger_than_a_form_may_be_says_what_to_do(small_world: World) -> None:
    _, asha = make(small_world)
    answer = asha.post("/compose", FORM | {"text_en": "अ" * 200_000})
    assert answer.status_code == 413 and "Shorten it" in answer.text and "list of members" not in answer.text


def test_what_can_not_be_corrected_says_why(small_world: World) -> None:
    _, asha = make(small_world)
    draft = made(small_world, asha)
    refused = asha.get(f"/broadcasts/{draft.number}/correct")
    assert refused.status_code == 409 and "Change the draft instead" in refused.text
    assert asha.get("/broadcasts/999/correct").status_code == 404


def test_many_members_do_not_keep_the_page_waiting(small_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """From LARGE members on the form comes at once, and its live part by itself; what was counted is believed for a moment."""
    sangha, asha = make(small_world)
    monkeypatch.setattr(looks, "LARGE", 3)
    monkeypatch.setattr(looks, "MANY", 3)
    page = asha.text("/compose")
    assert "Counting who gets it" in page and 'hx-trigger="load, ' in page and "people get it" not in page
    assert "4 people get it" in plain(asha.post("/compose/look", FORM).text)
    small_world.member(sangha, "+15558800041")
    assert "4 people get it" in plain(asha.post("/compose/look", FORM).text), "within twenty seconds nothing is counted twice"
    assert "5 people get it" in plain(asha.post("/compose/look", FORM | {"kind": "alert"}).text), "another question is"
    draft = made(small_world, asha)
    assert 'hx-trigger="load"' in asha.text(f"/broadcasts/{draft.number}")
    assert "4 people get it" in plain(asha.text(f"/broadcasts/{draft.number}/ahead"))
    assert "4 people get it" in plain(asha.text(f"/broadcasts/{draft.number}?look=now"))
