"""FORGET: after it, her number, her name, her words and every id of hers stand nowhere; and nobody else is touched."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyotp
import pytest
import sqlalchemy as sa

from bot.delivery.gateway import Accepted, Refused
from bot.delivery.leases import take_lines
from bot.delivery.marks import Marked
from bot.delivery.outbox import BETWEEN_PEOPLE_LASTS
from bot.delivery.outcomes import Sent, write_outcomes
from bot.delivery.plan import plan_broadcast
from bot.delivery.receipts import apply_receipt
from bot.delivery.sweep import sweep
from bot.delivery.tokens import callback_token
from bot.schedule.timers import claim_due, finish
from models import (
    Audit,
    Base,
    Broadcast,
    CheckIn,
    Collective,
    Consent,
    Group,
    GroupMember,
    Inbound,
    Membership,
    Outbound,
    PeerRequest,
    Person,
    Phone,
    PhoneLine,
    Poll,
    SecondFactor,
    Timer,
)
from models.broadcasts import STOPPED
from tests.delivery import ScriptedCarrier, change, phone_of, pump_all, put_letter, row, rows, send_broadcast, states
from tests.world import World

HERS, BELA, CHITRA, DEVI = "+15558800001", "+15558800002", "+15558800003", "+15558800004"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
# So that an id of hers can not be taken for somebody else's.
FAR = {Phone: 880_101, Person: 880_202, Membership: 880_303}


def deliver(world: World) -> list[str]:
    """What is due is planned and sent; gives the texts."""
    for timer in claim_due(world.store, world.clock.now()):
        if timer.kind == "broadcast":
            plan_broadcast(world.deployment, timer.subject_id)
        finish(world.store, timer)
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 5.0)
    return [f"{text.to}: {text.body}" for text in carrier.taken]


def forget(world: World, number: str) -> None:
    said = world.text(number, "FORGET")
    if said.texts and "Done." not in said.text:
        said = world.text(number, "YES")
    assert "Done." in said.text


def cells(world: World) -> Iterator[tuple[str, str, Any]]:
    """Every value of every table, opened: (table.column, which row, value)."""
    with world.store.read() as session:
        for table in Base.metadata.sorted_tables:
            for number, found in enumerate(session.execute(sa.select(table)).mappings()):
                for name, value in found.items():
                    yield f"{table.name}.{name}", f"row {number}: {dict(found)!r}", value


@dataclass
class Her:
    phone: int
    person: int
    membership: int


def make_her(world: World, collective: int) -> Her:
    """Asha, an organizer and a supporter, with ids that nobody else has."""
    now, number = world.clock.now(), HERS
    her = Her(FAR[Phone], FAR[Person], FAR[Membership])
    with world.store.write() as session:
        session.add(Phone(id=her.phone, number=number, number_hash=world.store.hash_number(number), created_at=now))
        session.flush()
        session.add(Person(id=her.person, phone_id=her.phone, name="Ashalata", language="en", created_at=now))
        session.flush()
        session.get_one(Phone, her.phone).current_person_id = her.person
        session.add(Membership(id=her.membership, person_id=her.person, collective_id=collective, joined_at=now))
        session.flush()
        for role in ("organizer", "supporter"):
            session.execute(sa.text("INSERT INTO roles (membership_id, role) VALUES (:m, :r)"), {"m": her.membership, "r": role})
        group = Group(collective_id=collective, name="drivers")
        session.add_all([SecondFactor(membership_id=her.membership, secret=SECRET), group])
        session.add(Consent(membership_id=her.membership, kind="join", how="met herwords", text_version="1", language="en", given_at=now))
        session.add(Audit(collective_id=collective, act="organizer added", subject=f"membership {her.membership}", at=now))
        session.flush()
        session.add(GroupMember(group_id=group.id, membership_id=her.membership))
    return her


def live_a_life(world: World, collective: int) -> Her:
    """Everything Chorus can do, done once by her, to her and about her."""
    change(world, Collective, Collective.id == collective, cool_down_seconds=0)
    her = make_her(world, collective)
    world.member(collective, BELA, name="Bela", roles=["supporter"])
    world.member(collective, CHITRA, name="Chitra", roles=["organizer"])
    world.member(collective, DEVI, name="Devi")
    code = pyotp.TOTP(SECRET)

    def her_text(body: str) -> str:
        answer = world.text(HERS, body)
        deliver(world)
        return "\n".join(answer.texts)

    her_text("herwords to the notes of this group")
    # A talk with a peer, both ways.
    for body in ("CHECKIN", "2", "YES", "herwords at six"):
        her_text(body)
    world.text(BELA, "REPLY 2 I am here")
    deliver(world)
    her_text("herwords to my peer, he is out until eight")
    her_text("SOS")
    # She is the one who organizes and supports.
    her_text("POLL Where do we meet? / Park / School")
    her_text(f"SEND {code.at(world.clock.now())}")
    her_text("A")
    world.clock.advance(timedelta(minutes=1))
    number = her_text("ALERT Rally today 10am Gandhi Chowk").partition(":")[0]
    assert "on its way" in her_text(f"SEND {number} {code.at(world.clock.now())}")
    her_text("yes")
    for body in ("CHECKIN", "2", "YES", "at noon"):
        world.text(DEVI, body)
    deliver(world)
    with world.store.read() as session:
        asked = session.scalars(sa.select(PeerRequest.number).order_by(PeerRequest.id.desc())).first()
    her_text(f"REPLY {asked} herwords for her")
    world.text(CHITRA, "SEND A notice by Chitra")
    with world.store.read() as session:
        drafted = session.scalars(sa.select(Broadcast.number).order_by(Broadcast.id.desc())).first()
    her_text(f"OK {drafted}")
    her_text("HOLD")
    her_text("SEND herwords never sent")
    # What waits: for her, and about her.
    send_broadcast(world, collective, "still queued")
    put_letter(world, her.membership, "herwords held", kind="relay", due_at=world.clock.now() + timedelta(hours=5))
    put_letter(world, her.membership, "herwords queued")
    world.text(HERS, "SOS")
    her_open_question = world.text(HERS, "CHECKIN").texts
    assert her_open_question
    return her


@pytest.mark.parametrize("stopped", [False, True])
def test_nothing_that_leads_to_her_is_left(world: World, stopped: bool) -> None:
    collective = world.collective()
    her = live_a_life(world, collective)
    before = {place for place, _, value in cells(world) if value in (her.phone, her.person, her.membership)}
    assert {
        "outbound.about_membership_id", "audit.membership_id", "broadcasts.author_id", "broadcasts.approver_id", "ballots.membership_id",
        "rsvps.membership_id", "check_ins.membership_id", "peer_requests.membership_id",
        "peer_requests.supporter_id", "notes.membership_id",
        "conversations.person_id", "roles.membership_id", "group_members.membership_id",
        "second_factors.membership_id",
        "consents.membership_id", "inbound.person_id",
    } <= before, "the life is full"  # fmt: skip
    assert sum("herwords" in str(value) for _, _, value in cells(world)) > 8
    if stopped:
        world.text(HERS, "STOP")
        assert world.text(HERS, "FORGET").texts == []
    else:
        forget(world, HERS)
    deliver(world)
    kept = {"phones.id", "phone_lines.phone_id"} if stopped else set()
    hashed = world.store.hash_number(HERS)
    for place, which, value in cells(world):
        if type(value) is int:
            assert place in kept or value not in (her.phone, her.person, her.membership), (place, which)
        elif isinstance(value, bytes):
            assert value != hashed or (stopped and place == "phones.number_hash"), (place, which)
        else:
            said = json.dumps(value, default=str)
            for trace in (HERS.lstrip("+"), "Ashalata", "herwords", SECRET, str(her.phone), str(her.person), str(her.membership)):
                assert trace not in said, (place, which)
    with world.store.read() as session:
        assert session.scalars(sa.select(PhoneLine.last_inbound_at).where(PhoneLine.phone_id == her.phone)).all() == [None] * stopped
        assert session.scalars(sa.select(CheckIn.id).where(CheckIn.membership_id == her.membership)).all() == []
        talks = session.scalars(sa.text("SELECT id FROM conversations")).all()
        assert set(session.scalars(sa.select(Timer.subject_id).where(Timer.kind == "patience"))) <= set(talks)


def test_what_is_about_her_is_not_sent_any_more(world: World) -> None:
    collective = world.collective()
    world.member(collective, HERS)
    world.member(collective, BELA, roles=["supporter"])
    world.text(HERS, "SOS")
    page = rows(world)[0]
    assert (page.kind, page.state, page.about_membership_id) == ("page", "queued", 1)
    forget(world, HERS)
    assert deliver(world) == []
    assert (row(world, page.id).state, row(world, page.id).reason, row(world, page.id).person_id) == (
        "stopped",
        "forgotten",
        page.person_id,
    )


def test_a_stranger_forgets_only_what_is_the_strangers(world: World) -> None:
    collective = world.collective()
    member = world.member(collective, BELA)
    waits = put_letter(world, member, "for Bela", kind="notice")
    # What was written for a phone when nobody was known on it: person is null there, as it is for the stranger.
    other = put_letter(world, member, "for somebody", person_id=None, membership_id=None, unprompted=False)
    world.text(HERS, "hello")
    forget(world, HERS)
    assert [row(world, number).state for number in (waits, other)] == ["queued", "queued"]
    with world.store.read() as session:
        assert session.scalars(sa.select(Phone.number)).all() == [BELA]
        assert set(session.scalars(sa.select(Outbound.body))) == {"for Bela", "for somebody", None}
        assert session.scalars(sa.select(Inbound.body)).all() == [None, None]


def test_a_stranger_on_a_phone_of_others_touches_none_of_them(world: World) -> None:
    member = world.member(world.collective(), HERS, name="Meena")
    waits = put_letter(world, member, "for Meena", kind="notice")
    change(world, Phone, current_person_id=None)
    forget(world, HERS)
    assert row(world, waits).state == "queued"
    with world.store.read() as session:
        assert session.scalars(sa.select(Person.name)).all() == ["Meena"]
        assert session.scalars(sa.select(Phone.number)).all() == [HERS]


def test_a_shared_phone_is_handed_to_nobody(world: World) -> None:
    collective = world.collective()
    world.member(collective, HERS, name="Asha")
    world.member(collective, HERS, name="Meena")
    forget(world, HERS)
    with world.store.read() as session:
        assert session.scalars(sa.select(Phone.current_person_id)).all() == [None]
        assert session.scalars(sa.select(Person.name)).all() == ["Meena"]
    send_broadcast(world, collective, "Rally")
    assert deliver(world) == [f"{HERS}: Sangha: Rally"], "who stays is a member as before"


# --- what is under way while she is forgotten -------------------------------------------------------------------------------


def test_rows_without_a_phone_end_in_the_sweep(world: World) -> None:
    collective = world.collective()
    member = world.member(collective, HERS)
    ids = [put_letter(world, member, "words") for _ in range(3)]
    change(world, Outbound, Outbound.id == ids[0], phone_id=None)
    change(world, Outbound, Outbound.id == ids[1], phone_id=None, state="held", reason="window")
    sweep(world.store)
    assert [(row(world, number).state, row(world, number).reason) for number in ids] == [("stopped", "forgotten")] * 2 + [("queued", None)]


def test_a_row_whose_phone_is_gone_ends_at_the_mark(world: World) -> None:
    collective = world.collective()
    number = put_letter(world, world.member(collective, HERS), "words")
    change(world, Outbound, Outbound.id == number, phone_id=4711)
    assert deliver(world) == []
    found = row(world, number)
    assert (found.state, found.reason, found.phone_id, found.person_id) == ("stopped", "forgotten", None, None)


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (None, "stopped", "forgotten"),
        (Refused(21610), "failed", None),
        (Refused(63016), "stopped", "forgotten"),
        (Accepted("SM1"), "accepted", None),
    ],
)
def test_what_comes_back_after_she_was_forgotten(world: World, outcome: Any, state: str, reason: str | None) -> None:
    collective = world.collective()
    member = world.member(collective, HERS)
    number = send_broadcast(world, collective, "Rally", kind="alert")
    message = rows(world, number)[0]
    (line,) = take_lines(world.store, "test", 1)
    change(world, Outbound, Outbound.id == message.id, state="attempting", attempt=1)
    mark = Marked(message.id, 1, phone_of(world, member), line, HERS, "words", 1, 0.0)
    other = put_letter(world, world.member(collective, BELA), "words")
    change(world, Outbound, Outbound.id == other, state="attempting", attempt=1)
    beside = Marked(other, 1, phone_of(world, 2), line, BELA, "words", 1, 0.0)
    forget(world, HERS)
    with world.store.write() as session:
        write_outcomes(world.store, session, [Sent(mark, outcome), Sent(beside, None)])
    assert row(world, other).state == "queued", "what comes back beside it is written down"
    apply_receipt(world.store, callback_token(world.store, message.id, 1), "queued", None, "SM1")
    found = row(world, message.id)
    assert (found.state, found.reason, found.sid, found.asked_at) == (state, reason, None, None)


def test_a_fan_out_under_way_is_waited_for(world: World) -> None:
    """Its chunk holds the broadcast's row; FORGET looks for her rows only afterwards."""
    if world.store.is_sqlite:
        return  # one writer at a time
    collective = world.collective()
    world.member(collective, HERS)
    world.text(HERS, "FORGET")
    number = send_broadcast(world, collective)
    with world.store.write() as session:
        session.execute(sa.delete(Outbound).where(Outbound.broadcast_id == number))
    change(world, Broadcast, planned_through=0, planned_at=None)
    forgetting = threading.Thread(target=world.text, args=(HERS, "YES"))
    with world.store.write() as session:
        session.execute(sa.select(Broadcast.id).where(Broadcast.id == number).with_for_update(key_share=True))
        forgetting.start()
        forgetting.join(0.5)
        assert forgetting.is_alive()
        session.add(
            Outbound(
                broadcast_id=number, membership_id=1, person_id=1, phone_id=1, collective_id=collective, line_id=world.line(),
                kind="notice", lane=6, language="en", state="queued", due_at=world.clock.now(), created_at=world.clock.now(),
            )
        )  # fmt: skip
    forgetting.join()
    assert [(each.state, each.person_id) for each in rows(world, number)] == [("stopped", None)]


