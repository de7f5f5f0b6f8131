"""What needs a hand now, as cards: each leads to one act, and only to what the viewer's roles allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import url_for
from sqlalchemy.orm import Session

from bot.console.access import ACCESS
from bot.console.glance import (
    count_peer_requests,
    minutes_behind,
    read_lines,
    read_notes,
    read_number_changes,
    read_open,
    read_supporters,
    read_uncertain,
)
from bot.console.looks import say_when, say_why
from bot.console.pages.broadcasts import may_know_of
from bot.console.standings import SHORTLY, read_progress
from bot.console.views import count, language, local, now, place, say
from bot.delivery.broadcasts import read_texts
from bot.delivery.caps import find_near_cap, format_money
from bot.delivery.money import broadcast_limit
from bot.delivery.wording import choose
from models import Broadcast, Collective
from models import broadcasts as states

# So many texts have a card each; the rest is one click away.
MOST_TEXTS = 4
# Of the words of a text, enough to recognise it by.
RECOGNISED = 90
# What is stuck before what moves, and what moves before what nobody has said yes to.
_ORDER = (states.HELD, states.SCHEDULED, states.SENDING, states.DRAFT)


@dataclass(frozen=True)
class Card:
    """One thing that needs a hand. ``link`` and ``do``: its one act (``button``: a form that posts there, with this value as ``on``).

    ``words`` are somebody's own; ``share``: from 0 to 1, how far it is.
    """

    key: str
    title: str
    says: str
    link: str
    do: str
    is_urgent: bool = False
    words: str = ""
    share: float | None = None
    number: str = ""
    button: str = ""


def may_open(endpoint: str) -> bool:
    """Whether the viewer may open this page of the collective."""
    return bool(place().roles & (ACCESS[endpoint].roles or frozenset()))


def read_cards(session: Session) -> list[Card]:
    """What needs a hand, the most urgent first."""
    collective = session.get_one(Collective, place().collective_id)
    cards = [
        *_calls_and_notes(session),
        *_peers(session),
        *_texts(session),
        *_lines(session),
        *_numbers(session),
        *_money(session),
        *_uncertain(session),
        *_supporters(session, collective),
    ]
    return sorted(cards, key=lambda card: not card.is_urgent)


def _calls_and_notes(session: Session) -> Iterator[Card]:
    if not may_open("console.notes"):
        return
    waiting = read_notes(session, place().collective_id)
    if waiting.calls:
        yield Card(
            "calls",
            say("SOS: somebody asked for help"),
            count("1 person waits for an answer.", "{n} people wait for an answer.", waiting.calls),
            url_for("console.note_thread", number=waiting.note) if waiting.note is not None else url_for("console.notes"),
            say("Answer now"),
            is_urgent=True,
        )
    if waiting.people > waiting.calls:
        yield Card(
            "notes",
            say("Members wrote to you"),
            count("1 person waits for an answer.", "{n} people wait for an answer.", waiting.people - waiting.calls),
            url_for("console.notes"),
            say("Read the notes"),
        )


def _peers(session: Session) -> Iterator[Card]:
    if not may_open("console.care"):
        return
    asked = count_peer_requests(session, place().collective_id, now())
    if asked:
        says = count("1 person waits for a supporter.", "{n} people wait for a supporter.", asked)
        yield Card("peers", say("Somebody would like to talk"), says, url_for("console.care"), say("Open care"), is_urgent=True)


def find_open(session: Session) -> list[Broadcast]:
    """Drafts and texts under way that the viewer may see."""
    return [each for each in read_open(session, place().collective_id, now()) if may_know_of(each)]


def _texts(session: Session) -> Iterator[Card]:
    if not may_open("console.broadcast"):
        return
    found = sorted(find_open(session), key=lambda each: _ORDER.index(each.state))
    cards = [card for broadcast in found if (card := _text(session, broadcast)) is not None]
    yield from cards[:MOST_TEXTS]
    more = len(cards) - MOST_TEXTS
    if more > 0:
        says = count("1 more text is a draft or on its way.", "{n} more texts are drafts or on their way.", more)
        yield Card("texts", say("More texts"), says, url_for("console.broadcasts"), say("See all texts"))


def _text(session: Session, broadcast: Broadcast) -> Card | None:
    number, key = broadcast.number, f"text-{broadcast.id}"
    link = url_for("console.broadcast", number=number)
    if broadcast.state == states.DRAFT:
        return _draft(session, broadcast, key, link)
    if broadcast.state == states.SCHEDULED and broadcast.due_at is not None and broadcast.due_at > now() + SHORTLY:
        return None  # it is coming
    words = recognise(session, broadcast.id)
    if broadcast.state == states.HELD:
        why = say_why(broadcast.hold_reason, broadcast.hold_code)
        do = say("Decide what becomes of it") if may_open("console.approve_or_release") else say("Look at it")
        return Card(key, say("Text {number} is held", number=number), why, link, do, is_urgent=True, words=words)
    progress = read_progress(session, broadcast)
    if broadcast.state == states.SCHEDULED:
        says = say("It leaves in a moment, and can still be held.")
        return Card(key, say("Text {number} is about to leave", number=number), says, link, say("Watch it, or hold it"), words=words)
    return Card(
        key,
        say("Text {number} is on its way", number=number),
        next(iter(progress.holds), ""),
        link,
        say("Watch it"),
        words=words,
        share=progress.left / progress.total if progress.total else 0.0,
        number=say("{left} of {total} have left", left=f"{progress.left:,}", total=f"{progress.total:,}"),
    )


def _draft(session: Session, broadcast: Broadcast, key: str, link: str) -> Card | None:
    is_hers = broadcast.author_id is not None and broadcast.author_id == place().membership_id
    if not is_hers and not may_open("console.approve_or_release"):
        return None
    title, words = say("Draft {number} waits for a yes", number=broadcast.number), recognise(session, broadcast.id)
    if broadcast.holder_id is not None:
        return Card(key, title, say("An organizer holds it."), link, say("Look at it"), words=words)
    if is_hers:
        says = say("You wrote it. It leaves when another organizer says yes, or you confirm it yourself.")
        return Card(key, title, says, link, say("Look at it, and let it go"), words=words)
    return Card(
        key, title, say("Nothing leaves before you, or another organizer, has looked at it."), link, say("Read it and decide"), words=words
    )


def recognise(session: Session, broadcast_id: int) -> str:
    """The beginning of a text, in the page's language if it has it."""
    texts = read_texts(session, broadcast_id)
    body = choose(language(), place().language, texts)[1].body if texts else ""
    return body if len(body) <= RECOGNISED else body[: RECOGNISED - 1].rstrip() + "…"


