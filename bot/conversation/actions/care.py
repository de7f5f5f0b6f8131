"""Check-ins, peers, calls for help. Supporters see an alias number, never a phone, never a name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bot.conversation.actions.acting import action
from bot.conversation.actions.reaching import reader, those_with_role, write_to
from bot.conversation.notes import keep_note
from bot.conversation.turn import Turn
from bot.delivery.broadcasts import take_number
from bot.languages.content import render_check_in
from models import Broadcast, CheckIn, Membership, Note, PeerRequest

# A talk with a supporter that nobody went on with for a day is over; what she writes then is for the organizers again.
TALK_LASTS = timedelta(hours=24)
# An answer within the hour belongs to what she has just written; later it waits for her morning like any other text.
ANSWERED_AT_ONCE = timedelta(hours=1)


@action(
    outcomes=[
        {"text": "Sangha: how are you today, from 1 (rough) to 5 (great)?", "supporters": True},
        {"text": "Sangha: how are you today, from 1 (rough) to 5 (great)?", "supporters": False},
    ],
    reads=True,
)
def read_check_in(turn: Turn, broadcast_id: int | None = None) -> dict[str, Any]:
    """How the question reads for the speaker, and whether anybody could be told that she would like to talk."""
    here = turn.here
    if here is None and broadcast_id is not None:
        collective_id = turn.session.scalar(sa.select(Broadcast.collective_id).where(Broadcast.id == broadcast_id))
        here = next((belonging for belonging in turn.belongings if belonging.collective_id == collective_id), None)
    if here is None:
        return {"text": "", "supporters": False}
    return {
        "text": render_check_in(turn.language, here.collective),
        "supporters": bool(those_with_role(turn, here.collective_id, ["supporter"])),
    }


@action()
def keep_mood(turn: Turn, mood: int) -> dict[str, Any]:
    """Keep how she is, sealed; shown only as aggregates."""
    here = turn.member()
    turn.session.add(CheckIn(membership_id=here.membership_id, collective_id=here.collective_id, mood=mood, at=turn.now))
    return {}


@action(outcomes=[{"told": 2}, {"told": 0}])
def tell_supporters(turn: Turn, time: str) -> dict[str, Any]:
    """Tell the collective's supporters that a member would like to talk, and when. Gives how many were told; she is not one of them.

    At night it waits for the morning, except for a supporter who said ON.
    """
    here = turn.member()
    number = take_number(turn.session, here.collective_id)
    turn.session.add(
        PeerRequest(
            collective_id=here.collective_id, number=number, membership_id=here.membership_id, good_time=str(time), created_at=turn.now
        )
    )
    told = 0
    for supporter in those_with_role(turn, here.collective_id, ["supporter"]):
        if supporter.membership_id == here.membership_id:
            continue
        sent = write_to(
            turn,
            supporter,
            "A member would like to talk (no. {number}). Good time: {time}. Reply: REPLY {number} and your words.",
            kind="page",
            unprompted=not supporter.on_duty,
            number=number,
            time=str(time)[:60],
        )
        told += sent is not None
    return {"told": told}


@action(outcomes=[{"told": 2}, {"told": 0}])
def call_for_help(turn: Turn) -> dict[str, Any]:
    """SOS: organizers and supporters are told at once, night or day, in every collective she has here. Gives how many were told."""
    told: set[int] = set()
    # In the same order for everybody: two calls at once would else wait for each other's collective.
    for here in sorted(turn.belongings, key=lambda belonging: belonging.collective_id):
        number = keep_note(replace(turn, here=here), "SOS", kind="sos")
        for helper in those_with_role(turn, here.collective_id, ["organizer", "supporter"]):
            if helper.phone_id == turn.phone_id or helper.phone_id in told:
                continue
            sent = write_to(
                turn,
                helper,
                "{collective}: a member asks for help NOW (no. {number}). Reply: REPLY {number} and your words.",
                kind="page",
                unprompted=False,
                collective=here.collective,
                number=number,
            )
            told |= {helper.phone_id} if sent is not None else set()
    return {"told": len(told)}


@action()
def go_on_duty(turn: Turn, on: bool) -> dict[str, Any]:
    """ON: pages reach her at night too. OFF works at once: she must rest."""
    ids = [belonging.membership_id for belonging in turn.belongings if "supporter" in belonging.roles]
    turn.session.execute(sa.update(Membership).where(Membership.id.in_(ids)).values(on_duty=on))
    return {}


@action(
    outcomes=[
        {"notes": [{"number": 7, "text": "When is the next meeting?"}], "more": 0},
        {"notes": [{"number": 7, "text": "When is the next meeting?"}], "more": 3},
        {"notes": [], "more": 0},
    ],
    reads=True,
)
def read_notes(turn: Turn) -> dict[str, Any]:
    """The open notes of the organizer's collective, oldest first: at most three at a time, calls for help before all."""
    here = turn.member()
    rows = turn.session.scalars(
        sa.select(Note).where(Note.collective_id == here.collective_id, Note.state == "open").order_by((Note.kind != "sos"), Note.number)
    ).all()
    shown = [{"number": note.number, "text": (note.body or "")[:60].replace("\n", " ")} for note in rows[:3]]
    return {"notes": shown, "more": len(rows) - len(shown)}


