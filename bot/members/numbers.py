"""Somebody with a role moves to a new number: a day later, and her old number is told, so that a thief is noticed in time.

Whoever holds a number logs in with it and confirms broadcasts. Members without a role need no such thing: they JOIN from the new phone.
A change belongs to the collective that booked it. What a collective may not decide for another one it may not book: who has a role in two
of them is moved by none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.due import cancel_timers, set_timer
from bot.delivery.outbox import Letter, put
from bot.delivery.reports import tell_organizers
from bot.delivery.routes import NoLine, line_for
from bot.deployment import Deployment
from bot.languages import words
from bot.members.membership import find_or_add_phone
from models import Audit, Collective, Membership, NumberChange, Outbound, Person, Phone, Role, Store, WebSession
from models.messages import HELD, QUEUED, STOPPED

WAITS = timedelta(days=1)
TIMER = "number_change"


class ChangeRefused(ValueError):
    """``reason``: no_role (in this collective) | elsewhere (she has a role in another one, too) | under_way | same
    | taken (somebody else uses it, or said it is a wrong number; which of these, and where, is not told).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def pending_changes(session: Session, person_id: int) -> Sequence[NumberChange]:
    """The changes of hers that wait for their day, whichever collective booked them. For her own eyes."""
    return session.scalars(_waiting(person_id).order_by(NumberChange.id)).all()


def pending_change(session: Session, person_id: int, collective_id: int) -> NumberChange | None:
    """The change of hers that this collective booked and that waits for its day."""
    return session.scalars(_waiting(person_id).where(NumberChange.collective_id == collective_id).limit(1)).first()


def _waiting(person_id: int) -> sa.Select[NumberChange]:
    hers = sa.select(NumberChange).where(NumberChange.person_id == person_id)
    return hers.where(NumberChange.done_at.is_(None), NumberChange.cancelled_at.is_(None))


def ask_number_change(session: Session, store: Store, now: datetime, member: Membership, number: str, *, by: int) -> NumberChange:
    """Book the move of a member with a role to ``number`` (E.164). Ring after the commit: texts to her and the organizers are put.

    Raises ChangeRefused.
    """
    person = session.get_one(Person, member.person_id, with_for_update={"key_share": True})
    _refuse_powers(session, person.id, member.collective_id)
    if pending_change(session, person.id, member.collective_id) is not None:
        raise ChangeRefused("under_way")
    _refuse_taken(session, store, member.collective_id, person, number)
    change = NumberChange(
        person_id=person.id, number=number, collective_id=member.collective_id, asked_by=by, asked_at=now, due_at=now + WAITS
    )
    session.add(change)
    session.flush()
    set_timer(session, TIMER, change.id, f"{TIMER}:{change.id}", change.due_at)
    session.add(_audit(member.collective_id, by, "number change asked", member.id, now))
    _tell_her(session, now, member, person, change)
    _tell_organizers(session, now, change)
    return change


def _homes(session: Session, person_id: int) -> dict[int, int]:
    """Where she has a role: her memberships by collective."""
    roles = sa.exists().where(Role.membership_id == Membership.id)
    hers = sa.select(Membership.collective_id, Membership.id).where(Membership.person_id == person_id, Membership.state == "active", roles)
    return {collective_id: membership_id for collective_id, membership_id in session.execute(hers)}


def _refuse_powers(session: Session, person_id: int, collective_id: int | None) -> None:
    """With her number move all her powers, so they must all be this collective's."""
    homes = _homes(session, person_id)
    if collective_id not in homes:
        raise ChangeRefused("no_role")
    if len(homes) > 1:
        raise ChangeRefused("elsewhere")


def _refuse_taken(session: Session, store: Store, collective_id: int | None, person: Person, number: str) -> None:
    """Waits for what is happening on that phone."""
    by_hash = sa.select(Phone).where(Phone.number_hash == store.hash_number(number))
    phone = session.scalars(by_hash.with_for_update(key_share=True)).one_or_none()
    if phone is None:
        return
    if phone.id == person.phone_id:
        raise ChangeRefused("same")
    # Nobody is handed a phone by an organizer: who could not log in there afterwards is not moved there.
    if phone.detached_at is not None or phone.current_person_id not in (None, person.id):
        raise ChangeRefused("taken")
    holder = sa.select(Membership.id).join(Person, Person.id == Membership.person_id)
    if session.scalar(holder.where(Person.phone_id == phone.id, Membership.collective_id == collective_id, Membership.state == "active")):
        raise ChangeRefused("taken")


