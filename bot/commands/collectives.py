"""``flask collective create``."""

from __future__ import annotations

import re

import click
import sqlalchemy as sa

from bot.commands.ground import AddressType, LanguageType, NumberType, PaceType, Refused, Subject, ZoneType, count, current_deployment
from bot.commands.lines import find_or_add_line
from bot.members import MemberRefused, add_member, give_role
from bot.members.joining import WordRefused, read_word
from models import Audit, Collective, CollectiveLine

collective = Subject("collective", help="Groups that decide and act together.")
commands: tuple[click.Command, ...] = (collective,)


class QuietType(click.ParamType):
    """Hours of the day between which nothing unprompted is sent: 21-8, or none."""

    name = "hours"

    def convert(
        self, value: str | tuple[int | None, int | None], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, int | None]:
        if isinstance(value, tuple):
            return value
        if value.strip().casefold() == "none":
            return None, None
        hours = re.fullmatch(r"\s*(\d{1,2})\s*[-–]\s*(\d{1,2})\s*", value)
        if hours is None or not all(int(hour) <= 23 for hour in hours.groups()) or int(hours[1]) == int(hours[2]):
            self.fail(f"{value}: write two different hours of the day, as 21-8, or none", param, ctx)
        return int(hours[1]), int(hours[2])


class WordType(click.ParamType):
    """The word that members text: one word, 2 to 20 letters and digits, in any alphabet."""

    name = "word"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return read_word(value)
        except WordRefused as refused:
            if refused.reason == "means_something":
                raise Refused(f"{value.upper()} means something to the bot already. Choose another word.") from None
            self.fail("the word is one word of 2 to 20 letters and digits, and not only digits", param, ctx)


@collective.act("create")
@click.argument("name")
@click.option("--word", required=True, type=WordType(), help="What members text to join: JOIN WORD.")
@click.option(
    "--line", "addresses", required=True, multiple=True, type=AddressType(), help="+1555…, whatsapp:+1555… or MG…; may be given again."
)
@click.option(
    "--organizer", "organizers", required=True, multiple=True, type=NumberType(), help="An organizer's phone; may be given again."
)
@click.option("--timezone", default="UTC", type=ZoneType(), help="As Asia/Kolkata; UTC when left out.")
@click.option("--language", default="en", type=LanguageType(), help="en, es, hi or hi-Latn.")
@click.option("--mps", type=PaceType(), help="The pace of each new line, in segments a second (usual: 1 by SMS, 80 by WhatsApp).")
@click.option("--quiet", default="21-8", type=QuietType(), show_default=True, help="Hours when nothing unprompted is sent, or none.")
@click.option("--about", default="", help="What it is, in a few words; HELP says it.")
def create_collective(
    name: str,
    word: str,
    addresses: tuple[str, ...],
    organizers: tuple[str, ...],
    timezone: str,
    language: str,
    mps: float | None,
    quiet: tuple[int | None, int | None],
    about: str,
) -> None:
    """Make a collective that speaks through its lines, with its first organizers."""
    name, about = " ".join(name.split()), " ".join(about.split())
    if not name or len(name) > 80 or not name.isprintable():
        raise click.BadParameter("give a name of 1 to 80 characters", param_hint="NAME")
    if len(about) > 120:
        raise click.BadParameter("give at most 120 characters", param_hint="--about")
    deployment = current_deployment()
    store = deployment.store
    with store.write() as session:
        if session.scalars(sa.select(Collective.id).where(Collective.word == word)).first() is not None:
            raise Refused(f"Another collective has the word {word.upper()}. Choose another word.")
        made = Collective(
            name=name,
            word=word,
            about=about,
            timezone=timezone,
            language=language,
            quiet_from=quiet[0],
            quiet_until=quiet[1],
            created_at=deployment.clock.now(),
        )
        session.add(made)
        session.flush()
        for position, address in enumerate(dict.fromkeys(addresses)):
            line, is_new = find_or_add_line(session, store, address, mps)
            session.add(CollectiveLine(collective_id=made.id, line_id=line.id, position=position))
            if not is_new and mps is not None and line.mps != mps:
                click.echo(
                    f"{address} is shared with another collective and keeps its pace of {line.mps:g} (flask line set changes it).", err=True
                )
            if line.channel == "sms" and line.country == "IN" and line.two_way:
                click.echo(
                    f"In India nobody can answer by SMS: use WhatsApp, or mark the line: flask line set {address} --one-way", err=True
                )
        for number in dict.fromkeys(organizers):
            try:
                member = add_member(
                    session, store, collective=made, number=number, how="named as organizer on the command line", kind="import"
                )
            except MemberRefused as refused:
                raise Refused(f"An organizer is refused: {refused}.") from None
            give_role(session, store, member.id, "organizer")
        session.add(Audit(collective_id=made.id, act="collective created", at=deployment.clock.now()))
    hours = "no quiet hours" if quiet[0] is None else f"quiet from {quiet[0]} to {quiet[1]} o'clock"
    click.echo(f"{name} is made: {timezone}, {language}, {hours}, {count(len(set(organizers)), 'organizer')}.")
    click.echo(f"Members join by texting JOIN {word.upper()} to {' or '.join(map(_say_where, dict.fromkeys(addresses)))}.")
    if not deployment.settings.has_simulator:
        click.echo(
            f"At Twilio, set the webhook for incoming messages of each line to {deployment.settings.public_url}/twilio/inbound (POST)."
        )


def _say_where(address: str) -> str:
    """What members text to. Nobody can text a Messaging Service: it is a pool of numbers."""
    return f"one of the numbers of {address}" if address.startswith("MG") else address
