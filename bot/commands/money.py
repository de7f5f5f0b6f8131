"""What texts cost, what a collective spent, and its monthly cap. All money is in the currency of the Twilio account."""

from __future__ import annotations

import json
from typing import Any

import click
import sqlalchemy as sa

from bot.commands.ground import Refused, Subject, count, current_deployment, find_collective
from bot.delivery.bell import ring
from bot.delivery.caps import MOST_FOR_A_MONTH, format_money, let_go, parse_money, set_cap
from bot.delivery.money import broadcast_limit, month_of, read_money
from bot.delivery.prices import BUILT_IN, CHANNELS, LISTED, MICROS, MOST_FOR_A_TEXT, SMS, find_country
from bot.delivery.prices import set_price as set_price_of
from models import Price, Spending

money = Subject("money", help="What texts cost, what was spent, the monthly cap.")
commands: tuple[click.Command, ...] = (money,)


class MoneyType(click.ParamType):
    """An amount such as 50.00; becomes millionths."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_money(str(value))
        except ValueError:
            self.fail(f"{value} is no amount: write it as 50.00, with six decimal places at most", param, ctx)


class CapType(MoneyType):
    """An amount, or ``none``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return "none" if str(value).casefold() == "none" else super().convert(value, param, ctx)


@money.act("prices")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show_prices(as_json: bool) -> None:
    """The price table: what a segment (SMS) or a message (WhatsApp) costs to each country."""
    with current_deployment().store.read() as session:
        own = {(row.channel, row.country): row for row in session.scalars(sa.select(Price))}
    rows = [
        {
            "channel": channel,
            "country": country or "elsewhere",
            "price": (own[key].micros if (key := (channel, country)) in own else BUILT_IN[key]) / MICROS,
            "from": f"set here on {own[key].changed_at:%Y-%m-%d}" if key in own else f"built-in estimate of {LISTED}",
        }
        for channel, country in sorted({*BUILT_IN, *own}, key=lambda key: (CHANNELS.index(key[0]), key[1] == "", key[1]))
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['channel']:9} {row['country']:9} {row['price']:.6f}  {row['from']}")
    click.echo("sms: a segment. whatsapp: a message inside the 24 hours after hers. template: a message outside of them.")
    click.echo("Built-in prices are estimates in US dollars. What your account pays: flask money price set --country IN --price 0.0750")
    click.echo("Carriers' own fees in the United States and Canada come on top, about 0.003 to 0.005 a segment.")


@money.act("price")
@click.argument("act", type=click.Choice(["set"]), metavar="set")
@click.option("--channel", type=click.Choice(CHANNELS), default=SMS, show_default=True)
@click.option("--country", required=True, help="Two letters (IN), or ELSEWHERE for every country that is not listed.")
@click.option("--price", "amount", type=MoneyType(), help="In the account's currency: 0.0750.")
@click.option("--micros", type=click.IntRange(min=0), help="The same in millionths: 75000.")
def set_price(act: str, channel: str, country: str, amount: int | None, micros: int | None) -> None:
    """Set what a segment (SMS) or a message (WhatsApp) costs to a country, in place of the built-in estimate.

    Counts from the pump's next turn of duty on, within seconds. (``act`` is the word "set": there is nothing else to do to a price.)
    """
    if (amount is None) == (micros is None):
        raise click.UsageError("Give either --price 0.0750 or --micros 75000.")
    cost = amount if micros is None else micros
    assert cost is not None
    code = "" if country.strip().casefold() == "elsewhere" else find_country(country)
    if code is None:
        raise click.UsageError(f"{country} is no country: two letters, such as IN or US, or ELSEWHERE.")
    if cost > MOST_FOR_A_TEXT:
        raise Refused(f"{format_money(cost)} for one text can not be meant.")
    deployment = current_deployment()
    with deployment.store.write() as session:
        set_price_of(session, deployment.clock.now(), channel, code, cost)
    click.echo(f"{channel} to {code or 'elsewhere'}: {cost / MICROS:.6f}.")


@money.act("cap")
@click.option("--collective", "word", required=True, help="Its word.")
@click.argument("amount", type=CapType())
def set_monthly_cap(word: str, amount: int | str) -> None:
    """Set what a month's texts may cost: an amount, or none. A tenth of it is kept for replies, STOP, SOS and care."""
    cap = None if isinstance(amount, str) else amount
    if cap is not None and cap > MOST_FOR_A_MONTH:
        raise Refused(f"A cap of {format_money(cap)} can not be meant.")
    deployment = current_deployment()
    now = deployment.clock.now()
    with deployment.store.write() as session:
        collective = find_collective(session, word)
        set_cap(session, now, collective.id, cap)
        stand = read_money(session, collective.id, now)
    released = let_go(deployment.store, collective.id) if stand.cap is None or stand.spent < stand.limit else 0
    if released:
        ring(deployment)
    if cap is None:
        click.echo(f"{word.upper()} has no cap.")
    else:
        click.echo(
            f"{word.upper()} may spend {format_money(cap)} a month; at {format_money(broadcast_limit(cap))} broadcasts and polls wait."
        )
        click.echo(f"Spent this month: {format_money(stand.spent)}.")
    if released:
        click.echo(f"{count(released, 'text')} no longer wait{'s' if released == 1 else ''} for money.")


@money.act("show")
@click.option("--collective", "word", required=True, help="Its word.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show_money(word: str, as_json: bool) -> None:
    """What a collective spent, month by month (UTC), and how it stands with its cap."""
    deployment = current_deployment()
    now = deployment.clock.now()
    with deployment.store.read() as session:
        collective = find_collective(session, word)
        stand = read_money(session, collective.id, now)
        months = session.scalars(
            sa.select(Spending).where(Spending.collective_id == collective.id).order_by(Spending.month.desc()).limit(24)
        ).all()
    left = None if stand.cap is None else max(0, stand.limit - stand.spent)
    if as_json:
        report = {
            "collective": word.upper(),
            "month": month_of(now),
            "spent": stand.spent / MICROS,
            "cap": None if stand.cap is None else stand.cap / MICROS,
            "left_for_broadcasts": None if left is None else left / MICROS,
            "months": [
                {"month": each.month, "spent": each.micros / MICROS, "segments": each.segments, "messages": each.messages}
                for each in months
            ],
        }
        click.echo(json.dumps(report))
        return
    if stand.cap is None:
        click.echo(f"{word.upper()} has no cap. Set one: flask money cap --collective {word.upper()} 50.00")
    else:
        click.echo(
            f"{word.upper()} has spent {format_money(stand.spent)} of {format_money(stand.cap)} this month; broadcasts may cost "
            f"{format_money(left or 0)} more."
        )
    for each in months:
        click.echo(f"{each.month}  {format_money(each.micros):>12}  {count(each.messages, 'text')}, {count(each.segments, 'segment')}")
    click.echo("By our price list, and by Twilio's own price where it has given one.")
