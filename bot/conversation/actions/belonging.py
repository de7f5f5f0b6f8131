"""Joining, leaving, pausing; names and languages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from rapidfuzz import fuzz, process

from bot.conversation.actions.acting import action
from bot.conversation.talk import end_all
from bot.conversation.turn import Belonging, Turn
from bot.languages.answers import fold, parse_language
from models import (
    Collective,
    CollectiveLine,
    Consent,
    Conversation,
    Line,
    Membership,
    NameWord,
    Outbound,
    Person,
    Phone,
    PhoneLine,
    Role,
    SecondFactor,
    sqlite_or_postgres_insert,
)

# Kept with each consent, so that what was agreed to can be shown later. Raise it when the join text changes.
CONSENT_TEXT = "join-1"
PAUSE_DAYS = 7
MOST_TRIED = 3  # words behind JOIN that are compared with those of collectives


@action(
    outcomes=[
        {"joined": True, "already": False, "collective": "Sangha", "ask_who": False},
        {"joined": True, "already": False, "collective": "Sangha", "ask_who": True, "membership_id": 1},
        {"joined": False, "already": True, "collective": "Sangha", "ask_who": True, "membership_id": 1},
        {"joined": False, "already": False, "elsewhere": "+15550001111", "word": "SANGHA", "collective": "Sangha", "ask_who": False},
        {"joined": False, "already": False, "unknown": True, "near": "SANGHA"},
        {"joined": False, "already": False, "unknown": True, "near": None},
    ]
)
def join_collective(turn: Turn, word: str) -> dict[str, Any]:
    """JOIN is consent: the membership is active in this transaction. It never lifts a STOP of the carrier.

    Gives joined, already, collective (its name), ask_who (somebody on this phone belongs already: which of them is it?),
    elsewhere (the collective uses another number), unknown and near (a public word that looks like hers).
    """
    collective = turn.session.scalars(sa.select(Collective).where(Collective.word == fold(word))).one_or_none()
    # Asked of the database: a collective may have got this line a moment ago.
    here = collective is not None and turn.session.get(CollectiveLine, (collective.id, turn.line.id)) is not None
    if collective is None or not (here or collective.public):
        # A word that is not public opens its own line's door only: elsewhere it does not exist.
        return {"joined": False, "already": False, "unknown": True, "near": nearest_public_word(turn, word)}
    if not here:
        return {
            "joined": False,
            "already": False,
            "collective": collective.name,
            "elsewhere": address_of(turn, collective.id),
            "word": collective.word.upper(),
            "ask_who": False,
        }
    phone = turn.session.get_one(Phone, turn.phone_id)
    phone.detached_at = None
    known = turn.person_id is not None and bool(turn.belongings or _memberships(turn, turn.person_id))
    if turn.person_id is None:
        turn.person_id = new_person(turn, phone).id
    membership = _membership(turn, turn.person_id, collective.id)
    already = membership is not None and membership.state == "active"
    returning = membership is not None
    if not already:
        membership = activate(turn, turn.person_id, collective)
    assert membership is not None
    settle(turn, membership, collective)
    return {
        "joined": not already,
        "already": already,
        "collective": collective.name,
        "ask_who": already or (known and not returning),
        "membership_id": membership.id,
    }


@action(outcomes=[{"done": True}])
def join_as_someone_else(turn: Turn, membership_id: int, joined: bool) -> dict[str, Any]:
    """Somebody else uses this phone: she gets a person of her own, and the membership just made is hers."""
    phone = turn.session.get_one(Phone, turn.phone_id)
    membership = turn.session.get_one(Membership, membership_id)
    collective = turn.session.get_one(Collective, membership.collective_id)
    before = turn.person_id
    person = new_person(turn, phone)
    if joined:
        # The membership was made a moment ago for whoever held the phone before: it was never his.
        membership.person_id = person.id
        turn.session.flush()
    else:
        membership = activate(turn, person.id, collective)
    # The talk that is under way goes on with her.
    turn.session.execute(
        sa.update(Conversation)
        .where(Conversation.person_id == before, Conversation.flow == "join", Conversation.state == "open")
        .values(person_id=person.id)
    )
    turn.person_id = person.id
    settle(turn, membership, collective)
    return {"done": True}


def new_person(turn: Turn, phone: Phone) -> Person:
    person = Person(phone_id=phone.id, created_at=turn.now)
    turn.session.add(person)
    turn.session.flush()
    phone.current_person_id = person.id
    return person


def activate(turn: Turn, person_id: int, collective: Collective) -> Membership:
    """Make or revive the membership, and keep the consent as a record."""
    membership = _membership(turn, person_id, collective.id)
    if membership is None:
        membership = Membership(person_id=person_id, collective_id=collective.id, joined_at=turn.now, line_id=turn.line.id)
        turn.session.add(membership)
    else:
        membership.state, membership.left_at, membership.joined_at, membership.line_id, membership.paused_until = (
            "active",
            None,
            turn.now,
            turn.line.id,
            None,
        )
    turn.session.flush()
    turn.session.add(
        Consent(membership_id=membership.id, kind="join", text_version=CONSENT_TEXT, language=turn.language, given_at=turn.now)
    )
    return membership


def settle(turn: Turn, membership: Membership, collective: Collective) -> None:
    """From here on the turn is about this membership."""
    person = turn.session.get_one(Person, membership.person_id)
    roles = turn.session.scalars(sa.select(Role.role).where(Role.membership_id == membership.id)).all()
    turn.here = Belonging(
        membership.id, collective.id, collective.name, collective.language, collective.timezone, frozenset(roles), membership.line_id
    )
    turn.belongings = (*(b for b in turn.belongings if b.membership_id != membership.id), turn.here)
    if person.language is None:
        turn.language = collective.language
    turn.zone = person.timezone or collective.timezone


def _membership(turn: Turn, person_id: int, collective_id: int) -> Membership | None:
    return turn.session.scalars(
        sa.select(Membership).where(Membership.person_id == person_id, Membership.collective_id == collective_id)
    ).one_or_none()


def _memberships(turn: Turn, person_id: int) -> list[Membership]:
    return list(turn.session.scalars(sa.select(Membership).where(Membership.person_id == person_id, Membership.state == "active")))


def address_of(turn: Turn, collective_id: int) -> str:
    """The first line of a collective, as a person dials it."""
    lines = (
        sa.select(Line.address).join(CollectiveLine, CollectiveLine.line_id == Line.id).where(CollectiveLine.collective_id == collective_id)
    )
    address = turn.session.scalars(lines.order_by(CollectiveLine.position).limit(1)).first() or ""
    return address.replace("whatsapp:", "WhatsApp ")


def nearest_public_word(turn: Turn, word: str) -> str | None:
    """A public word on this line that looks like ``word``, or like one of the first words in it ("SANGHA please", "SANGHA\n\nSent from
    my phone"). Words that are not public are never suggested to anybody."""
    mine = sa.select(CollectiveLine.collective_id).where(CollectiveLine.line_id == turn.line.id)
    public = turn.session.scalars(sa.select(Collective.word).where(Collective.public, Collective.id.in_(mine))).all()
    for said in (word, *word.split()[:MOST_TRIED]):
        found = process.extractOne(fold(said), public, scorer=fuzz.ratio, score_cutoff=70)
        if found is not None:
            return str(found[0]).upper()
    return None


@action(outcomes=[{"collective": "Sangha"}])
def leave_collective(turn: Turn) -> dict[str, Any]:
    """LEAVE ends one membership; what waits for her is not sent."""
    here = turn.member()
    ends = {"state": "left", "left_at": turn.now, "early_texts": False, "sms_fallback": False}
    turn.session.execute(sa.update(Membership).where(Membership.id == here.membership_id).values(**ends))
    turn.session.execute(
        sa.update(Consent).where(Consent.membership_id == here.membership_id, Consent.withdrawn_at.is_(None)).values(withdrawn_at=turn.now)
    )
    lay_down_roles(turn, sa.select(Membership.id).where(Membership.id == here.membership_id))
    end_all(turn, here.collective_id)
    return {"collective": here.collective}


def lay_down_roles(turn: Turn, memberships: sa.Select[int]) -> None:
    """Who leaves, or whose number changed hands, is organizer and supporter no more: a later JOIN brings back a member, no power."""
    turn.session.execute(sa.delete(Role).where(Role.membership_id.in_(memberships)))
    turn.session.execute(sa.delete(SecondFactor).where(SecondFactor.membership_id.in_(memberships)))


@action(outcomes=[{"days": PAUSE_DAYS}])
def pause_messages(turn: Turn, days: str | None = None) -> dict[str, Any]:
    """PAUSE silences every collective on this line for seven days, or the days she names (at most 90)."""
    digits = "".join(character for character in days or "" if character.isdecimal())
    span = min(max(int(digits or PAUSE_DAYS), 1), 90)
    until = turn.now + timedelta(days=span)
    ids = [belonging.membership_id for belonging in turn.belongings]
    turn.session.execute(sa.update(Membership).where(Membership.id.in_(ids)).values(paused_until=until))
    return {"days": span}


@action()
def resume_messages(turn: Turn) -> dict[str, Any]:
    """BACK ends a pause."""
    ids = [belonging.membership_id for belonging in turn.belongings]
    turn.session.execute(sa.update(Membership).where(Membership.id.in_(ids)).values(paused_until=None))
    return {}


@action()
def opt_out(turn: Turn, by: str) -> dict[str, Any]:
    """STOP belongs to the phone on this line: every collective on it, and the same collectives on her other lines until she writes there.

    ``by``: "carrier" when Twilio answers the word itself, else "word".
    """
    here = sa.select(CollectiveLine.collective_id).where(CollectiveLine.line_id == turn.line.id)
    siblings = sa.select(CollectiveLine.line_id).where(CollectiveLine.collective_id.in_(here), CollectiveLine.line_id != turn.line.id)
    silenced = sorted(set(turn.session.scalars(siblings)))
    _mark_stopped(turn, turn.line.id, by)
    for line_id in silenced:
        _mark_stopped(turn, line_id, "sibling", only_if_open=True)
    end_all(turn)
    # What waits for this phone is taken out now: nothing may leave after a STOP, and the organizer sees why.
    turn.session.execute(
        sa.update(Outbound)
        .where(
            Outbound.phone_id == turn.phone_id,
            Outbound.state.in_(("queued", "held", "claimed")),
            Outbound.line_id.in_((turn.line.id, *silenced)),
        )
        .values(state="suppressed", reason="opted_out", done_at=turn.now)
    )
    return {}


def _mark_stopped(turn: Turn, line_id: int, by: str, only_if_open: bool = False) -> None:
    table = PhoneLine.__table__
    insert = sqlite_or_postgres_insert(turn.deployment.store, table).values(
        phone_id=turn.phone_id, line_id=line_id, opted_out_at=turn.now, opted_out_by=by
    )
    # A STOP that stands at the carrier stays the carrier's, whatever she says later: only her START lifts it there.
    carriers = sa.and_(table.c.opted_out_at.is_not(None), table.c.opted_out_by.in_(("carrier", "21610")), sa.literal(by) != "carrier")
    where = table.c.opted_out_at.is_(None) if only_if_open else sa.not_(carriers)
    turn.session.execute(
        insert.on_conflict_do_update(
            index_elements=["phone_id", "line_id"], set_={"opted_out_at": turn.now, "opted_out_by": by}, where=where
        )
    )


@action(outcomes=[{"was_out": True}, {"was_out": False}])
def opt_in(turn: Turn) -> dict[str, Any]:
    """START lifts a STOP on this line. It revives no care and no membership."""
    result = turn.session.execute(
        sa.update(PhoneLine)
        .where(PhoneLine.phone_id == turn.phone_id, PhoneLine.line_id == turn.line.id, PhoneLine.opted_out_at.is_not(None))
        .values(opted_out_at=None, opted_out_by=None)
    )
    return {"was_out": bool(result.rowcount)}  # type: ignore[attr-defined]


@action(outcomes=[{"name": "Asha", "switched": False}, {"name": "Asha", "switched": True}])
def keep_name(turn: Turn, name: str) -> dict[str, Any]:
    """Her name, for the collective she says it to (all of hers on this line, when it is none in particular); on a shared phone the name
    of somebody else who uses it hands the phone to her."""
    name = " ".join(str(name).split())[:40]
    # Only who still belongs somewhere: after WRONG, the name of the one before must open nothing of hers.
    called = sa.select(Person.id, Person.name, Membership.name.label("here")).join(Membership, Membership.person_id == Person.id)
    others = called.where(Person.phone_id == turn.phone_id, Person.id != (turn.person_id or 0), Membership.state == "active")
    for other in turn.session.execute(others.order_by(Membership.id)):
        for known in (other.name, other.here):
            if known is not None and fold(known) == fold(name):
                turn.session.execute(sa.update(Phone).where(Phone.id == turn.phone_id).values(current_person_id=other.id))
                turn.person_id = other.id
                return {"name": known, "switched": True}
    told = [belonging.membership_id for belonging in turn.belongings if turn.here in (None, belonging)]
    turn.session.execute(sa.update(Membership).where(Membership.id.in_(told)).values(name=name))
    turn.session.execute(sa.update(Person).where(Person.id == turn.person_id).values(name=name, name_indexed=False))
    # The console finds nobody by a name that is not hers any more; the new one is indexed by the worker's clock.
    turn.session.execute(sa.delete(NameWord).where(NameWord.person_id == turn.person_id))
    return {"name": name, "switched": False}


@action(outcomes=[{"language": "en"}, {"language": None}])
def understand_language(turn: Turn, said: str | None) -> dict[str, Any]:
    """Which language she named; None when it is none of ours."""
    return {"language": parse_language(said or "")}


@action()
def keep_language(turn: Turn, language: str) -> dict[str, Any]:
    """Her language from now on, in every collective; this turn is answered in it already."""
    turn.session.execute(sa.update(Person).where(Person.id == turn.person_id).values(language=language))
    turn.language = language
    return {}


@action()
def detach_phone(turn: Turn) -> dict[str, Any]:
    """WRONG: the number belongs to somebody else now. Detached and silent; a JOIN from it begins anew, with a new person."""
    end_all(turn)
    theirs = sa.select(Person.id).where(Person.phone_id == turn.phone_id)
    # Whoever was known by this number is not reached by it any more: a later JOIN must not wake their texts.
    turn.session.execute(
        sa.update(Membership).where(Membership.person_id.in_(theirs), Membership.state == "active").values(state="left", left_at=turn.now)
    )
    lay_down_roles(turn, sa.select(Membership.id).where(Membership.person_id.in_(theirs)))
    turn.session.execute(sa.update(Phone).where(Phone.id == turn.phone_id).values(detached_at=turn.now, current_person_id=None))
    turn.silent = True
    return {}