def _tell_her(session: Session, now: datetime, member: Membership, person: Person, change: NumberChange) -> None:
    collective = session.get_one(Collective, member.collective_id)
    language, end = person.language or collective.language, (change.number or "")[-2:]
    try:
        line_id = line_for(session, member.id)
    except NoLine:
        return  # the organizers are told all the same
    text = words(
        language,
        "{collective}: tomorrow your number here changes to one that ends in {end}. Not you? Tell another organizer today.",
        collective=collective.name,
        end=end,
    )
    # A warning: neither night nor a pause may hold it.
    letter = Letter("report", text, language, line_id, person.phone_id, person.id, member.id, collective.id, unprompted=False)
    put(session, now, letter)


def _tell_organizers(session: Session, now: datetime, change: NumberChange) -> None:
    collective = session.get_one(Collective, change.collective_id)

    def make_text(language: str) -> str:
        return words(
            language,
            "{collective}: tomorrow somebody with a role gets a new number. If that is wrong, cancel it in the console, under Members.",
            collective=collective.name,
        )

    tell_organizers(session, now, collective.id, make_text, key=f"number:{change.id}")


def cancel_number_change(session: Session, now: datetime, change: NumberChange, *, by: int | None) -> bool:
    """Take a change back before its day; the collective that booked it can read so. False: it is over already.

    ``by``: a membership of that collective; None: she herself, who has none there (any more).
    """
    open_yet = sa.and_(NumberChange.id == change.id, NumberChange.done_at.is_(None), NumberChange.cancelled_at.is_(None))
    cancel = sa.update(NumberChange).where(open_yet).values(cancelled_at=now, number=None).returning(NumberChange.id)
    if session.execute(cancel).first() is None:
        return False
    cancel_timers(session, TIMER, change.id)
    session.add(_audit(change.collective_id, by, "number change cancelled", find_place(session, change), now))
    return True


def find_place(session: Session, change: NumberChange) -> int | None:
    """Her membership in the collective that booked it, active or not."""
    hers = sa.select(Membership.id).where(Membership.person_id == change.person_id, Membership.collective_id == change.collective_id)
    return session.scalars(hers).one_or_none()


def change_number(deployment: Deployment, change_id: int) -> bool:
    """The day has come: she is reached, and logs in, by the new number. False when it was cancelled, done, or can not be any more."""
    store, now = deployment.store, deployment.clock.now()
    _ = store.index_key
    with store.write() as session:
        change = session.get(NumberChange, change_id, with_for_update=True)
        if change is None or change.done_at is not None or change.cancelled_at is not None or change.number is None or change.due_at > now:
            return False
        person = session.get_one(Person, change.person_id)
        number, change.number, change.done_at = change.number, None, now
        try:
            _refuse_powers(session, person.id, change.collective_id)
            _refuse_taken(session, store, change.collective_id, person, number)
            _move(session, store, now, person, number)
        except ChangeRefused:
            _record(session, change, "number change failed", now)
            return False
        _record(session, change, "number changed", now)
    return True


def _record(session: Session, change: NumberChange, act: str, now: datetime) -> None:
    """What came of it, in the collective that booked it and wherever else she got a role since."""
    places = _homes(session, change.person_id) | {change.collective_id: find_place(session, change)}
    for collective_id, membership_id in places.items():
        # Whoever booked it may have been forgotten since (0), and is nobody's business elsewhere.
        by = change.asked_by or None if collective_id == change.collective_id else None
        session.add(_audit(collective_id, by, act, membership_id, now))


def _move(session: Session, store: Store, now: datetime, person: Person, number: str) -> None:
    old_id, phone = person.phone_id, find_or_add_phone(session, store, number, now)
    if phone.current_person_id not in (None, person.id):
        raise ChangeRefused("taken")  # somebody wrote from it for the first time a moment ago
    person.phone_id, phone.current_person_id = phone.id, person.id
    session.flush()
    mine = sa.update(Phone).where(Phone.id == old_id, Phone.current_person_id == person.id)
    session.execute(mine.values(current_person_id=None))
    waiting = sa.update(Outbound).where(Outbound.phone_id == old_id, Outbound.person_id == person.id, Outbound.state.in_((QUEUED, HELD)))
    session.execute(waiting.values(state=STOPPED, reason="detached", done_at=now))
    # Whoever has the old phone may be logged in with it.
    session.execute(sa.update(WebSession).where(WebSession.person_id == person.id, WebSession.ended_at.is_(None)).values(ended_at=now))


def _audit(collective_id: int | None, by: int | None, act: str, member: int | None, now: datetime) -> Audit:
    return Audit(collective_id=collective_id, membership_id=by, act=act, subject=f"membership {member}" if member else "", at=now)
