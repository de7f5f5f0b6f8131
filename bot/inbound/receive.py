"""One message, one transaction: store it, lock its phone, decide whose answer it is, run the flow, keep the reply; then answer.

docs/architecture.md follows a message through these functions by name.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from bot.conversation.floor import may_be_care
from bot.conversation.notes import keep_note
from bot.conversation.speakers import PhoneFacts, is_opted_out, lock_phone, meet, note_line
from bot.conversation.steps import FlowEntry
from bot.conversation.turn import Turn
from bot.crashpoints import crashpoint
from bot.delivery.bell import ring
from bot.delivery.outbox import Letter, put, put_answered
from bot.delivery.tokens import callback_token
from bot.deployment import Deployment
from bot.inbound import lateness
from bot.inbound.keywords import WordTable
from bot.inbound.lines import LineBook
from bot.inbound.message import InboundMessage
from bot.inbound.routing import Route, decide
from bot.inbound.twiml import EMPTY, write_answer
from bot.languages import clean_text, words
from models import DatabaseBusy, Inbound, Prepared

log = logging.getLogger("chorus.inbound")

# A repeated webhook gets the stored answer for this long; after that a second copy would confuse more than help.
ANSWER_AGAIN = timedelta(minutes=10)
LONGEST_REPLY = 1500

# What the database raises when it is down, hanging or full: nothing was stored, so nothing may look like success.
DATABASE_AWAY = (OperationalError, InterfaceError, PoolExhausted, DatabaseBusy)

_table: Any = Inbound.__table__
_INSERT = Prepared(
    {
        "sqlite": sqlite.insert(_table).on_conflict_do_nothing(index_elements=["sid_hash"]).returning(_table.c.id),
        "postgresql": postgresql.insert(_table).on_conflict_do_nothing(index_elements=["sid_hash"]).returning(_table.c.id),
    }
)
_SEEN = Prepared(
    sa.select(_table.c.answer, _table.c.handled_as, _table.c.received_at, _table.c.phone_id, _table.c.line_id).where(
        _table.c.sid_hash == sa.bindparam("hash")
    )
)
_FINISH = Prepared(sa.update(_table).where(_table.c.id == sa.bindparam("this")))


@dataclass(frozen=True)
class Reception:
    """What the webhook's room needs on every message, made once a process."""

    deployment: Deployment
    flows: Mapping[str, FlowEntry]
    table: WordTable
    lines: LineBook
    # Somebody was answered 503 here: no carrier brings that message again by itself, so the list should be read soon.
    missed: threading.Event = field(default_factory=threading.Event)


class FlowFailed(Exception):
    """A flow raised, at the place named: nothing of its transaction may stay."""


def receive(reception: Reception, message: InboundMessage) -> str:
    """Take in one message and give the TwiML to answer with. Raises DATABASE_AWAY; nothing is half done then.

    It may be called again after any error: a message that was stored after all is recognised by its SID.
    """
    try:
        twiml, rings = _receive_once(reception, message)
    except FlowFailed as failure:
        log.error("a flow failed: %s", failure)
        twiml, rings = _receive_once(reception, message, failed=True)
    crashpoint("inbound.after_commit")
    if rings:
        ring(reception.deployment)
    return twiml


def receive_late(reception: Reception, message: InboundMessage) -> bool:
    """Take in a message that no webhook brought (``sent_at`` says when the carrier had it); what there is to answer goes by the outbox.

    True: ring, somebody is to be written to. Raises DATABASE_AWAY. A message that a webhook has brought meanwhile has no second effect.
    """
    try:
        return _receive_once(reception, message)[1]
    except FlowFailed as failure:
        log.error("a flow failed: %s", failure)
        return _receive_once(reception, message, failed=True)[1]


def _receive_once(reception: Reception, message: InboundMessage, failed: bool = False) -> tuple[str, bool]:
    """The whole of one message in one transaction. Gives the TwiML, and whether somebody else is to be written to.

    ``failed``: the flow raised when we tried before. Then her message is stored and she gets an apology instead.
    """
    deployment = reception.deployment
    store, now = deployment.store, deployment.clock.now()
    line = reception.lines.find(message)
    sid_hash = store.hash_sid(message.sid)
    with store.write() as session:
        row = {
            "line_id": line.id if line else None,
            "body": message.body or None,
            "kind": message.kind,
            "handled_as": "",
            "received_at": now,
            "sent_at": message.sent_at,
        }
        inbound_id = _INSERT.scalar(session, row | {"sid_hash": sid_hash})
        if inbound_id is None:
            return _answer_again(session, sid_hash, now), False
        if line is None:
            log.warning("a message came to a line that is not registered; `flask doctor` shows those that are")
            _finish(session, inbound_id, handled_as="unknown line")
            return EMPTY, False
        if not message.is_from_a_phone or reception.lines.is_ours(message.sender):
            # A name ("BANK"), a short code, or a line of ours: an answer would reach nobody, or begin a talk of two machines without end.
            _finish(session, inbound_id, handled_as="no phone")
            return EMPTY, False
        phone = lock_phone(store, session, message.number, now)
        turn = meet(deployment, session, now, line, phone, reception.flows)
        turn.sent_at = message.sent_at
        opted_out_by = note_line(store, turn)
        texts, route = _apologise(turn, message) if failed else _talk(reception, turn, phone, message, opted_out_by)
        twiml = _answer(turn, texts, route, message)
        _record(turn, inbound_id, route, twiml)
        session.flush()
        if message.sent_at is None:
            crashpoint("inbound.before_commit")
        else:
            crashpoint("backfill.before_commit")
    return twiml, turn.rings


