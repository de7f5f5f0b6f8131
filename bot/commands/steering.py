"""``flask broadcast status``, ``stop``, ``hold``, ``release``, ``correct`` and ``resend``: a hand on what is on its way."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import click
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.commands.broadcasts import REFUSALS, broadcast, look_at, require_yes, tell_departure, tell_preview
from bot.commands.ground import LanguageType, Refused, count, current_deployment
from bot.delivery.bell import ring
from bot.delivery.broadcasts import (
    approve_broadcast,
    count_tried,
    hold_broadcast,
    is_over,
    record_act,
    refuse_reason,
    release_broadcast,
    stop_broadcast,
)
from bot.delivery.caps import format_money
from bot.delivery.corrections import count_unknown, draft_correction, find_correction, resend_unknown, why_not_correct
from bot.delivery.standing import Standing, read_standing, say_errors, say_what_holds
from bot.deployment import Deployment
from models import Broadcast, Collective
from models.broadcasts import DRAFT
from models.messages import ATTEMPTING, CLAIMED, HELD, QUEUED

# They hang on the subject "broadcast", which is another file's.
commands: tuple[click.Command, ...] = ()

WATCH_SECONDS = 1.0
_UNSENT = (HELD, QUEUED, CLAIMED, ATTEMPTING)
_NOT_CORRECTED = {
    "a_draft": "it has not left, and nobody said yes to it. Stop it and write it anew",
    "a_poll": "the words of a vote can not change under the votes that were cast. Stop it and ask anew",
    "no_words_of_ours": "nobody wrote its words",
    "corrected": "it was corrected already. Correct that correction: flask broadcast correct {newer}",
}
_id = click.argument("broadcast_id", type=int, metavar="ID")


def find_broadcast(session: Session, broadcast_id: int) -> Broadcast:
    """The broadcast, locked. Raises Refused."""
    query = sa.select(Broadcast).where(Broadcast.id == broadcast_id).with_for_update(key_share=True)
    found = session.scalars(query).one_or_none()
    if found is None:
        raise Refused(f"There is no broadcast {broadcast_id}.")
    return found


@broadcast.act("status")
@_id
@click.option("--watch", is_flag=True, help="Until it is done.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(broadcast_id: int, watch: bool, as_json: bool) -> None:
    """How far a broadcast is, what holds it, and what went wrong."""
    deployment = current_deployment()
    standing = _read(deployment, broadcast_id)
    if watch:
        standing = watch_broadcast(_looks(deployment, broadcast_id, standing), _line_shower(quiet=as_json))
        if sys.stderr.isatty():
            click.echo(err=True)
    if as_json:
        click.echo(json.dumps(standing.as_json()))
        return
    told = standing.status
    click.echo(f"Broadcast {told['id']}: {told['state']}, {told['total']:,} in all, {told['resent']:,} resent.")
    click.echo(f"  {told['id']} is its number in these commands; organizers text {standing.number} (STATUS {standing.number}).")
    for line in say_what_holds(standing, deployment.clock.now()):
        click.echo(f"  {line}")
    for state, number in told["counts"].items():
        if number:
            click.echo(f"{number:>9,}  {state}")
    if standing.errors:
        click.echo("What went wrong:")
        for line in say_errors(standing):
            click.echo(line)
    if standing.cost_micros:
        click.echo(f"It has cost about {format_money(standing.cost_micros)} so far.")
    if standing.corrected_by is not None:
        click.echo(f"It was corrected by broadcast {standing.corrected_by}.")


def _read(deployment: Deployment, broadcast_id: int) -> Standing:
    with deployment.store.read() as session:
        try:
            return read_standing(session, deployment.clock.now(), broadcast_id)
        except LookupError:
            raise Refused(f"There is no broadcast {broadcast_id}.") from None


def _looks(deployment: Deployment, broadcast_id: int, standing: Standing) -> Iterator[tuple[Standing, datetime, float]]:
    """One look a second, until it is over: (how it stands, people's time, the machine's)."""
    while True:
        yield standing, deployment.clock.now(), time.monotonic()
        if standing.is_over:
            return
        time.sleep(WATCH_SECONDS)
        if deployment.settings.has_simulator:
            deployment.store.refresh_clock()
        standing = _read(deployment, broadcast_id)


def watch_broadcast(looks: Iterable[tuple[Standing, datetime, float]], show: Callable[[str], None]) -> Standing:
    """Show a line for each look; gives the last one."""
    began: tuple[int, float] | None = None
    standing = None
    for standing, now, seconds in looks:
        left = standing.status["total"] - sum(standing.status["counts"][state] for state in _UNSENT)
        began = began or (left, seconds)
        span = seconds - began[1]
        show(say_progress(standing, now, (left - began[0]) / span if span > 0 else None))
    if standing is None:
        raise ValueError("nothing to watch")
    return standing


def say_progress(standing: Standing, now: datetime, rate: float | None) -> str:
    """The live line: state, how many have left, how fast (a second), what went wrong, and what holds the rest."""
    told = standing.status
    counts = told["counts"]
    left = told["total"] - sum(counts[state] for state in _UNSENT)
    parts = [f"Broadcast {told['id']}: {told['state']}, {left:,} of {told['total']:,}"]
    if rate is not None and not standing.is_over:
        parts[0] += f", {rate:,.1f} a second"
    wrong = [f"{counts[state]:,} {state}" for state in ("undelivered", "failed", "unknown") if counts[state]]
    if wrong:
        parts.append(", ".join(wrong))
    return ". ".join([*parts, " ".join(say_what_holds(standing, now))]).rstrip(". ") + "."


def _line_shower(*, quiet: bool) -> Callable[[str], None]:
    """On a terminal one line that is written over; elsewhere a line for each change, or none (``quiet``)."""
    last = ""

    def show(line: str) -> None:
        nonlocal last
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{line}", err=True, nl=False)
        elif line != last and not quiet:
            click.echo(line, err=True)
        last = line

    return show


@broadcast.act("stop")
@_id
def stop(broadcast_id: int) -> None:
    """Nothing more of it leaves. What the carrier has already can not be called back."""
    deployment = current_deployment()
    with deployment.store.write() as session:
        made = find_broadcast(session, broadcast_id)
        if is_over(session, made):
            raise Refused(f"Broadcast {broadcast_id} is {made.state} already.")
        tried = count_tried(session, made.id)
        unsent = stop_broadcast(session, deployment.clock.now(), made) - tried
        record_act(session, deployment.clock.now(), made, "dropped")
    click.echo(f"Stopped: {count(unsent, 'message')} will not leave.")
    if tried:
        click.echo(f"{count(tried, 'message')} had left once and waited for another try: there is none.")


@broadcast.act("hold")
@_id
def hold(broadcast_id: int) -> None:
    """Nothing more of it leaves until somebody else, or this command line, lets it go."""
    deployment = current_deployment()
    with deployment.store.write() as session:
        made = find_broadcast(session, broadcast_id)
        if not hold_broadcast(session, deployment.clock.now(), made):
            raise Refused(f"Broadcast {broadcast_id} is {made.state}: there is nothing to hold.")
        record_act(session, deployment.clock.now(), made, "held")
    click.echo(f"Held. To let it go: flask broadcast release {broadcast_id}")


@broadcast.act("release")
@_id
def release(broadcast_id: int) -> None:
    """Let go what an organizer, a carrier's filter or the month's cap held."""
    deployment = current_deployment()
    with deployment.store.write() as session:
        made = find_broadcast(session, broadcast_id)
        if not release_broadcast(session, deployment.clock.now(), made):
            raise Refused(f"Broadcast {broadcast_id} is {made.state}, not held.")
        record_act(session, deployment.clock.now(), made, "released")
    ring(deployment)
    click.echo("Released: what is unsent goes on.")


@broadcast.act("correct")
@_id
@click.option("--text", required=True, help="The new words, in the collective's language.")
@click.option("--translation", "translations", type=(LanguageType(), str), multiple=True, help="The same in another language.")
@click.option("--yes", is_flag=True, help="Send without asking.")
def correct(broadcast_id: int, text: str, translations: tuple[tuple[str, str], ...], yes: bool) -> None:
    """New words for a notice or an alert: what is unsent of it stops, and whoever got it gets the correction."""
    require_yes(yes)
    deployment = current_deployment()
    now = deployment.clock.now()
    if not yes:
        with deployment.store.write() as session:
            draft = session.begin_nested()
            ahead = look_at(deployment, session, now, _draft_correction(session, now, broadcast_id, text, translations))
            draft.rollback()
        tell_preview(ahead)
        if ahead.refused is None:
            click.confirm("Send it?", abort=True)
    with deployment.store.write() as session:
        made = _draft_correction(session, now, broadcast_id, text, translations)
        reason = refuse_reason(session, made.due_at or now, made)
        if reason is not None:
            raise Refused(f"Nothing was sent: {REFUSALS[reason]}.")
        approve_broadcast(session, now, made, how="cli")
        record_act(session, now, made, f"broadcast {made.corrects_id} corrected"[:40])
        made_id, due = made.id, made.due_at or now
    tell_departure(deployment, made_id, due)


def _draft_correction(
    session: Session, now: datetime, broadcast_id: int, text: str, translations: tuple[tuple[str, str], ...]
) -> Broadcast:
    old = find_broadcast(session, broadcast_id)
    reason = why_not_correct(session, old)
    if reason is not None:
        newer = find_correction(session, old)
        sentence = _NOT_CORRECTED[reason].format(newer=None if newer is None else newer.id)
        raise Refused(f"Broadcast {broadcast_id} can not be corrected: {sentence}.")
    collective = session.get_one(Collective, old.collective_id)
    return draft_correction(session, now, old, dict(translations) | {collective.language: text})


@broadcast.act("resend")
@_id
def resend(broadcast_id: int) -> None:
    """Send once more what nobody can tell the fate of, after Twilio's list was asked. Some may read it twice. Never care."""
    deployment = current_deployment()
    with deployment.store.write() as session:
        made = find_broadcast(session, broadcast_id)
        if made.state == DRAFT:
            raise Refused(f"Broadcast {broadcast_id} is a draft.")
        queued = resend_unknown(session, deployment.clock.now(), made)
        pending = count_unknown(session, broadcast_id)[0]
        if queued:
            record_act(session, deployment.clock.now(), made, "unconfirmed sent again")
    if not queued and pending:
        raise Refused(f"{count(pending, 'message')} of it are still being looked up in Twilio's list. Try again in 10 minutes.")
    if not queued:
        raise Refused(f"Nothing of broadcast {broadcast_id} can be sent again.")
    ring(deployment)
    click.echo(f"{count(queued, 'message')} will be sent once more.")
