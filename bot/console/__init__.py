"""The organizers' pages. For now one: a plain status page that names nobody, so that it needs no login."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from flask import Blueprint, Response, current_app, render_template
from sqlalchemy.orm import Session

from bot.deployment import Deployment
from bot.doors import open_to_all
from bot.health.checks import DATABASE_ERRORS, check_database, count_workers, redis_answers
from models import Broadcast, Collective, CollectiveLine, Inbound, Line, Membership, Outbound
from models.broadcasts import SENDING
from models.messages import DELIVERED, QUEUED

blueprint = Blueprint(
    "console", __name__, url_prefix="/console", static_folder="static", static_url_path="/static", template_folder="templates"
)

# Nothing from elsewhere, nothing inline, never inside somebody else's page.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Door:
    """Where to text a collective: shown only in the demo, for the names of groups are not for every visitor."""

    name: str
    word: str
    addresses: tuple[str, ...]


@blueprint.after_request
def close_the_windows(response: Response) -> Response:
    """The headers that every page of the console has."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@blueprint.get("/")
@open_to_all("counts only, until organizers can log in")
def status() -> str:
    """What runs, counts without content, and how to send the first broadcast by text."""
    deployment: Deployment = current_app.extensions["chorus"]
    workers = count_workers(deployment)
    parts = [
        ("Database", (database := check_database(deployment)).ok, database.says),
        ("Redis", redis := redis_answers(deployment), "answers" if redis else "does not answer: replies go on, broadcasts wait"),
        ("Worker", bool(workers), _say_workers(workers)),
    ]
    counts: list[tuple[str, int]] = []
    doors: list[Door] = []
    if database.ok:
        try:
            with deployment.store.read() as session:
                counts = _count(session)
                doors = _doors(session) if deployment.settings.has_simulator else []
        except DATABASE_ERRORS:
            parts[0] = ("Database", False, "does not answer")
    return render_template(
        "console/status.html",
        parts=parts,
        counts=counts,
        doors=doors,
        phones=deployment.settings.twilio_api_url + "/" if deployment.settings.has_simulator else None,
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
