"""What messages cost: a preview's estimate, a broadcast's sum, Twilio's own prices, and the replies that nobody has counted yet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.lists import as_list, in_list
from bot.delivery.money import add_spending, money_left
from bot.delivery.prices import TEMPLATE, PriceTable, country_of, read_prices
from bot.delivery.reach import Reach, read_reach
from bot.delivery.wording import choose
from bot.deployment import Deployment
from models import Broadcast, BroadcastText, Line, Outbound, Phone, SealBroken, Store

# Replies in the webhook's own answer are priced later, in transactions of so many rows.
CHUNK = 1_000
# How far back rows without a cost are looked for: a broadcast waits up to three days, and its receipt may come a day later.
UNPRICED_SPAN = timedelta(days=4)

_o: Any = Outbound.__table__
_l: Any = Line.__table__
_ph: Any = Phone.__table__


@dataclass(frozen=True)
class Estimate:
    """What a broadcast may cost, in millionths; ``left``: what the month still allows it, None: there is no cap."""

    micros: int
    left: int | None

    @property
    def fits(self) -> bool:
        """Whether the month's cap, less its reserve, allows all of it."""
        return self.left is None or self.micros <= self.left


def estimate_cost(
    store: Store,
    session: Session,
    now: datetime,
    broadcast: Broadcast,
    segments: Mapping[str, int] | None = None,
    reach: Reach | None = None,
) -> Estimate:
    """What it would cost if it left at ``now``: readers by line and language, times the segments of their text, times a mean price.

    Which countries 140,000 sealed numbers belong to can not be seen cheaply, so SAMPLE of them, spread evenly over the memberships, are
    opened and stand for the rest of their line and language (all of them, where there are no more than that). A line and language without a
    sample takes the price to the line's own country. Who has not written on WhatsApp within a day costs a template and then the text.

    ``segments``: of words by language that are not kept yet; then ``broadcast`` need not be kept either. ``reach``: what a look at the
    members found a moment ago (with its sample).
    """
    reach = read_reach(session, now, broadcast, sample=True) if reach is None else reach
    readers: Counter[tuple[int, str, bool]] = Counter()
    for each in reach.readers:
        if each.gets_it and each.line_id is not None:
            readers[(each.line_id, each.language, each.reason == "window")] += each.count
    countries: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for group, sample in reach.samples.items():
        for number in sample:
            try:
                countries[group][country_of(store.keyring.open(number, "phones.number").decode())] += 1
            except SealBroken:
                continue  # it will not be sent either
    segments = _segments(session, broadcast.id) if segments is None else segments
    lines = {row.id: row for row in session.execute(sa.select(_l.c.id, _l.c.channel, _l.c.country))}
    table, total = read_prices(session), 0.0
    for (line_id, language, is_closed), number_of in readers.items():
        line = lines[line_id]
        where = countries.get((line_id, language)) or Counter({line.country or "": 1})
        parts = choose(language, reach.language, segments)[1] if segments else 1
        price = _mean(table, line.channel, where, parts)
        total += number_of * (price + (_mean(table, TEMPLATE, where, 1) if is_closed else 0.0))
    return Estimate(round(total), money_left(session, broadcast.collective_id, now))


def _mean(table: PriceTable, channel: str, countries: Counter[str], segments: int) -> float:
    return sum(table.cost(channel, country, segments) * number for country, number in countries.items()) / countries.total()


def _segments(session: Session, broadcast_id: int) -> dict[str, int]:
    texts = sa.select(BroadcastText.language, BroadcastText.segments).where(BroadcastText.broadcast_id == broadcast_id)
    return {row.language: row.segments for row in session.execute(texts)}


def cost_of_broadcast(session: Session, broadcast_id: int) -> tuple[int, float]:
    """(what it has cost so far in millionths, the share of that which is our estimate and not Twilio's own price: 0.0 to 1.0).

    Its rows go 30 days after they were sent, and their cost with them; the month's sum stays.
    """
    ours = sa.case((_o.c.priced.is_(sa.false()), _o.c.cost_micros), else_=0)
    counted = session.execute(
        sa.select(sa.func.coalesce(sa.func.sum(_o.c.cost_micros), 0), sa.func.coalesce(sa.func.sum(ours), 0)).where(
            _o.c.broadcast_id == broadcast_id
        )
    ).one()
    total, estimated = int(counted[0]), int(counted[1])
    return total, (estimated / total if total else 0.0)


# --- Twilio's own prices ----------------------------------------------------------------------------------------------------


@cache
def _locked(is_sqlite: bool) -> Any:
    chosen = (_o.c.id, _o.c.cost_micros, _o.c.collective_id, _o.c.segments, _o.c.accepted_at, _o.c.created_at)
    query = sa.select(*chosen).where(in_list(_o.c.id, "ids", sqlite=is_sqlite)).order_by(_o.c.id)
    return query.with_for_update(key_share=True)


_CORRECT = sa.update(_o).where(_o.c.id == sa.bindparam("row")).values(cost_micros=sa.bindparam("micros"), priced=True)


def correct_price(store: Store, session: Session, outbound_id: int, micros: int) -> None:
    """What Twilio says that this message cost, in millionths. A row that is gone changes nothing: the month keeps the estimate."""
    correct_prices(store, session, {outbound_id: micros})


