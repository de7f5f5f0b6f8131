"""Our own reading of a posted form is Werkzeug's, whatever the bytes: what was signed is what is read."""

from __future__ import annotations

from io import BytesIO
from urllib.parse import urlencode

from hypothesis import example, given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator
from werkzeug.wrappers import Request

from bot.inbound.forms import URLENCODED, read_form
from tests.world import TOKEN, inbound_parameters

BYTES = st.lists(
    st.sampled_from([b"a", b"Body", b"=", b"&", b"%", b"%4", b"%41", b"%C3", b"%A9", b"+", b";", b"\xff", "ñ".encode(), b"\x00", b"\n"])
)


def by_werkzeug(body: bytes) -> Request:
    environ = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": URLENCODED, "CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
    return Request(environ)


@given(BYTES.map(b"".join))
@example(b"a=1&a=2&b=&c&=d&&a=1")
@example(b"Body=%ff%zz+%2B&%42ody=x")
@example(urlencode(inbound_parameters("+15551234567", "Sí, mañana 👍\nहाँ & más=+", "+15550001111")).encode())
def test_any_bytes_read_as_werkzeug_reads_them(body: bytes) -> None:
    ours, theirs = read_form(body), by_werkzeug(body).form
    assert dict(ours) == theirs.to_dict()
    assert {name: ours.getlist(name) for name in ours} == dict(theirs.lists())
    assert ours.getlist("no such name") == []


@given(BYTES.map(b"".join))
def test_what_is_signed_is_what_the_sdk_signs(body: bytes) -> None:
    form = read_form(body)
    validator, url = RequestValidator(TOKEN), "https://chorus.example.org/twilio/inbound"
    assert validator.compute_signature(url, by_werkzeug(body).form) == validator.compute_signature(url + form.signed_text(), {})
