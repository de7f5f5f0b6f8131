"""FORGET: nothing that leads to her stays, in one transaction; and nobody else on her phone is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from bot.conversation.actions.acting import action
from bot.conversation.turn import Turn
from bot.delivery.forgotten import EMPTIED, REASON
from models import (
    Alert,
    Audit,
    Broadcast,
    Conversation,
    Inbound,
    MemberExport,
    MemberImport,
    Membership,
    Note,
    NumberChange,
    Outbound,
    PeerRequest,
    Person,
    Phone,
    PhoneLine,
    Poll,
    Timer,
)
from models.broadcasts import DRAFT, SCHEDULED, SENDING
from models.messages import CLAIMED, HELD, QUEUED


@action()
def forget_person(turn: Turn) -> dict[str, Any]:
    """FORGET: everything about the speaker is gone in this transaction. What stays: the hash of her number where she said STOP.

    A phone she shares stays with the others, held by nobody until one of them says who she is. A stranger (no person) has her own
    texts and our answers deleted, and nothing else of her phone.
    """
    person_id, phone_id = turn.person_id, turn.phone_id
    others = sa.select(Person.id).where(Person.phone_id == phone_id, Person.id != (person_id or 0)).limit(1)
    is_shared = turn.session.scalars(others).first() is not None
    if person_id is not None:
        _forget_person(turn, person_id)
    if not is_shared or person_id is None:
        # From before she was anybody to us, or from a stranger: it is nobody else's.
        _empty_messages(turn, Outbound.phone_id == phone_id, Outbound.person_id.is_(None))
        _empty_inbound(turn, Inbound.phone_id == phone_id, Inbound.person_id.is_(None))
    if not is_shared:
        _forget_phone(turn)
    elif person_id is not None:
        # Whose is it now? Nobody is handed a phone, and what waits on it, without saying so.
        mine = sa.update(Phone).where(Phone.id == phone_id, Phone.current_person_id == person_id)
        turn.session.execute(mine.values(current_person_id=None))
    turn.session.expire_all()
    turn.forgotten = True
    turn.here, turn.person_id = None, None
    return {}


def _forget_person(turn: Turn, person_id: int) -> None:
    session = turn.session
    memberships = session.scalars(sa.select(Membership.id).where(Membership.person_id == person_id)).all()
    _wait_for_fan_out(turn, person_id)
    _empty_messages(turn, Outbound.person_id == person_id)
    _empty_messages(turn, Outbound.about_membership_id.in_(memberships), keep_reader=True)
    _empty_inbound(turn, Inbound.person_id == person_id)
    session.execute(sa.delete(Note).where(Note.membership_id.in_(memberships)))
    session.execute(sa.delete(PeerRequest).where(PeerRequest.membership_id.in_(memberships)))
    session.execute(sa.update(PeerRequest).where(PeerRequest.supporter_id.in_(memberships)).values(supporter_id=None))
    _forget_powers(turn, memberships)
    talks = sa.select(Conversation.id).where(Conversation.person_id == person_id)
    session.execute(sa.delete(Timer).where(Timer.kind == "patience", Timer.subject_id.in_(talks)))
    # Memberships, consents, roles, the second factor, votes, RSVPs, check-ins and conversations go with her.
    session.execute(sa.delete(Person).where(Person.id == person_id))


def _wait_for_fan_out(turn: Turn, person_id: int) -> None:
    """A fan-out under way may have her in its hand: its chunk ends before we look for her rows, and the next one sees her no more."""
    hers = sa.select(Membership.collective_id).where(Membership.person_id == person_id)
    planning = sa.select(Broadcast.id).where(
        Broadcast.collective_id.in_(hers), Broadcast.state.in_((SCHEDULED, SENDING)), Broadcast.planned_at.is_(None)
    )
    turn.session.execute(planning.order_by(Broadcast.id).with_for_update(key_share=True))


def _empty_messages(turn: Turn, *where: Any, keep_reader: bool = False) -> None:
    """What waits is stopped, what was sent loses its words. ``keep_reader``: rows about her that went to others stay theirs."""
    unsent = Outbound.state.in_((HELD, QUEUED, CLAIMED))
    _run(turn, sa.update(Outbound).where(*where, unsent).values(state="stopped", reason=REASON, done_at=turn.now, lease_until=None))
    emptied = {"body": None, "about_membership_id": None, "sid": None} if keep_reader else EMPTIED
    _run(turn, sa.update(Outbound).where(*where).values(emptied))


def _empty_inbound(turn: Turn, *where: Any) -> None:
    gone = {"body": None, "answer": None, "phone_id": None, "person_id": None, "collective_id": None}
    _run(turn, sa.update(Inbound).where(*where).values(gone))


def _forget_powers(turn: Turn, memberships: Sequence[int]) -> None:
    """Her drafts go; what she did stays done, without her."""
    session = turn.session
    drafts = session.execute(
        sa.select(Broadcast.id, Broadcast.poll_id, Broadcast.alert_id).where(Broadcast.author_id.in_(memberships), Broadcast.state == DRAFT)
    ).all()
    session.execute(sa.delete(Broadcast).where(Broadcast.id.in_([draft.id for draft in drafts])))
    session.execute(sa.delete(Poll).where(Poll.id.in_([draft.poll_id for draft in drafts if draft.poll_id])))
    session.execute(sa.delete(Alert).where(Alert.id.in_([draft.alert_id for draft in drafts if draft.alert_id])))
    did = (MemberImport.membership_id, MemberExport.membership_id)
    for column in (Broadcast.author_id, Broadcast.approver_id, Broadcast.holder_id, Audit.membership_id, *did):
        _run(turn, sa.update(column.class_).where(column.in_(memberships)).values({column.key: None}))
    _run(turn, sa.update(NumberChange).where(NumberChange.asked_by.in_(memberships)).values(asked_by=0))
    # How far a fan-out went is told by a membership's number, too.
    _run(turn, sa.update(Broadcast).where(Broadcast.planned_through.in_(memberships)).values(planned_through=Broadcast.planned_through - 1))
    _run(turn, sa.update(Audit).where(Audit.subject.in_([f"membership {number}" for number in memberships])).values(subject=""))


def _forget_phone(turn: Turn) -> None:
    """Nobody else uses it. Suppression must outlive her, else the next import would text her again: there only the hash stays."""
    phone_id, session = turn.phone_id, turn.session
    stopped = sa.select(PhoneLine.id).where(PhoneLine.phone_id == phone_id, PhoneLine.opted_out_at.is_not(None))
    if session.scalar(stopped.limit(1)) is None:
        session.execute(sa.delete(Phone).where(Phone.id == phone_id))
        return
    session.execute(sa.delete(PhoneLine).where(PhoneLine.phone_id == phone_id, PhoneLine.opted_out_at.is_(None)))
    session.execute(sa.update(PhoneLine).where(PhoneLine.phone_id == phone_id).values(last_inbound_at=None))
    session.execute(sa.update(Phone).where(Phone.id == phone_id).values(number=None, current_person_id=None, stranger_answered_at=None))


def _run(turn: Turn, statement: sa.Update) -> None:
    """Objects in the session are read anew afterwards (``expire_all``)."""
    turn.session.execute(statement, execution_options={"synchronize_session": False})
