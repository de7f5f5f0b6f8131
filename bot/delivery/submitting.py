"""Bringing the templates that come with Chorus to WhatsApp, and reading what it says to them. Nothing is done twice by doing it again."""

from __future__ import annotations

import sqlalchemy as sa

from bot.delivery.contents import Content, create_content, read_contents, request_approval
from bot.delivery.gateway import AccountClient
from bot.delivery.ready_templates import READY, ReadyTemplate
from bot.deployment import Deployment
from models import Audit, Template
from models.templates import TEMPLATE_STATES

_LONGEST_REASON = 200
# Of several templates of one name the one that stands best counts.
_BEST_FIRST = ("approved", "submitted", "paused", "rejected", "disabled", "draft")


def sync_templates(deployment: Deployment) -> list[tuple[ReadyTemplate, Content | None]]:
    """Read from Twilio how each template stands, and keep it; None: Twilio does not have it (any more). Raises AccountError."""
    found = find_contents(AccountClient(deployment.settings))
    told = [(ready, found.get(ready.name)) for ready in READY]
    for ready, content in told:
        keep_template(deployment, ready, content)
    return told


def lacks_submission(ready: ReadyTemplate, found: dict[str, Content]) -> bool:
    """Whether WhatsApp has not seen this template yet. A refused one is not pushed again."""
    return ready.name not in found or found[ready.name].state == "draft"


def find_contents(client: AccountClient) -> dict[str, Content]:
    """The content of each ready template that Twilio has, by name. Raises AccountError."""
    best: dict[str, Content] = {}
    ours = {ready.name: ready.locale for ready in READY}
    for content in sorted(read_contents(client), key=lambda one: _BEST_FIRST.index(one.state)):
        if ours.get(content.name) == content.locale:
            best.setdefault(content.name, content)
    return best


def submit_template(
    deployment: Deployment,
    client: AccountClient,
    ready: ReadyTemplate,
    known: Content | None,
    *,
    collective_id: int | None = None,
    by: int | None = None,
) -> str:
    """Make the template at Twilio, unless it is ``known`` there, and have WhatsApp look at it; returns its state. Raises AccountError.

    ``collective_id``, ``by``: whose act it was; None: the command line's.
    """
    content = known or create_content(client, ready)
    # Kept before WhatsApp is asked: what was made at Twilio is not made again if that fails.
    keep_template(deployment, ready, content)
    state = request_approval(client, content.sid, ready)
    keep_template(deployment, ready, Content(content.sid, content.name, content.locale, content.body, state))
    with deployment.store.write() as session:
        at = deployment.clock.now()
        session.add(Audit(collective_id=collective_id, membership_id=by, act="template submitted", subject=ready.name[:40], at=at))
    return state


def keep_template(deployment: Deployment, ready: ReadyTemplate, content: Content | None) -> None:
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
