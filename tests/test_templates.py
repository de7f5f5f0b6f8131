"""WhatsApp templates: those that come with Chorus keep WhatsApp's rules, and the commands bring them to Meta and back."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from bot.delivery.contents import create_content, read_contents
from bot.delivery.gateway import AccountClient
from bot.delivery.ready_templates import READY, faults_of
from bot.languages import LANGUAGES
from bot.languages.segments import count_segments
from bot.simulator.client import RunningSimulator
from models import Audit, Template
from tests.carrier import WHATSAPP
from tests.cli import Run, commands_of
from tests.conftest import make_settings, open_frozen
from tests.world import World

NAMES = ["chorus_knock_en", "chorus_knock_es", "chorus_knock_hi", "chorus_knock_hi_latn"]


@pytest.fixture
def run(at_twilio: World) -> Run:
    return commands_of(at_twilio.deployment)


def states(at_twilio: World) -> dict[str, str]:
    with at_twilio.store.read() as session:
        return {row.name: row.state for row in session.scalars(sa.select(Template).order_by(Template.name))}


# --- the templates themselves ---------------------------------------------------------------------------------------------


def test_a_knock_stands_ready_in_every_language_and_names_no_group() -> None:
    assert [ready.name for ready in READY] == NAMES
    assert {ready.language for ready in READY} == set(LANGUAGES)
    for ready in READY:
        assert faults_of(ready.name, ready.body, ready.samples) == []
        assert "1" in ready.body and "{{" not in ready.body
        assert count_segments(ready.body).segments == 1
        assert ready.category == "UTILITY"


@pytest.mark.parametrize(
    ("body", "samples", "fault"),
    [
        ("{{1}} has a note.", {"1": "Sangha"}, "beginning or end"),
        ("A note from {{1}}", {"1": "Sangha"}, "beginning or end"),
        ("A note from {{1}}.", {"1": "Sangha"}, "beginning or end"),
        ("A note {{1}} {{2}} waits", {"1": "a", "2": "b"}, "next to each other"),
        ("A note {{2}} and {{1}} waits", {"1": "a", "2": "b"}, "in this order"),
        ("A note from {{1}} waits", {}, "no sample is given for 1"),
        ("x" * 1025, {}, "over 1024 characters"),
        (" ", {}, "empty"),
    ],
)
def test_what_whatsapp_would_refuse_is_found_before_it_is_sent(body: str, samples: dict[str, str], fault: str) -> None:
    assert any(fault in found for found in faults_of("chorus_x_en", body, samples))
    assert faults_of("Chorus X", "A note waits", {})
    assert faults_of("chorus_x_en", "A note from {{1}} waits", {"1": "Sangha"}) == []


# --- the commands -----------------------------------------------------------------------------------------------------------


def test_submit_makes_what_is_missing_and_asks_whatsapp_once(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    first = run("templates", "submit", "--yes")
    assert first.exit_code == 0, first.output
    assert states(at_twilio) == dict.fromkeys(NAMES, "submitted")
    contents = read_contents(AccountClient(at_twilio.deployment.settings))
    assert sorted(content.name for content in contents) == NAMES
    assert {content.locale for content in contents} == {"en", "es", "hi"}
    again = run("templates", "submit", "--yes")
    assert again.exit_code == 0 and "Nothing is to submit." in again.output
    assert len(read_contents(AccountClient(at_twilio.deployment.settings))) == len(NAMES)
    with at_twilio.store.read() as session:
        audit = session.scalars(sa.select(Audit).order_by(Audit.id)).all()
        assert [(row.act, row.subject) for row in audit] == [("template submitted", name) for name in NAMES]


def test_submit_goes_on_where_it_was_stopped(at_twilio: World, run: Run) -> None:
    """Made at Twilio, and the answer lost: it is found by its name and not made twice."""
    client = AccountClient(at_twilio.deployment.settings)
    made = create_content(client, READY[0])
    assert run("templates", "submit", "--yes").exit_code == 0
    with at_twilio.store.read() as session:
        kept = session.scalars(sa.select(Template).where(Template.name == NAMES[0])).one()
        assert (kept.content_sid, kept.state, kept.body) == (made.sid, "submitted", READY[0].body)
    assert len(read_contents(client)) == len(NAMES)


def test_nothing_is_submitted_without_being_asked(at_twilio: World, run: Run) -> None:
    result = run("templates", "submit")
    assert result.exit_code == 2 and "give --yes" in result.stderr
    assert READY[2].body in result.output and read_contents(AccountClient(at_twilio.deployment.settings)) == []


def test_sync_reads_what_whatsapp_says(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    run("templates", "submit", "--yes")
    simulator.client.account(
        templates={
            NAMES[0]: "approved",
            NAMES[1]: {"status": "rejected", "reason": "INCORRECT_CATEGORY"},
            NAMES[2]: "paused",
            NAMES[3]: "disabled",
        }
    )
    output = run("templates", "sync").output
    assert states(at_twilio) == dict(zip(NAMES, ("approved", "rejected", "paused", "disabled"), strict=True))
    assert "Reason: INCORRECT_CATEGORY" in output
    listed = run("templates", "list").output
    assert "The reason given: INCORRECT_CATEGORY" in listed and READY[3].body in listed
    assert "Nothing is to submit." in run("templates", "submit", "--yes").output, "a refused one is not pushed again"
    simulator.client.account(templates={NAMES[1]: "approved"})
    run("templates", "sync")
    assert states(at_twilio)[NAMES[1]] == "approved"
    with at_twilio.store.read() as session:
        assert session.scalars(sa.select(Template.reason).where(Template.name == NAMES[1])).one() is None


def test_a_template_that_vanished_at_twilio_is_a_draft_again(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    run("templates", "submit", "--yes")
    simulator.client.configure(contents={})
    run("templates", "sync")
    assert states(at_twilio) == dict.fromkeys(NAMES, "draft")


def test_the_list_needs_no_twilio(at_twilio: World) -> None:
    offline = commands_of(open_frozen(make_settings(str(at_twilio.deployment.settings.database_url))))
    result = offline("templates", "list")
    assert result.exit_code == 0 and "chorus_knock_hi_latn (hi-Latn): draft" in result.output
    for command in ("sync", "submit"):
        refused = offline("templates", command)
        assert refused.exit_code == 1 and "no connection to 127.0.0.1:1 could be had" in refused.stderr


def test_the_doctor_misses_an_approved_template(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    at_twilio.collective(lines=(WHATSAPP,))
    assert "without an approved template" in run("doctor", "--line", WHATSAPP).output
    run("templates", "submit", "--yes")
    simulator.client.account(templates={NAMES[0]: "approved"})
    run("templates", "sync")
    assert "1 approved knock template for who has not written for a day" in run("doctor", "--line", WHATSAPP).output
