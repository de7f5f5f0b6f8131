"""What a message costs: the built-in price list, the prices an operator set over it, and the country of a number.

THE BUILT-IN PRICES ARE ESTIMATES: public list prices of Twilio and Meta, rounded, of the date below, without volume discounts, taxes and
the carriers' own fees (in the United States and Canada about 0.003 to 0.005 more a segment, which Twilio bills apart). What an account
really pays stands in its own price list; ``flask money price set`` puts that here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache, lru_cache

import phonenumbers
import sqlalchemy as sa
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneNumber
from sqlalchemy.orm import Session

from models import Audit, Price

# When the list below was put together (year and month), in US dollars.
LISTED = "2025-11"
MICROS = 1_000_000
# More than anybody pays for a text: a slip of the decimal point is refused.
MOST_FOR_A_TEXT = 10 * MICROS

# A text by SMS is paid by the segment. What is written inside WhatsApp's window costs Twilio's fee alone; a template costs Meta's, too.
SMS, WHATSAPP, TEMPLATE = "sms", "whatsapp", "template"
CHANNELS = (SMS, WHATSAPP, TEMPLATE)

_SMS = {
    "US": 0.0083, "CA": 0.0083, "PR": 0.0083, "MX": 0.0690, "BR": 0.0600, "AR": 0.0700, "CL": 0.0600, "CO": 0.0550, "PE": 0.0700,
    "GB": 0.0530, "IE": 0.0900, "FR": 0.0800, "DE": 0.1120, "ES": 0.0900, "IT": 0.0930, "PT": 0.0500, "NL": 0.1060, "BE": 0.1100,
    "AT": 0.1000, "CH": 0.0750, "SE": 0.0620, "NO": 0.0720, "DK": 0.0560, "FI": 0.0930, "PL": 0.0450, "AU": 0.0515, "NZ": 0.1050,
    "IN": 0.0830, "NP": 0.1900, "BD": 0.2500, "LK": 0.2600, "PK": 0.2700, "PH": 0.1600, "ID": 0.3200, "ZA": 0.1100, "KE": 0.1700,
    "": 0.2000,
}  # fmt: skip
_TWILIO_WHATSAPP = 0.0050
# Meta's rates for marketing templates, by its own groups of countries: the dearest kind, since Meta may say that a notice is marketing.
_META = {
    ("US", "CA"): 0.0250, ("MX",): 0.0305, ("BR",): 0.0625, ("AR",): 0.0618, ("CL",): 0.0889, ("CO",): 0.0125, ("PE",): 0.0703,
    ("GB",): 0.0529, ("FR",): 0.0859, ("DE",): 0.1365, ("ES",): 0.0615, ("IT",): 0.0691, ("NL",): 0.1597,
    ("AT", "BE", "CH", "DK", "FI", "IE", "NO", "PT", "SE"): 0.0592, ("IN",): 0.0118, ("PK",): 0.0473, ("ID",): 0.0411,
    ("AU", "BD", "LK", "NP", "NZ", "PH"): 0.0732, ("ZA",): 0.0379, ("NG",): 0.0516, ("KE", "GH", "UG", "TZ", "ET", "RW", "ZW"): 0.0225,
    ("",): 0.0740,
}  # fmt: skip


def _micros(price: float) -> int:
    return round(price * MICROS)


BUILT_IN: dict[tuple[str, str], int] = (
    {(SMS, country): _micros(price) for country, price in _SMS.items()}
    | {(WHATSAPP, ""): _micros(_TWILIO_WHATSAPP)}
    | {(TEMPLATE, country): _micros(_TWILIO_WHATSAPP + price) for group, price in _META.items() for country in group}
)


class PriceTable:
    """Prices by channel and country. ``set_here``: the operator's own, {(channel, country): micros}; they go before the built-in ones."""

    def __init__(self, set_here: Mapping[tuple[str, str], int] | None = None) -> None:
        self._prices = BUILT_IN | dict(set_here or {})
        self._found: dict[tuple[str, str], int] = {}

    def micros(self, channel: str, country: str) -> int:
        """What a segment (SMS) or a message (WhatsApp) costs to a country ("" or one that is not listed: everywhere else)."""
        key = (channel, country)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._prices[key] if key in self._prices else self._prices[(channel, "")]
        return found

    def cost(self, channel: str, country: str, segments: int) -> int:
        """What one text of so many segments costs. KeyError for a channel that is none of CHANNELS."""
        return self.micros(channel, country) * (segments if channel == SMS else 1)


def read_prices(session: Session) -> PriceTable:
    """The price table as it stands now."""
    rows = session.connection().execute(sa.select(Price.channel, Price.country, Price.micros))
    return PriceTable({(row.channel, row.country): row.micros for row in rows})


def set_price(
    session: Session, now: datetime, channel: str, country: str, micros: int, *, collective_id: int | None = None, by: int | None = None
) -> None:
    """What a segment (SMS) or a message (WhatsApp) costs to a country ("": everywhere else), in place of the built-in estimate.

    Counts from the pump's next turn of duty on, within seconds. ``collective_id``, ``by``: whose act it was; None: the command line's.
    """
    session.merge(Price(channel=channel, country=country, micros=micros, changed_at=now))
    subject = f"{channel} {country or 'elsewhere'} {micros / MICROS:.6f}"
    session.add(Audit(collective_id=collective_id, membership_id=by, act="price set", subject=subject, at=now))


@cache
def _regions() -> dict[str, tuple[str, ...]]:
    """Countries by calling code, as text. No calling code is the beginning of another."""
    return {str(code): regions for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()}


def find_country(text: str) -> str | None:
    """The country's two letters in capitals; None for what is none that has phone numbers."""
    code = text.strip().upper()
    return code if code in phonenumbers.SUPPORTED_REGIONS else None


# Calling codes whose countries differ in price, and are told apart by the next three digits. Elsewhere the first country stands for all.
_SHARED = ("1", "7")


def country_of(number: str) -> str:
    """The country (ISO 3166, two letters) of an E.164 number, by its first digits alone; "" when they belong to none.

    Made for every message that leaves: a look at a table, no parsing.
    """
    regions = _regions()
    for end in (2, 3, 4):
        code = number[1:end]
        if code in regions:
            if code in _SHARED:
                return _country_of_area(code, number[end : end + 3])
            return regions[code][0] if len(regions[code][0]) == 2 else ""
    return ""


@lru_cache(maxsize=2_000)
def _country_of_area(code: str, area: str) -> str:
    first = _regions()[code][0]
    if len(area) < 3 or not area.isdigit():
        return first
    # Some number of that area: what matters for the country stands in its first digits.
    some = PhoneNumber(country_code=int(code), national_number=int(area + "5550123"))
    return phonenumbers.region_code_for_number(some) or first
