"""``flask line set``: what Chorus knows about a number, sender or Messaging Service."""

from __future__ import annotations

from typing import Any

import click
import phonenumbers
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.commands.ground import AddressType, PaceType, Refused, Subject, current_deployment
from bot.delivery.line_changes import change_line
from models import Line, Store

line = Subject("line", help="The numbers and senders that Chorus speaks through.")
commands: tuple[click.Command, ...] = (line,)

# Twilio's own limits: a long code sends a segment a second, a WhatsApp sender eighty messages.
USUAL_PACE = {"sms": 1.0, "whatsapp": 80.0}


def find_or_add_line(session: Session, store: Store, address: str, mps: float | None) -> tuple[Line, bool]:
    """The line with this address and whether it is new. A line that is known keeps its pace."""
    known = session.scalars(sa.select(Line).where(Line.address == address)).one_or_none()
    if known is not None:
        return known, False
    channel = "whatsapp" if address.startswith("whatsapp:") else "sms"
    made = Line(
        channel=channel,
        address=address,
        country=_country_of(address.removeprefix("whatsapp:")),
        # The carrier answers STOP itself on SMS numbers and services; on WhatsApp and short codes we do.
        carrier_answers_stop=channel == "sms" and not address[0].isdigit(),
        mps=mps or USUAL_PACE[channel],
        created_at=store.clock.now(),
    )
    session.add(made)
    session.flush()
    return made, True


def _country_of(number: str) -> str | None:
    if not number.startswith("+"):
        return None
    parsed = phonenumbers.parse(number)
    country = phonenumbers.region_code_for_number(parsed) or phonenumbers.region_code_for_country_code(parsed.country_code or 0)
    return country if len(country or "") == 2 and country != "ZZ" else None


@line.act("set")
@click.argument("address", type=AddressType())
@click.option("--mps", type=PaceType(), help="Its pace in segments a second.")
@click.option("--two-way/--one-way", default=None, help="Whether people can write to it (by SMS in India they can not).")
@click.option("--carrier-answers-stop/--no-carrier-answers-stop", default=None, help="Whether the carrier answers STOP and START itself.")
@click.option("--release", is_flag=True, help="Send again on a line that an error holds, once its cause is mended.")
def set_line(address: str, mps: float | None, two_way: bool | None, carrier_answers_stop: bool | None, release: bool) -> None:
    """Change what is known about a line."""
    changes: dict[str, Any] = {"mps": mps, "two_way": two_way, "carrier_answers_stop": carrier_answers_stop}
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes and not release:
        raise click.UsageError("Say what to change: --mps, --two-way or --one-way, --carrier-answers-stop or its opposite, --release.")
    deployment = current_deployment()
    with deployment.store.write() as session:
        known = change_line(session, deployment.clock.now(), address, changes, release=release)
        if known is None:
            raise Refused(f"No collective speaks through {address}. flask doctor shows the lines.")
    ways = "two-way" if known.two_way else "one-way"
    stops = "the carrier answers STOP" if known.carrier_answers_stop else "Chorus answers STOP"
    click.echo(f"{address}: {known.mps:g} segments a second, {ways}, {stops}.")
