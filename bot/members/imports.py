"""Reading a list of members in from the console: what would happen, row by row; doing it; taking it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.due import happens_first
from bot.members.enrolment import CHUNK, enrol_within, long_transaction, standing
from bot.members.membership import UNREACHABLE
from bot.members.roster import Roster, RosterRow
from models import Audit, Collective, CollectiveLine, Inbound, MemberImport, Membership, Outbound, Person, Phone, PhoneLine, Role, Store
from models.messages import CLAIMED, HELD, QUEUED, STOPPED

# What will become of a row. She who left, or is a wrong number, can only come back herself.
NEW, KNOWN, LEFT, DETACHED, REFUSED = "new", "known", "left", "detached", "refused"


@dataclass(frozen=True)
class Foreseen:
    """One row of the file: what will happen to it, and what to say about it (English sentences of the roster)."""

    row: int
    name: str | None
    outcome: str
    stopped: bool = False
    remarks: tuple[str, ...] = field(default=())


def foresee(store: Store, collective_id: int, roster: Roster) -> list[Foreseen]:
    """What an import of this file would do, in the order of its rows. Reads only."""
    warnings: dict[int, list[str]] = {}
    for remark in roster.warnings:
        warnings.setdefault(remark.row, []).append(remark.reason)
    errors: dict[int, list[str]] = {}
    for remark in roster.errors:
        errors.setdefault(remark.row, []).append(remark.reason)
    found = [Foreseen(row, None, REFUSED, remarks=tuple(reasons)) for row, reasons in errors.items()]
    with store.read() as session:
        for start in range(0, len(roster.rows), CHUNK):
            by_hash = {store.hash_number(row.number): row for row in roster.rows[start : start + CHUNK]}
            known = {row.number_hash: row for row in session.execute(standing(collective_id, list(by_hash)))}
            for hashed, row in by_hash.items():
                found.append(_foresee(row, known.get(hashed), tuple(warnings.pop(row.row, ()))))
    # Rows that say a number once more, and the header.
    found += [Foreseen(row, None, KNOWN, remarks=tuple(reasons)) for row, reasons in warnings.items() if row > 1 and row not in errors]
    return sorted(found, key=lambda each: each.row)


def _foresee(row: RosterRow, stands: Any, remarks: tuple[str, ...]) -> Foreseen:
    if stands is None:
        return Foreseen(row.row, row.name, NEW, remarks=remarks)
    if stands.unreachable:
        return Foreseen(row.row, row.name, REFUSED, remarks=(*remarks, UNREACHABLE))
    outcome = DETACHED if stands.detached else {"left": LEFT, "active": KNOWN}.get(stands.state, NEW)
    return Foreseen(row.row, row.name, outcome, bool(stands.stopped), remarks)


def import_members(
    store: Store, collective: Collective, rows: Sequence[RosterRow], *, how: str, by: int, key: str
) -> tuple[int, int] | None:
    """Make the rows members: (the import's id, how many are new). None: this form (``key``) was sent before. All of them or nobody."""
    now = store.clock.now()
    with long_transaction(store) as session:
        if not happens_first(session, now, "import", collective.id, f"import:{key}"):
            return None
        made = MemberImport(collective_id=collective.id, membership_id=by, made_at=now)
        session.add(made)
        session.flush()
        made.added = enrol_within(session, store, collective, rows, how=how, now=now, import_id=made.id)
        session.add(
            Audit(collective_id=collective.id, membership_id=by, act="members imported", subject=f"import {made.id}: {made.added}", at=now)
        )
        return made.id, made.added


def undo_import(session: Session, now: datetime, done: MemberImport, *, by: int) -> int:
    """Remove those whom the import added and who never wrote since and were given no role; returns how many.

    With them goes what nobody else needs: the person and the number, so that a wrong list leaves nothing behind. A STOP stays.
    """
    ids = list(session.scalars(_never_wrote(done)))
    removed = 0
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        phones = sa.select(Person.phone_id).join(Membership, Membership.person_id == Person.id).where(Membership.id.in_(chunk))
        # In the order of ids, as every import does. What is being written from one of them is waited for, and counts.
        session.execute(sa.select(Phone.id).where(Phone.id.in_(phones)).order_by(Phone.id).with_for_update(key_share=True))
        silent = list(session.scalars(_never_wrote(done).where(Membership.id.in_(chunk))))
        _remove(session, now, silent)
        removed += len(silent)
    done.undone_at = now
    session.add(
        Audit(collective_id=done.collective_id, membership_id=by, act="import undone", subject=f"import {done.id}: {removed}", at=now)
    )
    return removed


def _never_wrote(done: MemberImport) -> sa.Select[Any]:
    # To this collective: that she writes to another one is not told by who stays here.
    lines = sa.select(CollectiveLine.line_id).where(CollectiveLine.collective_id == done.collective_id)
    wrote = sa.or_(
        sa.exists().where(PhoneLine.phone_id == Person.phone_id, PhoneLine.last_inbound_at >= done.made_at, PhoneLine.line_id.in_(lines)),
        sa.exists().where(Inbound.phone_id == Person.phone_id, Inbound.received_at >= done.made_at, Inbound.line_id.in_(lines)),
    )
    return (
        sa.select(Membership.id)
        .join(Person, Person.id == Membership.person_id)
        .where(
            Membership.import_id == done.id,
            Membership.collective_id == done.collective_id,
            ~wrote,
            ~sa.exists().where(Role.membership_id == Membership.id),
        )
        .order_by(Membership.id)
    )


def _remove(session: Session, now: datetime, ids: Sequence[int]) -> None:
    people = session.execute(
        sa.select(Person.id, Person.phone_id).join(Membership, Membership.person_id == Person.id).where(Membership.id.in_(ids))
    ).all()
    waiting = sa.update(Outbound).where(Outbound.membership_id.in_(ids), Outbound.state.in_((HELD, QUEUED, CLAIMED)))
    _run(session, waiting.values(state=STOPPED, reason="left", done_at=now, lease_until=None))
    _run(session, sa.delete(Membership).where(Membership.id.in_(ids)))
    persons, phones = [row.id for row in people], [row.phone_id for row in people]
    alone = sa.delete(Person).where(
        Person.id.in_(persons),
        ~sa.exists().where(Membership.person_id == Person.id),
        ~sa.exists().where(Inbound.person_id == Person.id),
    )
    _run(session, alone)
    # Who stays, stays for others: what found her by the name of this list goes when she is indexed anew.
    _run(session, sa.update(Person).where(Person.id.in_(persons)).values(name_indexed=False))
    # An id of somebody who is gone is nobody's.
    gone = ~sa.exists().where(Person.id == Phone.current_person_id)
    _run(session, sa.update(Phone).where(Phone.id.in_(phones), Phone.current_person_id.is_not(None), gone).values(current_person_id=None))
    nobody = sa.and_(
        ~sa.exists().where(Person.phone_id == Phone.id),
        ~sa.exists().where(PhoneLine.phone_id == Phone.id),
        ~sa.exists().where(Inbound.phone_id == Phone.id),
        ~sa.exists().where(Outbound.phone_id == Phone.id),
    )
    _run(session, sa.delete(Phone).where(Phone.id.in_(phones), nobody))


def _run(session: Session, statement: Any) -> None:
    session.execute(statement, execution_options={"synchronize_session": False})
