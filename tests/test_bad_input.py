"""Whatever a phone, a machine or a broken proxy sends: an answer or an empty response, well-formed, and the message is kept."""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ElementTree
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from bot.inbound.twiml import EMPTY
from models import Inbound, Note, Outbound, Phone
from tests.world import ACCOUNT, TOKEN, Answer, World, inbound_parameters, new_sid

ASHA, STRANGER, SMS = "+15551000001", "+15557770000", "+15550001111"
WHATSAPP = "whatsapp:+15550003333"
ONLY_WORDS = "We can only read words here. Please write it as a text."
GREETING = "This is the number of a group. To join, send JOIN and the group's word. STOP ends all texts."


@pytest.fixture
def place(small_world: World) -> World:
    """A collective on SMS and on WhatsApp, with one member on both."""
    small_world.member(small_world.collective(lines=[SMS, WHATSAPP]), ASHA, spoke_on=SMS)
    return small_world


def latest(world: World) -> Inbound:
    with world.store.read() as session:
        return session.scalars(sa.select(Inbound).order_by(Inbound.id.desc()).limit(1)).one()


def check(answer: Answer) -> None:
    """An answer that the carrier can read."""
    assert answer.status == 200
    root = ElementTree.fromstring(answer.raw)
    assert root.tag == "Response"
    assert len(answer.texts) <= 1
    for body in answer.texts:
        assert 0 < len(body) <= 1600


# --- bodies ----------------------------------------

NO_WORDS = [None, "", " ", "\n\t ", "\u200b", "\u00a0\u2003", "\x00", "\u200e\u200f", "\ufeff", "\u202e", "\x00\x01\x0b\x1f"]


@pytest.mark.parametrize("body", NO_WORDS)
def test_no_words(place: World, body: str | None) -> None:
    answer = place.text(ASHA, body)
    check(answer)
    assert answer.texts == [ONLY_WORDS]
    check(place.text(STRANGER, body))


STRANGE = [
    "a" * 1600,
    "long " * 2200,
    "हाँ " * 4000,
    "👍" * 5000,
    "hello\x00there",
    "hello\x0b\x1b[31mthere\x7f\x9f",
    "\ufffe\uffff hello",
    "\u202ereversed\u202c and \u2066isolated\u2069",
    "a\u200bb\u200cc\u200dd",
    "👩‍👩‍👧‍👦",
    "❤️",
    "1️⃣",
    "🏳️‍🌈🏳️‍🌈",
    "?",
    "...",
    "<Response><Message>hi</Message></Response>",
    "]]>&amp;&#x0;<![CDATA[",
    "'; DROP TABLE phones; --",
    "{collective} {} %s %(x)s {0.__class__}",
    "\r\n\r\n\r\n",
    "é" * 700,
    "ｆｕｌｌ ｗｉｄｔｈ",
    "𝓜𝓔𝓝𝓤",
    "MENU\x00",
    "\u0301\u0301\u0301",
    "﷽" * 200,
    "-1",
    "999999999999999999999999999999",
    "٣",
    "½",
    "1e9",
    "OK 99999999999999999999",
    "PAUSE 99999999999999999999",
    "REPLY 99999999999999999999 hello",
    "JOIN " + "x" * 1500,
    "NAME " + "\u202e" + "x" * 500,
    "LANG klingon",
    "LANG \x00",
    "SEND",
    "POLL //////",
    "POLL ? / ? / ?",
    "HOLD ½",
    "CLOSE ²",
    "OK ²",
    "PAUSE ²",
]


@pytest.mark.parametrize("who", ["member", "organizer", "stranger", "in a question"])
@pytest.mark.parametrize("body", STRANGE, ids=[f"{index}" for index in range(len(STRANGE))])
def test_strange_words(place: World, body: str, who: str) -> None:
    number = {"stranger": STRANGER, "organizer": "+15551000002"}.get(who, ASHA)
    if who == "organizer":
        with place.store.read() as session:
            collective = session.scalar(sa.text("SELECT id FROM collectives"))
        place.member(collective, number, roles=["organizer", "supporter"], spoke_on=SMS)
    if who == "in a question":
        place.text(ASHA, "JOIN SANGHA")  # "who are you?"
    check(place.text(number, body))
    assert latest(place).handled_as not in ("", "failed")


@pytest.mark.parametrize("body", [text for text in STRANGE if len(text) < 2000])
def test_strange_words_as_an_answer_in_her_own_words(place: World, body: str) -> None:
    place.text(ASHA, "NAME")
    check(place.text(ASHA, body))
    assert latest(place).handled_as != "failed"
    check(place.text(ASHA, "ME"))
    assert latest(place).handled_as != "failed"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.text(max_size=80), whatsapp=st.booleans())
