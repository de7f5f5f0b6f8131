"""A month's cap of a collective: setting it, telling its organizers in time, letting go what waited for money."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.bell import ring
from bot.delivery.lists import in_states
from bot.delivery.money import broadcast_limit, month_of, read_money
from bot.delivery.prices import MICROS
from bot.delivery.reports import tell_organizers
from bot.deployment import Deployment
from bot.languages import words
from models import Audit, Collective, Outbound, Spending, Store
from models.messages import HELD, QUEUED

# Organizers hear of it when so much (percent) of the cap is spent.
WARN_PERCENT = 80
# More than anybody pays for a month of texts: a slip of the decimal point is refused.
MOST_FOR_A_MONTH = 1_000_000 * MICROS
# Let go in transactions of so many rows.
CHUNK = 5_000
# Prices that Twilio corrects downwards may free a little of a spent month. Rows are let go again when more than a twentieth of the cap is
# free: 140,000 of them should not be queued and held again for a few cents each time.
WORTH_RELEASING = 20

_o: Any = Outbound.__table__
_s: Any = Spending.__table__
_c: Any = Collective.__table__

_WAITS = sa.and_(in_states(_o.c.state, HELD), _o.c.reason == "cap", _o.c.collective_id == sa.bindparam("collective"))
_some = sa.select(_o.c.id).where(_WAITS).limit(CHUNK)
_LET_GO = sa.update(_o).where(_o.c.id.in_(_some), in_states(_o.c.state, HELD)).values(state=QUEUED, reason=None, due_at=sa.bindparam("now"))
_COUNT = sa.select(sa.func.count()).select_from(_o).where(_WAITS)
_WITH_CAP = (
    sa.select(_c.c.id, _c.c.name, _c.c.word, _c.c.monthly_cap_micros.label("cap"), _s.c.micros.label("spent"), _s.c.warned_at)
    .join(_s, sa.and_(_s.c.collective_id == _c.c.id, _s.c.month == sa.bindparam("month")))
    .where(_c.c.monthly_cap_micros.is_not(None), _s.c.micros * 100 >= _c.c.monthly_cap_micros * WARN_PERCENT)
    .order_by(_c.c.id)
)
_WAITING_FOR_MONEY = (
    sa.select(_o.c.collective_id).where(in_states(_o.c.state, HELD), _o.c.reason == "cap", _o.c.collective_id.is_not(None)).distinct()
)


def format_money(micros: int) -> str:
    """Two places: 50.00. In the currency of the Twilio account."""
    return f"{micros / MICROS:,.2f}"


def parse_money(text: str) -> int:
    """An amount as people write it (50.00), in millionths. ValueError for what is none, is negative or finer than a millionth."""
    try:
        micros = Decimal(text.strip()) * MICROS
    except InvalidOperation:
        raise ValueError("no amount") from None
    if not micros.is_finite() or micros < 0 or micros != micros.to_integral_value():
        raise ValueError("no amount")
    return int(micros)


def set_cap(session: Session, now: datetime, collective_id: int, cap_micros: int | None, *, membership_id: int | None = None) -> None:
    """What a month may cost from now on; None: no cap. Afterwards let go what waits for money (``let_go``). ValueError below 0."""
    if cap_micros is not None and cap_micros < 0:
        raise ValueError("a cap is not negative")
    session.execute(sa.update(_c).where(_c.c.id == collective_id).values(monthly_cap_micros=cap_micros))
    # Under a higher cap there is something to be warned of again.
    this_month = sa.and_(_s.c.collective_id == collective_id, _s.c.month == month_of(now))
    session.execute(sa.update(_s).where(this_month).values(warned_at=None))
    subject = "none" if cap_micros is None else format_money(cap_micros)
    session.add(Audit(collective_id=collective_id, membership_id=membership_id, act="monthly cap set", subject=subject, at=now))


def let_go(store: Store, collective_id: int) -> int:
    """Queue what waits for money, in short transactions; returns how many. Ring afterwards.

    What the cap does not allow is held again by the pump; so only as many as waited at the beginning, or the two would never end.
    """
    with store.read() as session:
        waiting = session.connection().execute(_COUNT, {"collective": collective_id}).scalar_one()
    done, more = 0, True
    while more and done < waiting:
        with store.write() as session:
            result: Any = session.connection().execute(_LET_GO, {"collective": collective_id, "now": store.clock.now()})
            more = result.rowcount > 0
            done += result.rowcount
    return done


def find_near_cap(session: Session, now: datetime) -> Sequence[Any]:
    """Collectives that have spent WARN_PERCENT of this month's cap or more: id, name, word, cap, spent, warned_at."""
    return session.connection().execute(_WITH_CAP, {"month": month_of(now)}).all()


def look_after_caps(deployment: Deployment) -> int:
    """Tell the organizers of collectives near their cap or at it, once each; let go what need not wait any more. For a timer of minutes.

    Returns how many texts it put. A text says what to do; it goes out all the same, from the reserve.
    """
    store, now = deployment.store, deployment.clock.now()
    told = released = 0
    with store.read() as session:
        near = find_near_cap(session, now)
        waiting = list(session.connection().execute(_WAITING_FOR_MONEY).scalars())
    for row in near:
        if row.warned_at is None and row.id not in waiting:
            told += _warn(store, now, row)
    for collective_id in waiting:
        with store.read() as session:
            money = read_money(session, collective_id, now)
        if money.cap is None or money.limit - money.spent > money.cap // WORTH_RELEASING:
            released += let_go(store, collective_id)
        else:
            told += _tell_spent(store, now, collective_id, money.cap, money.spent)
    if told or released:
        ring(deployment)
    return told


def _warn(store: Store, now: datetime, row: Any) -> int:
    with store.write() as session:
        this_month = sa.and_(_s.c.collective_id == row.id, _s.c.month == month_of(now))
        session.execute(sa.update(_s).where(this_month).values(warned_at=now))

        def say(language: str) -> str:
            return words(
                language,
                "{collective}: texts cost {spent} of {cap} this month. At {limit} notices wait for next month, unless the cap is raised.",
                collective=row.name,
                spent=format_money(row.spent),
                cap=format_money(row.cap),
                limit=format_money(broadcast_limit(row.cap)),
            )

        return tell_organizers(session, now, row.id, say, key=f"near:{row.id}:{month_of(now)}:{row.cap}")


def _tell_spent(store: Store, now: datetime, collective_id: int, cap: int, spent: int) -> int:
    with store.write() as session:
        name = session.get_one(Collective, collective_id).name

        def say(language: str) -> str:
            return words(
                language,
                "{collective}: the money for texts is spent ({spent} of {cap}). Notices wait for next month, or until the cap is raised.",
                collective=name,
                spent=format_money(spent),
                cap=format_money(cap),
            )

        told = tell_organizers(session, now, collective_id, say, key=f"spent:{collective_id}:{month_of(now)}:{cap}")
        if told:
            session.add(Audit(collective_id=collective_id, act="held by the cap", subject=month_of(now), at=now))
    return told
