"""What the doctor asks Twilio about the account as a whole: the token, a trial, the money, the countries it may text to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit

import sqlalchemy as sa

from bot.delivery.account import TwilioAccount
from bot.delivery.gateway import AccountError
from bot.delivery.prices import country_of, read_prices
from bot.deployment import Deployment
from bot.health.checks import Check
from models import Collective, CollectiveLine, Line, Membership, Person, Phone

CHUNK = 2_000
GEO_PAGE = "Messaging > Settings > Geo permissions"


@dataclass(frozen=True)
class LineFacts:
    """What we ourselves know of a line: its row, the words of its collectives, its people by country, one segment to all of them."""

    address: str
    channel: str
    country: str | None
    two_way: bool
    carrier_answers_stop: bool
    words: tuple[str, ...]
    people: Counter[str]
    cost: Decimal


def read_lines(deployment: Deployment, address: str | None) -> list[LineFacts]:
    """The line of this address, or all of them. Numbers are opened only to learn their country, and kept nowhere."""
    found = []
    with deployment.store.read() as session:
        lines = session.scalars(sa.select(Line).order_by(Line.id).where(Line.address == address if address else sa.true())).all()
        prices = read_prices(session)
        for line in lines:
            on_it = sa.select(CollectiveLine.collective_id).where(CollectiveLine.line_id == line.id)
            words = session.scalars(sa.select(Collective.word).where(Collective.id.in_(on_it)).order_by(Collective.id)).all()
            phones = (
                sa.select(Phone.number)
                .where(
                    sa.exists()
                    .where(Person.phone_id == Phone.id, Membership.person_id == Person.id)
                    .where(Membership.state == "active", Membership.collective_id.in_(on_it))
                )
                .execution_options(yield_per=CHUNK)
            )
            people = Counter(country_of(number) for number in session.scalars(phones) if number)
            micros = sum(prices.cost(line.channel, country, 1) * count for country, count in people.items())
            facts = (line.address, line.channel, line.country, line.two_way, line.carrier_answers_stop)
            found.append(LineFacts(*facts, tuple(word.upper() for word in words), people, Decimal(micros) / 1_000_000))
    return found


def check_public_url(deployment: Deployment) -> Check:
    """Whether Twilio can reach us at all."""
    settings = deployment.settings
    parts = urlsplit(settings.public_url)
    if settings.has_simulator or parts.scheme == "https":
        return Check("PUBLIC_URL", True, f"{settings.public_url}, where Twilio brings what members write")
    return Check(
        "PUBLIC_URL", False, f"{settings.public_url} can not be reached from Twilio", "Set it to the https:// address of the web process."
    )


def check_account(deployment: Deployment, twilio: TwilioAccount) -> list[Check]:
    """Whether the account answers and may send; when the first check is not ok, there is no use in asking more."""
    try:
        account = twilio.read()
    except AccountError as error:
        return [_unread(deployment, error)]
    checks = [Check("Twilio account", True, "Twilio takes TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN")]
    if account.status != "active":
        todo = "Look in the console, or ask Twilio's support."
        return [Check("Twilio account", False, f"it is {account.status or 'in no known state'}: Twilio sends nothing", todo)]
    if account.is_trial:
        checks.append(
            Check(
                "trial",
                False,
                "it is a trial account: only numbers verified in the console get texts (others: error 21608), each with a line of Twilio's "
                "before your words",
                "Upgrade it in the console before you invite anybody.",
            )
        )
    return checks


def _unread(deployment: Deployment, error: AccountError) -> Check:
    if error.status == 401:
        todo = "Copy both from the first page of the console; after a change of the token, restart web and worker."
        return Check("Twilio account", False, "Twilio does not take TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN", todo)
    if error.status == 0:
        address = "TWILIO_API_URL, and whether" if deployment.settings.has_simulator else "whether"
        return Check("Twilio account", False, str(error), f"Look {address} this machine reaches it; then try again.")
    return Check("Twilio account", False, str(error), "Look whether TWILIO_ACCOUNT_SID and TWILIO_API_URL are right.")


def check_balance(twilio: TwilioAccount, cost: Decimal) -> Check:
    """Whether the money lasts for one segment to everyone."""
    try:
        balance = twilio.read_balance()
    except AccountError as error:
        return Check("balance", False, f"it could not be read: {error}", "Look in the console, Billing.", is_broken=False)
    if balance is None:
        return Check(
            "balance",
            True,
            "Twilio does not tell it for this account (a subaccount spends its parent's money)",
            "Look in the console, Billing.",
        )
    left, once = f"{balance.amount:.2f} {balance.currency}", f"{cost:.2f}"
    if balance.amount <= 0:
        return Check("balance", False, f"{left}: Twilio sends nothing", "Add money in the console, Billing; auto-recharge helps.")
    if balance.amount < cost:
        says = f"{left}, and one segment to everyone costs about {once}"
        return Check("balance", False, says, "Add money in the console, Billing, before the next broadcast.")
    return Check("balance", True, f"{left}; one segment to everyone costs about {once}")


def check_countries(twilio: TwilioAccount, people: Counter[str]) -> Check:
    """Whether SMS may go to the countries that members live in."""
    countries = {country for country in people if country}
    shown = ", ".join(sorted(countries)) or "nobody's yet"
    try:
        closed = twilio.read_closed_countries(countries)
    except AccountError as error:
        return Check("countries", False, f"they could not be read: {error}", f"Check in the console: {GEO_PAGE}.", is_broken=False)
    if closed is None:
        says = f"geo permissions can not be read by API on this account; members' numbers belong to: {shown}"
        return Check("countries", True, says, f"Check in the console: {GEO_PAGE}.")
    if closed:
        says = f"SMS to {', '.join(sorted(closed))} is switched off, and members live there (error 21408)"
        return Check("countries", False, says, f"Switch on in the console: {GEO_PAGE}.")
    return Check("countries", True, f"SMS may go to members' countries: {shown}")
