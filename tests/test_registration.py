"""`flask registration`: what it prints for carriers is what members really get, and fits the forms."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from bot.commands.registration import campaign_fields, toll_free_fields
from models import Collective
from tests.cli import commands_of
from tests.world import World

SMS = "+15550001111"
PUBLIC = "https://chorus.example.org"


def printed(world: World, word: str = "SANGHA") -> str:
    result = commands_of(world.deployment)("registration", "--collective", word)
    assert result.exit_code == 0, result.output
    return "\n".join(line.removeprefix("    ") for line in result.output.splitlines())


def fields_of(world: World) -> tuple[dict[str, str], dict[str, str]]:
    with world.store.read() as session:
        collective = session.scalars(sa.select(Collective)).one()
        return dict(campaign_fields(collective, [SMS], PUBLIC)), dict(toll_free_fields(collective, [SMS], PUBLIC, 400))


def test_the_texts_are_those_that_a_phone_gets(small_world: World) -> None:
    small_world.collective(name="Oakland Tenants")
    told = printed(small_world)
    joined = small_world.text("+15550003333", "JOIN SANGHA")
    assert f"Opt-in confirmation:\n{joined.text}\n" in told
    small_world.text("+15550003333", "Rosa")
    assert f"HELP answer:\n{small_world.text('+15550003333', 'HELP').text}\n" in told
    small_world.line("whatsapp:+15550001112")
    assert small_world.text("+15550003333", "please stop texting me").text in told


@pytest.mark.parametrize("name", ["Us", "A very long name of a collective, as long as one may be, up to eighty letters ok"])
def test_every_field_fits_its_form(small_world: World, name: str) -> None:
    """Lengths of Twilio's A2P campaign resource."""
    small_world.collective(
        name=name, about="we meet, decide together and act, for homes that everyone can afford to live in, in the whole of our city today"
    )
    campaign, toll_free = fields_of(small_world)
    assert 40 <= len(campaign["Description"]) <= 4096
    assert 40 <= len(campaign["How people agree (message flow)"]) <= 2048
    for place in (1, 2, 3):
        assert 20 <= len(campaign[f"Sample message {place}"]) <= 1024
        assert campaign[f"Sample message {place}"].startswith(f"{name}: ")
    for answer in ("Opt-in confirmation", "HELP answer"):
        assert 20 <= len(campaign[answer]) <= 320 and name[:40] in campaign[answer]
    for wanted in ("Msg&data rates may apply", "HELP", "STOP", "4 texts a week"):
        assert wanted in campaign["Opt-in confirmation"]
    assert toll_free["Messages a month"].startswith("10,000 ")


def test_the_pages_it_names_exist(small_world: World) -> None:
    small_world.collective(word="एकता", name="एकता")
    campaign, toll_free = fields_of(small_world)
    for url in (campaign["Privacy policy"], campaign["Terms and conditions"], toll_free["Website"]):
        assert small_world.client.get(url.removeprefix(PUBLIC)).status_code == 200, url


def test_what_a_reviewer_would_stumble_over_is_said(small_world: World) -> None:
    small_world.collective(public=False, lines=("whatsapp:+15550001112",))
    told = printed(small_world)
    assert "SANGHA is not public, so its page does not exist" in told and "no SMS number of its own yet" in told
    result = commands_of(small_world.deployment)("registration", "--collective", "NOBODY")
    assert result.exit_code == 1 and "There is no collective with the word NOBODY" in result.stderr
