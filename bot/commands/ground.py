"""What all commands stand on: the deployment, the collective a word names, refusing with a reason, showing progress."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import AppGroup, with_appcontext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from bot.delivery.line_changes import read_pace
from bot.deployment import Deployment
from bot.languages import fold, match_language
from bot.members import NumberRefused, parse_number
from bot.members.roster import match_timezone
from models import Collective, DatabaseBusy, SealBroken


class Refused(click.ClickException):
    """The command was understood and is not carried out; exit code 1, nothing was changed."""


_FAILURES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    ((OperationalError, PoolTimeout, DatabaseBusy), "The database does not answer, or is not migrated. See: flask doctor"),
    (ProgrammingError, "The database has not the tables of this version. Run: flask db upgrade"),
    (SealBroken, "The database was sealed under a key that DATA_KEYS does not hold. See: flask doctor"),
)


class _Guarded(click.Command):
    """Tells a database that is away in one sentence instead of a traceback, whose parameters are nobody's business."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            for kinds, sentence in _FAILURES:
                if isinstance(error, kinds):
                    raise Refused(sentence) from error
            raise


def command(name: str, **options: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A command by itself: ``@command("doctor")``."""

    def make(act: Callable[..., Any]) -> click.Command:
        return click.command(name, cls=_Guarded, **options)(with_appcontext(act))

    return make


class Subject(AppGroup):
    """A subject with its commands: ``broadcast = Subject("broadcast", help=…)`` and ``@broadcast.act("send")``."""

    def act(self, name: str, **options: Any) -> Callable[[Callable[..., Any]], click.Command]:
        def make(act: Callable[..., Any]) -> click.Command:
            made = command(name, **options)(act)
            self.add_command(made)
            return made

        return make


def current_deployment() -> Deployment:
    """The deployment of this command, its clock where the simulator has jumped to, its keys at hand."""
    deployment: Deployment = current_app.extensions["chorus"]
    # Read before any transaction: the first use makes it, and SQLite has one writer at a time.
    _ = deployment.store.index_key
    if deployment.settings.has_simulator:
        deployment.store.refresh_clock()
    return deployment


def find_collective(session: Session, word: str) -> Collective:
    """The collective whose word this is, in any case. Raises Refused."""
    found = session.scalars(sa.select(Collective).where(Collective.word == fold(word))).one_or_none()
    if found is None:
        words = session.scalars(sa.select(Collective.word).order_by(Collective.word)).all()
        raise Refused(f"There is no collective with the word {word.strip().upper()}. There is: {', '.join(words).upper() or 'none yet'}.")
    return found


class NumberType(click.ParamType):
    """A phone number in international format; becomes E.164."""

    name = "number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return parse_number(value)
        except NumberRefused as refused:
            self.fail(f"the phone number is refused: {refused}", param, ctx)


class ZoneType(click.ParamType):
    """A time zone by name."""

    name = "zone"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        zone = match_timezone(value)
        if zone is None:
            self.fail(f"{value} is no time zone: write it as Asia/Kolkata or America/Chicago", param, ctx)
        return zone


class LanguageType(click.ParamType):
    """A language that Chorus speaks."""

    name = "language"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        language = match_language(value)
        if language is None:
            self.fail(f"{value} is not one of en, es, hi, hi-Latn", param, ctx)
        return language


class PaceType(click.ParamType):
    """Segments a second, any positive number."""

    name = "pace"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return read_pace(str(value))
        except ValueError:
            self.fail("the pace is a number above 0, in segments a second", param, ctx)


class AddressType(click.ParamType):
    """What a line is reached by: +1555…, whatsapp:+1555…, a short code or MG… (a Messaging Service)."""

    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        value = value.strip()
        if re.fullmatch(r"MG[0-9a-fA-F]{32}|[1-9][0-9]{4,5}", value):
            return value
        channel, colon, number = value.rpartition(":")
        if colon and channel.casefold() != "whatsapp":
            self.fail("write whatsapp:+1555… for a WhatsApp sender", param, ctx)
        if not number.strip().startswith("+"):
            self.fail("a line is +1555…, whatsapp:+1555…, a short code, or MG and 32 hexadecimal digits", param, ctx)
        try:
            return ("whatsapp:" if colon else "") + parse_number(number)
        except NumberRefused as refused:
            self.fail(f"the line's number is refused: {refused}", param, ctx)


def is_terminal() -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while long work goes on, only in a terminal; yields ``show(done, of)``."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def count(number: int, one: str, many: str | None = None) -> str:
    """ "1 person", "2 people"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
