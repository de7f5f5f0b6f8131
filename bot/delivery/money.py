"""Money: what each collective spent this month, and whether its broadcasts may go on.

A month's cap holds broadcasts and polls back when nine tenths of it are spent; the rest is a reserve for what is never held for money:
confirmations of a STOP, codes, replies, words between people, pages, check-ins. What a message costs is estimated when it is marked
(``prices``), added up when the carrier accepts it, and put right when Twilio says its own price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bot.delivery.prices import PriceTable, country_of, read_prices
from models import Collective, Spending, Store
from models.clock import real_seconds
from models.messages import LANE_BROADCAST, LANE_POLL

# Only these wait for money. Everything more urgent is somebody's safety, consent, or an answer she waits for.
CAPPED_LANES = frozenset({LANE_POLL, LANE_BROADCAST})
# The reserve: a tenth of the cap, and never less than this (in millionths) unless that were more than half of it.
RESERVE_SHARE, LEAST_RESERVE = 10, 1_000_000
# How long (real seconds) a pump believes what it read: others spend for the same collective, too.
BELIEVED_SECONDS = 2.0

_s: Any = Spending.__table__
_c: Any = Collective.__table__


def month_of(now: datetime) -> str:
    """The month (UTC) that a moment is paid in: "2026-11"."""
    return f"{now.astimezone(UTC):%Y-%m}"


def next_month(now: datetime) -> datetime:
    """The first moment of the next month, UTC."""
    now = now.astimezone(UTC)
    return datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)


def broadcast_limit(cap: int) -> int:
    """What broadcasts and polls may bring a month's spending to, under this cap (micros): the cap less the reserve."""
    return cap - max(cap // RESERVE_SHARE, min(LEAST_RESERVE, cap // 2))


_READ = (
    sa.select(_c.c.monthly_cap_micros, sa.func.coalesce(_s.c.micros, 0).label("spent"))
    .select_from(_c.outerjoin(_s, sa.and_(_s.c.collective_id == _c.c.id, _s.c.month == sa.bindparam("month"))))
    .where(_c.c.id == sa.bindparam("collective"))
)


@dataclass(slots=True)
class _Account:
    """What a pump knows of one collective, in micros. ``limit`` None: it has no cap.

    ``read`` is what the database said; ``added`` what this pump's accepted messages wrote there since; ``in_flight`` and ``taken`` are
    messages marked earlier and in this turn, whose outcome is still to come.
    """

    month: str = ""
    limit: int | None = None
    read: int = 0
    added: int = 0
    in_flight: int = 0
    taken: int = 0
    read_at: float = 0.0
    read_in: int = -1  # the turn

    @property
    def known(self) -> int:
        return self.read + self.added + self.in_flight + self.taken


class Purse:
    """Prices, and the cap of each collective, for a pump's turn of duty.

    The cap holds within a batch: what this pump has in flight counts as spent. Several pumps do not see each other's messages in flight,
    so together they may overshoot by as many as they have there; the reserve is for that, too.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table: PriceTable | None = None
        self._accounts: dict[int, _Account] = {}
        self._turn = 0
        self._taken: dict[tuple[int, int], tuple[int, int]] = {}
        self._in_flight: dict[tuple[int, int], tuple[int, int]] = {}

    def begin(self, session: Session) -> None:
        """A turn's transaction begins. What an earlier one took and did not ``keep`` was rolled back."""
        self._turn += 1
        if self._taken:
            self._taken = {}
            for account in self._accounts.values():
                account.taken = 0
        if self._table is None:
            self._table = read_prices(session)

    def price(self, channel: str, number: str, segments: int) -> int:
        """What a text to this number will cost, in micros. ``channel``: sms, whatsapp, or template (a WhatsApp template)."""
        if self._table is None:
            self._table = PriceTable()
        return self._table.cost(channel, country_of(number), segments)

    def is_spent(self, session: Session, collective_id: int | None, now: datetime) -> bool:
        """Whether this month's spending of the collective, with what is in flight, has reached its cap less the reserve."""
        if collective_id is None:
            return False
        account = self._accounts.get(collective_id)
        if account is None:
            account = self._accounts[collective_id] = _Account()
        month = month_of(now)
        if account.month != month or real_seconds() - account.read_at > BELIEVED_SECONDS:
            self._read(session, collective_id, account, month)
        if account.limit is None or account.known < account.limit:
            return False
        # It costs them dear to hear "no": never from memory, for the cap may just have been raised.
        if account.read_in != self._turn:
            self._read(session, collective_id, account, month)
        return account.limit is not None and account.known >= account.limit

    def _read(self, session: Session, collective_id: int, account: _Account, month: str) -> None:
        row = session.connection().execute(_READ, {"collective": collective_id, "month": month}).one_or_none()
        account.limit = None if row is None or row.monthly_cap_micros is None else broadcast_limit(row.monthly_cap_micros)
        account.read, account.added, account.month = (0 if row is None else int(row.spent)), 0, month
        account.read_at, account.read_in = real_seconds(), self._turn

    def take(self, collective_id: int | None, row_id: int, attempt: int, micros: int) -> None:
        """This message is marked: it counts as spent from now on."""
        if collective_id is None:
            return
        self._taken[(row_id, attempt)] = (collective_id, micros)
        self._accounts.setdefault(collective_id, _Account()).taken += micros

    def keep(self) -> None:
        """The turn's transaction is committed."""
        for key, (collective_id, micros) in self._taken.items():
            account = self._accounts[collective_id]
            account.taken -= micros
            account.in_flight += micros
            self._in_flight[key] = (collective_id, micros)
        self._taken = {}

    def settle(self, row_id: int, attempt: int, *, accepted: bool) -> None:
        """Its outcome is being written down (and, when it was accepted, added to the spending). A second time does nothing."""
        collective_id, micros = self._in_flight.pop((row_id, attempt), (0, 0))
        account = self._accounts.get(collective_id)
        if account is not None:
            account.in_flight -= micros
            account.added += micros if accepted else 0


@dataclass(frozen=True, slots=True)
class Money:
    """A collective's month, in millionths. ``cap`` None: there is none."""

    cap: int | None
    spent: int

    @property
    def limit(self) -> int:
        """Up to where broadcasts may go. ValueError without a cap."""
        if self.cap is None:
            raise ValueError("there is no cap")
        return broadcast_limit(self.cap)


def read_money(session: Session, collective_id: int, now: datetime) -> Money:
    """How a collective stands in the month of ``now``. LookupError when there is none."""
    row = session.connection().execute(_READ, {"collective": collective_id, "month": month_of(now)}).one_or_none()
    if row is None:
        raise LookupError(f"there is no collective {collective_id}")
    return Money(row.monthly_cap_micros, int(row.spent))


def money_left(session: Session, collective_id: int, now: datetime) -> int | None:
    """What its broadcasts may still cost this month, 0 when nothing is left; None: it has no cap."""
    money = read_money(session, collective_id, now)
    return None if money.cap is None else max(0, money.limit - money.spent)


@cache
def _add(is_sqlite: bool) -> Any:
    """From the collective's own row: one that is gone must not stop the outcomes of the others."""
    names = ("collective_id", "month", "micros", "segments", "messages")
    there = sa.select(_c.c.id, *(sa.bindparam(f"the_{name}", type_=_s.c[name].type) for name in names[1:])).where(
        _c.c.id == sa.bindparam("collective")
    )
    insert: Any = (sqlite if is_sqlite else postgresql).insert(_s).from_select(names, there)
    sums = {name: _s.c[name] + insert.excluded[name] for name in names[2:]}
    return insert.on_conflict_do_update(index_elements=["collective_id", "month"], set_=sums)


def add_spending(session: Session, store: Store, now: datetime, amounts: Mapping[int, tuple[int, int, int]]) -> None:
    """Add {collective: (micros, segments, messages)} to the month of ``now``. Last in its transaction: pumps of one collective share a row.

    In the order of the collectives, so that two who add to several do not wait for each other crosswise.
    """
    month = month_of(now)
    rows = [
        {"collective": collective_id, "the_month": month, "the_micros": micros, "the_segments": segments, "the_messages": messages}
        for collective_id, (micros, segments, messages) in sorted(amounts.items())
    ]
    if rows:
        session.connection().execute(_add(store.is_sqlite), rows)
