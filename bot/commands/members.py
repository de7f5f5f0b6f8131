"""``flask members import`` and ``flask members export``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import click
import phonenumbers

from bot.commands.ground import Refused, Subject, count, current_deployment, find_collective, is_terminal, progress_bar
from bot.members import UNREACHABLE
from bot.members.enrolment import Forecast, enrol, forecast_enrolment, list_members
from bot.members.roster import Remark, Roster, RosterRefused, read_roster, write_roster
from bot.members.search import index_new_names
from models import Audit

members = Subject("members", help="Member lists in and out.")
commands: tuple[click.Command, ...] = (members,)

MOST_REMARKS = 20
LARGEST_FILE = 64 * 1024 * 1024
# The console finds members by name; what this leaves is the worker's.
INDEX_SECONDS = 120.0


class CountryType(click.ParamType):
    """Two letters of a country that has telephone numbers."""

    name = "country"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        country = value.strip().upper()
        if country not in phonenumbers.SUPPORTED_REGIONS:
            self.fail(f"{value} is no country: give its two letters, as IN, MX or US", param, ctx)
        return country


class ConsentType(click.ParamType):
    """How and when they agreed, in words."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        words = " ".join(value.split())
        if not any(char.isalpha() for char in words):
            self.fail("say how and when these people agreed to get texts; without their consent they must not get any", param, ctx)
        return words


@members.act("import")
@click.argument("file", type=click.File("rb"))
@click.option("--collective", "word", required=True, help="The collective's word.")
@click.option("--consent", required=True, type=ConsentType(), help="How and when these people agreed; it is kept with each of them.")
@click.option("--country", type=CountryType(), help="Two letters, when numbers are in national format (IN, MX, US).")
@click.option("--skip-bad-rows", is_flag=True, help="Take the other rows when some are refused.")
@click.option("--yes", is_flag=True, help="Do not ask before importing.")
def import_members(file: BinaryIO, word: str, consent: str, country: str | None, skip_bad_rows: bool, yes: bool) -> None:
    """Make the people in a CSV file members: columns phone, name, language, timezone, groups.

    Shows what it will do. One bad row refuses the whole file; either everybody is imported or nobody. Row 1 is the header.
    Imported members get ordinary broadcasts at once, and care (check-ins) never: that takes their own yes.
    """
    deployment = current_deployment()
    with deployment.store.read() as session:
        collective = find_collective(session, word)
    data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise Refused("The file is larger than 64 MB. Split it.")
    try:
        with progress_bar("Reading") as show:
            roster = read_roster(data, country, show)
    except RosterRefused as refused:
        raise Refused(f"Nothing was imported: {refused}.") from None
    bad_rows = count(len({remark.row for remark in roster.errors}), "row")
    _tell_file(roster)
    if roster.errors and not skip_bad_rows:
        raise Refused(f"Nothing was imported: {bad_rows} refused. Mend the file, or take the rest with --skip-bad-rows.")
    if not roster.rows:
        raise Refused("Nothing was imported: there is nobody in the file.")
    _tell_forecast(forecast_enrolment(deployment.store, collective, roster.rows), collective.name)
    if is_terminal() and not yes:
        click.confirm("Import them?", abort=True)
    with progress_bar("Importing") as show:
        added = enrol(deployment.store, collective, roster.rows, how=consent, progress=show)
    index_new_names(deployment, INDEX_SECONDS)
    click.echo(f"Imported: {count(added, 'new member')} of {collective.name}." + (f" {bad_rows} left out." if roster.errors else ""))


def _tell_file(roster: Roster) -> None:
    delimiter = {",": "commas", ";": "semicolons", "\t": "tabs"}.get(roster.delimiter, roster.delimiter)
    click.echo(f"Read {count(len(roster.rows), 'member')} ({roster.encoding}, {delimiter}).")
    _tell_remarks("To look at", roster.warnings, MOST_REMARKS)
    # Every error, however many: each one has to be mended.
    _tell_remarks("Refused", _in_order(roster.errors), len(roster.errors))


def _in_order(remarks: Sequence[Remark]) -> list[Remark]:
    return sorted(remarks, key=lambda remark: remark.row)


def _tell_remarks(title: str, remarks: Sequence[Remark], most: int) -> None:
    if remarks:
        click.echo(f"{title}:", err=True)
    for remark in remarks[:most]:
        click.echo(f"  {remark}", err=True)
    if len(remarks) > most:
        click.echo(f"  ... and {len(remarks) - most:,} more", err=True)


def _tell_forecast(forecast: Forecast, name: str) -> None:
    click.echo(f"{name}: {count(forecast.new, 'new member')}, {forecast.known:,} known already (only their blanks are filled).")
    if forecast.languages:
        click.echo("  languages: " + ", ".join(f"{language} {number:,}" for language, number in forecast.languages.most_common()))
    if forecast.groups:
        new = set(forecast.new_groups)
        click.echo(
            "  groups: "
            + ", ".join(f"{group} {number:,}{' (new)' if group in new else ''}" for group, number in forecast.groups.most_common())
        )
    if forecast.stopped:
        click.echo(f"  {count(forecast.stopped, 'person has', 'people have')} texted STOP: they stay stopped until they text START")
    for rows, reason in (
        (forecast.left, "left the collective and can only come back by texting JOIN"),
        (forecast.detached, "said that it is a wrong number"),
        (forecast.unreachable, UNREACHABLE),
    ):
        if rows:
            told = ", ".join(str(row) for row in rows[:MOST_REMARKS]) + (" ..." if len(rows) > MOST_REMARKS else "")
            click.echo(f"  left out, {reason}: row{'' if len(rows) == 1 else 's'} {told}")


@members.act("export")
@click.option("--collective", "word", required=True, help="The collective's word.")
@click.option("--excel", is_flag=True, help="Begin with the mark by which Excel knows UTF-8.")
def export_members(word: str, excel: bool) -> None:
    """Write the active members as CSV on standard output, in the columns that import takes."""
    deployment = current_deployment()
    with deployment.store.write() as session:
        collective = find_collective(session, word)
        session.add(Audit(collective_id=collective.id, act="members exported", at=deployment.clock.now()))
    with deployment.store.read() as session:
        text = write_roster(list_members(session, collective.id))
    click.echo((b"\xef\xbb\xbf" if excel else b"") + text.encode(), nl=False)
