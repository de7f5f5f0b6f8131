"""Twilio's own prices: the list shows a message's price some minutes after it was sent. Until then ours is an estimate (``costs``).

Messages are looked for by the hour they were accepted in, a thousand a request, the hours with most of them first, within a budget of
requests; an hour that gave nothing rests a while. A price that does not come within three days stays an estimate.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot.delivery.carrier_list import LARGEST_PAGE, Listed, ReadsList
from bot.delivery.costs import correct_prices, last_id_before
from bot.deployment import Deployment
from models import Outbound

log = logging.getLogger(__name__)

SPAN, SETTLED = timedelta(days=3), timedelta(minutes=10)
HOUR = timedelta(hours=1)
# What a slow line sends later than the hour it was accepted in.
LAG = timedelta(minutes=15)
# Of one pass: rows held in mind, and pages of a thousand asked for.
MOST_ROWS, MOST_PAGES = 50_000, 60
RESTS = timedelta(hours=6)

_o: Any = Outbound.__table__
_UNPRICED = (
    sa.select(_o.c.id, _o.c.sid, _o.c.accepted_at)
    .where(
        _o.c.id > sa.bindparam("after"),
        _o.c.priced.is_(sa.false()),
        _o.c.sid.is_not(None),
        _o.c.accepted_at < sa.bindparam("before", type_=_o.c.accepted_at.type),
    )
    .order_by(_o.c.id)
    .limit(MOST_ROWS)
)


class PriceReader:
    """Reads prices pass by pass; remembers which hours it asked about in vain."""

    def __init__(self, deployment: Deployment, gateway: ReadsList) -> None:
        self._deployment, self._gateway = deployment, gateway
        self._in_vain: dict[datetime, datetime] = {}

    def read(self, most_pages: int = MOST_PAGES) -> int:
        """One pass; returns how many prices it wrote down. Raises ListUnread, and what the database raises."""
        store, now = self._deployment.store, self._deployment.clock.now()
        with store.read() as session:
            rows = session.connection().execute(
                _UNPRICED, {"after": last_id_before(session, now - SPAN), "before": now - SETTLED}
            ).all()  # fmt: skip
        if not rows:
            return 0
        numbers = {row.sid: row.id for row in rows}
        hours = Counter(_hour_of(row.accepted_at) for row in rows)
        shift = self._gateway.list_messages(most=1).now - now
        done, pages = 0, 0
        for hour, _ in hours.most_common():
            if self._in_vain.get(hour, now) > now:
                continue
            if pages >= most_pages:
                break
            most = (most_pages - pages) * LARGEST_PAGE
            listing = self._gateway.list_messages(sent_after=hour + shift, sent_before=hour + HOUR + LAG + shift, most=most)
            pages += 1 + len(listing.messages) // LARGEST_PAGE
            prices = {
                numbers[each.sid]: micros for each in listing.messages if each.sid in numbers and (micros := price_of(each)) is not None
            }
            if not prices:
                self._in_vain[hour] = now + RESTS
            done += self._write(prices)
        self._in_vain = {hour: until for hour, until in self._in_vain.items() if until > now}
        return done

    def _write(self, prices: dict[int, int]) -> int:
        store, done = self._deployment.store, 0
        every = sorted(prices.items())
        for start in range(0, len(every), LARGEST_PAGE):
            with store.write() as session:
                done += correct_prices(store, session, dict(every[start : start + LARGEST_PAGE]))
        return done


def price_of(listed: Listed) -> int | None:
    """What it cost, in millionths; None: not known yet. What Twilio never handed on has no price, ever: it cost nothing."""
    if listed.price_micros is None and listed.status in ("failed", "canceled"):
        return 0
    return listed.price_micros


def _hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
