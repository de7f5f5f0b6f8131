"""How many SMS segments a text costs.

GSM 03.38: 160 septets alone, 153 a part; characters of the extension table cost two and are never split over parts.
One character outside that table turns the whole text into UCS-2: 70 code units alone, 67 a part; a surrogate pair is never split.
The carrier's own `num_segments` is the truth afterwards; this is the estimate before.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENSION = frozenset("\f^{}\\[~]|€")
_GSM = GSM_BASIC | GSM_EXTENSION

GSM_SINGLE, GSM_PART = 160, 153
UCS2_SINGLE, UCS2_PART = 70, 67


@dataclass(frozen=True, slots=True)
class SegmentCount:
    """`units` are septets (GSM-7) or UTF-16 code units (UCS-2); `remaining` is how many more of them the last segment holds;
    `culprits` are the characters, in order of appearance, that forced UCS-2."""

    encoding: Literal["GSM-7", "UCS-2"]
    segments: int
    units: int
    remaining: int
    culprits: tuple[str, ...] = ()


def count_segments(text: str) -> SegmentCount:
    """Count what a carrier would charge for `text`. The empty text is 0 segments."""
    if not text:
        return SegmentCount("GSM-7", 0, 0, GSM_SINGLE)
    used = set(text)
    if used <= _GSM:
        doubled = used & GSM_EXTENSION
        units = len(text) + sum(map(text.count, doubled))
        if units <= GSM_SINGLE:
            return SegmentCount("GSM-7", 1, units, GSM_SINGLE - units)
        sizes = (2 if char in doubled else 1 for char in text) if doubled else None
        return SegmentCount("GSM-7", *_count_parts(units, GSM_PART, sizes))
    culprits = tuple(char for char in dict.fromkeys(text) if char not in _GSM)
    wide = max(used) > "\uffff"
    units = len(text) + (sum(char > "\uffff" for char in text) if wide else 0)
    if units <= UCS2_SINGLE:
        return SegmentCount("UCS-2", 1, units, UCS2_SINGLE - units, culprits)
    sizes = (2 if char > "\uffff" else 1 for char in text) if wide else None
    return SegmentCount("UCS-2", *_count_parts(units, UCS2_PART, sizes), culprits)


def _count_parts(units: int, part: int, sizes: Iterable[int] | None) -> tuple[int, int, int]:
    """(segments, units, remaining) of a text of several parts; `sizes` only when some character takes two units."""
    if sizes is None:
        segments = -(-units // part)
        return segments, units, segments * part - units
    segments, filled = 1, 0
    for size in sizes:
        filled += size
        if filled > part:  # a character of two units moves to the next part as a whole
            segments, filled = segments + 1, size
    return segments, units, part - filled
