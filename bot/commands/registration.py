"""``flask registration``: what carriers ask before they carry texts to the US and Canada, filled in from what Chorus really does.

Every text printed here is rendered by the flows and by the send itself, so the forms never promise other words than members get.
Limits of the fields: Twilio's A2P campaign (Usa2p) and toll-free verification resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click
import sqlalchemy as sa

from bot.commands.ground import command, count, current_deployment, find_collective
from bot.conversation.engine import Session, advance
from bot.conversation.steps import Do, Hearing
from bot.delivery.account import is_toll_free
from bot.delivery.wording import render
from bot.languages.stop_phrases import TWILIO_STOP
from models import Collective, CollectiveLine, Line, Membership

TEXTS_A_MONTH = 17  # about four a week
VOLUMES = (10, 100, 1_000, 10_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 5_000_000)
Field = tuple[str, str]


def spoken(flow: str, arguments: Mapping[str, Any], outcomes: Mapping[str, Any]) -> str:
    """What a flow says in English on its first turn, when its actions give back ``outcomes`` (by the name of the step)."""
    from flows import FLOWS  # at module level it would be circular

    def act(step: Do) -> Any:
        return outcomes.get(step.name, {})

    outcome = advance(FLOWS[flow].function, Session(dict(arguments)), act, Hearing("en", datetime(1970, 1, 1, tzinfo=UTC)))
    return "\n".join(outcome.render("en"))


def said_on_joining(collective: Collective) -> str:
    """The answer to JOIN: the confirmation of the opt-in."""
    joined = {"collective": collective.name, "membership_id": 0, "ask_who": False, "already": False, "joined": True}
    return spoken("join", {"word": collective.word}, {"join": joined})


def said_on_help(collective: Collective) -> str:
    """The answer to HELP from a member."""
    about = {"known": True, "several": False, "collective": collective.name, "about": (collective.about or "").rstrip(".")}
    return spoken("help_", {}, {"about": about})


def said_on_stop() -> str:
    """Our own answer to STOP, where the carrier gives none."""
    return spoken("stop", {}, {})


def samples(collective: Collective) -> list[str]:
    """Messages as members get them: a notice, a call to an action, a vote."""
    name = collective.name
    return [
        render("notice", "en", name, "we meet on Thursday at 6pm in the library. Everyone is welcome."),
        render("alert", "en", name, "rally on Saturday at 10am, City Hall. Bring water."),
        render("poll", "en", name, "where shall we meet in May?", ["Library", "Park"]),
    ]


def campaign_fields(collective: Collective, numbers: list[str], public_url: str) -> list[Field]:
    """The A2P 10DLC campaign: (field, value), in the order of Twilio's form."""
    word, texted = collective.word.upper(), " or ".join(numbers) or "the group's number"
    page = _page_of(collective, public_url)
    return [
        ("Use case", "Low Volume Mixed (LOW_VOLUME); a registered charity may take CHARITY, a campaign for votes must take POLITICAL"),
        (
            "Description",
            f"{collective.name} is a community group{_about(collective)}. Its members joined by texting a keyword. They get "
            "notices of meetings and actions, polls on what the group does, answers to what they write, and check-ins if they asked for "
            "them; about 4 texts a week. "
            "Nothing is advertised or sold.",
        ),
        (
            "How people agree (message flow)",
            f"People opt in by text message: they send JOIN {word} (or {word}) from their own phone to {texted}. The keyword is given out "
            f"at meetings, on flyers, and on the public page {page}, which names the group, says that about 4 texts a week come, that "
            f"message and data rates may apply, how HELP and STOP work, and links to {public_url}/privacy and {public_url}/terms. Who "
            "opts in gets the confirmation below at once. People who agreed on a paper form may be added by an organizer, who records "
            "how and when they agreed. Opt-in data is not shared with third parties for marketing.",
        ),
        *((f"Sample message {place}", sample) for place, sample in enumerate(samples(collective), 1)),
        ("Opt-in keywords", f"JOIN, {word}"),
        ("Opt-in confirmation", said_on_joining(collective)),
        ("HELP keywords", "HELP, INFO"),
        ("HELP answer", said_on_help(collective)),
        ("STOP keywords", ", ".join(sorted(TWILIO_STOP)).upper()),
        ("STOP answer", f"Twilio's own on SMS; where Chorus answers: {said_on_stop()}"),
        ("Links in messages", "no, unless your organizers write them"),
        ("Phone numbers in messages", "no, unless your organizers write them"),
        ("Age-gated content, direct lending", "no"),
        ("Privacy policy", f"{public_url}/privacy"),
        ("Terms and conditions", f"{public_url}/terms"),
    ]


