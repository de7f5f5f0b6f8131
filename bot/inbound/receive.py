"""One message, one transaction: store it, lock its phone, decide whose answer it is, run the flow, keep the reply; then answer.

docs/architecture.md follows a message through these functions by name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from twilio.twiml.messaging_response import Message, MessagingResponse

from bot.conversation.steps import FlowEntry
from bot.conversation.turn import Turn
from bot.delivery.bell import ring
from bot.delivery.outbox import Letter, put_answered
from bot.delivery.tokens import callback_token
from bot.deployment import Deployment
from bot.inbound.keywords import WordTable
from bot.inbound.message import InboundMessage
from bot.inbound.routing import Route, decide
from bot.conversation.speakers import PhoneFacts, is_opted_out, lock_phone, meet, note_line
from bot.inbound.lines import LineBook
from bot.languages import clean_text, words
from models import Inbound, sqlite_or_postgres_insert

log = logging.getLogger("chorus.inbound")

EMPTY = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
# A repeated webhook gets the stored answer for this long; after that a second copy would confuse more than help.
ANSWER_AGAIN = timedelta(minutes=10)
LONGEST_REPLY = 1500

_table: Any = Inbound.__table__
_SEEN = sa.select(_table.c.answer, _table.c.received_at, _table.c.phone_id, _table.c.line_id).where(_table.c.sid_hash == sa.bindparam("hash"))
_DEADLOCKS = ("40P01", "40001")


@dataclass(frozen=True)
class Reception:
    """What the webhook's room needs on every message, made once a process."""

    deployment: Deployment
    flows: Mapping[str, FlowEntry]
    table: WordTable
    lines: LineBook


def receive(reception: Reception, message: InboundMessage) -> str:
    """Take in one message and give the TwiML to answer with. Raises what the database raises; nothing is half done then."""
    try:
        twiml, turn = _receive_once(reception, message)
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) not in _DEADLOCKS:
            raise
        twiml, turn = _receive_once(reception, message)
    if turn is not None and turn.rings:
        ring(reception.deployment)
    return twiml


def _receive_once(reception: Reception, message: InboundMessage) -> tuple[str, Turn | None]:
    deployment = reception.deployment
    store, now = deployment.store, deployment.clock.now()
    line = reception.lines.find(message)
    sid_hash = store.hash_sid(message.sid)
    with store.write() as session:
        insert = sqlite_or_postgres_insert(store, _table).values(
            sid_hash=sid_hash, line_id=line.id if line else None, body=message.body or None, kind=message.kind, handled_as="", received_at=now
        )
        inbound_id = session.scalar(insert.on_conflict_do_nothing(index_elements=["sid_hash"]).returning(_table.c.id))
        if inbound_id is None:
            row = session.execute(_SEEN, {"hash": sid_hash}).one()
            again = row.answer and row.received_at > now - ANSWER_AGAIN and not is_opted_out(session, row.phone_id, row.line_id)
            return (row.answer if again else EMPTY), None
        if line is None:
            log.warning("a message came to a line that is not registered; `flask line list` shows those that are")
            _finish(session, inbound_id, handled_as="unknown line")
            return EMPTY, None
        phone = lock_phone(store, session, message.number, now)
        turn = meet(deployment, session, now, line, phone, reception.flows)
        opted_out_by = note_line(store, turn)
        texts, route = _talk(reception, turn, phone, message, opted_out_by)
        twiml = _answer(turn, texts)
        _record(turn, inbound_id, route, twiml)
    return twiml, turn


def _talk(reception: Reception, turn: Turn, phone: PhoneFacts, message: InboundMessage, opted_out_by: str | None) -> tuple[list[str], Route]:
    """Decide and run. A flow that raises is rolled back to here: her message stays, she is told, the organizers see it."""
    from bot.conversation.notes import keep_note

    spoken_as = (turn.person_id, turn.here, turn.belongings, turn.language)
    savepoint = turn.session.begin_nested()
    try:
        route = decide(turn, phone, message, reception.table, opted_out_by)
        texts = route.run()
        turn.session.flush()
        savepoint.commit()
    except DBAPIError:
        raise
    except Exception as error:
        savepoint.rollback()
        # The type and the place only: the message may hold what she wrote.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "?"
        log.error("a flow failed: %s at %s", type(error).__name__, where)
        turn.person_id, turn.here, turn.belongings, turn.language = spoken_as
        turn.handoff, turn.forgotten, turn.silent = None, False, False
        keep_note(turn, message.body, kind="failed")
        return [words(turn.language, "Sorry, that went wrong on our side. Your message is kept and passed on.")], Route("failed", lambda: [])
    return ([] if route.silent or turn.silent else texts), route


def _answer(turn: Turn, texts: list[str]) -> str:
    """One turn is one message: the lines joined, its row kept, the TwiML with our callback in it."""
    body = clean_text("\n".join(text for text in texts if text)).strip()
    if not body:
        return EMPTY
    if len(body) > LONGEST_REPLY:
        body = body[: LONGEST_REPLY - 1].rstrip() + "…"
    known = not turn.forgotten
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
    )
    outbound_id = put_answered(turn.session, turn.now, letter, keep_body=known)
    callback = f"{turn.deployment.settings.public_url}/twilio/status/{callback_token(turn.deployment.store, outbound_id, 1)}"
    response = MessagingResponse()
    reply = Message(status_callback=callback)
    reply.body(body)
    response.append(reply)
    return str(response)


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
    session.execute(_table.update().where(_table.c.id == inbound_id).values(**values))


