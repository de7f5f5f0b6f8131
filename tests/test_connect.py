"""`flask line connect` against the pretend Twilio, over real HTTP: afterwards a text to the line comes to us."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from bot.simulator.client import RunningSimulator
from models import Audit
from tests.carrier import INBOUND, POOL, SERVICE, SMS, WHATSAPP, Receiver, commands_with, line_of, wrongs
from tests.cli import Run, commands_of
from tests.world import World


@pytest.fixture
def run(at_twilio: World) -> Run:
    return commands_of(at_twilio.deployment)


def audit_of(at_twilio: World) -> list[tuple[str, str]]:
    with at_twilio.store.read() as session:
        return [(row.act, row.subject) for row in session.scalars(sa.select(Audit).order_by(Audit.id))]


@pytest.mark.parametrize("address", [SMS, POOL[0], SERVICE, WHATSAPP, "55512"])
def test_connecting_sets_the_webhook_and_a_text_arrives(
    at_twilio: World, run: Run, simulator: RunningSimulator, receiver: Receiver, address: str
) -> None:
    simulator.client.configure(lines=[SMS, WHATSAPP, "55512", *POOL, {"address": SERVICE, "pool": POOL}])
    old = dict.fromkeys((SMS, WHATSAPP, "55512", *POOL, SERVICE), "https://old.example/in")
    simulator.client.account(webhooks=old)
    line_of(at_twilio, address)
    result = run("line", "connect", address, "--yes")
    assert result.exit_code == 0, result.output
    assert (
        "https://old.example/in by POST" in result.output
        and f"becomes: {INBOUND} by POST" in result.output
        and "(changed)" in result.output
    )
    assert audit_of(at_twilio)[-1] == ("line connected", address)
    assert simulator.client.text("+15550004444", address, "hello").status == 200
    assert receiver.texts[-1]["Body"] == "hello"
    again = run("line", "connect", address, "--yes")
    assert again.exit_code == 0 and "Nothing is to do" in again.output and len(audit_of(at_twilio)) == 1


def test_a_get_webhook_becomes_a_post(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    simulator.client.account(numbers={SMS: {"sms_method": "GET"}})
    line_of(at_twilio, SMS)
    assert run("line", "connect", SMS, "--yes").exit_code == 0
    assert wrongs(run("doctor", "--line", SMS)) == []


def test_a_service_that_leaves_it_to_its_numbers_has_each_of_them_set(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    simulator.client.account(
        services={SERVICE: {"use_inbound_webhook_on_number": True}}, webhooks=dict.fromkeys(POOL, "https://old.example/in")
    )
    line_of(at_twilio, SERVICE)
    output = run("line", "connect", SERVICE, "--yes").output
    assert [f"{number}: {INBOUND} by POST (changed)" in output for number in POOL] == [True, True]


def test_the_whatsapp_senders_other_settings_stay(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    simulator.client.account(
        webhooks={WHATSAPP: "https://old.example/in"}, senders={WHATSAPP: {"method": "PUT", "fallback_url": "https://backup.example/in"}}
    )
    line_of(at_twilio, WHATSAPP)
    assert f"{WHATSAPP}: {INBOUND} by POST (changed)" in run("line", "connect", WHATSAPP, "--yes").output
    assert simulator.client.account()["senders"][WHATSAPP] == {"method": "POST", "fallback_url": "https://backup.example/in"}


def test_nothing_is_changed_without_being_asked(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    simulator.client.account(webhooks={SMS: "https://old.example/in"})
    line_of(at_twilio, SMS)
    result = run("line", "connect", SMS)
    assert result.exit_code == 2 and "give --yes" in result.stderr
    assert "https://old.example/in" in run("doctor", "--line", SMS).output and audit_of(at_twilio) == []


@pytest.mark.parametrize(
    ("address", "switch", "says"),
    [
        (SMS, {"missing": [SMS]}, f"has no number {SMS}"),
        (SMS, {"numbers": {SMS: {"sms_application_sid": "AP1"}}}, "A TwiML application overrules"),
        (SERVICE, {"missing": [SERVICE]}, "no such Messaging Service"),
        (WHATSAPP, {"sees_senders": False}, f"WhatsApp senders: set {INBOUND} and HTTP POST"),
    ],
)
def test_what_can_not_be_connected_says_why(
    at_twilio: World, run: Run, simulator: RunningSimulator, address: str, switch: dict[str, Any], says: str
) -> None:
    simulator.client.account(**switch)
    line_of(at_twilio, address)
    result = run("line", "connect", address, "--yes")
    assert result.exit_code == 1 and says in result.stderr and audit_of(at_twilio) == []


def test_only_a_line_of_ours_is_connected(at_twilio: World, run: Run) -> None:
    result = run("line", "connect", SMS, "--yes")
    assert result.exit_code == 1 and f"No collective speaks through {SMS}" in result.stderr


def test_connection_overrides_behind_the_address_are_left_alone(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    simulator.client.account(webhooks={SMS: f"{INBOUND}#rc=2&rp=all"})
    line_of(at_twilio, SMS)
    assert wrongs(run("doctor", "--line", SMS)) == []
    assert "Nothing is to do" in run("line", "connect", SMS, "--yes").output


def test_an_address_that_twilio_can_not_reach(at_twilio: World, run: Run) -> None:
    line_of(at_twilio, SMS)
    plain = commands_with(at_twilio, public_url="http://127.0.0.1:8000", twilio_api_url="https://api.twilio.com")
    result = plain("line", "connect", SMS, "--yes")
    assert result.exit_code == 1 and "Twilio can not reach http://127.0.0.1:8000" in result.stderr
    secure_but_here = commands_with(at_twilio, public_url="https://localhost:8000", twilio_api_url="https://api.twilio.com")
    assert "Twilio can not reach" in secure_but_here("line", "connect", SMS, "--yes").stderr