def test_any_text_at_all(place: World, body: str, whatsapp: bool) -> None:
    body = body.encode("utf-8", "replace").decode()
    check(place.text("whatsapp:" + ASHA if whatsapp else ASHA, body, to=WHATSAPP if whatsapp else SMS))
    assert latest(place).handled_as != "failed"


def test_a_long_text_is_kept_whole(place: World) -> None:
    body = "We were there at dawn. " * 400
    assert place.text(ASHA, body).texts == ["Passed on. Thank you."]
    assert latest(place).body == body
    with place.store.read() as session:
        assert session.scalars(sa.select(Note)).one().body == body.strip()[:1600]


# --- media, places, people, buttons ----------------------------------------

PICTURE = {
    "NumMedia": "1",
    "MediaUrl0": "https://api.twilio.com/2010-04-01/Accounts/AC/Messages/MM/Media/ME1",
    "MediaContentType0": "image/jpeg",
}
VCARD = {"NumMedia": "1", "MediaUrl0": "https://api.twilio.com/x", "MediaContentType0": "text/vcard"}
LOCATION = {"Latitude": "28.6139", "Longitude": "77.2090", "Address": "Jantar Mantar, Delhi", "Label": "Here", "MessageType": "location"}


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        (PICTURE | {"Body": None}, "media"),
        (PICTURE | {"Body": "", "NumMedia": "10"}, "media"),
        (VCARD | {"Body": None}, "contact"),
        (LOCATION | {"Body": ""}, "location"),
        ({"Body": "", "NumMedia": ""}, "empty"),
        ({"Body": "", "NumMedia": "many"}, "media"),
    ],
)
def test_what_has_no_words_is_kept_and_answered(place: World, parameters: dict[str, Any], kind: str) -> None:
    answer = place.text("whatsapp:" + ASHA, "x", to=WHATSAPP, **({"MessageSid": new_sid("MM")} | parameters))
    assert answer.texts == [ONLY_WORDS]
    assert (latest(place).kind, latest(place).body) == (kind, None)


def test_a_picture_with_words_is_read(place: World) -> None:
    assert "POLLS" in place.text(ASHA, "MENU", **PICTURE).text
    assert latest(place).kind == "media"


def test_a_picture_does_not_take_the_open_question(place: World) -> None:
    place.text(ASHA, "CHECKIN")
    assert place.text(ASHA, None, **PICTURE).texts == [ONLY_WORDS]
    assert "Thank you for checking in" in place.text(ASHA, "4").text


def test_a_button_is_its_text(place: World) -> None:
    tapped = {"ButtonText": "MENU", "ButtonPayload": "menu", "MessageType": "button", "OriginalRepliedMessageSid": new_sid()}
    for body in ("MENU", None):
        assert "POLLS" in place.text("whatsapp:" + ASHA, body, to=WHATSAPP, **tapped).text
        assert latest(place).kind == "button"


def test_unknown_parameters_are_signed_and_ignored(place: World) -> None:
    extra = {
        "Zzz": "",
        "aaa": "x",
        "Body2": "STOP",
        "Forwarded": "true",
        "ReferralBody": "ad",
        "ExternalUserId": "whatsapp:ID.1",
        "नया": "हाँ",
    }
    assert "POLLS" in place.text(ASHA, "MENU", **extra).text


# --- senders ----------------------------------------


def test_a_number_without_its_plus_is_the_same_phone(place: World) -> None:
    for sender in ("15551000001", " 15551000001", "+15551000001 "):
        assert "POLLS" in place.text(sender, "MENU").text
    assert "POLLS" in place.text("whatsapp:15551000001", "MENU", to="whatsapp:15550003333").text
    assert "POLLS" in place.text("whatsapp: 15551000001", "MENU", to="whatsapp: 15550003333").text
    with place.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Phone)) == 1


@pytest.mark.parametrize(
    "sender",
    ["BANK", "VK-HDFCBK", "22333", "Anonymous", "+", "+0", "+1", "++15551000001", "266696687", "+१५५५१००००००१", "x" * 5000, "\x00",
     "whatsapp:", "whatsapp:BANK",
     "messenger:123456789", "rcs:agent", "sip:a@example.org", "+1555100000100000000000"],
)  # fmt: skip
@pytest.mark.parametrize("body", ["JOIN SANGHA", "STOP", "HELP", "hello"])
def test_a_sender_that_is_no_phone_is_kept_and_not_answered(place: World, sender: str, body: str) -> None:
    to = WHATSAPP if sender.startswith("whatsapp:") else SMS
    answer = place.text(sender, body, to=to)
    check(answer)
    with place.store.read() as session:
        stored = session.scalar(sa.select(sa.func.count()).select_from(Inbound))
        phones = session.scalar(sa.select(sa.func.count()).select_from(Phone))
    if sender in ("\x00",):
        assert stored == 0  # nobody sent it: no message
    else:
        assert (stored, latest(place).body) == (1, body)
    assert answer.raw == EMPTY.encode() or sender == "266696687"
    assert phones == (2 if sender == "266696687" else 1)


