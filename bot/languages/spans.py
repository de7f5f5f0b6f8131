"""A length of time in words, for pages: "7 days", "7 días", "7 दिन"."""

from __future__ import annotations

from datetime import timedelta

from babel.units import format_unit


def say_period(period: timedelta, language: str) -> str:
    """Days where it is whole days, else hours or minutes."""
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
        if period >= length and not period % length:
            return format_unit(period // length, f"duration-{unit}", locale=language)
    return format_unit(period // timedelta(minutes=1), "duration-minute", locale=language)
