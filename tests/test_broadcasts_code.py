"""The one-time code is bound to the words: whoever forges her number gets nothing out of the code that she sends for her own draft."""

from __future__ import annotations

from datetime import timedelta

import pyotp
import pytest

from flows.organizing import read_code
from models import SecondFactor
from tests.delivery import ScriptedCarrier, pump_all
from tests.test_broadcasts import AUTHOR, MEMBER, OTHER, draft, let_due_timers_act, read
from tests.world import World

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
FORGED = "Police wait at the back door"


@pytest.fixture
def author(world: World) -> int:
    """She organizes with a code; her collective's id."""
    collective = world.collective()
    give_code(world, world.member(collective, AUTHOR, name="Chitra", roles=["organizer"]))
    world.member(collective, OTHER, roles=["organizer"])
    world.member(collective, MEMBER)
    return collective


def give_code(world: World, membership: int) -> None:
    with world.store.write() as session:
        session.add(SecondFactor(membership_id=membership, secret=SECRET))


def code(world: World) -> str:
    return pyotp.TOTP(SECRET).at(world.clock.now())


def bodies(world: World) -> list[str]:
    """What goes to the member within the minute."""
    world.clock.advance(timedelta(minutes=1))
    let_due_timers_act(world)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    return [taken.body for taken in carrier.taken if taken.to == MEMBER]


@pytest.mark.parametrize("spelled", ["{number} {code}", "{number} {first} {second}", "{number}: {code}", "{code}", "{first} {second}"])
def test_a_code_sends_the_draft_it_names_and_needs_no_name_for_the_only_one(world: World, author: int, spelled: str) -> None:
    number, now = draft(world), code(world)
    said = world.text(AUTHOR, "SEND " + spelled.format(number=number, code=now, first=now[:3], second=now[3:])).text
    assert said.startswith(f"{number}: leaves in 20 seconds.")
    assert bodies(world) == ["Sangha: We meet at six"]


@pytest.mark.parametrize(
    "forged",
    [
        [f"SEND {FORGED}"],
        [f"EN {FORGED}"],
        [f"EN {FORGED}", "AT 18:00"],
        ["DROP 1", f"SEND {FORGED}"],
        [f"ALERT {FORGED}", "DROP 1"],
    ],
)
def test_her_code_sends_no_words_that_were_written_under_her_number_meanwhile(world: World, author: int, forged: list[str]) -> None:
    number = draft(world)
    for text in forged:
        world.text(AUTHOR, text)
    said = world.text(AUTHOR, f"SEND {code(world)}").text
    assert said.startswith("Please name the draft. For ") and FORGED[:10] in said
    world.text(AUTHOR, f"SEND {number} {code(world)}")
    assert not any(FORGED in body for body in bodies(world))


def test_a_second_yes_to_hers_does_not_free_the_code_for_another(world: World, author: int) -> None:
    number = draft(world)
    world.text(OTHER, f"OK {number}")
    world.text(AUTHOR, f"SEND {FORGED}")
    assert "Please name the draft" in world.text(AUTHOR, f"SEND {code(world)}").text
    assert bodies(world) == ["Sangha: We meet at six"]


def test_a_draft_that_has_run_out_still_makes_the_code_ambiguous(world: World, author: int) -> None:
    """She begins hers in the morning; a forged one follows at noon; late in the evening she sends the code for hers."""
    draft(world)
    world.clock.advance(timedelta(hours=5))
    world.text(AUTHOR, f"SEND {FORGED}")
    world.clock.advance(timedelta(hours=8))
    assert "Please name the draft" in world.text(AUTHOR, f"SEND {code(world)}").text


def test_a_number_that_means_two_drafts_of_hers_needs_another_organizer(world: World, author: int) -> None:
    """A forged text may answer "Which group is this for?", too."""
    tenants = world.collective("TENANTS")
    give_code(world, world.member(tenants, AUTHOR, name="Chitra", roles=["organizer"]))
    said = [world.text(AUTHOR, text).text for text in ("SEND We meet at six", "A", f"SEND {FORGED}", "B", f"SEND 1 {code(world)}", "B")]
    assert "Which group" in said[0] and "1: another organizer must text OK 1." in said, said
    said = [world.text(AUTHOR, text).text for text in (f"SEND {code(world)}", "B")]
    assert any("Please name the draft" in text for text in said), said
    assert bodies(world) == []


def test_a_code_refused_for_want_of_a_name_is_not_used_up(world: World, author: int) -> None:
    first, second, now = draft(world), draft(world, text="SEND We meet at seven"), code(world)
    assert world.text(AUTHOR, f"SEND {now}").text == f'Please name the draft. For "We meet at seven" write: SEND {second} and your code.'
    assert "leaves in 20 seconds" in world.text(AUTHOR, f"SEND {first} {now}").text
    assert "that code is wrong or old" in world.text(AUTHOR, f"SEND {second} {now}").text, "it works once"
    assert read(world, second).state == "draft"


def test_a_code_sends_nobody_else_s_draft_and_no_number_without_a_code(world: World, author: int) -> None:
    theirs = draft(world, OTHER)
    assert world.text(AUTHOR, f"SEND {theirs} {code(world)}").text == f"There is no draft {theirs} to send."
    mine = draft(world)
    assert world.text(AUTHOR, f"SEND {mine}").text.startswith(f"{mine}: add your 6-digit code: SEND {mine} 123456.")


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("", (None, None)),
        ("47", ("47", None)),
        ("123456", (None, "123456")),
        ("12345", (None, "12345")),
        ("123 456", (None, "123456")),
        ("47 123456", ("47", "123456")),
        ("47 123 456", ("47", "123456")),
        ("#47: 123-456.", ("47", "123456")),
        ("47 12345", ("47", "12345")),
        ("४७ १२३४५६", ("४७", "१२३४५६")),
        ("47 people came", None),
        ("1234567890", None),
    ],
)
def test_nothing_but_digits_is_never_a_notice(written: str, means: tuple[str | None, str | None] | None) -> None:
    assert read_code(written) == means
