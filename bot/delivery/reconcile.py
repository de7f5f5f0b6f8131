"""Unknown outcomes: looked up in the carrier's list a minute and ten minutes after the attempt, then settled by their class.

Our token in the receipt comes first (``receipts``); this is for when no receipt came. A list that could not be read settles nothing, and
nothing is ever sent again on the strength of it. No request is made inside a transaction: rows are leased by putting their next look
ahead, read, and settled under a lock that checks again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.crashpoints import crashpoint
from bot.delivery.bell import ring
from bot.delivery.carrier_list import Listed, ListUnread, ReadsList, is_redacted
from bot.delivery.lists import as_list, in_list, in_states
from bot.delivery.matching import Doubt, Missing, match
from bot.delivery.receipts import apply_listed
from bot.delivery.texts import Texts
from bot.delivery.unconfirmed import SHOWN, Unconfirmed, may_go_again, settle_unconfirmed, show_organizers
from bot.deployment import Deployment
from models import Line, Outbound, Phone, SealBroken, Store, Template
from models.messages import ATTEMPTING, UNKNOWN

log = logging.getLogger(__name__)

# A worker that dies while it looks holds its rows up for so long.
LEASE = timedelta(minutes=2)
# Messages of one phone that are read: far more than anybody gets in the minutes that matter.
MOST_LISTED = 200
# The proof that the list is readable at all looks at so many messages, and at what we know of so many days.
CONTROL, CONTROL_DAYS = 20, timedelta(days=3)
# Equal texts of the last days may still be in doubt and have their place in the list.
LOOKED_FOR = timedelta(days=2)


@dataclass(slots=True)
class LookedUp:
    """What a pass did: rows found in the list, not found and left unknown, queued again; ``unread``: why the list could not be read."""

    found: int = 0
    missing: int = 0
    resent: int = 0
    unread: str | None = None

    @property
    def total(self) -> int:
        return self.found + self.missing + self.resent


@dataclass(slots=True)
class _Phone:
    """One address with rows to look up. ``doubts`` are all its rows in doubt; ``asked`` those that are ours to settle."""

    to: str
    known: set[str]
    doubts: list[Doubt] = field(default_factory=list)
    asked: list[Unconfirmed] = field(default_factory=list)


_o: Any = Outbound.__table__
_ph: Any = Phone.__table__
_l: Any = Line.__table__
_t: Any = Template.__table__
_now = sa.bindparam("now", type_=_o.c.check_at.type)

# A receipt came, or she was forgotten: nothing to look up any more.
_OVER = (
    sa.update(_o)
    .where(_o.c.check_at <= _now, sa.or_(sa.not_(in_states(_o.c.state, UNKNOWN)), _o.c.phone_id.is_(None)))
    .values(check_at=None)
)
_due = (
    sa.select(_o.c.id)
    .where(_o.c.check_at <= _now, in_states(_o.c.state, UNKNOWN), _o.c.phone_id.is_not(None))
    .order_by(_o.c.check_at, _o.c.id)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True, key_share=True)
    .cte("due")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_LEASE = (
    sa.update(_o)
    .where(_o.c.id.in_(sa.select(_due.c.id)))
    .values(check_at=sa.bindparam("until", type_=_o.c.check_at.type))
    .returning(_o.c.id, _o.c.phone_id)
)
_columns = (
    _o.c.id, _o.c.kind, _o.c.attempt, _o.c.line_id, _o.c.attempted_at, _o.c.checks, _o.c.resent, _o.c.expires_at, _o.c.fence,
    _o.c.membership_id, _o.c.about_membership_id, _o.c.broadcast_id,
)  # fmt: skip


@cache
def _in_doubt(sqlite: bool) -> sa.Select[Any]:
    return (
        sa.select(
            *_columns, _o.c.phone_id, _o.c.language, sa.type_coerce(_o.c.body, sa.LargeBinary).label("body"),
            sa.type_coerce(_ph.c.number, sa.LargeBinary).label("number"), _l.c.channel, _l.c.address,
        )
        .select_from(_o.join(_ph, _ph.c.id == _o.c.phone_id).join(_l, _l.c.id == _o.c.line_id))
        .where(
            in_list(_o.c.phone_id, "phones", sqlite=sqlite),
            in_states(_o.c.state, UNKNOWN, ATTEMPTING),
            _o.c.attempted_at > sa.bindparam("since", type_=_o.c.attempted_at.type),
        )
        .order_by(_o.c.attempted_at, _o.c.id)
    )  # fmt: skip


@cache
def _sids(sqlite: bool) -> sa.Select[Any]:
    return sa.select(_o.c.phone_id, _o.c.sid).where(in_list(_o.c.phone_id, "phones", sqlite=sqlite), _o.c.sid.is_not(None))


_LOCK = (
    sa.select(_o.c.id)
    .where(_o.c.id == sa.bindparam("row"), in_states(_o.c.state, UNKNOWN))
    .where(_o.c.attempt == sa.bindparam("of_attempt"), _o.c.checks == sa.bindparam("of_checks"))
    .with_for_update(key_share=True)
)
_TEMPLATES = sa.select(_t.c.body).where(_t.c.content_sid.is_not(None))
_ADDRESS = sa.select(_l.c.address).where(_l.c.id == sa.bindparam("line"))
_KNOWS_OF_SENT = sa.select(_o.c.id).where(
    _o.c.line_id == sa.bindparam("line"), _o.c.sid.is_not(None), _o.c.accepted_at > sa.bindparam("since", type_=_o.c.accepted_at.type)
)


def look_up_unknown(deployment: Deployment, gateway: ReadsList, most: int = 20) -> LookedUp:
    """Look up to ``most`` rows whose time has come, and ring when something goes again. Any number of workers may.

    Raises what the database raises; what is leased then is looked up again after ``LEASE``.
    """
    store = deployment.store
    result = LookedUp()
    leased = _lease(store, most)
    readable: dict[int, bool] = {}
    shown: set[int] = set()
    for phone in _read_doubts(store, leased) if leased else ():
        try:
            answers = _look(store, gateway, phone, readable)
        except ListUnread as error:
            # Not counted as a look: nothing was seen, so nothing is missing.
            result.unread = str(error)
            log.warning("the carrier's list could not be read (%s): %d outcomes stay unknown", error, len(leased) - result.total)
            break
        shown |= _settle(store, phone, answers, result)
    told = sum(_show(store, broadcast_id) for broadcast_id in sorted(shown))
    if result.resent or told:
        ring(deployment)
    return result


def _lease(store: Store, most: int) -> dict[int, int]:
    """{row: phone} of what is due, leased to us."""
    now = store.clock.now()
    with store.write() as session:
        connection = session.connection()
        connection.execute(_OVER, {"now": now})
        return {row.id: row.phone_id for row in connection.execute(_LEASE, {"now": now, "until": now + LEASE, "most": most})}


def _read_doubts(store: Store, leased: Mapping[int, int]) -> list[_Phone]:
    """The phones of these rows, with everything in doubt there: equal texts can only be told apart together."""
    found: dict[tuple[int, str], _Phone] = {}
    phones = as_list(store, sorted(set(leased.values())))
    texts = Texts(store)
    with store.read() as session:
        connection = session.connection()
        templates = tuple(connection.execute(_TEMPLATES).scalars())
        rows = connection.execute(_in_doubt(store.is_sqlite), {"phones": phones, "since": store.clock.now() - LOOKED_FOR}).all()
        sids: dict[int, set[str]] = {}
        for row in connection.execute(_sids(store.is_sqlite), {"phones": phones}):
            sids.setdefault(row.phone_id, set()).add(row.sid)
        for row in rows:
            phone = found.setdefault((row.phone_id, row.channel), _Phone(_address(store, row), sids.get(row.phone_id, set())))
            said = _texts_of(session, texts, row)
            phone.doubts.append(Doubt(row.id, row.address, row.attempted_at, said + (templates if row.channel == "whatsapp" else ())))
            if row.id in leased:
                phone.asked.append(_unconfirmed(row))
    return [phone for phone in found.values() if phone.asked]


def _address(store: Store, row: Any) -> str:
    try:
        number = store.keyring.open(row.number, "phones.number").decode() if row.number is not None else ""
    except SealBroken:
        number = ""
    return f"whatsapp:{number}" if number and row.channel == "whatsapp" else number


def _texts_of(session: Session, texts: Texts, row: Any) -> tuple[str, ...]:
    try:
        return (texts.words_for(session, row),)
    except (SealBroken, LookupError, ValueError) as error:
        # Purged (codes go after ten minutes), or unreadable: then nothing can be concluded, and it stays unknown.
        log.info("outbound %d has no words to compare (%s)", row.id, type(error).__name__)
        return ()


def _unconfirmed(row: Any) -> Unconfirmed:
    return Unconfirmed(
        id=row.id,
        attempt=row.attempt,
        kind=row.kind,
        line_id=row.line_id,
        attempted_at=row.attempted_at,
        checks=row.checks,
        resent=row.resent,
        expires_at=row.expires_at,
        # A pump claims under a fence; what left in the webhook's answer never had one.
        in_webhook=row.fence is None,
        membership_id=row.membership_id,
        about_membership_id=row.about_membership_id,
        broadcast_id=row.broadcast_id,
    )


def _look(store: Store, gateway: ReadsList, phone: _Phone, readable: dict[int, bool]) -> dict[int, Listed | Missing]:
    """What the list says of one phone's rows. Raises ListUnread. ``readable``: lines whose list was tried in this pass."""
    if not phone.to:
        return dict.fromkeys((row.id for row in phone.asked), Missing.UNCLEAR)
    listing = gateway.list_messages(to=phone.to, most=MOST_LISTED)
    now = store.clock.now()
    answers = match(phone.doubts, listing, now, phone.known)
    for row in phone.asked:
        if answers[row.id] is Missing.ABSENT and may_go_again(row, now):
            if row.line_id not in readable:
                readable[row.line_id] = _is_readable(store, gateway, row.line_id)
            if not readable[row.line_id]:
                answers[row.id] = Missing.UNCLEAR
    return answers


