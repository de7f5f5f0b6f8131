"""Segment counts, held against an independent counter and against the rules at their edges."""

import pytest
import smsutil
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.languages.segments import GSM_BASIC, GSM_EXTENSION, count_segments

GSM = "".join(sorted(GSM_BASIC | GSM_EXTENSION))


@pytest.mark.parametrize(
    ("text", "encoding", "segments", "units", "remaining"),
    [
        ("", "GSM-7", 0, 0, 160),
        ("a", "GSM-7", 1, 1, 159),
        ("a" * 160, "GSM-7", 1, 160, 0),
        ("a" * 161, "GSM-7", 2, 161, 145),
        ("a" * 306, "GSM-7", 2, 306, 0),
        ("a" * 307, "GSM-7", 3, 307, 152),
        ("€" * 80, "GSM-7", 1, 160, 0),
        ("a" * 152 + "€" + "a" * 10, "GSM-7", 2, 164, 141),  # the euro moves whole into the second part
        ("a" * 152 + "€" + "a" * 151, "GSM-7", 2, 305, 0),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 3, 306, 152),
        ("न" * 70, "UCS-2", 1, 70, 0),
        ("न" * 71, "UCS-2", 2, 71, 63),
        ("न" * 134, "UCS-2", 2, 134, 0),
        ("न" * 135, "UCS-2", 3, 135, 66),
        ("😀" * 35, "UCS-2", 1, 70, 0),
        ("न" * 66 + "😀" + "न" * 10, "UCS-2", 2, 78, 55),  # so does a surrogate pair
        ("न€[]", "UCS-2", 1, 4, 66),  # in UCS-2 these cost one unit like any other
        ("line\r\nline", "GSM-7", 1, 10, 150),
    ],
)
def test_edges(text: str, encoding: str, segments: int, units: int, remaining: int) -> None:
    count = count_segments(text)
    assert (count.encoding, count.segments, count.units, count.remaining) == (encoding, segments, units, remaining)


def test_culprits_come_in_the_order_of_the_text() -> None:
    assert count_segments("Reunión mañana: ¿vienes? ₹50 – sí, reunión").culprits == ("ó", "₹", "–", "í")
    assert count_segments("Mañana a las 6, ¿viene? [sí]".replace("í", "i")).culprits == ()


@pytest.mark.parametrize("char", "çáíóú`\t\u00a0’“”—…\x1b")
def test_common_surprises_cost_a_segment(char: str) -> None:
    assert count_segments(f"a{char}").encoding == "UCS-2"


@settings(deadline=None)  # a busy machine is not a failure
@given(st.one_of(st.text(GSM, min_size=1, max_size=700), st.text(min_size=1, max_size=300), st.text("aé€न😀ó\n", min_size=1, max_size=400)))
@example("a" * 153 + "€" * 4)
@example("😀" * 67)
def test_agrees_with_an_independent_counter(text: str) -> None:
    if "\x1b" in text:  # the escape character itself: smsutil sends it, Twilio's calculator does not
        text = text.replace("\x1b", "") or "a"
    theirs = smsutil.split(text)
    ours = count_segments(text)
    assert (ours.encoding == "GSM-7") == (theirs.encoding == "gsm0338")
    assert ours.segments == len(theirs.parts)
    assert ours.units == theirs.total_bytes // (1 if ours.encoding == "GSM-7" else 2)
    assert 0 <= ours.remaining < 160