# --- words between people -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["page", "relay"])
def test_a_word_for_her_is_not_shown_to_who_holds_the_phone_now(world: World, kind: str) -> None:
    collective = world.collective()
    asha = world.member(collective, HERS, name="Asha")
    bina = world.member(collective, HERS, name="Bina")
    with world.store.read() as session:
        people = {each: session.get_one(Membership, each).person_id for each in (asha, bina)}
    change(world, Phone, current_person_id=people[bina])
    number = put_letter(world, asha, "for Asha alone", kind=kind, unprompted=False)
    now = world.clock.now()
    assert row(world, number).expires_at == now + BETWEEN_PEOPLE_LASTS
    assert deliver(world) == []
    assert (row(world, number).state, row(world, number).reason, row(world, number).due_at) == (
        "held",
        "other_person",
        now + timedelta(hours=1),
    )
    change(world, Phone, current_person_id=people[asha])
    world.clock.advance(timedelta(hours=1))
    sweep(world.store)
    assert deliver(world) == [f"{HERS}: for Asha alone"]


@pytest.mark.parametrize("kind", ["page", "relay", "notice", "reply"])
def test_who_left_hears_only_the_answer_to_her_own_text(world: World, kind: str) -> None:
    member = world.member(world.collective(), HERS)
    put_letter(world, member, "words", kind=kind, unprompted=False)
    change(world, Membership, state="left")
    assert len(deliver(world)) == (kind == "reply")
    assert states(world) == ["accepted" if kind == "reply" else "suppressed"]


def test_a_stopped_poll_is_not_closed_later(world: World) -> None:
    from bot.delivery.broadcasts import stop_broadcast

    collective = world.collective()
    world.member(collective, HERS)
    with world.store.write() as session:
        poll = Poll(collective_id=collective, options=2, created_at=world.clock.now())
        session.add(poll)
        session.flush()
    number = send_broadcast(world, collective, "Where?", kind="poll", poll_id=poll.id, options={"en": ["Park", "School"]})
    with world.store.write() as session:
        stop_broadcast(session, world.clock.now(), session.get_one(Broadcast, number))
        assert session.get_one(Broadcast, number).state == STOPPED
        assert session.scalars(sa.select(Timer.kind)).all() == []
