"""The pretend carrier's REST interface for messages, driven over real HTTP by the unmodified twilio SDK."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from bot.simulator.client import RunningSimulator
from tests.carrier import MEMBER, OTHER, POOL, SERVICE, SMS, TOKEN, WHATSAPP, Receiver, Rerouted, post_raw, refused


def test_create_answers_every_documented_key_in_its_type(simulator: RunningSimulator) -> None:
    response = post_raw(simulator, To=MEMBER, From=SMS, Body="नमस्ते " * 11)
    assert response.status_code == 201
    answer = response.json()
    uri = f"/2010-04-01/Accounts/{simulator.account}/Messages/{answer['sid']}"
    assert re.fullmatch(r"SM[0-9a-f]{32}", answer["sid"])
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000", answer.pop("date_created"))
    assert answer.pop("date_updated")
    assert answer == {
        "account_sid": simulator.account, "api_version": "2010-04-01", "body": "नमस्ते " * 11, "date_sent": None,
        "direction": "outbound-api", "error_code": None, "error_message": None, "from": SMS, "messaging_service_sid": None,
        "num_media": "0", "num_segments": "2", "price": None, "price_unit": "USD", "sid": answer["sid"], "status": "queued",
        "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"}, "to": MEMBER, "uri": f"{uri}.json",
    }  # fmt: skip


def test_an_accepted_message_is_in_the_ledger_once_and_arrives(simulator: RunningSimulator, twilio: Client, receiver: Receiver) -> None:
    sid = twilio.messages.create(to=MEMBER, from_=SMS, body="Rally at ten", status_callback=receiver.callback("a1")).sid
    simulator.client.wait_for(lambda: receiver.statuses(sid) == ["sent", "delivered"])
    (entry,) = simulator.client.ledger(MEMBER)
    assert (entry["sid"], entry["from"], entry["segments"], entry["status_callback"]) == (sid, SMS, 1, receiver.callback("a1"))
    assert entry["request_number"] == 1
    assert simulator.client.received(MEMBER) == ["Rally at ten"]
    assert receiver.signed == [True, True]
    told = receiver.receipts[1]
    assert told.pop("RawDlrDoneDate").isdigit()
    assert told == {
        "AccountSid": simulator.account, "ApiVersion": "2010-04-01", "From": SMS, "To": MEMBER, "MessageSid": sid, "SmsSid": sid,
        "MessageStatus": "delivered", "SmsStatus": "delivered", "token": "a1",
    }  # fmt: skip
    fetched = twilio.messages(sid).fetch()
    assert (fetched.status, fetched.date_sent is not None) == ("delivered", True)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": "+1"}, 21211),
        ({"to": "5551234567"}, 21211),
        ({"body": None}, 21602),
        ({"body": "x" * 1601}, 21617),
        ({"from_": None}, 21603),
        ({"from_": "+15559998888"}, 21606),
        ({"from_": "not a number at all"}, 21212),
        ({"to": SMS}, 21266),
        ({"from_": WHATSAPP}, 21910),
        ({"from_": "whatsapp:+15559998888", "to": f"whatsapp:{MEMBER}"}, 63007),
        ({"status_callback": "ftp://example.org/x"}, 21609),
        ({"status_callback": "https://under_score.example.org/x"}, 21609),
        ({"from_": None, "messaging_service_sid": "MG" + "b" * 32}, 21701),
        ({"from_": None, "messaging_service_sid": SERVICE, "to": f"whatsapp:{MEMBER}"}, 21703),
        ({"body": None, "content_sid": "HX" + "0" * 32}, 21655),
        ({"media_url": ["https://example.org/a.jpg"] * 11}, 21623),
    ],
)
def test_what_twilio_refuses_is_refused_with_its_code(
    simulator: RunningSimulator, twilio: Client, fields: dict[str, Any], code: int
) -> None:
    error = refused(twilio, **fields)
    assert (error.status, error.code) == (400, code)
    assert simulator.client.ledger() == []


def test_errors_have_twilios_shape(simulator: RunningSimulator) -> None:
    answer = post_raw(simulator, From=SMS, Body="hello").json()
    assert answer == {
        "code": 21604, "message": "A 'To' phone number is required.", "status": 400,
        "more_info": "https://www.twilio.com/docs/errors/21604",
    }  # fmt: skip


def test_only_the_accounts_own_token_opens(simulator: RunningSimulator) -> None:
    for user, token in ((simulator.account, "wrong"), ("AC" + "9" * 32, TOKEN)):
        error = refused(Client(user, token, http_client=Rerouted(simulator.url)))
        assert (error.status, error.code) == (401, 20003)
    assert requests.get(f"{simulator.url}/2010-04-01/Accounts/{simulator.account}/Messages.json", timeout=5).status_code == 401


def test_the_list_filters_and_pages_newest_first(simulator: RunningSimulator, twilio: Client) -> None:
    sids = [twilio.messages.create(to=MEMBER, from_=SMS, body=f"number {place}").sid for place in range(5)]
    twilio.messages.create(to="+15550004444", from_=OTHER, body="another")
    simulator.client.wait_for(lambda: len(simulator.client.received(MEMBER)) == 5)
    assert [one.sid for one in twilio.messages.list(to=MEMBER, page_size=2)] == sids[::-1]
    assert [one.body for one in twilio.messages.list(from_=OTHER)] == ["another"]
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert len(twilio.messages.list(to=MEMBER, date_sent_after=now - hour, date_sent_before=now + hour)) == 5
    assert twilio.messages.list(to=MEMBER, date_sent_before=now - hour) == []
    assert len(twilio.messages.list(to=MEMBER, date_sent=now.date())) == 5


def test_fetch_redact_and_delete(simulator: RunningSimulator, twilio: Client) -> None:
    sid = twilio.messages.create(to=MEMBER, from_=SMS, body="secret").sid
    assert twilio.messages(sid).update(body="").body == ""
    assert twilio.messages(sid).delete()
    with pytest.raises(TwilioRestException) as caught:
        twilio.messages(sid).fetch()
    assert (caught.value.status, caught.value.code) == (404, 20404)
    assert twilio.messages.list(to=MEMBER) == []


def test_a_messaging_service_names_its_sender_later_and_keeps_to_it(
    simulator: RunningSimulator, twilio: Client, receiver: Receiver
) -> None:
    first = twilio.messages.create(to=MEMBER, messaging_service_sid=SERVICE, body="one", status_callback=receiver.callback())
    assert (first.status, first.from_, first.num_segments, first.messaging_service_sid) == ("accepted", None, "0", SERVICE)
    simulator.client.wait_for(lambda: receiver.statuses(str(first.sid)) == ["queued", "sent", "delivered"])
    assert receiver.receipts[-1]["MessagingServiceSid"] == SERVICE
    twilio.messages.create(to=MEMBER, messaging_service_sid=SERVICE, body="two")
    one, two = simulator.client.ledger(MEMBER)
    assert one["from"] == two["from"] in POOL
    assert twilio.messages(str(first.sid)).fetch().from_ == one["from"]
    other = next(sender for sender in POOL if sender != one["from"])
    simulator.client.text(MEMBER, other, "hello")
    assert receiver.texts[-1]["MessagingServiceSid"] == SERVICE
    twilio.messages.create(to=MEMBER, messaging_service_sid=SERVICE, body="three")
    assert simulator.client.ledger(MEMBER)[-1]["from"] == other, "the sender she wrote to last"
