"""``flask broadcast preview`` and ``send``. What may be done to one that is on its way: ``steering``."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.commands.ground import LanguageType, Refused, Subject, count, current_deployment, find_collective, is_terminal
from bot.delivery.bell import ring
from bot.delivery.broadcasts import MOST_SEGMENTS, approve_broadcast, draft_broadcast, record_act, refuse_reason
from bot.delivery.caps import format_money
from bot.delivery.costs import Estimate, estimate_cost
from bot.delivery.plan import plan_broadcast
from bot.delivery.previews import Preview, preview_broadcast
from bot.deployment import Deployment
from models import Broadcast, Collective, Group, Outbound
from models.broadcasts import DRAFT
from models.messages import HELD

broadcast = Subject("broadcast", help="Texts to everyone, or to a group.")
commands: tuple[click.Command, ...] = (broadcast,)

REFUSALS = {
    "no_words": "there are no words to send",
    "too_long": f"it is over {MOST_SEGMENTS} segments: shorten it",
    "no_line": "the collective has no line to speak through",
    "one_way": "it asks for an answer, and nobody can write to the collective's lines",
    "too_late": "what it is about is over",
    "nobody": "nobody would get it",
}
_HELD = {
    "quiet_hours": "wait for the end of quiet hours",
    "window": "wait until they write (WhatsApp lets us text for 24 hours after that)",
}
_LEFT_OUT = {
    "opted_out": "have texted STOP",
    "paused": "have paused",
    "refused": "have a number that the carrier refuses",
    "detached": "have a number that changed hands",
    "one_way": "are reached by a line nobody can answer on",
    "no_consent": "have not agreed to check-ins themselves",
    "too_late": "could not be written to before it is too late",
    "left": "have left",
}
_CULPRITS_SHOWN = 12


@dataclass(frozen=True)
class Ahead:
    """What sending would do, and the reason against it."""

    preview: Preview
    cost: Estimate
    refused: str | None


@dataclass(frozen=True)
class Wish:
    """What is to be sent, as the command line says it."""

    word: str
    text: str
    group: str | None
    translations: tuple[tuple[str, str], ...] = ()
    early: bool = False
    key: str | None = None


class WallTime(click.ParamType):
    """A date and an hour, in the collective's zone: 2026-12-01T18:00."""

    name = "moment"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            if len(value.strip()) <= len("2026-12-01"):
                raise ValueError("no hour")  # midnight is nobody's meaning
            return datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{value}: write date and hour as 2026-12-01T18:00", param, ctx)


def _wished(act: Any) -> Any:
    """The options that preview and send share."""
    for option in (
        click.option(
            "--translation",
            "translations",
            type=(LanguageType(), str),
            multiple=True,
            help="The words in another language: --translation es '…'.",
        ),
        click.option("--group", help="Only this group."),
        click.option("--text", required=True, help="The words, in the collective's language."),
        click.option("--collective", "word", required=True, help="The collective's word."),
    ):
        act = option(act)
    return act


@broadcast.act("preview")
@_wished
@click.option("--at", "wall_time", type=WallTime(), help="As if it left then, in the collective's zone: 2026-12-01T18:00.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def preview(
    word: str, text: str, group: str | None, translations: tuple[tuple[str, str], ...], wall_time: datetime | None, as_json: bool
) -> None:
    """Who would get it now, who would not, and what it costs. Sends nothing."""
    deployment = current_deployment()
    ahead = _look_ahead(deployment, Wish(word, text, group, translations), _moment_of(deployment, word, wall_time))
    if as_json:
        click.echo(json.dumps(asdict(ahead.preview) | {"cost_micros": ahead.cost.micros, "refused": ahead.refused}))
    else:
        tell_preview(ahead)
    if ahead.refused:
        raise Refused(f"It can not be sent: {REFUSALS[ahead.refused]}.")


