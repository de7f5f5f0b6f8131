"""Texts that no webhook brought: after an outage they are read from the carrier's list, and taken in like any other, marked as late.

Twilio tries a webhook again for 15 seconds at most, so a longer outage loses it; its list keeps the message. Each line remembers how far
its list was read (``read_through``, the carrier's clock). A read reaches back a little further, because lists lag; what is known already
is recognised by the hash of its SID, so that reading twice, or at the same moment as a webhook, has one effect.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot.delivery.bell import ring
from bot.delivery.carrier_list import Listed, Listing, ListUnread, ReadsList
from bot.delivery.due import set_timer
from bot.inbound.message import InboundMessage, NotAMessage, read_message
from bot.inbound.receive import DATABASE_AWAY, Reception, receive_late
from bot.languages import fold
from bot.languages.stop_phrases import OUR_STOP, TWILIO_STOP, judge_stop
from bot.upkeep.retention import SID_HASH_KEPT
from models import Inbound, Line, Store

log = logging.getLogger("chorus.inbound")

# How far a read reaches back behind the last one.
OVERLAP = timedelta(minutes=5)
# A message younger than this may still be on its way by webhook (Twilio gives it 15 seconds, and a fallback as many).
SETTLED = timedelta(seconds=60)
# One read of one line: more than an outage of days brings to a collective.
MOST_READ = 50_000
CHUNK = 500
# The kind of timer with which the web process asks a worker for a read.
TIMER = "backfill"

_i: Any = Inbound.__table__
_l: Any = Line.__table__
_LINES = sa.select(_l.c.id, _l.c.address, _l.c.read_through).where(_l.c.two_way).order_by(_l.c.id)
_KNOWN = sa.select(_i.c.sid_hash).where(_i.c.sid_hash.in_(sa.bindparam("hashes", expanding=True)))
_READ_THROUGH = (
    sa.update(_l)
    .where(_l.c.id == sa.bindparam("line"))
    .where(sa.or_(_l.c.read_through.is_(None), _l.c.read_through < sa.bindparam("through", type_=_l.c.read_through.type)))
    .values(read_through=sa.bindparam("through", type_=_l.c.read_through.type))
)

# The numbers behind a Messaging Service: the list knows messages by number only.
Pool = Callable[[str], Sequence[str]]


@dataclass(slots=True)
class ReadBack:
    """What a read of all lines brought: messages taken in, lines read, and why a list could not be read (the last reason)."""

    taken: int = 0
    lines: int = 0
    unread: str | None = None


def ask_for_missed(reception: Reception) -> None:
    """The database is back after an outage: have a worker read the list soon. Called once; a failure is remembered for the next message."""
    reception.missed.clear()
    now = reception.deployment.clock.now()
    try:
        with reception.deployment.store.write() as session:
            set_timer(session, TIMER, 0, f"{TIMER}:outage:{now:%Y-%m-%dT%H:%M}", now)
    except DATABASE_AWAY:
        reception.missed.set()


def read_missed(reception: Reception, gateway: ReadsList, pool: Pool, stop: threading.Event) -> ReadBack:
    """Read the list of every line since it was last read, and take in what is not known. Raises what the database raises.

    One list request a line when nothing is missing. ``pool``: the numbers of a Messaging Service (raises ListUnread).
    """
    result = ReadBack()
    with reception.deployment.store.read() as session:
        lines = session.connection().execute(_LINES).all()
    for line in lines:
        if stop.is_set():
            break
        try:
            result.taken += _read_line(reception, gateway, pool, line, stop)
            result.lines += 1
        except ListUnread as error:
            result.unread = str(error)
            log.warning("what came to line %d can not be read from the carrier's list (%s)", line.id, error)
    return result


def _read_line(reception: Reception, gateway: ReadsList, pool: Pool, line: Any, stop: threading.Event) -> int:
    store = reception.deployment.store
    addresses = list(pool(line.address)) if line.address.startswith("MG") else [line.address]
    if line.read_through is None:
        # A new line, or the first start: from now on. What came before was nobody's to answer.
        _read_to(store, line.id, gateway.list_messages(to=addresses[0] if addresses else None, most=1).now)
        return 0
    since = line.read_through - OVERLAP
    found: list[tuple[InboundMessage, Listed]] = []
    through: datetime | None = None
    for address in addresses:
        listing = gateway.list_messages(to=address, sent_after=since, most=MOST_READ)
        if not listing.is_whole:
            log.error("line %d: over %d messages since it was last read; the oldest of them are not taken in", line.id, MOST_READ)
        through = listing.now if through is None else min(through, listing.now)
        found += _missed(store, listing, since, line.address)
    taken = 0
    for message, _ in sorted(found, key=lambda pair: (not _is_way_out(pair[0].body), pair[1].created_at)):
        if stop.is_set():
            return taken  # what is left is read again, from the same moment
        try:
            rings = receive_late(reception, message)
        except DATABASE_AWAY:
            raise
        except Exception as error:  # noqa: BLE001 - one text that breaks us must not keep all others out, read after read
            log.error("line %d: a message that no webhook brought could not be taken in (%s)", line.id, type(error).__name__)
            continue
        if rings:
            ring(reception.deployment)
        taken += 1
    if through is not None:
        _read_to(store, line.id, through - SETTLED)
    if taken:
        log.warning("line %d: %d messages that no webhook brought were taken in", line.id, taken)
    return taken


def _missed(store: Store, listing: Listing, since: datetime, line: str) -> list[tuple[InboundMessage, Listed]]:
    """What is in the list and not known here, old enough to have come by webhook and young enough to be recognised as known."""
    now = store.clock.now()
    settled = [
        each
        for each in listing.messages
        if each.is_inbound and max(since, listing.now - SID_HASH_KEPT) <= each.created_at <= listing.now - SETTLED
    ]
    hashes = {store.hash_sid(each.sid): each for each in settled}
    known: set[bytes] = set()
    every = list(hashes)
    with store.read() as session:
        for start in range(0, len(every), CHUNK):
            known.update(session.connection().execute(_KNOWN, {"hashes": every[start : start + CHUNK]}).scalars())
    missed = []
    for hashed, each in hashes.items():
        if hashed in known:
            continue
        try:
            missed.append((as_message(each, line, listing.people_time(each.created_at, now)), each))
        except NotAMessage:
            log.warning("the carrier lists a message without a sender; it is left alone")
    return missed


def as_message(listed: Listed, line: str, sent_at: datetime) -> InboundMessage:
    """The message as far as the list tells it: no button's payload, no place, no word of Advanced Opt-Out. Raises NotAMessage."""
    parameters = {"MessageSid": listed.sid, "From": listed.sender, "To": listed.to, "Body": listed.body, "NumMedia": str(listed.media)}
    if line.startswith("MG"):
        parameters["MessagingServiceSid"] = line
    return read_message(parameters, sent_at=sent_at)


def _is_way_out(body: str) -> bool:
    folded = fold(body)
    return folded in TWILIO_STOP or folded in OUR_STOP or judge_stop(body) == "stop"


def _read_to(store: Store, line_id: int, through: datetime) -> None:
    with store.write() as session:
        session.connection().execute(_READ_THROUGH, {"line": line_id, "through": through})
