"""The front door: what runs, in counts that name nobody, and the way in."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from flask import g, redirect, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.blueprint import page
from bot.console.views import deployment, show
from bot.health.checks import DATABASE_ERRORS, check_database, count_workers, redis_answers
from models import Broadcast, Collective, CollectiveLine, Inbound, Line, Membership, Outbound
from models.broadcasts import SENDING
from models.messages import DELIVERED, QUEUED


@dataclass(frozen=True)
class Door:
    """Where to text a collective: shown only in the demo, for the names of groups are not for every visitor."""

    name: str
    word: str
    addresses: tuple[str, ...]


@page("/")
def status() -> ResponseReturnValue:
    """What runs, counts without content, and how to begin. Whoever is logged in goes on to her collective."""
    if g.viewer is not None:
        return redirect(url_for("console.start"))
    this = deployment()
    workers = count_workers(this)
    parts = [
        ("Database", (database := check_database(this)).ok, database.says),
        ("Redis", redis := redis_answers(this), "answers" if redis else "does not answer: replies go on, broadcasts wait"),
        ("Worker", bool(workers), _say_workers(workers)),
    ]
    counts: list[tuple[str, int]] = []
    doors: list[Door] = []
    if database.ok:
        try:
            with this.store.read() as session:
                counts = _count(session)
                doors = _doors(session) if this.settings.has_simulator else []
        except DATABASE_ERRORS:
            parts[0] = ("Database", False, "does not answer")
    return show(
        "status.html",
        parts=parts,
        counts=counts,
        doors=doors,
        phones=this.settings.twilio_api_url + "/" if this.settings.has_simulator else None,
        all_well=all(ok for _, ok, _ in parts),
    )


def _say_workers(workers: int | None) -> str:
    if workers is None:
        return "not known while Redis does not answer"
    return f"{workers} running" if workers else "none is running: broadcasts wait"


def _count(session: Session) -> list[tuple[str, int]]:
    def number(statement: sa.Select[int]) -> int:
        return session.scalar(statement) or 0

    return [
        ("collectives", number(sa.select(sa.func.count(Collective.id)))),
        ("members", number(sa.select(sa.func.count(Membership.id)).where(Membership.state == "active"))),
        ("messages in", number(sa.select(sa.func.count(Inbound.id)))),
        ("messages out", number(sa.select(sa.func.count(Outbound.id)))),
        ("delivered", number(sa.select(sa.func.count(Outbound.id)).where(Outbound.state == DELIVERED))),
        ("waiting to leave", number(sa.select(sa.func.count(Outbound.id)).where(Outbound.state == QUEUED))),
        ("broadcasts leaving", number(sa.select(sa.func.count(Broadcast.id)).where(Broadcast.state == SENDING))),
    ]


def _doors(session: Session) -> list[Door]:
    addresses: dict[int, list[str]] = {}
    spoken = sa.select(CollectiveLine.collective_id, Line.address).join(Line).order_by(CollectiveLine.position)
    for collective_id, address in session.execute(spoken):
        addresses.setdefault(collective_id, []).append(address)
    public = session.scalars(sa.select(Collective).where(Collective.public).order_by(Collective.name))
    return [Door(collective.name, collective.word.upper(), tuple(addresses.get(collective.id, ()))) for collective in public]
