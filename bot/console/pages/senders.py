"""What carries the texts, as the settings show and change it: lines, prices, WhatsApp templates.

A line that only this collective speaks through is its admin's to change. What the whole deployment shares (prices, templates) is an
admin's only where hers is the only collective; else it is for whoever runs the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.blueprint import page
from bot.console.forms import read_text
from bot.console.looks import say_why
from bot.console.views import deployment, now, place
from bot.console.words import mark
from bot.delivery.bell import ring
from bot.delivery.caps import parse_money
from bot.delivery.gateway import AccountClient, AccountError
from bot.delivery.line_changes import change_line, read_pace
from bot.delivery.prices import BUILT_IN, CHANNELS, MICROS, MOST_FOR_A_TEXT, find_country, set_price
from bot.delivery.ready_templates import READY
from bot.delivery.submitting import find_contents, keep_template, lacks_submission, submit_template, sync_templates
from bot.members.governing import may_govern, may_run
from models import CollectiveLine, Line, Price, Template

# Twilio gives no sender more; a slip of the finger is refused.
FASTEST = 1_000.0
TEMPLATE_STATES = {
    "draft": mark("not submitted yet"),
    "submitted": mark("WhatsApp looks at it"),
    "approved": mark("approved"),
    "rejected": mark("rejected"),
    "paused": mark("paused by WhatsApp"),
    "disabled": mark("disabled by WhatsApp"),
}


@dataclass(frozen=True)
class Sender:
    """One line as the page shows it. ``why``: what holds it; ``shared``: other collectives speak through it, too."""

    line: Line
    held: bool
    why: str
    shared: bool


@dataclass(frozen=True)
class Shown:
    """One template as the page shows it."""

    kind: str
    language: str
    body: str
    state: str
    reason: str


def read_senders(session: Session) -> list[Sender]:
    """The collective's lines, in the order in which they are tried."""
    lines = session.scalars(
        sa.select(Line)
        .join(CollectiveLine, CollectiveLine.line_id == Line.id)
        .where(CollectiveLine.collective_id == place().collective_id)
        .order_by(CollectiveLine.position)
    ).all()
    shared = _shared(session, [line.id for line in lines])
    held = {line.id: line.held_until is not None and line.held_until > now() for line in lines}
    return [Sender(line, held[line.id], say_why(None, line.held_code) if held[line.id] else "", line.id in shared) for line in lines]


def _shared(session: Session, lines: list[int]) -> set[int]:
    more = sa.select(CollectiveLine.line_id).where(CollectiveLine.line_id.in_(lines)).group_by(CollectiveLine.line_id)
    return set(session.scalars(more.having(sa.func.count() > 1)))


def read_prices(session: Session, countries: set[str]) -> list[tuple[str, str, str, datetime | None]]:
    """What a text costs to the countries of our lines, everywhere else, and wherever it was set: channel, country, price, since when."""
    own = {(row.channel, row.country): row for row in session.scalars(sa.select(Price))}
    keys = {*own, *((channel, country) for channel in CHANNELS for country in (*countries, "") if (channel, country) in BUILT_IN)}
    found = []
    for channel, country in sorted(keys, key=lambda key: (CHANNELS.index(key[0]), key[1] == "", key[1])):
        row = own.get((channel, country))
        micros = row.micros if row is not None else BUILT_IN[channel, country]
        found.append((channel, country, f"{micros / MICROS:.4f}", row.changed_at if row is not None else None))
    return found


def read_templates(session: Session) -> list[Shown]:
    """The templates that come with Chorus, then any other, as the last look at Twilio found them."""
    rows: Mapping[tuple[str, str], Template] = {(row.kind, row.language): row for row in session.scalars(sa.select(Template))}
    ours = [_shown(rows[key]) if (key := (one.kind, one.language)) in rows else Shown(*key, one.body, "draft", "") for one in READY]
    known = {(one.kind, one.language) for one in READY}
    return ours + [_shown(row) for key, row in sorted(rows.items()) if key not in known]


def _shown(row: Template) -> Shown:
    return Shown(row.kind, row.language, row.body, row.state, row.reason or "")


@page("/<word>/settings/line", methods=("POST",))
def set_line() -> ResponseReturnValue:
    """A line's pace, and what is known about it; or that an error holds it no longer."""
    address, lets_go = request.form.get("line", ""), request.form.get("let_go") == "yes"
    changes: dict[str, Any] = {}
    if not lets_go:
        try:
            pace = read_pace(read_text(request, "pace", 20))
        except ValueError:
            return back_to_settings(trouble="pace")
        if pace > FASTEST:
            return back_to_settings(trouble="pace")
        changes = {"mps": pace, **{name: request.form.get(name) == "yes" for name in ("two_way", "carrier_answers_stop")}}
    with deployment().store.write() as session:
        mine = {sender.line.address for sender in read_senders(session) if not sender.shared}
        if not may_govern(session, place().collective_id, place().roles):
            return back_to_settings(trouble="governs")
        if address not in mine:
            return back_to_settings(trouble="shared")
        change_line(session, now(), address, changes, release=lets_go, by=place().membership_id)
    if lets_go:
        ring(deployment())
    return back_to_settings(done="line")


@page("/<word>/settings/price", methods=("POST",))
def set_text_price() -> ResponseReturnValue:
    """What a text really costs, in place of the built-in estimate."""
    channel, where = request.form.get("channel", ""), read_text(request, "country", 40)
    country = find_country(where) if where else ""
    try:
        micros = parse_money(read_text(request, "price", 20))
    except ValueError:
        return back_to_settings(trouble="price")
    if channel not in CHANNELS or country is None or micros > MOST_FOR_A_TEXT:
        return back_to_settings(trouble="price")
    with deployment().store.write() as session:
        if not may_run(session, place().collective_id, place().roles):
            return back_to_settings(trouble="runs")
        set_price(session, now(), channel, country, micros, collective_id=place().collective_id, by=place().membership_id)
    return back_to_settings(done="price")


@page("/<word>/settings/templates", methods=("POST",))
def bring_templates() -> ResponseReturnValue:
    """Hand WhatsApp the templates that it has not seen (``submit``), and read what it says to the others. Safe to repeat."""
    this = deployment()
    with this.store.read() as session:
        if not may_run(session, place().collective_id, place().roles):
            return back_to_settings(trouble="runs")
    try:
        if request.form.get("submit") != "yes":
            sync_templates(this)
            return back_to_settings(done="read")
        client = AccountClient(this.settings)
        found = find_contents(client)
        for ready in READY:
            if lacks_submission(ready, found):
                by, mine = place().membership_id, place().collective_id
                submit_template(this, client, ready, found.get(ready.name), collective_id=mine, by=by)
            else:
                keep_template(this, ready, found[ready.name])
    except AccountError:
        # What it said may quote the account; the command line shows it to whoever runs the server.
        return back_to_settings(trouble="twilio")
    return back_to_settings(done="submitted")


def back_to_settings(*, done: str | None = None, trouble: str | None = None) -> ResponseReturnValue:
    """To the settings, with what became of it."""
    return redirect(url_for("console.settings", done=done, trouble=trouble), 303)