@broadcast.act("send")
@_wished
@click.option("--at", "wall_time", type=WallTime(), help="Later, in the collective's zone: 2026-12-01T18:00.")
@click.option("--early", is_flag=True, help="Before quiet hours end, to those who agreed to early texts.")
@click.option("--key", help="Any words of yours: the same key again sends nothing again.")
@click.option("--yes", is_flag=True, help="Send without asking, and without time to call it back.")
def send(
    word: str,
    text: str,
    group: str | None,
    translations: tuple[tuple[str, str], ...],
    wall_time: datetime | None,
    early: bool,
    key: str | None,
    yes: bool,
) -> None:
    """Send to every member. The last line printed is the broadcast's id."""
    require_yes(yes)
    deployment, wish = current_deployment(), Wish(word, text, group, translations, early, key)
    at = _moment_of(deployment, word, wall_time)
    if not yes:
        ahead = _look_ahead(deployment, wish, at)
        tell_preview(ahead)
        if ahead.refused is None:
            click.confirm("Send it?", abort=True)
    now = deployment.clock.now()
    with deployment.store.write() as session:
        made = _draft(session, now, wish)
        made_id = made.id
        if made.state != DRAFT:
            click.echo(f"This key has sent broadcast {made_id} already. Nothing is sent again.")
            click.echo(made_id)
            return
        reason = refuse_reason(session, at or now, made)
        if reason is not None:
            raise Refused(f"Nothing was sent: {REFUSALS[reason]}.")
        approve_broadcast(session, now, made, how="cli" if yes else "terminal", at=at)
        record_act(session, now, made, "sent from the command line")
        due = made.due_at or now
    tell_departure(deployment, made_id, due)


def require_yes(yes: bool) -> None:
    """Refuse to act unasked where nobody sits who could be asked."""
    if not yes and not is_terminal():
        raise click.UsageError("There is no terminal to ask in. Say --yes to send without being asked.")


def tell_departure(deployment: Deployment, broadcast_id: int, due: datetime) -> None:
    """Plan an approved broadcast if its moment has come, say what happens now, and its id as the last line."""
    now = deployment.clock.now()
    if due <= now:
        # Planned here and not by the worker: then it stands in the database whole, Redis or not.
        planned = plan_broadcast(deployment, broadcast_id)
        click.echo(f"Planned for {count(planned, 'phone')}.")
        with deployment.store.read() as session:
            waiting = session.execute(
                sa.select(Outbound.reason, sa.func.count(), sa.func.min(Outbound.due_at))
                .where(Outbound.broadcast_id == broadcast_id, Outbound.state == HELD)
                .group_by(Outbound.reason)
            ).all()
        zone = _zone_of(deployment, broadcast_id)
        for reason, held, first in waiting:
            click.echo(f"Held for now ({reason}): {held}, the first until {say_moment(first, zone)}.")
        if not ring(deployment):
            click.echo("Redis does not answer: it goes out when a worker runs again.", err=True)
    elif due - now < timedelta(minutes=1):
        seconds = math.ceil((due - now).total_seconds())
        click.echo(f"It goes out in {count(seconds, 'second')}. To call it back: flask broadcast hold {broadcast_id}")
    else:
        click.echo(f"It goes out at {say_moment(due, _zone_of(deployment, broadcast_id))}.")
    click.echo(broadcast_id)


def _zone_of(deployment: Deployment, broadcast_id: int) -> str:
    with deployment.store.read() as session:
        zone = sa.select(Collective.timezone).join(Broadcast, Broadcast.collective_id == Collective.id)
        return session.scalars(zone.where(Broadcast.id == broadcast_id)).one()


def say_moment(moment: datetime, zone: str) -> str:
    """In the collective's zone, in which ``--at`` is given, and in UTC, which the server's log speaks."""
    utc = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return utc if zone == "UTC" else f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone} ({utc})"


