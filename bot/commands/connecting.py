"""``flask line connect``: have Twilio bring what members write on a line to us. The one thing Chorus changes in a Twilio account."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import click
import sqlalchemy as sa

from bot.commands.ground import AddressType, Refused, count, current_deployment, is_terminal
from bot.commands.line_checks import SANDBOX, inbound_url, show_url
from bot.commands.lines import line as lines
from bot.delivery.account import Number, Sender, Service, TwilioAccount, Webhook
from bot.delivery.gateway import AccountClient, AccountError
from bot.deployment import Deployment
from models import Audit, CollectiveLine, Line

commands: tuple[click.Command, ...] = ()  # it stands under the subject `line`, which lines.py registers


@dataclass(frozen=True)
class Place:
    """Where the webhook of a line is set, and what stands there now."""

    name: str
    target: Number | Service | Sender
    webhook: Webhook


@lines.act("connect")
@click.argument("address", type=AddressType())
@click.option("--yes", is_flag=True, help="Change it without being asked.")
def connect_line(address: str, yes: bool) -> None:
    """Set the webhook of a number, Messaging Service or WhatsApp sender at Twilio, so that what members write comes here."""
    deployment = current_deployment()
    _refuse_unreachable(deployment)
    with deployment.store.read() as session:
        known = session.scalar(sa.select(Line.id).where(Line.address == address))
    if known is None:
        raise Refused(f"No collective speaks through {address}. flask doctor shows the lines.")
    wanted = inbound_url(deployment)
    twilio = TwilioAccount(AccountClient(deployment.settings), deployment.settings.twilio_account_sid)
    try:
        places = _find_places(twilio, address, wanted)
        changing = [place for place in places if not _is_right(place.webhook, wanted)]
        for place in places:
            click.echo(f"{place.name}: {_show(place.webhook)}" + ("" if place in changing else " (stays)"))
        if not changing:
            click.echo("Nothing is to do: what members write comes here already.")
            return
        click.echo(f"becomes: {wanted} by POST")
        if not yes:
            if not is_terminal():
                raise click.UsageError("Nobody can be asked here: give --yes.")
            click.confirm("Change it at Twilio?", abort=True)
        for place in changing:
            after = _set(twilio, place.target, wanted)
            _write_audit(deployment, known, address)
            if not _is_right(after, wanted):
                raise Refused(
                    f"Twilio took it and still shows {_show(after)} for {place.name}. In a minute, see: flask doctor --line {address}"
                )
            click.echo(f"{place.name}: {_show(after)} (changed)")
    except AccountError as error:
        raise Refused(f"It is not done: {error}. See: flask doctor --line {address}") from error
    click.echo(f"Text HELP to it from your own phone. How the rest stands: flask doctor --line {address}")


def _refuse_unreachable(deployment: Deployment) -> None:
    settings = deployment.settings
    parts = urlsplit(settings.public_url)
    if settings.has_simulator:
        return
    if parts.scheme != "https" or parts.hostname in ("127.0.0.1", "localhost", "::1"):
        raise Refused(f"Twilio can not reach {settings.public_url}: set PUBLIC_URL to the https:// address of the web process first.")


def _find_places(twilio: TwilioAccount, address: str, wanted: str) -> list[Place]:
    """Where the webhook of this line is set. Raises Refused when the account has no such line, saying where to click."""
    if address.startswith("whatsapp:"):
        sender = twilio.find_sender(address)
        if sender is None:
            where = "Messaging > Try it out > Sandbox settings" if address == SANDBOX else "Messaging > Senders > WhatsApp senders"
            raise Refused(f"Twilio's API shows no such WhatsApp sender. In the console, {where}: set {wanted} and HTTP POST.")
        return [Place(address, sender, sender.webhook)]
    if address.startswith("MG"):
        service = twilio.find_service(address)
        if service is None:
            raise Refused("This Twilio account has no such Messaging Service.")
        return _places_of(twilio, service)
    number = twilio.find_number(address)
    if number is None:
        raise Refused(f"This Twilio account has no number {address}.")
    service = twilio.find_service_of(number)
    if service is not None and not service.uses_numbers_webhook:
        return [_place_of(twilio, service)]
    if number.application:
        raise Refused(
            "A TwiML application overrules the number's webhook. Take it out in the console: the number, Messaging configuration."
        )
    return [Place(address, number, number.webhook)]


def _places_of(twilio: TwilioAccount, service: Service) -> list[Place]:
    if not service.uses_numbers_webhook:
        return [_place_of(twilio, service)]
    numbers = [twilio.find_number(address) for address in twilio.pool_of(service)]
    return [Place(number.address, number, number.webhook) for number in numbers if number is not None]


def _place_of(twilio: TwilioAccount, service: Service) -> Place:
    size = len(twilio.pool_of(service))
    return Place(f"its Messaging Service ({count(size, 'number')} in its pool)", service, service.webhook)


def _set(twilio: TwilioAccount, target: Number | Service | Sender, url: str) -> Webhook:
    if isinstance(target, Number):
        return twilio.set_number_webhook(target, url)
    if isinstance(target, Service):
        return twilio.set_service_webhook(target, url)
    return twilio.set_sender_webhook(target, url)


def _is_right(webhook: Webhook, wanted: str) -> bool:
    # Behind the # stand Twilio's connection overrides: whoever set them may keep them.
    return webhook.url.partition("#")[0] == wanted and webhook.method.upper() == "POST"


def _show(webhook: Webhook) -> str:
    return show_url(webhook.url.partition("#")[0]) + (f" by {webhook.method}" if webhook.url else "")


def _write_audit(deployment: Deployment, line_id: int, address: str) -> None:
    now = deployment.clock.now()
    with deployment.store.write() as session:
        for collective_id in session.scalars(sa.select(CollectiveLine.collective_id).where(CollectiveLine.line_id == line_id)).all():
            session.add(Audit(collective_id=collective_id, act="line connected", subject=address[:40], at=now))
