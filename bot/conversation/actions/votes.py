"""Polls: reading one, voting, closing it and telling the result."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bot.conversation.actions.acting import action
from bot.conversation.turn import Turn
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast, read_texts
from bot.delivery.reports import tell_organizers
from bot.delivery.wording import choose, render
from bot.languages import count_words, words
from bot.languages.content import render_poll
from bot.languages.days import say_day
from models import Audit, Ballot, Broadcast, BroadcastText, Collective, Membership, Poll, Prepared, Role
from models.broadcasts import DRAFT, HELD, STOPPED

UNASKED = (DRAFT, STOPPED)
# Words that somebody held or stopped must not reach everybody as the "result".
UNTOLD = (*UNASKED, HELD)

LETTERS = "ABCDEFGH"


_p: Any = Poll.__table__
_b: Any = Broadcast.__table__
_t: Any = BroadcastText.__table__
_v: Any = Ballot.__table__
_of_the_broadcast = _b.join(_p, _p.c.id == _b.c.poll_id)
_facts = (_p.c.id, _p.c.closes_at, _p.c.closed_at, _b.c.collective_id, _b.c.state)
# A row for each language that the poll has words in.
_POLL = Prepared(
    sa.select(*_facts, _t.c.language, _t.c.body, _t.c.options)
    .select_from(_of_the_broadcast.join(_t, _t.c.broadcast_id == _b.c.id))
    .where(_b.c.id == sa.bindparam("broadcast"))
)
_hers = sa.select(Membership.id).where(Membership.person_id == sa.bindparam("person"))
_POLL_TO_VOTE_IN = Prepared(
    sa.select(*_facts, _v.c.choice)
    # A person is in a collective once, so at most one ballot of this poll is hers.
    .select_from(_of_the_broadcast.outerjoin(_v, sa.and_(_v.c.poll_id == _p.c.id, _v.c.membership_id.in_(_hers))))
    .where(_b.c.id == sa.bindparam("broadcast"))
    # Shared with other votes, not with the close: what is counted here is in the result.
    .with_for_update(read=True, of=_p)
)


def _cast_on(insert: Any) -> Any:
    new = insert(_v)
    values = {"choice": new.excluded.choice, "cast_at": new.excluded.cast_at}
    return new.on_conflict_do_update(index_elements=["poll_id", "membership_id"], set_=values)


_CAST = Prepared({"sqlite": _cast_on(sqlite.insert), "postgresql": _cast_on(postgresql.insert)})


def words_for(session: Session, broadcast_id: int, language: str, fallback: str) -> BroadcastText:
    """The broadcast's words as this reader gets them, by the same rule as the send."""
    return choose(language, fallback, read_texts(session, broadcast_id))[1]


@action(
    outcomes=lambda language: [
        {"open": True, "text": render_poll(language, "Where do we meet?", ["Park", "School"]), "options": {"A": "Park", "B": "School"}},
        {"open": False},
    ],
    reads=True,
)
def read_poll(turn: Turn, broadcast_id: int) -> dict[str, Any]:
    """A poll as the speaker reads it: its words, its options by letter; open: whether votes still count."""
    rows = _POLL.all(turn.session, {"broadcast": broadcast_id})
    if not rows or not is_open(rows[0], turn.now) or rows[0].state in UNASKED:
        return {"open": False}
    here = next((b for b in turn.belongings if b.collective_id == rows[0].collective_id), None)
    if here is None:
        return {"open": False}
    text = choose(turn.language, here.language, {row.language: row for row in rows})[1]
    options = list(text.options or [])
    return {
        "open": True,
        "text": render("poll", text.language, here.collective, text.body, options),
        "options": {LETTERS[index]: option for index, option in enumerate(options)},
    }


def is_open(poll: Any, now: datetime) -> bool:
    """Whether votes still count; ``poll`` has closes_at and closed_at."""
    return poll.closed_at is None and (poll.closes_at is None or poll.closes_at > now)


@action(
    outcomes=[
        {"counted": True, "changed": False, "closes": "Sat 3 May, 6:00 pm"},
        {"counted": True, "changed": True, "closes": ""},
        {"counted": False},
    ]
)
def cast_ballot(turn: Turn, broadcast_id: int, letter: str) -> dict[str, Any]:
    """Count the vote if the poll is still open at this moment. Gives counted, changed (it replaced another vote), closes (in words)."""
    poll = _POLL_TO_VOTE_IN.one(turn.session, {"broadcast": broadcast_id, "person": turn.person_id})
    here = next((belonging for belonging in turn.belongings if belonging.collective_id == poll.collective_id), None)
    if here is None or not is_open(poll, turn.now) or poll.state in UNASKED:
        return {"counted": False}
    choice = LETTERS.index(letter)
    ballot = {"poll_id": poll.id, "membership_id": here.membership_id, "choice": choice, "cast_at": turn.now}
    _CAST.run(turn.session, ballot)
    closes = say_day(poll.closes_at.astimezone(turn.local_now.tzinfo), turn.language) if poll.closes_at else ""
    return {"counted": True, "changed": poll.choice is not None and poll.choice != choice, "closes": closes}


