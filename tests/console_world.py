"""A collective in which something of everything has happened: every page of the console has something to show, kind words and hostile ones.

``make_full(world)`` makes it; ``addresses(full)`` says under which addresses each page of the console is found in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bot.console.access import ROLES
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast, hold_broadcast
from bot.delivery.plan import plan_broadcast
from bot.members.search import index_names
from models import (
    Alert,
    Audit,
    Ballot,
    Broadcast,
    CheckIn,
    Collective,
    Consent,
    Group,
    GroupMember,
    Line,
    MemberExport,
    MemberImport,
    Membership,
    Note,
    NoteAnswer,
    NumberChange,
    Outbound,
    PeerRequest,
    Poll,
    Role,
    Rsvp,
    Spending,
    Template,
)
from models import broadcasts as states
from tests.console import give_factor
from tests.world import World

LINE, WHATSAPP = "+15550001111", "whatsapp:+15550003333"

# What people, and those who mean them harm, may write. The page must show each as it is, and do nothing of it.
HOSTILE = (
    "<script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\">",
    "\u202egnihton ot ekil daer si sihT\u202c and then \u2066this\u2069",
    "متى الاجتماع القادم؟ سأحضر مع أختي إن شاء الله",
    "W" * 300 + "https://example.org/" + "a" * 400,
    "Ten kilobytes of worry. " * 430,
    "👩🏽‍🚒" * 60 + "{{ 7 * 7 }} {name} %s \x00",
)
_NAMES = (
    ("Maya", "en"), ("Lucía Fernández de la Vega y Ortiz", "es"), ("सुनीता", "hi"), ("Kavita", "hi-Latn"),
    ("<b>Noor</b>", "en"), ("أمينة", "en"), ("A" * 60, "es"), ("रमेश", "hi"), (None, "en"), ("Tess", "en"), ("Diego", "es"), ("Sam", "en"),
)  # fmt: skip


@dataclass
class Full:
    """Where things are: membership ids (``people``: by role, and "all" with every one of them), broadcast numbers by what they are, numbers
    of notes."""

    world: World
    collective: int
    word: str
    people: dict[str, int] = field(default_factory=dict)
    members: list[int] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    notes: list[int] = field(default_factory=list)


def make_full(world: World) -> Full:
    """Make it, in a database that has no collective of this word yet."""
    collective = world.collective(
        "SANGHA", [LINE, WHATSAPP], name="Oakland Tenants United for Fair Rent", timezone="Asia/Kolkata", quiet_from=21, quiet_until=8
    )
    full = Full(world, collective, "sangha")
    _add_people(full)
    _add_texts(full)
    _add_voices(full)
    _add_traces(full)
    return full


def addresses(full: Full) -> Mapping[str, list[dict[str, Any]]]:
    """For each endpoint whose address has holes beside the word: what to put there (and after the question mark). None: nothing."""
    n = full.numbers
    texts = [{"number": n[name]} for name in ("draft", "sending", "held", "scheduled", "done", "corrected", "own_draft", "too_long")]
    polls = [{"number": n[name]} for name in ("open_poll", "closed_poll")]
    return {
        "console.broadcast": texts,
        "console.broadcast_live": texts[:1],
        "console.broadcast_ahead": texts[:1],
        "console.edit_draft": [{"number": n["own_draft"]}],
        "console.correct_broadcast": [{"number": n["done"]}],
        "console.compose": [{}, {"kind": "alert"}],
        "console.poll": polls,
        "console.poll_turnout": polls[:1],
        "console.action": [{"number": n["action"]}],
        "console.headcount": [{"number": n["action"]}],
        "console.rsvps": [{"number": n["action"]}, {"number": n["action"], "answer": "maybe"}],
        "console.notes": [{}, {"all": 1}, {"muted": 1}],
        "console.note_thread": [{"number": number} for number in full.notes],
        "console.member": [{"number": full.members[1]}, {"number": full.members[4]}, {"number": full.people["organizer"]}],
        "console.members": [{}, {"role": "supporter"}],
        "console.flow": [{"name": "check_in"}, {"name": "join"}],
        "console.poster": [{}, {"in": "hi"}],
        "console.show_factor": [{"membership": 0}],  # her own: whoever walks puts it in
    }


# --- who ---------------------------------------------------------------------------------------------------------------


def _add_people(full: Full) -> None:
    world, now = full.world, full.world.clock.now()
    for position, role in enumerate(ROLES):
        full.people[role] = world.member(full.collective, f"+155588070{position:02d}", name=f"Asha {role}", roles=[role])
    full.people["all"] = world.member(full.collective, "+15558807099", name="Asha", roles=ROLES)
    give_factor(world, full.people["all"])
    # A second collective, so that the choice between them is shown, too.
    elsewhere = world.collective("MAITRI", [LINE], name="Maitri")
    for number, (name, language) in enumerate(_NAMES):
        spoke = WHATSAPP if number == 3 else LINE
        full.members.append(world.member(full.collective, f"+155588000{number:02d}", name=name, language=language, spoke_on=spoke))
    with world.store.write() as session:
        person = session.get_one(Membership, full.people["all"]).person_id
        other = Membership(person_id=person, collective_id=elsewhere, joined_at=now)
        session.add(other)
        session.flush()
        session.add(Role(membership_id=other.id, role="viewer"))
        brought = MemberImport(collective_id=full.collective, membership_id=full.people["organizer"], added=3, made_at=now)
        groups = [Group(collective_id=full.collective, name=name) for name in ("drivers", "रात की टोली", "w" * 40)]
        session.add_all([brought, *groups])
        session.flush()
        session.add_all(GroupMember(group_id=groups[0].id, membership_id=member) for member in full.members[:5])
        for member in full.members[8:11]:
            session.get_one(Membership, member).import_id = brought.id
        session.get_one(Membership, full.members[6]).paused_until = now + timedelta(days=3)
        session.get_one(Membership, full.members[7]).muted_at = now
        gone = session.get_one(Membership, full.members[11])
        gone.state, gone.left_at = "left", now - timedelta(days=2)
        session.add_all(
            Consent(membership_id=member, kind=kind, how="on a list at the door", text_version="1", language="en", given_at=now)
            for member in full.members[:6]
            for kind in ("join", "check_ins")
        )
        hers = session.get_one(Membership, full.people["organizer"]).person_id
        change = NumberChange(
            person_id=hers, collective_id=full.collective, asked_by=full.people["admin"], asked_at=now, due_at=now + timedelta(days=1)
        )
        change.number = "+15558807777"
        session.add(change)
    with world.store.write() as session:
        index_names(session, world.store, 100)


# --- what they were told and asked ---------------------------------------------------------------------------------------


def _add_texts(full: Full) -> None:
    organizer, broadcaster, everything = full.people["organizer"], full.people["broadcaster"], full.people["all"]
    rally = {"en": "Rally tomorrow 10am, Gandhi Chowk. Bring water.", "es": "Marcha mañana 10am, Gandhi Chowk.", "hi": "रैली कल सुबह 10 बजे"}
    soon, later = timedelta(hours=5), timedelta(days=2)
    full.numbers["done"] = _sent(full, "notice", rally, "delivered", author=organizer)
    full.numbers["corrected"] = _sent(full, "notice", {"en": "The park, not the school."}, "delivered", author=organizer)
    correction = {"en": "Change: the school, not the park."}
    full.numbers["correction"] = _sent(full, "notice", correction, "delivered", corrects=full.numbers["corrected"])
    full.numbers["action"] = _sent(full, "alert", rally, "delivered", alert=soon)
    options = {"en": ["The library", "Gandhi Park", "<i>Online</i>"], "es": ["La biblioteca", "Parque Gandhi", "Por internet"]}
    question = {"en": "Where shall we meet on Sunday, so that everybody who works late can come too?", "es": "¿Dónde nos reunimos?"}
    full.numbers["open_poll"] = _sent(full, "poll", question, "delivered", options=options, poll=later)
    full.numbers["closed_poll"] = _sent(full, "poll", question, "delivered", options=options, poll=-soon)
    full.numbers["check_in"] = _sent(full, "check_in", {}, "delivered")
    full.numbers["sending"] = _sent(full, "notice", rally, "queued")
    full.numbers["held"] = _sent(full, "notice", {"en": HOSTILE[3][:600]}, "queued", hold=True)
    full.numbers["scheduled"] = _sent(full, "notice", rally, None, due=timedelta(days=1))
    full.numbers["draft"] = _draft(full, "notice", rally, broadcaster)
    full.numbers["own_draft"] = _draft(full, "notice", {"en": HOSTILE[0], "hi": "कल मिलते हैं"}, everything)
    full.numbers["too_long"] = _draft(full, "notice", {"en": "Ten pages of it. " * 100}, broadcaster)


def _draft(full: Full, kind: str, texts: dict[str, str], author: int) -> int:
    with full.world.store.write() as session:
        return draft_broadcast(session, full.world.clock.now(), full.collective, kind, texts, author_id=author).number


def _sent(
    full: Full,
    kind: str,
    texts: dict[str, str],
    outcome: str | None,
    *,
    author: int | None = None,
    options: dict[str, list[str]] | None = None,
    alert: timedelta | None = None,
    poll: timedelta | None = None,
    corrects: int | None = None,
    due: timedelta | None = None,
    hold: bool = False,
) -> int:
    """A broadcast that was approved, and whose rows stand at ``outcome`` (one or two of them elsewhere); returns its number."""
    world, now = full.world, full.world.clock.now()
    with world.store.write() as session:
        made: dict[str, Any] = {}
        if alert is not None:
            called = Alert(collective_id=full.collective, starts_at=now + alert, created_at=now)
            session.add(called)
            session.flush()
            made["alert_id"] = called.id
            session.add_all(
                Rsvp(alert_id=called.id, membership_id=member, answer=("yes", "maybe", "no")[n % 3], answered_at=now)
                for n, member in enumerate(full.members[:7])
            )
        if poll is not None:
            asked = Poll(collective_id=full.collective, options=3, closes_at=now + poll, created_at=now)
            asked.closed_at = asked.closes_at if poll < timedelta(0) else None
            session.add(asked)
            session.flush()
            made["poll_id"] = asked.id
            session.add_all(
                Ballot(poll_id=asked.id, membership_id=each, choice=n % 3, cast_at=now) for n, each in enumerate(full.members[:7])
            )
        if corrects is not None:
            first = sa.select(Broadcast.id).where(Broadcast.collective_id == full.collective, Broadcast.number == corrects)
            made["corrects_id"] = session.scalar(first)
        drafted = draft_broadcast(session, now, full.collective, kind, texts, author_id=author, options=options, **made)
        assert approve_broadcast(session, now, drafted, how="cli", at=now + due if due else None)
        drafted.approver_id = full.people["all"] if author is not None else None
        broadcast_id, number = drafted.id, drafted.number
    if outcome is None:
        return number
    plan_broadcast(world.deployment, broadcast_id)
    with world.store.write() as session:
        rows = list(session.scalars(sa.select(Outbound.id).where(Outbound.broadcast_id == broadcast_id).order_by(Outbound.id)))
        for position, row in enumerate(rows):
            session.execute(sa.update(Outbound).where(Outbound.id == row).values(**_fate(position, outcome, now)))
        broadcast = session.get_one(Broadcast, broadcast_id)
        if hold:
            assert hold_broadcast(session, now, broadcast, reason="filtered", code=30007)
        elif outcome == "delivered":
            broadcast.state, broadcast.done_at = states.DONE, now - timedelta(hours=1)
    return number


def _fate(position: int, outcome: str, now: Any) -> dict[str, Any]:
    if outcome == "queued":
        return {"state": "delivered", "attempted_at": now, "cost_micros": 7_900} if position % 3 == 0 else {"state": "queued"}
    if position == 1:
        return {"state": "undelivered", "error_code": 30003}
    if position == 2:
        return {"state": "unknown", "checks": 2, "check_at": None}
    return {"state": "delivered", "cost_micros": 7_900}


# --- what they said, what it cost, who did what ----------------------------------------------------------------------------


def _add_voices(full: Full) -> None:
    world, now = full.world, full.world.clock.now()
    with world.store.write() as session:
        number = session.get_one(Collective, full.collective).next_number
        for position, words in enumerate(HOSTILE):
            note = Note(collective_id=full.collective, number=number, membership_id=full.members[position], body=words, created_at=now)
            note.kind = "sos" if position == 1 else "note"
            if position == 2:
                note.claimed_by, note.claimed_at = full.people["organizer"], now
            session.add(note)
            full.notes.append(number)
            number += 1
        session.get_one(Membership, full.members[4]).muted_at = now
        answered = Note(
            collective_id=full.collective, number=number, membership_id=full.members[0], body="And at what hour?", created_at=now
        )
        answered.state, answered.answered_at = "answered", now
        session.add(answered)
        session.flush()
        session.add(NoteAnswer(note_id=answered.id, author_id=full.people["organizer"], body="At six. " + HOSTILE[0], answered_at=now))
        for position in range(3):
            number += 1
            asked = PeerRequest(collective_id=full.collective, number=number, membership_id=full.members[position], created_at=now)
            asked.good_time = ("after six", HOSTILE[0], HOSTILE[3])[position]
            asked.answered_at = now if position == 0 else None
            session.add(asked)
        session.get_one(Collective, full.collective).next_number = number + 1
        session.add_all(
            CheckIn(membership_id=member, collective_id=full.collective, mood=1 + (n + week) % 5, at=now - timedelta(weeks=week))
            for week in range(4)
            for n, member in enumerate(full.members[: 9 - 2 * week])
        )


def _add_traces(full: Full) -> None:
    world, now = full.world, full.world.clock.now()
    with world.store.write() as session:
        session.get_one(Collective, full.collective).monthly_cap_micros = 50_000_000
        session.merge(Spending(collective_id=full.collective, month=f"{now:%Y-%m}", micros=43_000_000, segments=5_400, messages=4_100))
        rested = session.scalars(sa.select(Line).where(Line.address == WHATSAPP)).one()
        rested.held_until, rested.held_code = now + timedelta(hours=2), 63018
        reason = "For the annual meeting"
        session.add(MemberExport(collective_id=full.collective, membership_id=full.people["admin"], reason=reason, rows=12, made_at=now))
        knock = Template(kind="knock", language="en", name="chorus_knock_en", body="{{1}}: a note waits for you.", changed_at=now)
        knock.state, knock.variables = "rejected", 1
        knock.reason = "The template has a variable at its beginning."
        session.add(knock)
        session.add_all(
            Audit(collective_id=full.collective, membership_id=full.people["organizer"], act="held", subject=f"broadcast {n}", at=now)
            for n in range(60)
        )