def _is_readable(store: Store, gateway: ReadsList, line_id: int) -> bool:
    """Whether the list shows what surely is there, before anything is sent again because it shows nothing. Raises ListUnread.

    With Twilio's Message Redaction it shows numbers and words blacked out, and finds nothing by number.
    """
    with store.read() as session:
        address = str(session.connection().execute(_ADDRESS, {"line": line_id}).scalar_one())
        since = store.clock.now() - CONTROL_DAYS
        has_sent = session.connection().execute(_KNOWS_OF_SENT, {"line": line_id, "since": since}).first() is not None
    listing = gateway.list_messages(sender=None if address.startswith("MG") else address, most=CONTROL)
    seen = [message for message in listing.messages if not message.is_inbound]
    if any(is_redacted(message) for message in seen) or (has_sent and not seen):
        log.error("the carrier's list is blacked out or empty: nothing is sent again on the strength of it (line %d)", line_id)
        return False
    return True


def _settle(store: Store, phone: _Phone, answers: Mapping[int, Listed | Missing], result: LookedUp) -> set[int]:
    """Write down what was seen of one phone's rows. Returns the broadcasts whose organizers may have to be told."""
    shown: set[int] = set()
    found = missing = resent = 0
    with store.write() as session:
        now = store.clock.now()
        for row in sorted(phone.asked, key=lambda row: row.id):
            seen = {"row": row.id, "of_attempt": row.attempt, "of_checks": row.checks}
            if session.connection().execute(_LOCK, seen).first() is None:
                continue  # a receipt was quicker, or somebody else looked, too
            answer = answers[row.id]
            if isinstance(answer, Listed):
                apply_listed(store, session, now, row.id, row.attempt, answer.status, answer.error_code, answer.sid)
                found += 1
            elif settle_unconfirmed(session, now, row, is_absent=answer is Missing.ABSENT):
                resent += 1
            else:
                missing += 1
                shown |= {row.broadcast_id} if row.broadcast_id is not None and row.kind in SHOWN else set()
        crashpoint("reconcile.before_commit")
    result.found, result.missing, result.resent = result.found + found, result.missing + missing, result.resent + resent
    return shown


def _show(store: Store, broadcast_id: int) -> int:
    with store.write() as session:
        return show_organizers(session, store.clock.now(), broadcast_id)
