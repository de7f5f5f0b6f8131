"""``flask doctor``: is everything in place, and if not, what to do. With ``--line``: how the line stands at Twilio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

import click
from flask import current_app

from bot.commands.account_checks import LineFacts, check_account, check_balance, check_countries, check_public_url, read_lines
from bot.commands.ground import AddressType, Refused, command, current_deployment
from bot.commands.line_checks import check_line
from bot.delivery.account import TwilioAccount
from bot.delivery.gateway import AccountClient
from bot.deployment import Deployment
from bot.health.checks import Check, examine

ALL = "all"


class LineType(AddressType):
    """A line's address, or ``all``."""

    name = "address|all"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return ALL if value.strip().casefold() == ALL else super().convert(value, param, ctx)


@command("doctor")
@click.option("--line", "address", type=LineType(), help="Ask Twilio about this line, or about all of them.")
def doctor(address: str | None) -> None:
    """Look at settings, database, keys, Redis, workers and lines; exit 1 when something is broken."""
    if address is None:
        tell(examine(current_app.extensions["chorus"]))
        return
    deployment = current_deployment()
    lines = read_lines(deployment, None if address == ALL else address)
    if not lines:
        raise Refused(
            "There is no line yet." if address == ALL else f"No collective speaks through {address}. flask doctor shows the lines."
        )
    tell(ask_twilio(deployment, lines))


def ask_twilio(deployment: Deployment, lines: list[LineFacts]) -> Iterable[Check]:
    """Every finding on the account and on these lines, as they are found."""
    twilio = TwilioAccount(AccountClient(deployment.settings), deployment.settings.twilio_account_sid)
    yield check_public_url(deployment)
    account = check_account(deployment, twilio)
    yield from account
    if not account[0].ok:
        return
    yield check_balance(twilio, sum((line.cost for line in lines), Decimal()))
    by_sms: Counter[str] = sum((line.people for line in lines if line.channel == "sms"), Counter())
    if any(line.channel == "sms" for line in lines):
        yield check_countries(twilio, by_sms)
    for line in lines:
        yield from check_line(deployment, twilio, line)


def tell(checks: Iterable[Check]) -> None:
    """Print the findings as they come; exit 1 when something is broken."""
    broken = 0
    for check in checks:
        mark = "ok   " if check.ok else ("WRONG" if check.is_broken else "note ")
        click.echo(f"{mark}  {check.name}: {check.says}")
        if check.todo:
            click.echo(f"       {check.todo}")
        broken += not check.ok and check.is_broken
    click.echo("All is well." if not broken else f"{broken} to mend.")
    if broken:
        raise SystemExit(1)


commands: tuple[click.Command, ...] = (doctor,)