def _answer_again(session: Any, sid_hash: bytes, now: Any) -> str:
    """A message seen before has no second effect; its answer is given again while it is fresh, and while she has not stopped us since."""
    row = _SEEN.one(session, {"hash": sid_hash})
    if row.answer is None or row.received_at <= now - ANSWER_AGAIN:
        return EMPTY
    if row.handled_as != "STOP" and is_opted_out(session, row.phone_id, row.line_id):
        return EMPTY
    return str(row.answer)


def _talk(
    reception: Reception, turn: Turn, phone: PhoneFacts, message: InboundMessage, opted_out_by: str | None
) -> tuple[list[str], Route]:
    """Decide and run. Raises FlowFailed when a flow or an action raises; what the database itself raises passes."""
    try:
        route = decide(turn, phone, message, reception.table, opted_out_by)
        if turn.sent_at is not None and lateness.is_undone(turn, route.handled_as):
            return [], Route("undone since", list)
        texts = route.run()
        turn.session.flush()
    except DATABASE_AWAY:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a flow may raise; told on as FlowFailed
        # The type and the place only: the message may hold what she wrote.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "?"
        raise FlowFailed(f"{type(error).__name__} at {where}") from None
    return ([] if route.silent or turn.silent else texts), route


def _apologise(turn: Turn, message: InboundMessage) -> tuple[list[str], Route]:
    """Her message stays, she is told, the organizers see it; but never words that may have been an answer to a check-in."""
    keep_note(turn, "" if may_be_care(turn) else message.body, kind="failed")
    texts = [words(turn.language, "Sorry, that went wrong on our side. Your message is kept and passed on.")]
    return texts, Route("failed", list)


def _answer(turn: Turn, texts: list[str], route: Route, message: InboundMessage) -> str:
    """One turn is one message: the lines joined, its row kept, the TwiML with our callback in it.

    To a message that no webhook brought nobody holds the line any more: its answer goes by the outbox.
    """
    body = clean_text("\n".join(text for text in texts if text)).strip()
    if not body:
        return EMPTY
    if len(body) > LONGEST_REPLY:
        body = body[: LONGEST_REPLY - 1].rstrip() + "…"
    known = not turn.forgotten
    terms = lateness.terms_of_answer(turn, route.handled_as, message.number)
    private = turn.of_care or route.handled_as in lateness.PRIVATE_ROUTES
    letter = Letter(
        kind="reply",
        body=body,
        language=turn.language,
        line_id=turn.line.id,
        phone_id=turn.phone_id if known else None,
        person_id=turn.person_id if known else None,
        membership_id=turn.here.membership_id if turn.here and known else None,
        collective_id=turn.here.collective_id if turn.here and known else None,
        unprompted=False,
        # Until then a lost one is sent once more (bot/delivery/unconfirmed.py); what is private never is.
        expires_at=turn.now if private or terms is None else terms.expires_at,
    )
    if turn.sent_at is not None:
        if terms is not None and known:
            # The confirmation of a STOP may leave although she stopped us; any other answer may not.
            kind = "stop" if route.handled_as == "STOP" else "reply"
            put(turn.session, turn.now, replace(letter, kind=kind, unprompted=terms.unprompted, expires_at=terms.expires_at))
            turn.rings = True
        return EMPTY
    outbound_id = put_answered(turn.session, turn.now, letter, keep_body=known)
    callback = f"{turn.deployment.settings.public_url}/twilio/status/{callback_token(turn.deployment.store, outbound_id, 1)}"
    return write_answer(body, callback)


def _record(turn: Turn, inbound_id: int, route: Route, twiml: str) -> None:
    if turn.forgotten:
        # Nothing of her stays, not even the YES that confirmed it; the SID's hash stays, so that a replay has no effect.
        _finish(turn.session, inbound_id, handled_as=route.handled_as, body=None)
        return
    _finish(
        turn.session,
        inbound_id,
        handled_as=route.handled_as,
        phone_id=turn.phone_id,
        person_id=turn.person_id,
        collective_id=turn.here.collective_id if turn.here else None,
        answer=None if twiml == EMPTY else twiml,
    )


def _finish(session: Any, inbound_id: int, **values: Any) -> None:
    _FINISH.run(session, {"this": inbound_id} | values)
