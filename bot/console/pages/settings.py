"""What a collective has decided about itself: its words, hours, lines, templates, money, roles; and what is deleted when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from bot.console.access import ROLES
from bot.console.blueprint import page
from bot.console.forms import read_number, read_text
from bot.console.pages.members import trace
from bot.console.views import deployment, language, now, place, show
from bot.console.words import mark
from bot.delivery.bell import ring
from bot.delivery.caps import format_money, let_go, parse_money, set_cap
from bot.delivery.money import broadcast_limit, read_money
from bot.delivery.prices import BUILT_IN, CHANNELS, LISTED, MICROS
from bot.delivery.trouble_words import explain
from bot.health.checks import check_lines
from bot.languages import LANGUAGES
from bot.languages.catalog import LANGUAGE_NAMES
from bot.languages.spans import say_period
from bot.members.governing import may_govern
from bot.members.roster import match_timezone
from bot.upkeep import retention
from models import Collective, CollectiveLine, Line, Membership, Person, Price, Role, Spending, Template

LONGEST_ABOUT = 120
MOST_COOL_DOWN = 3_600
# More than anybody pays for a month of texts: a slip of the decimal point is refused.
MOST_FOR_A_MONTH = 1_000_000 * MICROS
MONTHS, HOLDERS = 6, 30

TEMPLATE_STATES = {
    "draft": mark("not submitted yet"),
    "submitted": mark("WhatsApp looks at it"),
    "approved": mark("approved"),
    "rejected": mark("rejected"),
    "paused": mark("paused by WhatsApp"),
    "disabled": mark("disabled by WhatsApp"),
}
KEPT = (
    (mark("Words of texts, in and out"), retention.BODY_KEPT),
    (mark("Words of check-ins, of pages to supporters and between people"), retention.CARE_BODY_KEPT),
    (mark("One-time codes"), retention.CODE_KEPT),
    (mark("Whether a text arrived, and from which phone one came"), retention.STATUS_KEPT),
    (mark("Notes that nobody answered (without their words)"), retention.OPEN_NOTE_KEPT),
    (mark("Answered notes and requests for a peer"), retention.ANSWERED_KEPT),
    (mark("Answers to check-ins (a number each)"), retention.MOOD_KEPT),
    (mark("Who did what"), retention.AUDIT_KEPT),
    (mark("What a month cost"), retention.SPENDING_KEPT),
    (mark("A fingerprint of each text's id, against repeats"), retention.SID_HASH_KEPT),
)


@dataclass(frozen=True)
class Sender:
    """One line as the page shows it. ``why``: what holds it, in English; ``shared``: other collectives speak through it, too."""

    line: Line
    held: bool
    why: str
    doctor: str
    shared: bool


@page("/<word>/settings")
def settings() -> ResponseReturnValue:
    """Everything at a glance; forms for whoever may change it."""
    with deployment().store.read() as session:
        collective = session.get_one(Collective, place().collective_id)
        money = read_money(session, collective.id, now())
        months = session.scalars(
            sa.select(Spending).where(Spending.collective_id == collective.id).order_by(Spending.month.desc()).limit(MONTHS)
        ).all()
        lines = session.scalars(
            sa.select(Line)
            .join(CollectiveLine, CollectiveLine.line_id == Line.id)
            .where(CollectiveLine.collective_id == collective.id)
            .order_by(CollectiveLine.position)
        ).all()
        shared = _shared(session, [line.id for line in lines])
        templates = session.scalars(sa.select(Template).order_by(Template.kind, Template.language)).all()
        prices = _prices(session, {line.country for line in lines if line.country})
        holders = {role: _holders(session, collective.id, role) for role in ROLES}
        governs = may_govern(session, collective.id, place().roles)
    doctor = {check.name: check for check in check_lines(deployment())}
    senders = [_sender(line, doctor.get(f"line {line.address}"), line.id in shared) for line in lines]
    return show(
        "settings.html", collective=collective, governs=governs, senders=senders, templates=templates, template_states=TEMPLATE_STATES,
        prices=prices, listed=LISTED, money=money, months=months, holders=holders, most_holders=HOLDERS,
        limit=broadcast_limit(money.cap) if money.cap is not None else None, format_money=format_money,
        kept=[(name, say_period(period, language())) for name, period in KEPT], member_languages=LANGUAGE_NAMES,
        longest_about=LONGEST_ABOUT, most_cool_down=MOST_COOL_DOWN, done=request.args.get("done"), trouble=request.args.get("trouble"),
    )  # fmt: skip


def _shared(session: Session, lines: list[int]) -> set[int]:
    more = sa.select(CollectiveLine.line_id).where(CollectiveLine.line_id.in_(lines)).group_by(CollectiveLine.line_id)
    return set(session.scalars(more.having(sa.func.count() > 1)))


def _sender(line: Line, check: Any, shared: bool) -> Sender:
    held = line.held_until is not None and line.held_until > now()
    told = "" if check is None else check.says + (f". {check.todo}" if check.todo else "")
    return Sender(line, held, explain(line.held_code, "line") if held else "", told, shared)


def _prices(session: Session, countries: set[str]) -> list[tuple[str, str, str, datetime | None]]:
    """What a text costs to the countries of our lines, everywhere else, and wherever the operator said: channel, country, price, since."""
    own = {(row.channel, row.country): row for row in session.scalars(sa.select(Price))}
    keys = {*own, *((channel, country) for channel in CHANNELS for country in (*countries, "") if (channel, country) in BUILT_IN)}
    found = []
    for channel, country in sorted(keys, key=lambda key: (CHANNELS.index(key[0]), key[1] == "", key[1])):
        row = own.get((channel, country))
        micros = row.micros if row is not None else BUILT_IN[channel, country]
        found.append((channel, country, f"{micros / MICROS:.4f}", row.changed_at if row is not None else None))
    return found


def _holders(session: Session, collective_id: int, role: str) -> list[Any]:
    query = (
        sa.select(Membership.id, Person.name)
        .join(Role, Role.membership_id == Membership.id)
        .join(Person, Person.id == Membership.person_id)
        .where(Membership.collective_id == collective_id, Membership.state == "active", Role.role == role)
        .order_by(Membership.id)
    )
    return list(session.execute(query.limit(HOLDERS + 1)))


@page("/<word>/settings/words", methods=("POST",))
def set_words() -> ResponseReturnValue:
    """What it is, its first language, whether its word may be shown to everybody."""
    about, spoken = " ".join(read_text(request, "about", 400).split()), request.form.get("language", "")
    if len(about) > LONGEST_ABOUT or not about.isprintable() or spoken not in LANGUAGES:
        return _back(trouble="about")
    with deployment().store.write() as session:
        collective = _governed(session)
        if collective is None:
            return _back(trouble="governs")
        collective.about, collective.language, collective.public = about, spoken, request.form.get("public") == "yes"
        session.add(trace("words changed", place().word))
    return _back(done="words")


@page("/<word>/settings/hours", methods=("POST",))
def set_hours() -> ResponseReturnValue:
    """When texts may leave: the zone, the quiet hours, the cool-down."""
    zone = match_timezone(read_text(request, "timezone", 80))
    quiet = _read_quiet(request.form.get("quiet_from", ""), request.form.get("quiet_until", ""))
    cool_down = read_number(request, "cool_down", -1)
    if zone is None or quiet is None or not 0 <= cool_down <= MOST_COOL_DOWN:
        return _back(trouble="zone" if zone is None else "quiet" if quiet is None else "cool_down")
    with deployment().store.write() as session:
        collective = _governed(session)
        if collective is None:
            return _back(trouble="governs")
        collective.timezone, (collective.quiet_from, collective.quiet_until), collective.cool_down_seconds = zone, quiet, cool_down
        hours = "none" if quiet[0] is None else f"{quiet[0]}-{quiet[1]}"
        session.add(trace("hours changed", f"quiet {hours}, cool-down {cool_down} s"))
    return _back(done="hours")


def _read_quiet(begins: str, ends: str) -> tuple[int | None, int | None] | None:
    """Two different hours of the day, or none at all; None when it is neither."""
    if not begins and not ends:
        return None, None
    hours = [int(text) if text.isascii() and text.isdecimal() and len(text) < 3 else 24 for text in (begins, ends)]
    return (hours[0], hours[1]) if max(hours) <= 23 and hours[0] != hours[1] else None


@page("/<word>/settings/cap", methods=("POST",))
def set_monthly_cap() -> ResponseReturnValue:
    """What a month's texts may cost; empty: no cap. What waited for money goes on if it may."""
    written = read_text(request, "cap", 40)
    try:
        cap = parse_money(written) if written else None
    except ValueError:
        return _back(trouble="cap")
    if cap is not None and cap > MOST_FOR_A_MONTH:
        return _back(trouble="cap")
    this = deployment()
    with this.store.write() as session:
        collective = _governed(session)
        if collective is None:
            return _back(trouble="governs")
        set_cap(session, now(), collective.id, cap, membership_id=place().membership_id)
        stand = read_money(session, collective.id, now())
    if (stand.cap is None or stand.spent < stand.limit) and let_go(this.store, collective.id):
        ring(this)
    return _back(done="cap")


def _governed(session: Session) -> Collective | None:
    """The collective, for changing; None when the viewer may only look."""
    if not may_govern(session, place().collective_id, place().roles):
        return None
    return session.get_one(Collective, place().collective_id, with_for_update={"key_share": True})


def _back(*, done: str | None = None, trouble: str | None = None) -> ResponseReturnValue:
    return redirect(url_for("console.settings", done=done, trouble=trouble), 303)
