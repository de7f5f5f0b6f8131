"""The door: only what our carrier account signed comes in, over whatever URL it asked for; everything else is a 403 without a trace."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from flask import Flask, Response
from flask import request as current_request
from twilio.request_validator import RequestValidator

from bot.deployment import Deployment
from bot.inbound.signature import Doorkeeper, SignatureRefused
from models import Base
from tests.conftest import make_settings, open_frozen
from tests.world import ACCOUNT, TOKEN, World, inbound_parameters, new_sid

FORM = "application/x-www-form-urlencoded"
INBOUND = "/twilio/inbound"
SECOND_TOKEN = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"


def sign(url: str, parameters: Any = None, token: str = TOKEN) -> str:
    """Written out here, not by the SDK: HMAC-SHA1 over the URL and the sorted parameters (facts of Twilio's security page)."""
    text = url
    for key in sorted(parameters or {}):
        values = parameters[key] if isinstance(parameters[key], list) else [parameters[key]]
        text += "".join(key + value for value in sorted(set(values)))
    return base64.b64encode(hmac.digest(token.encode(), text.encode(), "sha1")).decode()


def doorkeeper(**overrides: Any) -> Doorkeeper:
    keeper = Doorkeeper(make_settings("sqlite:////tmp/never-opened.db", **overrides))
    return keeper


class Door:
    """A Flask application that is nothing but the door."""

    def __init__(self, keeper: Doorkeeper) -> None:
        self.app = Flask("door")
        self.seen: Any = None

        @self.app.route("/<path:path>", methods=["GET", "POST"])
        def knock(path: str) -> Response:
            try:
                self.seen = keeper.admit(current_request)
            except SignatureRefused:
                return Response(status=403)
            return Response(status=200)

    def knock(self, raw_path: str, signature: str | None, **request: Any) -> int:
        headers = {} if signature is None else {"X-Twilio-Signature": signature}
        return (
            self.app.test_client()
            .open(raw_path, headers=headers | request.pop("headers", {}), **({"method": "POST"} | request))
            .status_code
        )


# --- Twilio's published vectors (tests of twilio-python; token 12345) ----------------------------------------

VECTOR = {"CallSid": "CA1234567890ABCDE", "Digits": "1234", "From": "+14158675309", "To": "+18005551212", "Caller": "+14158675309"}


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A door whose only token is the one of the published vectors (too short for our settings to take)."""

    def build(public_url: str) -> Door:
        keeper = doorkeeper()
        keeper._validators = [RequestValidator("12345")]
        keeper._public = public_url
        return Door(keeper)

    return build  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("public_url", "signature"),
    [
        ("https://mycompany.com", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com", "kvajT1Ptam85bY51eRf/AJRuM3w="),  # the carrier signed with :443 where we know no port
        ("https://mycompany.com:443", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("http://mycompany.com:80", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        ("http://mycompany.com", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
    ],
)
def test_the_published_vectors(published: Any, public_url: str, signature: str) -> None:
    door = published(public_url)
    path = "/myapp.php?foo=1&bar=2"
    assert door.knock(path, signature, data=VECTOR) == 200
    assert dict(door.seen) == VECTOR
    assert door.knock(path, signature, data=VECTOR | {"Digits": "1235"}) == 403
    assert door.knock("/myapp.php?foo=1&bar=3", signature, data=VECTOR) == 403


def test_the_published_vector_with_repeated_keys(published: Any) -> None:
    data = urlencode({"Sid": "CA123", "SidAccount": "AC123", "Digits": ["5678", "1234", "1234"]}, doseq=True)
    door = published("https://mycompany.com")
    assert door.knock("/myapp.php?foo=1&bar=2", "IK+Dwps556ElfBT0I3Rgjkr1wJU=", data=data, content_type=FORM) == 200


def test_the_published_vector_of_a_json_body(published: Any) -> None:
    body = '{"property": "value", "boolean": true}'
    path = "/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    door = published("https://mycompany.com")
    assert door.knock(path, "a9nBmqA0ju/hNViExpshrM61xv4=", data=body, content_type="application/json") == 200
    assert door.seen["property"] == "value"
    assert door.knock(path, "a9nBmqA0ju/hNViExpshrM61xv4=", data=body.replace("value", "other"), content_type="application/json") == 403


# --- URLs ----------------------------------------


@pytest.mark.parametrize(
    "public_url",
    [
        "https://chorus.example.org",
        "https://chorus.example.org:8443",
        "https://CHORUS.Example.ORG",
        "https://chorus.example.org/behind/a/proxy",
        "https://Chorus.Example.org:444/Behind",
        "https://xn--bcher-kva.example",
        "https://[2001:db8::1]:8443",
        "http://127.0.0.1:8000",
    ],
)
@pytest.mark.parametrize(
    "raw",
    [
        "/twilio/inbound",
        "/twilio/inbound?tenant=one&x=",
        "/twilio/inbound?name=Jos%C3%A9",
        "/twilio/inbound?name=Jos%c3%a9&q=a+b%20c",
        "/twilio/caf%C3%A9",
        "/twilio/caf%C3%A9/%2F?%26=%3D",
        "/twilio//inbound",
    ],
)
def test_any_public_url_and_any_path_as_it_came_over_the_wire(public_url: str, raw: str) -> None:
    door = Door(doorkeeper(public_url=public_url))
    parameters = inbound_parameters("+15551234567", "Sí, mañana 👍\nहाँ", "+15550001111")
    # The test client normalises what it is given, a server does not.
    environ = {"RAW_URI": raw, "REQUEST_URI": raw}
    signature = sign(public_url + raw, parameters)
    assert door.knock("/twilio/inbound", signature, data=parameters, environ_overrides=environ) == 200
    assert (
        door.knock("/twilio/inbound", signature, data=parameters, environ_overrides={"RAW_URI": raw + "x", "REQUEST_URI": raw + "x"}) == 403
    )


def test_an_absolute_request_line_is_read_without_its_host() -> None:
    door = Door(doorkeeper())
    signature = sign("https://chorus.example.org/twilio/inbound?x=1", {"A": "b"})
    for raw in ("http://127.0.0.1:9/twilio/inbound?x=1", "https://forged.example/twilio/inbound?x=1", "http://[/twilio/inbound?x=1"):
        assert door.knock("/twilio/inbound", signature, data={"A": "b"}, environ_overrides={"RAW_URI": raw}) == 200


@pytest.mark.parametrize("raw", ["", "*", "http://[", "//[::1", "/%zz%", "/\u00ff\u00fe", "/?" + "a=&" * 2000])
def test_a_strange_request_line_is_refused_quietly(raw: str) -> None:
    assert (
        Door(doorkeeper()).knock("/twilio/inbound", "x" * 28, data={"A": "b"}, environ_overrides={"RAW_URI": raw, "REQUEST_URI": raw})
        == 403
    )


def test_a_forged_host_changes_nothing() -> None:
    door = Door(doorkeeper())
    parameters = {"MessageSid": new_sid(), "AccountSid": ACCOUNT}
    forged = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "X-Original-URL": "/evil",
        "Forwarded": "host=evil.example",
    }
    assert door.knock(INBOUND, sign("https://chorus.example.org" + INBOUND, parameters), data=parameters, headers=forged) == 200
    for url in ("https://evil.example", "http://evil.example", "http://chorus.example.org"):
        assert door.knock(INBOUND, sign(url + INBOUND, parameters), data=parameters, headers=forged) == 403


# --- parameters ----------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"Body": ""},
        {"Body": "", "FromCity": "", "Unknown": "value", "lower": "1", "UPPER": "2", "_": "3"},
        {"MediaUrl0": "https://x/1", "MediaUrl1": "https://x/2", "Body": " leading and trailing "},
        {"Twice": ["b", "a", "a"], "Once": "c"},
        {"Body": "a=b&c=d;e+f%20g\r\nh\ti"},
        {"Ключ": "значение", "नाम": "हाँ", "Body": "👩‍👩‍👧"},
    ],
)
def test_any_parameters(parameters: dict[str, Any]) -> None:
    door = Door(doorkeeper())
    url = "https://chorus.example.org" + INBOUND
    body = urlencode(parameters, doseq=True)
    assert door.knock(INBOUND, sign(url, parameters), data=body, content_type=FORM) == 200
    assert door.knock(INBOUND, sign(url, parameters), data=body + "&More=x", content_type=FORM) == 403



def json_url(body: bytes) -> str:
    return f"{INBOUND}?bodySHA256={hashlib.sha256(body).hexdigest()}"


def test_a_json_body_is_held_against_its_hash() -> None:
    door = Door(doorkeeper())
    body = json.dumps({"MessageSid": new_sid(), "From": "+15551234567", "Body": "हाँ", "NumMedia": 0}, ensure_ascii=False).encode()
    raw = json_url(body)
    signature = sign("https://chorus.example.org" + raw)
    assert door.knock(raw, signature, data=body, content_type="application/json; charset=utf-8") == 200
    assert door.seen["NumMedia"] == "0"
    assert door.knock(raw, signature, data=body.replace(b"+15551234567", b"+15551234568"), content_type="application/json") == 403


def test_a_json_body_without_its_hash_is_refused() -> None:
    door = Door(doorkeeper())
    body = b'{"From": "+15551234567"}'
    for raw in (INBOUND, INBOUND + "?bodySHA256=", INBOUND + "?bodysha256=" + hashlib.sha256(body).hexdigest()):
        assert door.knock(raw, sign("https://chorus.example.org" + raw), data=body, content_type="application/json") == 403


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"null", b'"x"', b"{", b"\xff\xfe", b'{"a":' * 90000, b"[" * 20000, b"9" * 6000])
def test_a_signed_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    door = Door(doorkeeper())
    raw = json_url(body)
    assert door.knock(raw, sign("https://chorus.example.org" + raw), data=body, content_type="application/json") == 403


def test_the_hash_of_a_body_says_nothing_about_a_form() -> None:
    """The SDK does not look at bodySHA256 when the parameters come as a form: they are in the signature themselves."""
    door = Door(doorkeeper())
    raw = json_url(b"something else")
    parameters = {"From": "+15551234567", "Body": "hello"}
    assert door.knock(raw, sign("https://chorus.example.org" + raw, parameters), data=parameters) == 200
    # A signature over the URL alone, as of a JSON request that was listened to, opens no form.
    assert door.knock(raw, sign("https://chorus.example.org" + raw), data=parameters) == 403


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/octet-stream", "multipart/form-data", "", "application/json2", "a/b; c"]
)
def test_a_body_of_another_kind_brings_no_parameters(content_type: str) -> None:
    door = Door(doorkeeper())
    signature = sign("https://chorus.example.org" + INBOUND)
    assert door.knock(INBOUND, signature, data=b"From=%2B15551234567", content_type=content_type) == 200
    assert dict(door.seen) == {}


# --- who signed ----------------------------------------


def test_two_tokens_during_a_rotation() -> None:
    parameters = {"MessageSid": new_sid(), "AccountSid": ACCOUNT}
    url = "https://chorus.example.org" + INBOUND
    both = Door(doorkeeper(twilio_auth_token=f"{TOKEN}, {SECOND_TOKEN}"))
    for token in (TOKEN, SECOND_TOKEN):
        assert both.knock(INBOUND, sign(url, parameters, token), data=parameters) == 200
    assert both.knock(INBOUND, sign(url, parameters, "f" * 32), data=parameters) == 403
    one = Door(doorkeeper(twilio_auth_token=SECOND_TOKEN))
    assert one.knock(INBOUND, sign(url, parameters, TOKEN), data=parameters) == 403


@pytest.mark.parametrize("account", ["AC" + "f" * 32, "", "ac" + "0123456789abcdef" * 2, ACCOUNT + " "])
def test_another_account(account: str) -> None:
    parameters = {"MessageSid": new_sid(), "AccountSid": account}
    assert Door(doorkeeper()).knock(INBOUND, sign("https://chorus.example.org" + INBOUND, parameters), data=parameters) == 403


# --- through the whole application: no row in any table ----------------------------------------


def rows(deployment: Deployment) -> dict[str, int]:
    with deployment.store.read() as session:
        return {table.name: session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in Base.metadata.sorted_tables}


SIGNATURES = [
    None,
    "",
    " ",
    "x",
    "x" * 28,
    "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
    "é" * 14,
    "\x00",
    "=" * 5000,
    "Digest a=b, c=d",
    "not base64 !!",
]


@pytest.mark.parametrize("path", [INBOUND, "/twilio/status/1-1-abcdefghijklmnop"])
def test_without_a_right_signature_nothing_happens(small_world: World, path: str) -> None:
    small_world.collective()
    parameters = inbound_parameters("+15551234567", "JOIN SANGHA", "+15550001111") | {"MessageStatus": "delivered"}
    assert small_world.text("+15551230000", "MENU").status == 200  # the keys and the like are made by now
    before = rows(small_world.deployment)
    wrong = [
        sign("https://chorus.example.org" + path, parameters, "f" * 32),
        sign("https://other.example" + path, parameters),
        sign("https://chorus.example.org" + path + "?", parameters),
    ]
    for signature in [*SIGNATURES, *wrong]:
        headers = {} if signature is None else {"X-Twilio-Signature": signature}
        assert small_world.client.post(path, data=parameters, headers=headers).status_code == 403
        assert small_world.client.post(path, json=parameters, headers=headers).status_code == 403
        assert small_world.client.post(path, data=b"\xff\xfe%zz&=&;", content_type=FORM, headers=headers).status_code == 403
        assert (
            small_world.client.post(path, data=b"--x", content_type="multipart/form-data; boundary=x", headers=headers).status_code == 403
        )
        if path == INBOUND:
            assert small_world.client.get(path, query_string=parameters, headers=headers).status_code == 405
    assert rows(small_world.deployment) == before


def test_an_overlong_body_is_no_server_error(small_world: World) -> None:
    assert small_world.client.post(INBOUND, data=b"Body=" + b"a" * 2_000_000, content_type=FORM).status_code in (403, 413)


def test_the_second_token_opens_the_whole_door(sqlite_url: str) -> None:
    deployment = open_frozen(make_settings(sqlite_url, twilio_auth_token=f"{TOKEN},{SECOND_TOKEN}"))
    world = World(deployment)
    world.collective()
    parameters = inbound_parameters("+15551234567", "JOIN SANGHA", "+15550001111")
    assert world.post(INBOUND, parameters, token=SECOND_TOKEN).status == 200
    assert rows(deployment)["memberships"] == 1
    deployment.store.close()
