"""The pretend account over real HTTP, driven by the unmodified twilio SDK: numbers, services, registrations, money, templates."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client
from twilio.rest.content.v1.content import ContentList
from twilio.rest.content.v1.content.approval_create import ApprovalCreateList

from bot.simulator.client import RunningSimulator, SimulatorRefused
from bot.simulator.content import why_not
from tests.carrier import LINES, MEMBER, POOL, SERVICE, SMS, TOKEN, WHATSAPP, Receiver, Rerouted

TOLL_FREE = "+18885550001"


def number_of(twilio: Client, address: str = SMS) -> Any:
    (found,) = twilio.incoming_phone_numbers.list(phone_number=address)
    return found


def test_the_account_and_its_money(simulator: RunningSimulator, twilio: Client) -> None:
    account = twilio.api.v2010.accounts(simulator.account).fetch()
    assert (account.type, account.status) == ("Full", "active")
    assert twilio.balance.fetch().balance == "25.00"
    simulator.client.account(trial=True, status="suspended", balance="1.20", currency="EUR")
    account = twilio.api.v2010.accounts(simulator.account).fetch()
    assert (account.type, account.status) == ("Trial", "suspended")
    balance = twilio.balance.fetch()
    assert (Decimal(str(balance.balance)), balance.currency) == (Decimal("1.20"), "EUR")
    simulator.client.account(balance=None)
    with pytest.raises(TwilioRestException) as caught:
        twilio.balance.fetch()
    assert caught.value.status == 404


def test_a_number_and_its_webhook_which_is_really_called(simulator: RunningSimulator, twilio: Client, receiver: Receiver) -> None:
    number = number_of(twilio)
    assert (number.phone_number, number.sms_url, number.sms_method) == (SMS, f"{receiver.url}/twilio/inbound", "POST")
    assert number.capabilities["sms"] is True
    changed = twilio.incoming_phone_numbers(number.sid).update(sms_url=f"{receiver.url}/elsewhere", sms_method="GET")
    assert (changed.sms_url, changed.sms_method) == (f"{receiver.url}/elsewhere", "GET")
    assert simulator.client.text(MEMBER, SMS, "hello").status == 404, "the receiver has no such path"
    with pytest.raises(TwilioRestException) as caught:
        twilio.incoming_phone_numbers(number.sid).update(sms_url="not a url")
    assert (caught.value.status, caught.value.code) == (400, 21402)
    simulator.client.account(missing=[SMS])
    assert twilio.incoming_phone_numbers.list(phone_number=SMS) == []


def test_a_service_its_pool_and_whose_webhook_counts(simulator: RunningSimulator, twilio: Client, receiver: Receiver) -> None:
    service = twilio.messaging.v1.services(SERVICE).fetch()
    assert (service.inbound_request_url, service.use_inbound_webhook_on_number) == (f"{receiver.url}/twilio/inbound", False)
    pool = twilio.messaging.v1.services(SERVICE).phone_numbers.list()
    assert [one.phone_number for one in pool] == POOL and pool[0].sid == number_of(twilio, POOL[0]).sid
    twilio.messaging.v1.services(SERVICE).update(inbound_request_url=f"{receiver.url}/elsewhere", inbound_method="POST")
    assert simulator.client.text(MEMBER, POOL[0], "hello").status == 404
    simulator.client.account(services={SERVICE: {"use_inbound_webhook_on_number": True}})
    assert simulator.client.text(MEMBER, POOL[0], "hello").status == 200
    with pytest.raises(TwilioRestException) as caught:
        twilio.messaging.v1.services("MG" + "f" * 32).fetch()
    assert caught.value.status == 404


def test_registrations(simulator: RunningSimulator, twilio: Client) -> None:
    simulator.client.configure(lines=[*LINES, TOLL_FREE])
    campaigns = twilio.messaging.v1.services(SERVICE).us_app_to_person
    assert [one.campaign_status for one in campaigns.list()] == ["VERIFIED"]
    simulator.client.account(campaign={"status": "FAILED", "errors": ["The opt-in could not be verified."]})
    (failed,) = campaigns.list()
    assert failed.campaign_status == "FAILED" and failed.errors[0]["description"] == "The opt-in could not be verified."
    simulator.client.account(unregistered=POOL)
    assert campaigns.list() == []
    sid = number_of(twilio, TOLL_FREE).sid
    (verified,) = twilio.messaging.v1.tollfree_verifications.list(tollfree_phone_number_sid=sid)
    assert (verified.status, verified.tollfree_phone_number) == ("TWILIO_APPROVED", TOLL_FREE)
    simulator.client.account(toll_free={"status": "TWILIO_REJECTED", "reason": "no privacy page"})
    assert twilio.messaging.v1.tollfree_verifications.list()[0].rejection_reason == "no privacy page"
    simulator.client.account(toll_free={"status": "none"})
    assert twilio.messaging.v1.tollfree_verifications.list() == []


def test_a_whatsapp_sender(simulator: RunningSimulator, twilio: Client, receiver: Receiver) -> None:
    (sender,) = twilio.messaging.v2.channels_senders.list(channel="whatsapp")
    assert (sender.sender_id, sender.status) == (WHATSAPP, "ONLINE")
    webhook = {"callback_url": f"{receiver.url}/elsewhere", "callback_method": "POST"}
    url = f"{simulator.url}/v2/Channels/Senders/{sender.sid}"
    answer = requests.post(url, json={"webhook": webhook}, auth=(simulator.account, TOKEN), timeout=5)
    assert answer.status_code == 202 and answer.json()["webhook"]["callback_url"] == f"{receiver.url}/elsewhere"
    assert simulator.client.text(MEMBER, WHATSAPP, "hello").status == 404
    simulator.client.account(senders={WHATSAPP: {"status": "OFFLINE", "reason": "the phone was removed"}})
    (sender,) = twilio.messaging.v2.channels_senders.list(channel="whatsapp")
    assert sender.status == "OFFLINE"
    simulator.client.account(sees_senders=False)
    assert twilio.messaging.v2.channels_senders.list(channel="whatsapp") == []


def test_geo_permissions(simulator: RunningSimulator, twilio: Client) -> None:
    simulator.client.account(closed_countries=["IN"])
    (india,) = twilio.accounts.v1.messaging_geopermissions.fetch(country_code="IN").permissions
    assert (india["country_code"], india["enabled"]) == ("IN", False)
    simulator.client.account(geo_readable=False)
    with pytest.raises(TwilioRestException):
        twilio.accounts.v1.messaging_geopermissions.fetch()


def test_only_the_accounts_own_token_opens_any_of_it(simulator: RunningSimulator) -> None:
    for path in (
        f"/2010-04-01/Accounts/{simulator.account}.json", f"/2010-04-01/Accounts/{simulator.account}/Balance.json", "/v1/Services",
        "/v2/Channels/Senders", "/v1/Content", "/v1/ContentAndApprovals", "/v1/Messaging/GeoPermissions", "/v1/nothing",
    ):  # fmt: skip
        for auth in (None, (simulator.account, "wrong"), ("AC" + "9" * 32, TOKEN)):
            answer = requests.get(simulator.url + path, auth=auth, timeout=5)
            assert (answer.status_code, answer.json()["code"]) == (401, 20003), path
    own = (simulator.account, TOKEN)
    other = f"/2010-04-01/Accounts/{'AC' + '9' * 32}/Balance.json"
    assert requests.get(simulator.url + other, auth=own, timeout=5).status_code == 401
    nothing = requests.get(simulator.url + "/v1/nothing", auth=own, timeout=5)
    assert (nothing.status_code, nothing.json()["code"]) == (404, 20404)


def test_lists_come_in_pages(simulator: RunningSimulator, twilio: Client) -> None:
    numbers = [f"+1555000{place:04d}" for place in range(2000, 2007)]
    simulator.client.configure(lines=numbers)
    assert len(twilio.incoming_phone_numbers.list(page_size=3)) == 7
    (service,) = twilio.messaging.v1.services.list()
    assert len(twilio.messaging.v1.services(str(service.sid)).phone_numbers.list(page_size=3)) == 7


# --- templates --------------------------------------------------------------------------------------------------------------


def make_template(twilio: Client, body: str = "Hello, a note is waiting.", name: str = "knock_en", **variables: str) -> str:
    types = ContentList.Types({"twilio/text": {"body": body}})
    request = ContentList.ContentCreateRequest({"friendly_name": name, "language": "en", "variables": variables, "types": types})
    return str(twilio.content.v1.contents.create(request).sid)


def submit(twilio: Client, sid: str, name: str = "knock_en", category: str = "UTILITY") -> Any:
    asked = ApprovalCreateList.ContentApprovalRequest({"name": name, "category": category})
    return twilio.content.v1.contents(sid).approval_create.create(asked)


def test_a_template_from_its_making_to_metas_word(simulator: RunningSimulator, twilio: Client) -> None:
    sid = make_template(twilio)
    assert sid.startswith("HX") and twilio.content.v1.contents(sid).approval_fetch().fetch().whatsapp["status"] == "unsubmitted"
    assert submit(twilio, sid).status == "received"
    with pytest.raises(TwilioRestException):
        submit(twilio, sid)
    simulator.client.account(templates={"knock_en": {"status": "rejected", "reason": "ABUSIVE_CONTENT"}})
    (both,) = twilio.content.v1.content_and_approvals.list()
    assert (both.approval_requests["status"], both.approval_requests["rejection_reason"]) == ("rejected", "ABUSIVE_CONTENT")
    assert twilio.content.v1.contents(sid).delete()
    with pytest.raises(TwilioRestException) as caught:
        twilio.content.v1.contents(sid).fetch()
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("name", "category", "body", "samples"),
    [
        ("Knock", "UTILITY", "A note is waiting.", {}),
        ("knock", "FRIENDLY", "A note is waiting.", {}),
        ("knock", "UTILITY", "{{1}} has a note for you.", {"1": "Sangha"}),
        ("knock", "UTILITY", "You have a note from {{1}}.", {"1": "Sangha"}),
        ("knock", "UTILITY", "A note {{1}} {{2}} is waiting", {"1": "a", "2": "b"}),
        ("knock", "UTILITY", "A note from {{1}} is waiting", {}),
    ],
)
def test_what_whatsapp_refuses_in_a_template(name: str, category: str, body: str, samples: dict[str, str]) -> None:
    assert why_not(name, category, {"body": body, "variables": samples})
    assert not why_not("knock", "UTILITY", {"body": "A note from {{1}} is waiting", "variables": {"1": "Sangha"}})


@pytest.mark.parametrize(("status", "code"), [("pending", "63016"), ("paused", "63041"), ("disabled", "63042")])
def test_outside_the_window_only_an_approved_template_goes(
    simulator: RunningSimulator, twilio: Client, receiver: Receiver, status: str, code: str
) -> None:
    sid = make_template(twilio)
    submit(twilio, sid)
    to = f"whatsapp:{MEMBER}"
    for verdict, expected in ((status, ["failed"]), ("approved", ["sent", "delivered"])):
        simulator.client.account(templates={"knock_en": verdict})
        sent = twilio.messages.create(to=to, from_=WHATSAPP, content_sid=sid, status_callback=receiver.callback())
        simulator.client.wait_for(lambda sent=sent, expected=expected: receiver.statuses(str(sent.sid)) == expected)
    assert [one.get("ErrorCode") for one in receiver.receipts if one["MessageStatus"] == "failed"] == [code]


# --- the switches -----------------------------------------------------------------------------------------------------------


def test_switches_are_checked_and_a_reset_puts_the_account_in_order(simulator: RunningSimulator) -> None:
    for wrong in (
        {"colour": "red"}, {"trial": "yes"}, {"campaign": {"status": "LOST"}}, {"numbers": {SMS: {"colour": "red"}}},
        {"webhooks": {"nowhere": "https://example.org"}}, {"webhooks": {SMS: "not a url"}}, {"templates": {"none": "approved"}},
    ):  # fmt: skip
        with pytest.raises(SimulatorRefused):
            simulator.client.account(**wrong)
    simulator.client.account(trial=True, closed_countries=["IN"])
    assert simulator.client.account()["trial"] is True
    simulator.client.reset()
    told = simulator.client.account()
    assert (told["trial"], told["closed_countries"]) == (False, [])


def test_the_sdk_is_the_unmodified_one(simulator: RunningSimulator) -> None:
    """Every host of Twilio's leads to the simulator, and nothing else was changed."""
    client = Client(simulator.account, TOKEN, http_client=Rerouted(simulator.url))
    assert client.messaging.v1.services.list() and client.api.v2010.accounts(simulator.account).fetch()
