"""The front door: what runs, in counts that name nobody, and the way in."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from flask import g, redirect, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.blueprint import page
from bot.console.views import count, deployment, say, show
from bot.console.words import mark
from bot.health.checks import DATABASE_ERRORS, check_database, count_workers, redis_answers
from models import Broadcast, Collective, CollectiveLine, Inbound, Line, Membership, Outbound
from models.broadcasts import SENDING
from models.messages import DELIVERED, LANE_CODE, QUEUED


@dataclass(frozen=True)
class Door:
    """Where to text a collective: shown only in the demo, for the names of groups are not for every visitor."""

    name: str
    word: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One part of Chorus: whether it runs, in the page's language; ``detail``: what the doctor says of it, in English."""

    name: str
    ok: bool
    says: str
    detail: str = ""


@page("/")
def status() -> ResponseReturnValue:
    """What runs, counts without content, and how to begin. Whoever is logged in goes on to her collective."""
    if g.viewer is not None:
        return redirect(url_for("console.start"))
    this = deployment()
    workers = count_workers(this)
    database, redis = check_database(this), redis_answers(this)
    says = say("answers") if database.ok else say("is not ready")
    parts = [
        Part(mark("Database"), database.ok, says, "" if database.ok else database.says),
        Part(mark("Redis"), redis, say("answers") if redis else say("does not answer: replies go on, texts to many wait")),
        Part(mark("Worker"), bool(workers), _say_workers(workers)),
    ]
    counts: list[tuple[str, int]] = []
    doors: list[Door] = []
    if database.ok:
        try:
            with this.store.read() as session:
                counts = count_for_everybody(session)
                doors = _doors(session) if this.settings.has_simulator else []
        except DATABASE_ERRORS:
            parts[0] = Part(mark("Database"), False, say("does not answer"))
    return show(
        "status.html",
        parts=parts,
        counts=counts,
        doors=doors,
        phones=this.settings.twilio_api_url + "/" if this.settings.has_simulator else None,
        all_well=all(part.ok for part in parts),
    )


def _say_workers(workers: int | None) -> str:
    if workers is None:
        return say("not known while Redis does not answer")
    return count("1 is running", "{n} are running", workers) if workers else say("none runs: texts to many wait")


def count_for_everybody(session: Session) -> list[tuple[str, int]]:
    """What runs here in numbers that are nobody's secret."""

    def number(statement: sa.Select[int]) -> int:
        return session.scalar(statement) or 0

    # A count that moves with a code would tell whose number has a role.
    out = sa.select(sa.func.count(Outbound.id)).where(Outbound.lane != LANE_CODE)
    return [
        (mark("collectives"), number(sa.select(sa.func.count(Collective.id)))),
        (mark("members"), number(sa.select(sa.func.count(Membership.id)).where(Membership.state == "active"))),
        (mark("messages in"), number(sa.select(sa.func.count(Inbound.id)))),
        (mark("messages out"), number(out)),
        (mark("delivered"), number(out.where(Outbound.state == DELIVERED))),
        (mark("waiting to leave"), number(out.where(Outbound.state == QUEUED))),
        (mark("texts to many, leaving"), number(sa.select(sa.func.count(Broadcast.id)).where(Broadcast.state == SENDING))),
    ]


def _doors(session: Session) -> list[Door]:
    addresses: dict[int, list[str]] = {}
    spoken = sa.select(CollectiveLine.collective_id, Line.address).join(Line).order_by(CollectiveLine.position)
    for collective_id, address in session.execute(spoken):
        addresses.setdefault(collective_id, []).append(address)
    public = session.scalars(sa.select(Collective).where(Collective.public).order_by(Collective.name))
    return [Door(collective.name, collective.word.upper(), tuple(addresses.get(collective.id, ()))) for collective in public]
