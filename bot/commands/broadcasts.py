"""``flask broadcast preview``, ``send``, ``status`` and ``stop``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.commands.ground import LanguageType, Refused, Subject, count, current_deployment, find_collective, is_terminal, progress_bar
from bot.delivery.bell import ring
from bot.delivery.broadcasts import (
    MOST_SEGMENTS,
    Preview,
    approve_broadcast,
    broadcast_status,
    draft_broadcast,
    preview_broadcast,
    refuse_reason,
    stop_broadcast,
)
from bot.delivery.plan import plan_broadcast
from bot.deployment import Deployment
from models import Broadcast, Collective, Group, Outbound
from models.broadcasts import DONE, STOPPED
from models.messages import ATTEMPTING, CLAIMED, HELD, QUEUED

broadcast = Subject("broadcast", help="Texts to everyone, or to a group.")
commands: tuple[click.Command, ...] = (broadcast,)

WATCH_SECONDS = 1.0
_REFUSALS = {
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
}


@dataclass(frozen=True)
class Wish:
    """What is to be sent, as the command line says it."""

    word: str
    text: str
    group: str | None
    translations: tuple[tuple[str, str], ...] = ()


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
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def preview(word: str, text: str, group: str | None, translations: tuple[tuple[str, str], ...], as_json: bool) -> None:
    """Who would get it now, and what it costs. Sends nothing."""
    told, reason = _look_ahead(current_deployment(), Wish(word, text, group, translations), None)
    if as_json:
        report = {
            name: getattr(told, name) for name in ("recipients", "encoding", "segments", "held", "by_language", "fallback", "left_out")
        }
        click.echo(json.dumps(report | {"refused": reason}))
    else:
        _tell_preview(told)
    if reason:
        raise Refused(f"It can not be sent: {_REFUSALS[reason]}.")


@broadcast.act("send")
@_wished
@click.option("--at", "wall_time", type=WallTime(), help="Later, in the collective's zone: 2026-12-01T18:00.")
@click.option("--yes", is_flag=True, help="Send without asking.")
def send(word: str, text: str, group: str | None, translations: tuple[tuple[str, str], ...], wall_time: datetime | None, yes: bool) -> None:
    """Send to every member. The last line printed is the broadcast's id."""
    if not yes and not is_terminal():
        raise click.UsageError("There is no terminal to ask in. Say --yes to send without being asked.")
    deployment, wish = current_deployment(), Wish(word, text, group, translations)
    at = _moment_of(deployment, word, wall_time)
    if not yes:
        told, reason = _look_ahead(deployment, wish, at)
        _tell_preview(told)
        if reason is None:
            click.confirm("Send it?", abort=True)
    now = deployment.clock.now()
    with deployment.store.write() as session:
        made = _draft(session, now, wish)
        reason = refuse_reason(session, at or now, made)
        if reason is not None:
            raise Refused(f"Nothing was sent: {_REFUSALS[reason]}.")
        approve_broadcast(session, now, made, how="cli", at=at)
        made_id = made.id
    if at is None:
        # Planned here and not by the worker: then it stands in the database whole, Redis or not.
        planned = plan_broadcast(deployment, made_id)
        click.echo(f"Planned for {count(planned, 'phone')}.")
        with deployment.store.read() as session:
            waiting = session.execute(
                sa.select(Outbound.reason, sa.func.count(), sa.func.min(Outbound.due_at))
                .where(Outbound.broadcast_id == made_id, Outbound.state == HELD)
                .group_by(Outbound.reason)
            ).all()
        for reason, held, due in waiting:
            click.echo(f"Held for now ({reason}): {held}, the first until {due:%Y-%m-%d %H:%M} UTC.")
        if not ring(deployment):
            click.echo("Redis does not answer: it goes out when a worker runs again.", err=True)
    else:
        click.echo(f"It goes out at {at:%Y-%m-%d %H:%M} UTC.")
    click.echo(made_id)


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
    return draft_broadcast(session, now, collective.id, "notice", texts, group_id=_find_group(session, collective, wish.group))


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


def _look_ahead(deployment: Deployment, wish: Wish, at: datetime | None) -> tuple[Preview, str | None]:
    """What sending would do, and the reason against it: drafted, looked at, and taken back."""
    now = deployment.clock.now()
    with deployment.store.write() as session:
        draft = session.begin_nested()
        made = _draft(session, now, wish)
        reason = refuse_reason(session, at or now, made)
        told = preview_broadcast(session, at or now, made)
        draft.rollback()
    return told, reason


def _tell_preview(told: Preview) -> None:
    click.echo(f"{count(told.recipients, 'person', 'people')}, {count(told.segments, 'segment')} each at most ({told.encoding}).")
    for language, number in told.fallback.items():
        click.echo(f"  {count(number, f'reader of {language} gets', f'readers of {language} get')} it in another language")
    for reason, number in told.held.items():
        click.echo(f"  {number:,} {_HELD.get(reason, reason)}")
    for reason, number in told.left_out.items():
        click.echo(f"  {number:,} more {_LEFT_OUT.get(reason, reason)}")


@broadcast.act("status")
@click.argument("broadcast_id", type=int, metavar="ID")
@click.option("--watch", is_flag=True, help="Until it is done.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(broadcast_id: int, watch: bool, as_json: bool) -> None:
    """How far a broadcast is."""
    deployment = current_deployment()
    told = _read_status(deployment, broadcast_id)
    if watch:
        with progress_bar(f"Broadcast {broadcast_id}") as show:
            while told["state"] not in (DONE, STOPPED):
                show(told["total"] - _waiting(told["counts"]), told["total"])
                time.sleep(WATCH_SECONDS)
                told = _read_status(deployment, broadcast_id)
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"Broadcast {told['id']}: {told['state']}, {told['total']:,} in all, {told['resent']:,} resent.")
    for state, number in told["counts"].items():
        if number:
            click.echo(f"{number:>9,}  {state}")


def _waiting(counts: Mapping[str, int]) -> int:
    return sum(counts[state] for state in (HELD, QUEUED, CLAIMED, ATTEMPTING))


def _read_status(deployment: Deployment, broadcast_id: int) -> dict[str, Any]:
    with deployment.store.read() as session:
        try:
            return broadcast_status(session, broadcast_id)
        except LookupError:
            raise Refused(f"There is no broadcast {broadcast_id}.") from None


@broadcast.act("stop")
@click.argument("broadcast_id", type=int, metavar="ID")
def stop(broadcast_id: int) -> None:
    """Nothing more of it leaves. What the carrier has already can not be called back."""
    deployment = current_deployment()
    with deployment.store.write() as session:
        made = session.get(Broadcast, broadcast_id)
        if made is None:
            raise Refused(f"There is no broadcast {broadcast_id}.")
        if made.state in (DONE, STOPPED):
            raise Refused(f"Broadcast {broadcast_id} is {made.state} already.")
        unsent = stop_broadcast(session, deployment.clock.now(), made)
    click.echo(f"Stopped: {count(unsent, 'message')} will not leave.")