@pytest.mark.parametrize("body", ["JOIN SANGHA", "hello", "MENU", "STOP"])
def test_our_own_lines_never_talk_to_each_other(place: World, body: str) -> None:
    place.collective("TENANTS", lines=["+15550002222"])
    place.text(STRANGER, "HELP")
    place.text(STRANGER, "HELP", to="+15550002222")
    for sender, to in ((SMS, SMS), ("+15550002222", SMS), (SMS, "+15550002222"), (WHATSAPP, WHATSAPP)):
        assert place.text(sender, body, to=to).raw == EMPTY.encode()
        assert latest(place).handled_as == "no phone"


def test_a_message_to_nobody_we_know_is_kept(place: World) -> None:
    for to in ("+15559999999", "", None, "whatsapp:", "MG" + "0" * 32):
        assert place.text(ASHA, "hello", to=to).raw == EMPTY.encode()  # type: ignore[arg-type]
        assert (latest(place).handled_as, latest(place).body) == ("unknown line", "hello")


def test_a_messaging_service_is_a_line(small_world: World) -> None:
    service = "MG" + "0123456789abcdef" * 2
    small_world.line(service)
    small_world.collective(lines=[service])
    assert "Welcome" in small_world.text(ASHA, "JOIN SANGHA", to="+15558888888", MessagingServiceSid=service).text


@pytest.mark.parametrize("missing", [("MessageSid", "SmsSid", "SmsMessageSid"), ("From",)])
def test_what_names_no_message_or_no_sender_is_no_message(place: World, missing: tuple[str, ...]) -> None:
    assert place.text(ASHA, "MENU", **dict.fromkeys(missing)).raw == EMPTY.encode()
    with place.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Inbound)) == 0


def test_older_names_of_the_sid_will_do(place: World) -> None:
    assert "POLLS" in place.text(ASHA, "MENU", MessageSid=None, SmsSid=None).text


# --- transports ----------------------------------------


def signed(world: World, raw: str, parameters: Any = None, **request: Any) -> Answer:
    signature = RequestValidator(TOKEN).compute_signature("https://chorus.example.org" + raw, parameters or {})
    response = world.client.open(raw, headers={"X-Twilio-Signature": signature}, **request)
    texts = []
    if response.data.startswith(b"<?xml"):
        texts = ["".join(body.itertext()) for body in ElementTree.fromstring(response.data).iter("Body")]
    return Answer(response.status_code, texts, response.data)


def test_get_is_no_door(place: World) -> None:
    """A GET would write her words and her number into every access log on the way."""
    raw = f"/twilio/inbound?MessageSid={new_sid()}&From=%2B15551000001&To=%2B15550001111&Body=MENU"
    assert signed(place, raw, method="GET").status == 405


def json_request(world: World, body: bytes) -> Answer:
    raw = f"/twilio/inbound?bodySHA256={hashlib.sha256(body).hexdigest()}"
    return signed(world, raw, method="POST", data=body, content_type="application/json")


@pytest.mark.parametrize(
    "changed",
    [
        {"Body": "\ud800 hello \udfff"},
        {"Body": "\ud83d\ude00"},
        {"Body": None},
        {"Body": 7},
        {"Body": ["a", "b"]},
        {"Body": {"text": "hi"}},
        {"Body": "hello", "MessageSid": "SM\ud800"},
        {"Body": "hello", "From": "\ud800+15551000001"},
        {"Body": "hello", "To": "\ud800"},
        {"Body": "hello", "MessagingServiceSid": "\ud800"},
        {"Body": "hello", "OptOutType": "\ud800"},
        {"Body": "hello", "OptOutType": 1},
        {"Body": "hello", "NumMedia": 1, "MediaContentType0": None},
        {"Body": "hello", "Latitude": 1.5},
        {"Body": "hello", "\ud800": "\ud800"},
        {"Body": "hello", "From": 15551000001, "To": 15550001111},
        {"Body": "hello\u0000"},
    ],
    ids=range(17),
)
def test_json_with_what_no_database_takes(place: World, changed: dict[str, Any]) -> None:
    parameters = {"MessageSid": new_sid(), "AccountSid": ACCOUNT, "From": ASHA, "To": SMS} | changed
    check(json_request(place, json.dumps(parameters).encode()))
    assert latest(place).handled_as != "failed"


