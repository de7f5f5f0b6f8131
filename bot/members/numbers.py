"""Somebody with a role moves to a new number: a day later, and her old number is told, so that a thief is noticed in time.

Whoever holds a number logs in with it and confirms broadcasts. Members without a role need no such thing: they JOIN from the new phone.
"""

from __future__ import annotations

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
    """``reason``: no_role | under_way | same | taken (a member of the collective has it) | detached (said to be a wrong number)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def pending_change(session: Session, person_id: int) -> NumberChange | None:
    """The change of hers that waits for its day."""
    waiting = sa.select(NumberChange).where(NumberChange.person_id == person_id)
    return session.scalars(waiting.where(NumberChange.done_at.is_(None), NumberChange.cancelled_at.is_(None)).limit(1)).first()


def ask_number_change(session: Session, store: Store, now: datetime, member: Membership, number: str, *, by: int) -> NumberChange:
    """Book the move of a member with a role to ``number`` (E.164). Ring after the commit: texts to her and the organizers are put.

    Raises ChangeRefused.
    """
    person = session.get_one(Person, member.person_id, with_for_update={"key_share": True})
    if not _has_role(session, person.id):
        raise ChangeRefused("no_role")
    if pending_change(session, person.id) is not None:
        raise ChangeRefused("under_way")
    _refuse_taken(session, store, member.collective_id, person, number)
    change = NumberChange(person_id=person.id, number=number, asked_by=by, asked_at=now, due_at=now + WAITS)
    session.add(change)
    session.flush()
    set_timer(session, TIMER, change.id, f"{TIMER}:{change.id}", change.due_at)
    session.add(_audit(member.collective_id, by, "number change asked", member.id, now))
    _tell(session, now, member, person, change)
    return change


def _refuse_taken(session: Session, store: Store, collective_id: int, person: Person, number: str) -> None:
    phone = session.scalars(sa.select(Phone).where(Phone.number_hash == store.hash_number(number))).one_or_none()
    if phone is None:
        return
    if phone.id == person.phone_id:
        raise ChangeRefused("same")
    if phone.detached_at is not None:
        raise ChangeRefused("detached")
    # Only of this collective: who is a member elsewhere is nobody's business here.
    holder = sa.select(Membership.id).join(Person, Person.id == Membership.person_id)
    if session.scalar(holder.where(Person.phone_id == phone.id, Membership.collective_id == collective_id, Membership.state == "active")):
        raise ChangeRefused("taken")


def _has_role(session: Session, person_id: int) -> bool:
    roles = sa.select(Role.role).join(Membership, Membership.id == Role.membership_id)
    return session.scalar(roles.where(Membership.person_id == person_id, Membership.state == "active").limit(1)) is not None


def _tell(session: Session, now: datetime, member: Membership, person: Person, change: NumberChange) -> None:
    collective = session.get_one(Collective, member.collective_id)
    language, end = person.language or collective.language, (change.number or "")[-2:]
    try:
        line_id = line_for(session, member.id)
    except NoLine:
        return
    text = words(
        language,
        "{collective}: tomorrow your number here changes to one that ends in {end}. Not you? Tell another organizer today.",
        collective=collective.name,
        end=end,
    )
    # A warning: neither night nor a pause may hold it.
    letter = Letter("report", text, language, line_id, person.phone_id, person.id, member.id, collective.id, unprompted=False)
    put(session, now, letter)

    def make_text(language: str) -> str:
        return words(
            language,
            "{collective}: tomorrow somebody with a role gets a new number. If that is wrong, cancel it in the console, under Members.",
            collective=collective.name,
        )

    tell_organizers(session, now, collective.id, make_text, key=f"number:{change.id}")


def cancel_number_change(session: Session, now: datetime, change: NumberChange, member: Membership, *, by: int) -> bool:
    """Take a change back before its day. False: it is over already."""
    open_yet = sa.and_(NumberChange.id == change.id, NumberChange.done_at.is_(None), NumberChange.cancelled_at.is_(None))
    cancel = sa.update(NumberChange).where(open_yet).values(cancelled_at=now, number=None).returning(NumberChange.id)
    if session.execute(cancel).first() is None:
        return False
    cancel_timers(session, TIMER, change.id)
    session.add(_audit(member.collective_id, by, "number change cancelled", member.id, now))
    return True


def change_number(deployment: Deployment, change_id: int) -> bool:
    """The day has come: she is reached, and logs in, by the new number. False when it was cancelled, done, or can not be any more."""
    store, now = deployment.store, deployment.clock.now()
    _ = store.index_key
    with store.write() as session:
        change = session.get(NumberChange, change_id, with_for_update=True)
        if change is None or change.done_at is not None or change.cancelled_at is not None or change.number is None or change.due_at > now:
            return False
        asker = session.get(Membership, change.asked_by)
        person = session.get_one(Person, change.person_id)
        number, change.number, change.done_at = change.number, None, now
        collective_id = asker.collective_id if asker is not None else None
        member = session.scalars(
            sa.select(Membership.id).where(Membership.person_id == person.id, Membership.collective_id == collective_id)
        ).one_or_none()
        try:
            if not _has_role(session, person.id):
                raise ChangeRefused("no_role")
            _refuse_taken(session, store, collective_id or 0, person, number)
        except ChangeRefused:
            session.add(_audit(collective_id, change.asked_by, "number change failed", member, now))
            return False
        _move(session, store, now, person, number)
        session.add(_audit(collective_id, change.asked_by, "number changed", member, now))
    return True


def _move(session: Session, store: Store, now: datetime, person: Person, number: str) -> None:
    old_id, phone = person.phone_id, find_or_add_phone(session, store, number, now)
    person.phone_id = phone.id
    # A phone that somebody else holds is hers only when she says so there (NAME): nobody is handed a phone by an organizer.
    phone.current_person_id = phone.current_person_id or person.id
    session.flush()
    mine = sa.update(Phone).where(Phone.id == old_id, Phone.current_person_id == person.id)
    session.execute(mine.values(current_person_id=None))
    waiting = sa.update(Outbound).where(Outbound.phone_id == old_id, Outbound.person_id == person.id, Outbound.state.in_((QUEUED, HELD)))
    session.execute(waiting.values(state=STOPPED, reason="detached", done_at=now))
    # Whoever has the old phone may be logged in with it.
    session.execute(sa.update(WebSession).where(WebSession.person_id == person.id, WebSession.ended_at.is_(None)).values(ended_at=now))


def _audit(collective_id: int | None, by: int | None, act: str, member: int | None, now: datetime) -> Audit:
    return Audit(collective_id=collective_id, membership_id=by, act=act, subject=f"membership {member}" if member else "", at=now)