def correct_prices(store: Store, session: Session, prices: Mapping[int, int]) -> int:
    """The same for many: {outbound id: millionths}. The months they were accepted in are put right by the difference; how many were found.

    May be repeated: the same price again changes nothing. ValueError for a negative price (what Twilio charged has a minus there).
    """
    if any(micros < 0 for micros in prices.values()):
        raise ValueError("a price is not negative: take the sign off what Twilio says")
    rows = session.connection().execute(_locked(store.is_sqlite), {"ids": as_list(store, sorted(prices))}).all()
    if not rows:
        return 0
    session.connection().execute(_CORRECT, [{"row": row.id, "micros": prices[row.id]} for row in rows])
    _add_by_month(store, session, ((row, prices[row.id]) for row in rows))
    return len(rows)


def _add_by_month(store: Store, session: Session, costs: Iterable[tuple[Any, int]]) -> None:
    """Add what these rows now cost to the months of their acceptance, less what was added there before."""
    months: dict[str, tuple[datetime, dict[int, tuple[int, int, int]]]] = {}
    for row, micros in costs:
        if row.collective_id is None:
            continue
        accepted = row.accepted_at or row.created_at
        _, amounts = months.setdefault(f"{accepted:%Y-%m}", (accepted, {}))
        known = amounts.get(row.collective_id, (0, 0, 0))
        is_new = row.cost_micros is None
        added = (micros - (row.cost_micros or 0), row.segments if is_new else 0, 1 if is_new else 0)
        amounts[row.collective_id] = (known[0] + added[0], known[1] + added[1], known[2] + added[2])
    for _, (accepted, amounts) in sorted(months.items()):
        add_spending(session, store, accepted, amounts)


# --- what was accepted without a cost -----------------------------------------------------------------------------------------

_UNPRICED = (
    sa.select(
        _o.c.id, _o.c.cost_micros, _o.c.collective_id, _o.c.segments, _o.c.accepted_at, _o.c.created_at,
        _l.c.channel, _l.c.country, sa.type_coerce(_ph.c.number, sa.LargeBinary).label("number"),
    )
    .select_from(_o.join(_l, _l.c.id == _o.c.line_id).outerjoin(_ph, _ph.c.id == _o.c.phone_id))
    .where(_o.c.id > sa.bindparam("after"), _o.c.cost_micros.is_(None), _o.c.accepted_at.is_not(None))
    .order_by(_o.c.id)
    .limit(CHUNK)
    .with_for_update(key_share=True, of=_o)
)  # fmt: skip
_ESTIMATE = sa.update(_o).where(_o.c.id == sa.bindparam("row")).values(cost_micros=sa.bindparam("micros"))


def price_replies(deployment: Deployment) -> int:
    """Estimate what was accepted and has no cost: replies in the webhook's own answer, and lost answers that a receipt brought home.

    For the hourly timer; may run twice, or in two workers at once. Returns how many rows it priced. It reads only the last days' rows, by
    their ids.
    """
    store, done = deployment.store, 0
    with store.read() as session:
        table = read_prices(session)
        after = last_id_before(session, deployment.clock.now() - UNPRICED_SPAN)
    while True:
        with store.write() as session:
            rows = session.connection().execute(_UNPRICED, {"after": after}).all()
            costs = [(row, table.cost(row.channel, _country(store, row), row.segments)) for row in rows]
            if costs:
                session.connection().execute(_ESTIMATE, [{"row": row.id, "micros": micros} for row, micros in costs])
                _add_by_month(store, session, costs)
        done += len(rows)
        if len(rows) < CHUNK:
            return done
        after = rows[-1].id


def _country(store: Store, row: Any) -> str:
    """Where it went; the line's own country when nobody knows any more (she was forgotten)."""
    if row.number is not None:
        try:
            return country_of(store.keyring.open(row.number, "phones.number").decode())
        except SealBroken:
            return row.country or ""
    return row.country or ""


# Two subqueries: SQLite would read the whole table for both in one.
_first, _last = (sa.func.coalesce(sa.select(end(_o.c.id)).scalar_subquery(), 0) for end in (sa.func.min, sa.func.max))
_ENDS = sa.select(_first, _last)
_NEXT = sa.select(_o.c.id, _o.c.created_at).where(_o.c.id >= sa.bindparam("number")).order_by(_o.c.id).limit(1)


def last_id_before(session: Session, moment: datetime) -> int:
    """An id such that (nearly) every outbound row made since ``moment`` has a higher one; found by halving, without an index on time.

    Ids are given in the order of time but for the few seconds that a transaction takes; an hour is allowed for that.
    """
    connection, moment = session.connection(), moment - timedelta(hours=1)
    low, high = connection.execute(_ENDS).one()
    low -= 1  # always older; ``high`` never is, or there is nothing after it
    while high - low > 1:
        middle = (low + high) // 2
        row = connection.execute(_NEXT, {"number": middle}).one_or_none()
        if row is not None and row.created_at < moment:
            low = row.id
        else:
            high = middle
        if low >= high:
            break
    return int(low)
