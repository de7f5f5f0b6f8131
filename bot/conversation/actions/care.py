"""Check-ins, peers, calls for help. Supporters see an alias number, never a phone, never a name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bot.conversation.actions.acting import action
from bot.conversation.actions.reaching import reader, those_with_role, write_to
from bot.conversation.floor import CARE_LASTS
from bot.conversation.notes import keep_note
from bot.conversation.turn import Turn
from bot.delivery.broadcasts import take_number
from bot.languages import mark
from bot.languages.content import render_check_in
from models import Broadcast, CheckIn, Membership, Note, NoteAnswer, PeerRequest

# An answer within the hour belongs to what she has just written; later it waits for her morning like any other text.
ANSWERED_AT_ONCE = timedelta(hours=1)
# Whoever called for help waits for an answer, night or day; a week later a text at night is a danger of its own.
SOS_LASTS = timedelta(hours=24)
HELP_NOW = mark("{collective}: a member asks for help NOW (no. {number}). Reply: REPLY {number} and your words.")
HELP_LATE = mark("{collective}: a member asked for help at {time}. We got it only now (no. {number}). REPLY {number} and your words.")


@action(
    outcomes=lambda language: [{"text": render_check_in(language, "Sangha"), "supporters": there} for there in (True, False)],
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
        if supporter.phone_id == turn.phone_id:
            continue
        sent = write_to(
            turn,
            supporter,
            "A member would like to talk (no. {number}). Good time: {time}. Reply: REPLY {number} and your words.",
            kind="page",
            unprompted=not supporter.on_duty,
            about=here.membership_id,
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
                HELP_LATE if turn.is_late else HELP_NOW,
                kind="page",
                unprompted=False,
                about=here.membership_id,
                collective=here.collective,
                number=number,
                time=f"{(turn.sent_at or turn.now).astimezone(turn.local_now.tzinfo):%H:%M}",
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
    """The open notes of the organizer's collective, oldest first: at most three at a time, calls for help before all.

    Of a sender whom an organizer muted in the console, calls for help alone.
    """
    here = turn.with_role("organizer")
    rows = turn.session.scalars(
        sa.select(Note)
        .join(Membership, Membership.id == Note.membership_id)
        .where(Note.collective_id == here.collective_id, Note.state == "open")
        .where(sa.or_(Membership.muted_at.is_(None), Note.kind == "sos"))
        .order_by((Note.kind != "sos"), Note.number)
    ).all()
    shown = [{"number": note.number, "text": (note.body or "")[:60].replace("\n", " ")} for note in rows[:3]]
    return {"notes": shown, "more": len(rows) - len(shown)}


@action(outcomes=[{"sent": True, "number": 7}, {"sent": False, "number": 7}, {"sent": False, "number": 0}])
def reply_to_note(turn: Turn, written: str) -> dict[str, Any]:
    """REPLY 7 …: the words go to whoever wrote note 7 (or asked for a peer as no. 7). Gives sent, and the number (0: none was given).

    A supporter may answer requests and calls for help; the notes are the organizers'.
    """
    here = turn.with_role("organizer", "supporter")
    head, _, rest = written.strip().partition(" ")
    digits = "".join(character for character in head if character.isdecimal())
    if not digits or not rest.strip():
        return {"sent": False, "number": 0}
    number = int(digits[:9])
    asked, urgent = _who_wrote(turn, number, here.roles, here.collective_id)
    to = reader(turn, asked.membership_id) if asked is not None else None
    if asked is None or to is None:
        return {"sent": False, "number": number}
    sent = write_to(
        turn,
        to,
        "{collective}: {words}",
        kind="relay",
        unprompted=not urgent,
        about=here.membership_id,
        collective=here.collective,
        words=rest.strip()[:600],
    )
    if sent is not None:
        asked.answered_at = turn.now
        if isinstance(asked, PeerRequest):
            asked.supporter_id = here.membership_id
        else:
            asked.state = "answered"
            turn.session.add(
                NoteAnswer(note_id=asked.id, author_id=here.membership_id, body=rest.strip()[:600], answered_at=turn.now)
            )
    return {"sent": sent is not None, "number": number}


def _who_wrote(turn: Turn, number: int, roles: frozenset[str], collective_id: int) -> tuple[Note | PeerRequest | None, bool]:
    """What carries this number, and whether the answer still belongs to what she has just written."""
    note = turn.session.scalars(sa.select(Note).where(Note.collective_id == collective_id, Note.number == number)).one_or_none()
    if note is not None and ("organizer" in roles or note.kind == "sos"):
        return note, turn.now - note.created_at < (SOS_LASTS if note.kind == "sos" else ANSWERED_AT_ONCE)
    request = turn.session.scalars(
        sa.select(PeerRequest).where(PeerRequest.collective_id == collective_id, PeerRequest.number == number)
    ).one_or_none()
    if request is not None and "supporter" in roles:
        at_once = turn.now - (request.answered_at or request.created_at) < ANSWERED_AT_ONCE
        return request, at_once
    return None, False


@action()
def pass_on(turn: Turn, text: str) -> dict[str, Any]:
    """Keep what no flow took for the organizers."""
    keep_note(turn, text)
    return {}


_HER_REQUEST = (
    sa.select(PeerRequest)
    .where(PeerRequest.membership_id == sa.bindparam("member"), PeerRequest.created_at > sa.bindparam("since"))
    .order_by(PeerRequest.id.desc())
    .limit(1)
)


@action(outcomes=[{"told": 1}, {"told": 0}])
def tell_her_supporters(turn: Turn, text: str) -> dict[str, Any]:
    """Words beside a wish for a peer go to the supporter who answered her, else to all supporters; to organizers never.

    Gives how many were told: 0 when she asked for no peer this week, or nobody is there.
    """
    told = 0
    for here in turn.belongings:
        request = turn.session.scalars(_HER_REQUEST, {"member": here.membership_id, "since": turn.now - CARE_LASTS}).first()
        if request is None:
            continue
        hers = reader(turn, request.supporter_id) if request.supporter_id is not None else None
        request.answered_at = turn.now if hers is not None else request.answered_at  # the talk goes on
        for supporter in [hers] if hers is not None else those_with_role(turn, here.collective_id, ["supporter"]):
            if supporter.phone_id == turn.phone_id:
                continue
            sent = write_to(
                turn,
                supporter,
                "No. {number} writes: {words}",
                kind="relay",
                unprompted=not supporter.on_duty,
                about=here.membership_id,
                number=request.number,
                words=text[:600],
            )
            told += sent is not None
    return {"told": told}
