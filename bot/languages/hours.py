"""Two hours as people text them: "22-7", "10pm to 7am", "22 a 7", "रात 10 से सुबह 7"."""

from __future__ import annotations

import re
import unicodedata

from bot.languages.folding import fold

# Who writes "10-7" means the night; taken by the clock it would be 21 hours, and nobody wishes that.
LONGEST_QUIET = 16

_EVENING = "pm|p.m|raat|shaam|रात|शाम|de la noche|noche"
_MORNING = "am|a.m|subah|savere|सुबह|सवेरे|de la manana|manana"
_HOUR = (
    rf"(?:(?P<before{{n}}>{_EVENING}|{_MORNING}) )?(?:las )?(?P<hour{{n}}>\d{{{{1,2}}}})(?:[:.]00)? ?h?"
    rf"(?: ?(?P<after{{n}}>{_EVENING}|{_MORNING}))?(?: baje| बजे)?"
)
_TO = "-|–|—|to|till|until|and|a|y|hasta|se|tak|से|तक"
_BOTH = re.compile(rf"(?:from |de |entre |between )?{_HOUR.format(n=1)} ?(?:{_TO}) ?{_HOUR.format(n=2)}(?: tak| तक)?")


def read_hours(text: str) -> tuple[int, int] | None:
    """The two local hours (0 to 23) that a text names; None when it names none, the same twice, or more than 16 hours between them."""
    plain = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in fold(text))
    written = _BOTH.fullmatch(plain)
    if written is None:
        return None
    begins, ends = (_hour(int(written[f"hour{n}"]), written[f"before{n}"] or written[f"after{n}"]) for n in (1, 2))
    if begins is None or ends is None or not 0 < (ends - begins) % 24 <= LONGEST_QUIET:
        return None
    return begins, ends


def _hour(said: int, part: str | None) -> int | None:
    if part is None:
        return said % 24 if said <= 24 else None
    if not 1 <= said <= 12:
        return said if re.fullmatch(_EVENING, part) and 13 <= said <= 23 else None
    return said % 12 + (12 if re.fullmatch(_EVENING, part) and not (said == 12 and part not in ("pm", "p.m")) else 0)


def say_hour(hour: int) -> str:
    """An hour that reads the same everywhere: "22:00"."""
    return f"{hour:02}:00"
