"""``flask templates list``, ``submit`` and ``sync``: the only words that may begin a talk on WhatsApp after a day of silence."""

from __future__ import annotations

import click
import sqlalchemy as sa

from bot.commands.ground import Refused, Subject, count, current_deployment, is_terminal
from bot.delivery.gateway import AccountClient, AccountError
from bot.delivery.ready_templates import READY
from bot.delivery.submitting import find_contents, keep_template, lacks_submission, submit_template
from bot.delivery.submitting import sync_templates as sync
from models import Template

templates = Subject("templates", help="WhatsApp's approved templates.")
commands: tuple[click.Command, ...] = (templates,)

_MEANS = {
    "draft": "not submitted. Run: flask templates submit",
    "submitted": "WhatsApp looks at it, which takes minutes to a day. Then: flask templates sync",
    "approved": "ready to be sent",
    "rejected": "WhatsApp refuses it. Ask for a second look in Meta's WhatsApp Manager",
    "paused": "WhatsApp paused it, because people complained. It comes back by itself after some hours",
    "disabled": "WhatsApp switched it off for good",
}


@templates.act("list")
def list_templates() -> None:
    """The templates that come with Chorus, their words, and how each stands, as far as the last sync knows."""
    deployment = current_deployment()
    with deployment.store.read() as session:
        rows = {(row.kind, row.language): row for row in session.scalars(sa.select(Template).order_by(Template.id))}
        shown = [(one.name, one.language, one.body, rows.pop((one.kind, one.language), None)) for one in READY]
        shown += [(row.name, row.language, row.body, row) for row in rows.values()]
        for name, language, body, row in shown:
            state = row.state if row is not None else "draft"
            click.echo(f"{name} ({language}): {state}, {_MEANS[state]}.")
            if row is not None and row.reason:
                click.echo(f"  The reason given: {row.reason}")
            click.echo(f"  {body}")


@templates.act("sync")
def sync_templates() -> None:
    """Read from Twilio what WhatsApp says to each template."""
    deployment = current_deployment()
    try:
        told = sync(deployment)
    except AccountError as error:
        raise _unread(error) from error
    for ready, content in told:
        if content is None:
            click.echo(f"{ready.name}: not at Twilio. Run: flask templates submit")
        else:
            click.echo(f"{ready.name}: {content.state}, {_MEANS[content.state]}.{f' Reason: {content.reason}' if content.reason else ''}")


@templates.act("submit")
@click.option("--yes", is_flag=True, help="Submit without being asked.")
def submit_templates(yes: bool) -> None:
    """Make the templates that Twilio lacks, and have WhatsApp look at those that it has not seen. Safe to repeat."""
    deployment = current_deployment()
    client = AccountClient(deployment.settings)
    try:
        found = find_contents(client)
    except AccountError as error:
        raise _unread(error) from error
    missing = [ready for ready in READY if lacks_submission(ready, found)]
    for ready in READY:
        if ready not in missing:
            keep_template(deployment, ready, found[ready.name])
            click.echo(f"{ready.name}: {found[ready.name].state}, {_MEANS[found[ready.name].state]}.")
    if not missing:
        click.echo("Nothing is to submit.")
        return
    for ready in missing:
        click.echo(f"to submit: {ready.name} ({ready.language}), {ready.category.casefold()}: {ready.body}")
    if not yes:
        if not is_terminal():
            raise click.UsageError("Nobody can be asked here: give --yes.")
        click.confirm(f"Submit {count(len(missing), 'template')} to WhatsApp?", abort=True)
    for ready in missing:
        try:
            state = submit_template(deployment, client, ready, found.get(ready.name))
        except AccountError as error:
            raise Refused(f"{ready.name} is not submitted: {error}") from error
        click.echo(f"{ready.name}: {state}, {_MEANS[state]}.")


def _unread(error: AccountError) -> Refused:
    return Refused(f"The templates could not be read: {error}")
