"""What must hold whatever died: read from the database and from the carrier's own ledger, which no fault of ours can touch.

Each function raises AssertionError, naming rows and states by number, never by phone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from bot.delivery.tokens import read_token
from models import Ballot, Broadcast, Inbound, Outbound, Poll, Rsvp, Store
from models.broadcasts import DONE, SENDING
from models.clock import real_seconds
from models.messages import ACCEPTED, ATTEMPTING, CLAIMED, RANKS

# Never sent twice, whatever is lost: a second text on a watched phone is harm (docs/delivery.md).
CARE = frozenset({"check_in", "relay", "page", "code", "crisis"})
# An outbound row's id, and which of its attempts.
Attempt = tuple[int, int]

_o: Any = Outbound.__table__


def sends_by_attempt(store: Store, callbacks: Iterable[str]) -> Counter[Attempt]:
    """How often each attempt of each outbound row stands in the ledger, by the token in its callback."""
    found: Counter[Attempt] = Counter()
    for callback in callbacks:
        named = read_token(store, callback.rsplit("/", 1)[-1])
        assert named is not None, "a send without a callback of ours"
        found[named] += 1
    return found


def sends_by_row(store: Store, callbacks: Iterable[str]) -> Counter[int]:
    """The same by row alone."""
    found: Counter[int] = Counter()
    for (row, _), times in sends_by_attempt(store, callbacks).items():
        found[row] += times
    return found


def check_the_ledger(store: Store, callbacks: Iterable[str], failed: Collection[Attempt] = ()) -> None:
    """An attempt is sent once at most; a row once, twice only where its class says so and the row says that it was resent.

    ``failed``: attempts of which a receipt said that they did not arrive; what is not care may go again after that. What the carrier never
    saw does not stand as accepted.
    """
    attempts = sends_by_attempt(store, callbacks)
    with store.read() as session:
        rows = {row.id: row for row in session.execute(sa.select(_o.c.id, _o.c.kind, _o.c.state, _o.c.resent, _o.c.attempt))}
    arrived: Counter[int] = Counter()
    seen: Counter[int] = Counter()
    for (number, attempt), times in attempts.items():
        assert times == 1, f"attempt {attempt} of outbound {number} was sent {times} times"
        seen[number] += 1
        arrived[number] += (number, attempt) not in failed
        row = rows.get(number)
        assert row is None or row.attempt >= attempt, f"outbound {number} left without a mark"
    for number, times in seen.items():
        row = rows.get(number)
        if row is None:
            continue  # purged, long over
        if row.kind in CARE:
            assert times == 1, f"outbound {number} ({row.kind}, {row.state}) was sent {times} times"
        most = 2 if row.resent else 1
        assert arrived[number] <= most, f"outbound {number} ({row.kind}, {row.state}, attempt {row.attempt}) went {arrived[number]} times"
    for number, row in rows.items():
        if row.state == ACCEPTED and row.kind not in ("reply", "stop"):
            assert seen[number], f"outbound {number} stands as accepted, and the carrier never saw it"
        assert not (row.resent and row.kind in CARE), f"outbound {number} of kind {row.kind} was resent"


def check_the_rows(store: Store) -> None:
    """One row a phone and broadcast; one effect a SID; one vote a member, and the tally is the roll."""
    with store.read() as session:
        twice = session.execute(
            sa.select(_o.c.broadcast_id, _o.c.phone_id)
            .where(_o.c.broadcast_id.is_not(None), _o.c.phone_id.is_not(None))
            .group_by(_o.c.broadcast_id, _o.c.phone_id)
            .having(sa.func.count() > 1)
        ).all()
        assert not twice, f"{len(twice)} phones have two rows of one broadcast"
        sids = session.execute(sa.select(Inbound.sid_hash).group_by(Inbound.sid_hash).having(sa.func.count() > 1)).all()
        assert not sids, f"{len(sids)} messages were stored twice"
        for table, subject in ((Ballot, Ballot.poll_id), (Rsvp, Rsvp.alert_id)):
            twice = session.execute(
                sa.select(subject, table.membership_id).group_by(subject, table.membership_id).having(sa.func.count() > 1)
            ).all()
            assert not twice, f"{len(twice)} members answered twice"
        for poll in session.scalars(sa.select(Poll)):
            roll = session.scalar(sa.select(sa.func.count()).select_from(Ballot).where(Ballot.poll_id == poll.id)) or 0
            tally = session.execute(
                sa.select(Ballot.choice, sa.func.count()).where(Ballot.poll_id == poll.id).group_by(Ballot.choice)
            ).all()
            assert sum(number for _, number in tally) == roll
            assert all(0 <= choice < poll.options for choice, _ in tally)


def check_nothing_in_limbo(store: Store) -> None:
    """After a sweep nothing is claimed or attempting past its lease, and nothing that asked for a look-up is forgotten."""
    with store.read() as session:
        late = session.execute(
            sa.select(_o.c.id, _o.c.state).where(
                _o.c.state.in_((CLAIMED, ATTEMPTING)), sa.func.coalesce(_o.c.lease_until, 0) < real_seconds() - 1
            )
        ).all()
    assert not late, f"in limbo: {[(row.id, row.state) for row in late]}"


def check_the_plan(store: Store, broadcast_id: int) -> None:
    """A whole broadcast has as many rows as it counts (and a phone only one: ``check_the_rows``)."""
    with store.read() as session:
        broadcast = session.get_one(Broadcast, broadcast_id)
        if broadcast.planned_at is None or broadcast.state not in (SENDING, DONE):
            return
        rows = session.scalar(sa.select(sa.func.count()).where(_o.c.broadcast_id == broadcast_id))
        assert rows in (broadcast.total, 0), f"broadcast {broadcast_id} counts {broadcast.total}, and has {rows} rows"


def check_no_send_after_stop(store: Store, stopped: Mapping[int, Any]) -> None:
    """``stopped``: phone id -> when her STOP was answered. No row was marked for her after that (the one confirmation excepted)."""
    with store.read() as session:
        for phone, moment in stopped.items():
            late = session.execute(
                sa.select(_o.c.id, _o.c.kind).where(_o.c.phone_id == phone, _o.c.attempted_at > moment, _o.c.unprompted.is_(True))
            ).all()
            assert not late, f"marked after the STOP: {[(row.id, row.kind) for row in late]}"


class Climb:
    """Remembers every row's rank: what the carrier confirmed never falls again, unless it said itself that the attempt failed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[int, tuple[int, int, bool]] = {}

    def check(self, failed: Collection[Attempt] = ()) -> None:
        with self._store.read() as session:
            rows = session.execute(sa.select(_o.c.id, _o.c.state, _o.c.error_code, _o.c.attempt)).all()
        for row in rows:
            rank = RANKS.get(row.state, 0)
            attempt, before, had_code = self._known.get(row.id, (row.attempt, 0, False))
            if before >= RANKS[ACCEPTED] and (row.id, attempt) not in failed:
                assert rank >= before, f"outbound {row.id} fell from {before} to {row.state}"
                assert row.attempt == attempt, f"outbound {row.id} was taken at attempt {attempt}, and tried again"
                assert not had_code or row.error_code is not None, f"outbound {row.id} lost its error code"
            assert row.attempt >= attempt, f"outbound {row.id} counts its attempts backwards"
            self._known[row.id] = (row.attempt, rank, row.error_code is not None)


def states_of(store: Store) -> Counter[str]:
    """How many outbound rows stand in each state."""
    with store.read() as session:
        return Counter({row[0]: row[1] for row in session.execute(sa.select(_o.c.state, sa.func.count()).group_by(_o.c.state))})