@action(outcomes=[{"sent": True, "number": 7}, {"sent": False, "number": 7}, {"sent": False, "number": 0}])
def reply_to_note(turn: Turn, written: str) -> dict[str, Any]:
    """REPLY 7 …: the words go to whoever wrote note 7 (or asked for a peer as no. 7). Gives sent, and the number (0: none was given).

    A supporter may answer requests and calls for help; the notes are the organizers'.
    """
    here = turn.member()
    head, _, rest = written.strip().partition(" ")
    digits = "".join(character for character in head if character.isdecimal())
    if not digits or not rest.strip():
        return {"sent": False, "number": 0}
    number = int(digits[:9])
    member_id, urgent = _who_wrote(turn, number, here.roles, here.collective_id)
    to = reader(turn, member_id) if member_id is not None else None
    if to is None:
        return {"sent": False, "number": number}
    sent = write_to(
        turn, to, "{collective}: {words}", kind="relay", unprompted=not urgent, collective=here.collective, words=rest.strip()[:600]
    )
    return {"sent": sent is not None, "number": number}


def _who_wrote(turn: Turn, number: int, roles: frozenset[str], collective_id: int) -> tuple[int | None, bool]:
    note = turn.session.scalars(sa.select(Note).where(Note.collective_id == collective_id, Note.number == number)).one_or_none()
    if note is not None and ("organizer" in roles or note.kind == "sos"):
        note.state, note.answered_at = "answered", turn.now
        return note.membership_id, note.kind == "sos" or turn.now - note.created_at < ANSWERED_AT_ONCE
    request = turn.session.scalars(
        sa.select(PeerRequest).where(PeerRequest.collective_id == collective_id, PeerRequest.number == number)
    ).one_or_none()
    if request is not None and "supporter" in roles:
        at_once = turn.now - (request.answered_at or request.created_at) < ANSWERED_AT_ONCE
        request.supporter_id, request.answered_at = turn.member().membership_id, turn.now
        return request.membership_id, at_once
    return None, False


@action()
def pass_on(turn: Turn, text: str) -> dict[str, Any]:
    """Keep what no flow took for the organizers; but what she writes to a supporter who answered her goes to that supporter alone."""
    if not _tell_her_supporter(turn, text):
        keep_note(turn, text)
    return {}


_HER_TALK = (
    sa.select(PeerRequest)
    .where(
        PeerRequest.membership_id == sa.bindparam("member"),
        PeerRequest.answered_at > sa.bindparam("since"),
        PeerRequest.supporter_id.is_not(None),
    )
    .order_by(PeerRequest.answered_at.desc())
    .limit(1)
)


def _tell_her_supporter(turn: Turn, text: str) -> bool:
    since = turn.now - TALK_LASTS
    request = turn.session.scalars(_HER_TALK, {"member": turn.member().membership_id, "since": since}).first()
    supporter = reader(turn, request.supporter_id) if request is not None and request.supporter_id is not None else None
    if request is None or supporter is None:
        return False
    request.answered_at = turn.now  # the talk goes on
    words_of_hers = {"number": request.number, "words": text[:600]}
    return (
        write_to(turn, supporter, "No. {number} writes: {words}", kind="relay", unprompted=not supporter.on_duty, **words_of_hers)
        is not None
    )