def toll_free_fields(collective: Collective, numbers: list[str], public_url: str, people: int) -> list[Field]:
    """The toll-free verification: what it asks beside the campaign's fields."""
    page = _page_of(collective, public_url)
    monthly = next((volume for volume in VOLUMES if volume >= people * TEXTS_A_MONTH), VOLUMES[-1])
    known = dict(campaign_fields(collective, numbers, public_url))
    return [
        ("Numbers", ", ".join(number for number in numbers if is_toll_free(number)) or "none of your lines is toll-free"),
        ("Website", page),
        ("Messages a month", f"{monthly:,} ({count(people, 'member')} now, about {TEXTS_A_MONTH} texts each)"),
        ("Use case categories", "EVENTS, POLLING_AND_VOTING_NON_POLITICAL; a registered charity also CHARITY_NONPROFIT"),
        ("Use case summary", known["Description"]),
        ("Production message sample", known["Sample message 1"]),
        ("Opt-in type", "VIA_TEXT"),
        ("Opt-in image (URL)", page),
        ("Additional information", known["How people agree (message flow)"]),
    ]


def _page_of(collective: Collective, public_url: str) -> str:
    return f"{public_url}/about/{quote(collective.word)}"


def _about(collective: Collective) -> str:
    return f" ({collective.about.rstrip('.')})" if collective.about else ""


@command("registration")
@click.option("--collective", "word", required=True, help="The collective's word.")
def registration(word: str) -> None:
    """Print what carriers ask for: the A2P 10DLC campaign and the toll-free form, with the texts as Chorus really sends them."""
    deployment = current_deployment()
    public_url = deployment.settings.public_url
    with deployment.store.read() as session:
        collective = find_collective(session, word)
        lines = session.scalars(
            sa.select(Line)
            .join(CollectiveLine, CollectiveLine.line_id == Line.id)
            .where(CollectiveLine.collective_id == collective.id, Line.channel == "sms", Line.two_way)
            .order_by(CollectiveLine.position)
        ).all()
        numbers = [line.address for line in lines if not line.address.startswith("MG")]
        active = sa.select(sa.func.count(Membership.id)).where(Membership.collective_id == collective.id, Membership.state == "active")
        people = session.scalar(active) or 0
        remarks = list(_remarks(collective, public_url, numbers))
        parts = {
            "A2P 10DLC: the campaign of a local US number": campaign_fields(collective, numbers, public_url),
            "Toll-free verification: instead, for a toll-free number": toll_free_fields(collective, numbers, public_url, people),
        }
    click.echo(
        "In Twilio's console, Messaging > Regulatory compliance. First a brand: the group's legal name, address, tax number (EIN) and a"
    )
    click.echo("contact person; without an EIN, a sole proprietor brand. Only you know those. Then:")
    for title, fields in parts.items():
        click.echo(f"\n{title}\n{'-' * len(title)}")
        for field, value in fields:
            click.echo(f"{field}:\n    " + value.replace("\n", "\n    "))
    for remark in remarks:
        click.echo(f"\nNote: {remark}")


def _remarks(collective: Collective, public_url: str, numbers: list[str]) -> list[str]:
    remarks = ["Read it all, and change what is not true of your group: a reviewer opens the pages and texts the keyword."]
    if not collective.public:
        remarks.append(
            f"{collective.word.upper()} is not public, so its page does not exist: reviewers will want another page with these words."
        )
    if not public_url.startswith("https://"):
        remarks.append(f"PUBLIC_URL is {public_url}: nobody else can open these pages.")
    if not numbers:
        remarks.append("The collective has no SMS number of its own yet: put the number into the text above.")
    return remarks


commands: tuple[click.Command, ...] = (registration,)