@action(
    outcomes=[
        [],
        [{"id": 1, "question": "Where do we meet?"}],
        [{"id": 1, "question": "Where do we meet?"}, {"id": 2, "question": "Which day?"}],
    ],
    reads=True,
)
def read_open_polls(turn: Turn) -> list[dict[str, Any]]:
    """The open polls of the speaker's collectives on this line, newest first, at most six."""
    ids = [belonging.collective_id for belonging in turn.belongings]
    rows = turn.session.execute(
        sa.select(Broadcast.id, Broadcast.collective_id, Poll)
        .join(Poll, Poll.id == Broadcast.poll_id)
        .where(Broadcast.kind == "poll", Broadcast.collective_id.in_(ids), Poll.closed_at.is_(None), Broadcast.state.not_in(UNASKED))
        .order_by(Broadcast.id.desc())
        .limit(6)
    ).all()
    languages = {belonging.collective_id: belonging.language for belonging in turn.belongings}
    found = [row for row in rows if is_open(row.Poll, turn.now)]
    return [
        {"id": row.id, "question": words_for(turn.session, row.id, turn.language, languages[row.collective_id]).body[:60]} for row in found
    ]


@action(outcomes=[{"closed": True, "number": 2}, {"closed": False}])
def close_poll_now(turn: Turn, number: str | None = None) -> dict[str, Any]:
    """An organizer closes a poll early: the one she names by number, else the newest open one. Gives closed, number (the result's).

    One word is enough; but the result cools down like anything an organizer sends, and the others are told how to hold it.
    """
    here = turn.with_role("organizer")
    digits = "".join(character for character in number or "" if character.isdecimal())
    polls = sa.select(Poll.id).join(Broadcast, Broadcast.poll_id == Poll.id)
    polls = polls.where(
        Broadcast.collective_id == here.collective_id,
        Poll.closed_at.is_(None),
        Broadcast.kind == "poll",
        Broadcast.state.not_in(UNTOLD),
    )
    if digits:
        polls = polls.where(Broadcast.number == int(digits[:9]))
    poll_id = turn.session.scalars(polls.order_by(Broadcast.id.desc()).limit(1)).first()
    if poll_id is None:
        return {"closed": False}
    result = close_poll(turn.session, poll_id, turn.now, closer_id=here.membership_id)
    if result is None:
        return {"closed": False}
    # Everybody knows a vote by the number of its text; the poll's own id says nothing to anybody.
    asked = turn.session.scalars(sa.select(Broadcast.number).where(Broadcast.poll_id == poll_id, Broadcast.kind == "poll")).one()
    _tell_others(turn, here.collective_id, here.membership_id, poll_id, asked, result.number)
    subject = f"broadcast {asked}"
    turn.session.add(
        Audit(collective_id=here.collective_id, membership_id=here.membership_id, act="poll closed", subject=subject, at=turn.now)
    )
    turn.rings = True
    return {"closed": True, "number": result.number}


def _tell_others(turn: Turn, collective_id: int, closer_id: int, poll_id: int, asked: int, result: int) -> None:
    session = turn.session
    organizers = sa.select(Membership.id).join(Role, Role.membership_id == Membership.id)
    others = organizers.where(Membership.collective_id == collective_id, Role.role == "organizer", Membership.id != closer_id)

    def make_text(language: str) -> str:
        return words(
            language,
            "An organizer closed vote {asked} early. Its result is {result} and goes to everyone. To stop it: HOLD {result}",
            asked=asked,
            result=result,
        )

    tell_organizers(session, turn.now, collective_id, make_text, key=f"closed:{poll_id}", only=set(session.scalars(others)))


def tally(session: Session, poll_id: int, options: int) -> list[int]:
    """Votes by option, in the options' order. Votes of members who left are still votes; those of the forgotten are gone with them."""
    rows = session.execute(sa.select(Ballot.choice, sa.func.count()).where(Ballot.poll_id == poll_id).group_by(Ballot.choice)).all()
    counts: dict[int, int] = {row[0]: row[1] for row in rows}
    return [counts.get(option, 0) for option in range(options)]


def close_poll(session: Session, poll_id: int, now: datetime, *, closer_id: int | None = None) -> Broadcast | None:
    """Close a poll once and tell the result to everybody in its audience. Gives the result; None if it was closed before.

    ``closer_id``: the organizer's membership who closed it early; None: its time was over.
    """
    closed = session.execute(sa.update(Poll).where(Poll.id == poll_id, Poll.closed_at.is_(None)).values(closed_at=now))
    if not closed.rowcount:  # type: ignore[attr-defined]
        return None
    poll = session.get_one(Poll, poll_id, populate_existing=True)
    asked = session.scalars(sa.select(Broadcast).where(Broadcast.poll_id == poll_id, Broadcast.kind == "poll")).one()
    if asked.state in UNTOLD:
        return None
    collective = session.get_one(Collective, poll.collective_id)
    counts = tally(session, poll_id, poll.options)
    texts = {}
    for text in session.scalars(sa.select(BroadcastText).where(BroadcastText.broadcast_id == asked.id)):
        texts[text.language] = tell_result(text.language, text.body, list(text.options or []), counts)
    result = draft_broadcast(session, now, collective.id, "result", texts, group_id=asked.group_id, poll_id=poll_id)
    approve_broadcast(session, now, result, how="clock" if closer_id is None else "organizer", approver_id=closer_id)
    return result


def tell_result(language: str, question: str, options: list[str], counts: list[int]) -> str:
    """The result in one language: every option with its votes, in the order asked, so that the few who differed see themselves counted."""
    listed = ", ".join(f"{option} {count}" for option, count in zip(options, counts, strict=True))
    voted = count_words(language, "1 person voted.", "{n} people voted.", sum(counts))
    return words(language, "Result: {question} {listed}. {voted}", question=question, listed=listed, voted=voted)