def _lines(session: Session) -> Iterator[Card]:
    if not may_open("console.settings"):
        return
    for position, line in enumerate(read_lines(session, place().collective_id)):
        address, link = line.address.removeprefix("whatsapp:"), url_for("console.settings")
        if line.held_until is not None and line.held_until > now():
            why = say_why(None, line.held_code) or say("It goes on {when}.", when=say_when(line.held_until))
            yield Card(f"line-{position}", say("Texts from {line} wait", line=address), why, link, say("See the lines"), is_urgent=True)
        minutes = minutes_behind(line)
        if minutes is not None:
            says = say(
                "What came in was last looked for {minutes} minutes ago. Whoever runs the server sees why: flask doctor", minutes=minutes
            )
            yield Card(f"behind-{position}", say("Texts to {line} may be missing", line=address), says, link, say("See the lines"))


def _numbers(session: Session) -> Iterator[Card]:
    if not may_open("console.member"):
        return
    for change in read_number_changes(session, place().collective_id):
        says = say(
            "{name} gets a new number {when}. If she did not ask for it, take it back.",
            name=change.name or say("no name"),
            when=say_when(change.due_at),
        )
        link = url_for("console.member", number=change.id)
        yield Card(f"number-{change.id}", say("A number is about to change"), says, link, say("Look at it"), is_urgent=True)


def _money(session: Session) -> Iterator[Card]:
    if not may_open("console.settings"):
        return
    for row in find_near_cap(session, now()):
        if row.id == place().collective_id:
            says = say(
                "{spent} of {cap} are spent this month. At {limit} texts to many wait for the next one, or for a higher cap.",
                spent=format_money(row.spent),
                cap=format_money(row.cap),
                limit=format_money(broadcast_limit(row.cap)),
            )
            share = min(row.spent / row.cap, 1.0) if row.cap else 1.0
            yield Card(
                "money",
                say("The money for texts runs out"),
                says,
                url_for("console.settings"),
                say("See the cap"),
                share=share,
                number=f"{share:.0%}",
            )


def _uncertain(session: Session) -> Iterator[Card]:
    if not may_open("console.send_again"):
        return
    found = read_uncertain(session, place().collective_id, now())
    if found:
        newest, number = found[0]
        says = count("For 1 person nobody can tell whether it arrived.", "For {n} people nobody can tell whether it arrived.", number)
        if len(found) > 1:
            says += " " + count("So it is with 1 more text.", "So it is with {n} more texts.", len(found) - 1)
        link = url_for("console.broadcast", number=newest.number)
        yield Card("uncertain", say("Text {number}: not certain", number=newest.number), says, link, say("Decide whether it goes again"))


def _supporters(session: Session, collective: Collective) -> Iterator[Card]:
    is_supporter, may_see = may_open("console.care"), may_open("console.members")
    if not is_supporter and not may_see:
        return
    found = read_supporters(session, collective, local(now()) or now())
    if not found.number and may_see:
        says = say("Whoever has a hard day finds nobody to talk with. Give a member you trust the role of a supporter.")
        yield Card("supporters", say("There is no supporter"), says, url_for("console.members"), say("Choose a member"))
    elif found.number and not found.on_duty and found.is_night:
        title = say("No supporter is ON tonight")
        if is_supporter:
            says = say("Who asks for a peer at night waits until morning, unless one of you is ON.")
            yield Card("night", title, says, url_for("console.take_duty"), say("I am ON tonight"), button="yes")
        else:
            says = say("Who asks for a peer at night waits until morning. A supporter turns it on herself: ask one.")
            yield Card("night", title, says, url_for("console.members", role="supporter"), say("See who they are"))
