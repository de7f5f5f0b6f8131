"""``flask templates list``, ``submit`` and ``sync``: the only words that may begin a talk on WhatsApp after a day of silence."""

from __future__ import annotations

import click
import sqlalchemy as sa

from bot.commands.ground import Refused, Subject, count, current_deployment, is_terminal
from bot.delivery.contents import Content, create_content, read_contents, request_approval
from bot.delivery.gateway import AccountClient, AccountError
from bot.delivery.ready_templates import READY, ReadyTemplate
from bot.deployment import Deployment
from models import Audit, Template
from models.templates import TEMPLATE_STATES

templates = Subject("templates", help="WhatsApp's approved templates.")
commands: tuple[click.Command, ...] = (templates,)

_LONGEST_REASON = 200
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
    found = _match(_ask(AccountClient(deployment.settings)))
    for ready in READY:
        content = found.get(ready.name)
        if content is None:
            _keep(deployment, ready, None)
            click.echo(f"{ready.name}: not at Twilio. Run: flask templates submit")
        else:
            _keep(deployment, ready, content)
            click.echo(f"{ready.name}: {content.state}, {_MEANS[content.state]}.{f' Reason: {content.reason}' if content.reason else ''}")


@templates.act("submit")
@click.option("--yes", is_flag=True, help="Submit without being asked.")
def submit_templates(yes: bool) -> None:
    """Make the templates that Twilio lacks, and have WhatsApp look at those that it has not seen. Safe to repeat."""
    deployment = current_deployment()
    client = AccountClient(deployment.settings)
    found = _match(_ask(client))
    missing = [ready for ready in READY if ready.name not in found or found[ready.name].state == "draft"]
    for ready in READY:
        if ready not in missing:
            _keep(deployment, ready, found[ready.name])
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
        click.echo(f"{ready.name}: {_submit(deployment, client, ready, found.get(ready.name))}")


def _submit(deployment: Deployment, client: AccountClient, ready: ReadyTemplate, known: Content | None) -> str:
    try:
        content = known or create_content(client, ready)
        # Kept before WhatsApp is asked: what was made at Twilio is not made again if that fails.
        _keep(deployment, ready, content)
        state = request_approval(client, content.sid, ready)
    except AccountError as error:
        raise Refused(f"{ready.name} is not submitted: {error}") from error
    _keep(deployment, ready, Content(content.sid, content.name, content.locale, content.body, state))
    with deployment.store.write() as session:
        session.add(Audit(act="template submitted", subject=ready.name[:40], at=deployment.clock.now()))
    return f"{state}, {_MEANS[state]}."


def _ask(client: AccountClient) -> list[Content]:
    try:
        return read_contents(client)
    except AccountError as error:
        raise Refused(f"The templates could not be read: {error}") from error


def _match(contents: list[Content]) -> dict[str, Content]:
    """The content of each ready template, by name; of several the one that stands best."""
    order = ("approved", "submitted", "paused", "rejected", "disabled", "draft")
    best: dict[str, Content] = {}
    ours = {ready.name: ready.locale for ready in READY}
    for content in sorted(contents, key=lambda one: order.index(one.state)):
        if ours.get(content.name) == content.locale:
            best.setdefault(content.name, content)
    return best


def _keep(deployment: Deployment, ready: ReadyTemplate, content: Content | None) -> None:
    """Write down how it stands. None: Twilio does not have it (any more)."""
    now = deployment.clock.now()
    with deployment.store.write() as session:
        row = session.scalars(sa.select(Template).where(Template.kind == ready.kind, Template.language == ready.language)).one_or_none()
        if row is None:
            row = Template(kind=ready.kind, language=ready.language, name=ready.name, body=ready.body, changed_at=now)
            session.add(row)
        before = (row.content_sid, row.state, row.reason, row.body)
        row.content_sid = content.sid if content is not None else None
        row.state = content.state if content is not None else TEMPLATE_STATES[0]
        row.reason = (content.reason[:_LONGEST_REASON] or None) if content is not None else None
        row.body = content.body if content is not None and content.body else ready.body
        row.variables = len(ready.samples)
        if before != (row.content_sid, row.state, row.reason, row.body):
            row.changed_at = now
