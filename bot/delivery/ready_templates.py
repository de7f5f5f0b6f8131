"""WhatsApp templates that come with Chorus, in every language it speaks, and the rules a template must keep to be approved.

The knock is what a member sees on her screen when somebody else may hold the phone: it names no group and quotes no one. Her answer,
any answer, opens WhatsApp's window of 24 hours, and what waited for her follows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

KNOCK = "knock"
UTILITY = "UTILITY"
# WhatsApp knows no Hindi in Latin letters: it is Hindi by its language, and another template by its name.
LOCALES = {"en": "en", "es": "es", "hi": "hi", "hi-Latn": "hi"}
MOST_VARIABLES = 100
LONGEST_BODY = 1_024
_VARIABLE = re.compile(r"\{\{(.*?)\}\}")


@dataclass(frozen=True)
class ReadyTemplate:
    """One template in one language. ``samples``: what stands for {{1}}, {{2}} while WhatsApp looks at it."""

    kind: str
    language: str
    body: str
    samples: Mapping[str, str] = field(default_factory=dict)
    category: str = UTILITY

    @property
    def name(self) -> str:
        """Its name at Twilio and WhatsApp: chorus_knock_en, chorus_knock_hi_latn."""
        return f"chorus_{self.kind}_{self.language.replace('-', '_').casefold()}"

    @property
    def locale(self) -> str:
        return LOCALES[self.language]


READY: tuple[ReadyTemplate, ...] = (
    ReadyTemplate(KNOCK, "en", "Hello, a note is waiting. Reply 1 when you like."),
    ReadyTemplate(KNOCK, "es", "Hola, hay una nota para usted. Responda 1 cuando quiera."),
    ReadyTemplate(KNOCK, "hi", "नमस्ते, एक संदेश है। जब चाहें 1 भेजें।"),
    ReadyTemplate(KNOCK, "hi-Latn", "Namaste, ek sandesh hai. Jab chahein 1 bhejein."),
)


def faults_of(name: str, body: str, samples: Mapping[str, str]) -> list[str]:
    """What WhatsApp would refuse in a template, a sentence each (docs of Twilio's Content API); [] when nothing."""
    faults = []
    if not re.fullmatch(r"[a-z0-9_]{1,512}", name):
        faults.append("its name has other signs than small letters, digits and underscores")
    if not body.strip() or len(body) > LONGEST_BODY:
        faults.append(f"its body is empty or over {LONGEST_BODY} characters")
    bare = body.strip()
    # A full stop behind a variable does not help: WhatsApp looks for words.
    if re.match(r"\W*\{\{.*?\}\}", bare) or re.search(r"\{\{[^{}]*\}\}\W*\Z", bare):
        faults.append("a variable stands at its beginning or end")
    if re.search(r"\}\}\s*\{\{", body):
        faults.append("two variables stand next to each other")
    named = list(dict.fromkeys(_VARIABLE.findall(body)))
    if named != [str(number) for number in range(1, len(named) + 1)]:
        faults.append("its variables are not {{1}}, {{2}} ... in this order")
    if len(named) > MOST_VARIABLES:
        faults.append(f"it has over {MOST_VARIABLES} variables")
    if missing := [one for one in named if not samples.get(one, "").strip()]:
        faults.append(f"no sample is given for {', '.join(missing)}")
    return faults
