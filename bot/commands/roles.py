"""``flask supporter add``, ``flask organizer add`` and ``flask organizer totp``."""

from __future__ import annotations

import sys

import click
import pyotp
import segno
import sqlalchemy as sa

from bot.commands.ground import NumberType, Refused, Subject, current_deployment, find_collective
from bot.delivery.second_factor import take_next
from bot.members import MemberRefused, add_member, find_membership, give_role
from models import Audit, Role, SecondFactor

supporter = Subject("supporter", help="Members who answer when somebody asks for a peer.")
organizer = Subject("organizer", help="Members who may send to everyone.")
commands: tuple[click.Command, ...] = (supporter, organizer)


def _add(role: str, number: str, word: str, name: str | None) -> None:
    deployment = current_deployment()
    store = deployment.store
    with store.write() as session:
        collective = find_collective(session, word)
        try:
            member = add_member(
                session, store, collective=collective, number=number, name=name, how=f"named as {role} on the command line", kind="import"
            )
        except MemberRefused as refused:
            raise Refused(f"Refused: {refused}.") from None
        is_new = give_role(session, store, member.id, role)
        if is_new:
            session.add(
                Audit(collective_id=collective.id, act=f"{role} added", subject=f"membership {member.id}", at=deployment.clock.now())
            )
    click.echo(
        f"{'Now' if is_new else 'Already'} a {role} of {collective.name}."
        if role == "supporter"
        else f"{'Now' if is_new else 'Already'} an organizer of {collective.name}."
    )


@supporter.act("add")
@click.argument("number", type=NumberType())
@click.option("--collective", "word", required=True, help="The collective's word.")
@click.option("--name", help="Her name, if she has not said one.")
def add_supporter(number: str, word: str, name: str | None) -> None:
    """Make somebody a supporter (and a member, if she is not one)."""
    _add("supporter", number, word, name)


@organizer.act("add")
@click.argument("number", type=NumberType())
@click.option("--collective", "word", required=True, help="The collective's word.")
@click.option("--name", help="Her name, if she has not said one.")
def add_organizer(number: str, word: str, name: str | None) -> None:
    """Make somebody an organizer (and a member, if she is not one)."""
    _add("organizer", number, word, name)


@organizer.act("totp")
@click.argument("number", type=NumberType())
@click.option("--collective", "word", required=True, help="The collective's word.")
@click.option("--new", "renew", is_flag=True, help="Make a new secret; the old one stops working.")
def show_second_factor(number: str, word: str, renew: bool) -> None:
    """Show the secret of an organizer's one-time codes, to scan with an authenticator app.

    A sender's number can be forged, so a broadcast by text needs a second factor: SEND, the draft's number and the six digits of the app.
    Whoever sees this screen can confirm broadcasts as she can.
    """
    deployment = current_deployment()
    with deployment.store.write() as session:
        collective = find_collective(session, word)
        member = find_membership(session, deployment.store, collective.id, number)
        is_organizer = member is not None and session.get(Role, (member.id, "organizer")) is not None
        if member is None or not is_organizer or member.state != "active":
            raise Refused(f"This is not the number of an organizer of {collective.name}. Add her: flask organizer add")
        factor = session.get(SecondFactor, member.id)
        if factor is not None:
            take_next(factor, deployment.clock.now())
        if factor is None or renew:
            session.execute(sa.delete(SecondFactor).where(SecondFactor.membership_id == member.id))
            session.expunge_all()
            factor = SecondFactor(membership_id=member.id, secret=pyotp.random_base32())
            session.add(factor)
            session.add(
                Audit(collective_id=collective.id, act="second factor made", subject=f"membership {member.id}", at=deployment.clock.now())
            )
        secret, name = factor.secret, collective.name
    # No number in it: the app shows the label on the screen of a phone that others may see.
    uri = pyotp.TOTP(secret).provisioning_uri(name=f"organizer {word.strip().upper()}", issuer_name=name)
    segno.make(uri, micro=False).terminal(out=sys.stdout, compact=True)
    click.echo("Scan it with an authenticator app, or enter this address there:")
    click.echo(uri)
