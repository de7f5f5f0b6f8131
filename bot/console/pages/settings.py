"""What a collective has decided about itself: its words, hours, lines, templates, money, roles; and what is deleted when."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bot.console.access import ROLES
from bot.console.blueprint import page
from bot.console.forms import read_number, read_text
from bot.console.pages.members import trace
from bot.console.pages.senders import TEMPLATE_STATES, back_to_settings, read_prices, read_senders, read_templates
from bot.console.views import deployment, language, now, place, show
from bot.console.words import mark
from bot.delivery.bell import ring
from bot.delivery.caps import MOST_FOR_A_MONTH, format_money, let_go, parse_money, set_cap
from bot.delivery.money import broadcast_limit, read_money
from bot.delivery.prices import CHANNELS, LISTED
from bot.languages import LANGUAGES
from bot.languages.catalog import LANGUAGE_NAMES
from bot.languages.spans import say_period
from bot.members.governing import may_govern, may_run
from bot.members.joining import WordRefused, read_word
from bot.members.roster import match_timezone
from bot.upkeep import retention
from models import Collective, Membership, Role, Spending

LONGEST_NAME, LONGEST_ABOUT, LONGEST_WORD = 80, 120, 20
MOST_COOL_DOWN = 3_600
MONTHS, HOLDERS = 6, 30

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


@page("/<word>/settings")
def settings() -> ResponseReturnValue:
    """Everything at a glance; forms for whoever may change it."""
    with deployment().store.read() as session:
        collective = session.get_one(Collective, place().collective_id)
        money = read_money(session, collective.id, now())
        months = session.scalars(
            sa.select(Spending).where(Spending.collective_id == collective.id).order_by(Spending.month.desc()).limit(MONTHS)
        ).all()
        senders, templates = read_senders(session), read_templates(session)
        prices = read_prices(session, {sender.line.country for sender in senders if sender.line.country})
        holders = {role: _holders(session, collective.id, role) for role in ROLES}
        governs, runs = (may(session, collective.id, place().roles) for may in (may_govern, may_run))
    return show(
        "settings.html", collective=collective, governs=governs, runs=runs, senders=senders, templates=templates,
        template_states=TEMPLATE_STATES, prices=prices, channels=CHANNELS, listed=LISTED, money=money, months=months,
        holders=holders, most_holders=HOLDERS,
        limit=broadcast_limit(money.cap) if money.cap is not None else None, format_money=format_money,
        kept=[(name, say_period(period, language())) for name, period in KEPT], member_languages=LANGUAGE_NAMES,
        longest_name=LONGEST_NAME, longest_about=LONGEST_ABOUT, longest_word=LONGEST_WORD,
        most_cool_down=MOST_COOL_DOWN, done=request.args.get("done"), trouble=request.args.get("trouble"),
    )  # fmt: skip


def _holders(session: Session, collective_id: int, role: str) -> list[Any]:
    query = (
        sa.select(Membership.id, Membership.name)
        .join(Role, Role.membership_id == Membership.id)
        .where(Membership.collective_id == collective_id, Membership.state == "active", Role.role == role)
        .order_by(Membership.id)
    )
    return list(session.execute(query.limit(HOLDERS + 1)))


@page("/<word>/settings/words", methods=("POST",))
def set_words() -> ResponseReturnValue:
    """What it is called, what it is, its first language, whether its word may be shown to everybody."""
    name, about = (" ".join(read_text(request, field, 400).split()) for field in ("name", "about"))
    spoken = request.form.get("language", "")
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        return back_to_settings(trouble="name")
    if len(about) > LONGEST_ABOUT or not about.isprintable() or spoken not in LANGUAGES:
        return back_to_settings(trouble="about")
    with deployment().store.write() as session:
        collective = _governed(session)
        if collective is None:
            return back_to_settings(trouble="governs")
        collective.name, collective.about, collective.language = name, about, spoken
        collective.public = request.form.get("public") == "yes"
        session.add(trace("words changed", place().word))
    return back_to_settings(done="words")


@page("/<word>/settings/word", methods=("POST",))
def set_join_word() -> ResponseReturnValue:
    """Another word to join by. What was printed with the old one leads nowhere afterwards."""
    try:
        wanted = read_word(read_text(request, "wanted", 80))
    except WordRefused as refused:
        return back_to_settings(trouble=refused.reason)
    store = deployment().store
    try:
        with store.write() as session:
            collective = _governed(session)
            if collective is None:
                return back_to_settings(trouble="governs")
            collective.word = wanted
            session.add(trace("word to join by changed", wanted))
    except IntegrityError:
        return back_to_settings(trouble="taken")
    return redirect(url_for("console.settings", word=wanted, done="word"), 303)


@page("/<word>/settings/hours", methods=("POST",))
def set_hours() -> ResponseReturnValue:
    """When texts may leave: the zone, the quiet hours, the cool-down."""
    zone = match_timezone(read_text(request, "timezone", 80))
    quiet = _read_quiet(request.form.get("quiet_from", ""), request.form.get("quiet_until", ""))
    cool_down = read_number(request, "cool_down", -1)
    if zone is None or quiet is None or not 0 <= cool_down <= MOST_COOL_DOWN:
        return back_to_settings(trouble="zone" if zone is None else "quiet" if quiet is None else "cool_down")
    with deployment().store.write() as session:
        collective = _governed(session)
        if collective is None:
            return back_to_settings(trouble="governs")
        collective.timezone, (collective.quiet_from, collective.quiet_until), collective.cool_down_seconds = zone, quiet, cool_down
        hours = "none" if quiet[0] is None else f"{quiet[0]}-{quiet[1]}"
        session.add(trace("hours changed", f"quiet {hours}, cool-down {cool_down} s"))
    return back_to_settings(done="hours")


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
        return back_to_settings(trouble="cap")
    if cap is not None and cap > MOST_FOR_A_MONTH:
        return back_to_settings(trouble="cap")
    this = deployment()
    with this.store.write() as session:
        collective = _governed(session)
        if collective is None:
            return back_to_settings(trouble="governs")
        set_cap(session, now(), collective.id, cap, membership_id=place().membership_id)
        stand = read_money(session, collective.id, now())
    if (stand.cap is None or stand.spent < stand.limit) and let_go(this.store, collective.id):
        ring(this)
    return back_to_settings(done="cap")


def _governed(session: Session) -> Collective | None:
    """The collective, for changing; None when the viewer may only look."""
    if not may_govern(session, place().collective_id, place().roles):
        return None
    return session.get_one(Collective, place().collective_id, with_for_update={"key_share": True})