@pytest.mark.parametrize("body", [b"%ff%fe%00hello", b"%ed%a0%80", b"%zz%", b"%F0%9F", quote("हाँ".encode()).encode()[:-1]])
def test_percent_encoded_rubbish(place: World, body: bytes) -> None:
    sid = new_sid()
    data = urlencode({"MessageSid": sid, "AccountSid": ACCOUNT, "From": ASHA, "To": SMS}).encode() + b"&Body=" + body
    with place.app.test_request_context("/", method="POST", data=data, content_type="application/x-www-form-urlencoded") as context:
        parameters = context.request.form.to_dict()  # as any framework at the other end would read it
    check(signed(place, "/twilio/inbound", parameters, method="POST", data=data, content_type="application/x-www-form-urlencoded"))
    assert latest(place).handled_as not in ("", "failed")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
def test_other_methods_have_no_effect(place: World, method: str) -> None:
    for path in ("/twilio/inbound", "/twilio/status/x"):
        assert place.client.open(path, method=method, data={"From": ASHA}).status_code < 500
    with place.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Inbound)) == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"MessageStatus": "delivered", "ErrorCode": "१२३"},
        {"MessageStatus": "no such thing"},
        {"MessageStatus": ""},
        {"MessageStatus": "failed", "ErrorCode": "9" * 50},
        {"MessageStatus": "failed", "ErrorCode": "-1"},
        {"MessageStatus": "failed", "ErrorCode": "None", "MessageSid": "x" * 500},
        {"MessageStatus": "delivered", "MessageSid": "\x00"},
        {"MessageStatus": "delivered", "MessageSid": "हाँ"},
    ],
)
def test_strange_receipts(world: World, changed: dict[str, str]) -> None:
    world.member(world.collective(), ASHA, spoke_on=SMS)
    [callback] = world.text(ASHA, "MENU").callbacks
    path = callback.removeprefix("https://chorus.example.org")
    for token in (
        path,
        "/twilio/status/x",
        "/twilio/status/1-1-aaaaaaaaaaaaaaaa",
        "/twilio/status/" + "z" * 2000,
        "/twilio/status/a-b-c-d",
    ):
        assert world.post(token, {"MessageSid": new_sid(), "AccountSid": ACCOUNT} | changed).status == 204
    assert world.post(path, {"MessageSid": new_sid(), "MessageStatus": "delivered"}).status == 204
    with world.store.read() as session:
        state = session.scalars(sa.select(Outbound.state)).one()
        assert state == ("failed" if changed["MessageStatus"] == "failed" else "delivered")


# --- words that are nearly right ----------------------------------------


def test_did_you_mean_names_public_words_of_this_line_only(small_world: World) -> None:
    small_world.collective("SANGHA")
    small_world.collective("SAHELI", public=False)
    small_world.collective("SANGAM", lines=["+15550002222"])
    assert small_world.text(STRANGER, "JOIN SANGA").text == "We do not know that word. Did you mean JOIN SANGHA?"
    for close_to_a_private_one in ("SAHELIE", "SAHELY"):
        assert "SAHELI" not in small_world.text(STRANGER, f"JOIN {close_to_a_private_one}").text
    assert "Did you mean" not in small_world.text(STRANGER, "JOIN qqqq").text
    assert "Did you mean" not in small_world.text(STRANGER, "JOIN SAHEL", to="+15550002222").text
    # Whoever knows the word comes in.
    assert "Welcome to Saheli" in small_world.text(STRANGER, "join saheli").text


def test_a_stranger_with_rubbish_gets_one_answer_a_day(world: World) -> None:
    from datetime import timedelta

    world.collective()
    for day in range(2):
        assert world.text(STRANGER, "asdf").texts == [GREETING], day
        for rubbish in ("jkl;", "", "????", "MENU", "CHECKIN", "win a prize http://spam.example"):
            assert world.text(STRANGER, rubbish).texts == []
        assert world.text("+15557770001", "asdf").texts == [GREETING]
        # What is meant for her is answered still.
        assert "about 4 texts a week" in world.text(STRANGER, "HELP").text.lower()
        world.clock.advance(timedelta(days=1, seconds=1))
    with world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Note)) == 0


def test_parameter_sets_as_captured(place: World) -> None:
    """The keys of a real SMS and a real WhatsApp message, places empty as they often are."""
    assert {"FromCity", "ToZip", "NumSegments", "ApiVersion"} <= set(inbound_parameters(ASHA, "x", SMS))
    assert "POLLS" in place.text(ASHA, "MENU", FromCity="", FromState="", FromZip="", SmsStatus="received").text
    assert "POLLS" in place.text("whatsapp:" + ASHA, "MENU", to=WHATSAPP, WaId="15551000001", ProfileName="<script>🌻").text