def _moment_of(deployment: Deployment, word: str, wall_time: datetime | None) -> datetime | None:
    """The moment of a wall time in the collective's zone. Raises Refused for one that is past or that summer time skips."""
    if wall_time is None:
        return None
    if wall_time.tzinfo is None:
        with deployment.store.read() as session:
            zone = ZoneInfo(find_collective(session, word).timezone)
        moment = wall_time.replace(tzinfo=zone).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) != wall_time:
            raise Refused("That hour does not exist on that day: the clocks are put forward. Choose another.")
    else:
        moment = wall_time.astimezone(UTC)
    now = deployment.clock.now()
    if moment <= now:
        raise Refused("That moment is past.")
    if moment > now + timedelta(days=366):
        raise Refused("That is more than a year away.")
    return moment


def _draft(session: Session, now: datetime, wish: Wish) -> Broadcast:
    collective = find_collective(session, wish.word)
    texts = dict(wish.translations) | {collective.language: wish.text}
    group_id = _find_group(session, collective, wish.group)
    made = draft_broadcast(session, now, collective.id, "notice", texts, group_id=group_id, request_key=wish.key)
    if made.state == DRAFT:
        made.early = wish.early
    return made


def _find_group(session: Session, collective: Collective, name: str | None) -> int | None:
    if name is None:
        return None
    found = session.scalars(
        sa.select(Group.id).where(Group.collective_id == collective.id, Group.name == name.strip().casefold())
    ).one_or_none()
    if found is None:
        names = session.scalars(sa.select(Group.name).where(Group.collective_id == collective.id).order_by(Group.name)).all()
        raise Refused(f"{collective.name} has no such group. It has: {', '.join(names) or 'none yet'}.")
    return found


def _look_ahead(deployment: Deployment, wish: Wish, at: datetime | None) -> Ahead:
    """Drafted, looked at, and taken back."""
    now = deployment.clock.now()
    with deployment.store.write() as session:
        draft = session.begin_nested()
        ahead = look_at(deployment, session, at or now, _draft(session, now, replace(wish, key=None)))
        draft.rollback()
    return ahead


def look_at(deployment: Deployment, session: Session, moment: datetime, made: Broadcast) -> Ahead:
    """What a draft would do if it left at ``moment``."""
    reason = refuse_reason(session, moment, made)
    cost = estimate_cost(deployment.store, session, moment, made)
    return Ahead(preview_broadcast(session, moment, made), cost, reason)


def tell_preview(ahead: Ahead) -> None:
    """A preview on the terminal."""
    told = ahead.preview
    click.echo(f"{count(told.recipients, 'person', 'people')}, {count(told.segments, 'segment')} each at most ({told.encoding}).")
    if len(told.by_language) > 1:
        click.echo("  " + ", ".join(f"{language} {number:,}" for language, number in sorted(told.by_language.items())))
    for language, characters in told.culprits.items():
        shown = " ".join(characters[:_CULPRITS_SHOWN]) + (" ..." if len(characters) > _CULPRITS_SHOWN else "")
        click.echo(f"  the text in {language} holds {shown} which takes UCS-2: 70 characters a segment, not 160")
    click.echo(f"Costs about {format_money(ahead.cost.micros)} (the currency of your Twilio account).")
    if not ahead.cost.fits:
        click.echo(f"  the month's cap leaves {format_money(max(ahead.cost.left or 0, 0))}: the rest waits for next month")
    for language, number in told.fallback.items():
        click.echo(f"  {count(number, f'reader of {language} gets', f'readers of {language} get')} it in another language")
    for reason, number in told.held.items():
        click.echo(f"  {number:,} {_HELD.get(reason, reason)}")
    if told.not_told:
        click.echo(f"  {told.not_told:,} of them hear nothing of it: no WhatsApp template is approved. Run: flask templates submit")
    if told.by_sms:
        click.echo(f"  {told.by_sms:,} get it by SMS, because WhatsApp is closed for them and they allow that")
    for reason, number in told.left_out.items():
        click.echo(f"  {number:,} more {_LEFT_OUT.get(reason, reason)}")
