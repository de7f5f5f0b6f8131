"""`flask doctor --line` against the pretend Twilio, over real HTTP: what is wrong is said, and what to do."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from bot.delivery.gateway import AccountClient, AccountError, base_url
from bot.simulator.client import RunningSimulator
from models import Line
from tests.carrier import INBOUND, POOL, SERVICE, SMS, TOKEN, WHATSAPP, Receiver, commands_with, line_of, wrongs
from tests.cli import Run, commands_of
from tests.world import World

TOLL_FREE = "+18885550001"
MEMBER = "+15550002222"


@pytest.fixture
def run(at_twilio: World) -> Run:
    return commands_of(at_twilio.deployment)


# --- the doctor: all in order ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "values"),
    [(SMS, {}), (SERVICE, {}), (WHATSAPP, {}), (TOLL_FREE, {}), ("55512", {"carrier_answers_stop": False}), (POOL[0], {})],
)
def test_nothing_is_wrong_with_a_line_in_order(
    at_twilio: World, run: Run, simulator: RunningSimulator, address: str, values: dict[str, Any]
) -> None:
    simulator.client.configure(lines=[SMS, WHATSAPP, TOLL_FREE, "55512", *POOL, {"address": SERVICE, "pool": POOL}])
    line_of(at_twilio, address, **values)
    result = run("doctor", "--line", address)
    assert wrongs(result) == []
    assert result.output.splitlines()[-1] == "All is well."
    assert INBOUND in result.output and TOKEN not in result.output and MEMBER not in result.output


def test_all_lines_are_asked_for_at_once(at_twilio: World, run: Run) -> None:
    at_twilio.collective(lines=(SMS, WHATSAPP))
    output = run("doctor", "--line", "all").output
    assert f"line {SMS}: " in output and f"line {WHATSAPP}: " in output


def test_a_line_that_nobody_speaks_through(at_twilio: World, run: Run) -> None:
    result = run("doctor", "--line", SMS)
    assert result.exit_code == 1 and f"No collective speaks through {SMS}" in result.stderr
    assert "no line yet" in run("doctor", "--line", "all").stderr
    assert run("doctor", "--line", "nonsense").exit_code == 2


# --- the doctor: one thing wrong at a time ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switch", "says", "todo"),
    [
        ({"trial": True}, "trial account: only numbers verified in the console", "Upgrade"),
        ({"status": "suspended"}, "suspended: Twilio sends nothing", "console"),
        ({"balance": "-0.50"}, "-0.50 USD: Twilio sends nothing", "Add money"),
        ({"balance": "0.001"}, "one segment to everyone costs about 0.01", "before the next broadcast"),
        ({"closed_countries": ["US"]}, "SMS to US is switched off", "Geo permissions"),
        ({"missing": [SMS]}, "no such number", "TWILIO_ACCOUNT_SID"),
        ({"numbers": {SMS: {"can_sms": False}}}, "can not carry SMS", "another number"),
        (
            {"webhooks": {SMS: "https://old.example/sms?token=secret"}},
            f"goes to https://old.example/sms (the number), not to {INBOUND}",
            "connect",
        ),
        ({"webhooks": {SMS: "https://me:secret@old.example/in"}}, "goes to https://old.example/in (the number)", "connect"),
        ({"webhooks": {SMS: ""}}, "goes to nothing (the number)", "Run: flask line connect +15550001111"),
        ({"numbers": {SMS: {"sms_method": "GET"}}}, "by GET (the number); it must be POST", "connect"),
        ({"numbers": {SMS: {"sms_fallback_url": "https://old.example/x"}}}, "members' words go to https://old.example/x", "Take it out"),
        ({"numbers": {SMS: {"sms_application_sid": "AP1"}}}, "a TwiML application takes what members write", "overrules"),
        ({"unregistered": [SMS]}, "no registered US campaign: the carriers refuse its texts (error 30034)", "--collective SANGHA"),
        ({"campaign": {"status": "IN_PROGRESS"}}, "still being reviewed", "Wait"),
        ({"campaign": {"status": "FAILED", "errors": ["No opt-in seen."]}}, "campaign is failed: No opt-in seen.", "--collective SANGHA"),
    ],
)
def test_what_is_wrong_is_said_and_what_to_do(
    at_twilio: World, run: Run, simulator: RunningSimulator, switch: dict[str, Any], says: str, todo: str
) -> None:
    simulator.client.account(**switch)
    line_of(at_twilio, SMS)
    (wrong,) = wrongs(run("doctor", "--line", SMS))
    finding, remedy = wrong.split(" | ")
    assert says in finding and todo in remedy
    assert "secret" not in wrong


@pytest.mark.parametrize(
    ("switch", "says"),
    [
        ({"toll_free": {"status": "none"}}, "not verified: the carriers refuse its texts (error 30032)"),
        ({"toll_free": {"status": "IN_REVIEW"}}, "still being reviewed"),
        ({"toll_free": {"status": "TWILIO_REJECTED", "reason": "no privacy page"}}, "was refused: no privacy page"),
    ],
)
def test_a_toll_free_number_that_is_not_verified(
    at_twilio: World, run: Run, simulator: RunningSimulator, switch: dict[str, Any], says: str
) -> None:
    simulator.client.configure(lines=[TOLL_FREE])
    simulator.client.account(**switch)
    line_of(at_twilio, TOLL_FREE)
    (wrong,) = wrongs(run("doctor", "--line", TOLL_FREE))
    assert says in wrong


@pytest.mark.parametrize(
    ("switch", "says"),
    [
        ({"missing": [SERVICE]}, "no such Messaging Service"),
        ({"webhooks": {SERVICE: "https://old.example/"}}, "goes to https://old.example/ (the service)"),
        ({"services": {SERVICE: {"inbound_method": "GET"}}}, "by GET (the service)"),
        ({"services": {SERVICE: {"use_inbound_webhook_on_number": True}}, "webhooks": {POOL[1]: "https://old.example/"}}, f"({POOL[1]})"),
        ({"unregistered": POOL}, "no registered US campaign"),
    ],
)
def test_a_service_that_is_not_set_up(at_twilio: World, run: Run, simulator: RunningSimulator, switch: dict[str, Any], says: str) -> None:
    simulator.client.account(**switch)
    line_of(at_twilio, SERVICE)
    (wrong,) = wrongs(run("doctor", "--line", SERVICE))
    assert says in wrong


def test_a_large_pool_is_read_to_its_end(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    numbers = [f"+1555000{place:04d}" for place in range(2000, 2060)]
    simulator.client.configure(lines=numbers)
    line_of(at_twilio, numbers[-1])
    assert wrongs(run("doctor", "--line", numbers[-1])) == [], "its service, and with it its campaign, is known"


def test_a_number_in_a_service_is_reached_by_the_services_webhook(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    simulator.client.account(webhooks={POOL[0]: "https://old.example/"})
    line_of(at_twilio, POOL[0])
    assert wrongs(run("doctor", "--line", POOL[0])) == [], "the service's own counts, and it is right"
    simulator.client.account(webhooks={SERVICE: "https://other.example/"})
    (wrong,) = wrongs(run("doctor", "--line", POOL[0]))
    assert "https://other.example/ (its Messaging Service)" in wrong


def test_an_empty_service(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    simulator.client.configure(lines=[{"address": SERVICE, "pool": []}])
    line_of(at_twilio, SERVICE)
    assert "error 21703" in wrongs(run("doctor", "--line", SERVICE))[0]


def test_a_whatsapp_sender_that_is_offline_or_unknown(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    line_of(at_twilio, WHATSAPP)
    simulator.client.account(senders={WHATSAPP: {"status": "OFFLINE", "reason": "the phone was removed"}})
    assert "is offline: the phone was removed" in wrongs(run("doctor", "--line", WHATSAPP))[0]
    simulator.client.account(sees_senders=False)
    assert "no such WhatsApp sender" in wrongs(run("doctor", "--line", WHATSAPP))[0]


def test_the_sandbox_can_not_be_read_and_is_told_where_to_click(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    simulator.client.account(sees_senders=False)
    line_of(at_twilio, "whatsapp:+14155238886")
    result = run("doctor", "--line", "whatsapp:+14155238886")
    assert wrongs(result) == [] and "Sandbox settings" in result.output and INBOUND in result.output


def test_sms_in_india_is_one_way(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    simulator.client.configure(lines=["+919812345678"])
    line_of(at_twilio, "+919812345678", country="IN")
    (wrong,) = wrongs(run("doctor", "--line", "+919812345678"))
    assert "in India nobody can answer an SMS" in wrong and "flask line set +919812345678 --one-way" in wrong
    run("line", "set", "+919812345678", "--one-way")
    assert wrongs(run("doctor", "--line", "+919812345678")) == []


def test_members_with_indian_numbers_on_another_countrys_line(at_twilio: World, run: Run) -> None:
    line_of(at_twilio, SMS)
    at_twilio.member(1, "+919812345678")
    result = run("doctor", "--line", SMS)
    assert wrongs(result) == [] and "members with Indian numbers (1)" in result.output


def test_what_can_not_be_read_says_where_to_look(at_twilio: World, run: Run, simulator: RunningSimulator) -> None:
    simulator.client.account(geo_readable=False, balance=None)
    line_of(at_twilio, POOL[0])
    result = run("doctor", "--line", POOL[0])
    assert wrongs(result) == []
    assert "can not be read by API on this account; members' numbers belong to: US" in result.output
    assert "Check in the console: Messaging > Settings > Geo permissions." in result.output
    assert "a subaccount spends its parent's money" in result.output
    assert "whether Advanced Opt-Out is on can not be read by API" in result.output


def test_who_answers_stop_where_the_other_does_too(at_twilio: World, run: Run) -> None:
    line_of(at_twilio, SMS, carrier_answers_stop=False)
    assert "she gets two answers" in run("doctor", "--line", SMS).output
    at_twilio.line(WHATSAPP)
    with at_twilio.store.write() as session:
        session.execute(sa.update(Line).where(Line.address == WHATSAPP).values(carrier_answers_stop=True))
    (wrong,) = wrongs(run("doctor", "--line", WHATSAPP))
    assert "--no-carrier-answers-stop" in wrong


# --- the doctor: Twilio is away -----------------------------------------------------------------------------------------------


def test_a_wrong_token_is_one_finding(at_twilio: World) -> None:
    line_of(at_twilio, SMS)
    result = commands_with(at_twilio, twilio_auth_token="quite-another-token")("doctor", "--line", SMS)
    (wrong,) = wrongs(result)
    assert "Twilio does not take TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN" in wrong
    assert "quite-another-token" not in result.output


def test_no_connection_is_a_sentence(at_twilio: World) -> None:
    line_of(at_twilio, SMS)
    result = commands_with(at_twilio, twilio_api_url="http://127.0.0.1:1")("doctor", "--line", SMS)
    assert wrongs(result)[0].startswith("Twilio account: no connection to 127.0.0.1:1 could be had")


def test_a_page_of_some_box_in_between_is_a_sentence(at_twilio: World, receiver: Receiver) -> None:
    line_of(at_twilio, SMS)
    (wrong,) = wrongs(commands_with(at_twilio, twilio_api_url=receiver.url)("doctor", "--line", SMS))
    assert "Twilio answered 404" in wrong


def test_each_product_has_its_own_host_at_twilio_and_one_elsewhere(at_twilio: World) -> None:
    settings = at_twilio.deployment.settings
    real = settings.model_copy(update={"twilio_api_url": "https://api.twilio.com"})
    assert base_url(real, "messaging") == "https://messaging.twilio.com"
    assert base_url(real, "api") == "https://api.twilio.com"
    assert base_url(settings, "content") == settings.twilio_api_url
    region = settings.model_copy(update={"twilio_api_url": "https://api.sydney.au1.twilio.com"})
    assert base_url(region, "messaging") == "https://messaging.sydney.au1.twilio.com"
    foreign = settings.model_copy(update={"twilio_api_url": "https://api.twilio.com.evil.example"})
    assert base_url(foreign, "messaging") == "https://api.twilio.com.evil.example"


def test_a_failure_names_no_number(at_twilio: World) -> None:
    client = AccountClient(at_twilio.deployment.settings)
    with pytest.raises(AccountError) as caught:
        client.ask("GET", "api", f"/2010-04-01/Accounts/{at_twilio.deployment.settings.twilio_account_sid}/Things/{MEMBER}.json")
    assert caught.value.status == 404 and caught.value.code == 20404
    assert MEMBER[1:] not in str(caught.value)
