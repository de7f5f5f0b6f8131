"""What a benchmark found: one line a goal, with both figures behind the ratio."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One line of the table. ``met`` None: there is no goal, the line says something that the others need.

    ``value`` is the ratio (or the number) that the goal is about; ``figures`` both sides, with their units, in words.
    """

    what: str
    database: str
    goal: str
    measured: str
    figures: str
    met: bool | None = None
    value: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def at_most(what: str, database: str, ratio: float, most: float, figures: str) -> Result:
    """A ratio that must not be above ``most``."""
    return Result(what, database, f"<= {most:g}x", f"{ratio:.2f}x", figures, ratio <= most, ratio)


def at_least(what: str, database: str, ratio: float, least: float, figures: str) -> Result:
    """A ratio that must not be below ``least``."""
    return Result(what, database, f">= {least:g}x", f"{ratio:.2f}x", figures, ratio >= least, ratio)


def within(what: str, database: str, number: float, most: float, unit: str, figures: str) -> Result:
    """A number that must not be above ``most``."""
    return Result(what, database, f"<= {most:g} {unit}", f"{number:.4g} {unit}", figures, number <= most, number)


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of pairs measured one right after the other: what disturbs the machine disturbs both."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def print_table(title: str, results: Sequence[Result]) -> None:
    """Print one table, plain text, as wide as it needs to be."""
    verdicts = {True: "met", False: "MISSED", None: ""}
    rows = [("what", "database", "goal", "measured", "", "figures")]
    rows += [(one.what, one.database, one.goal, one.measured, verdicts[one.met], one.figures) for one in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    print(f"\n{title}")
    for place, row in enumerate(rows):
        print("  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip(), flush=True)
        if place == 0:
            print("  " + "  ".join("-" * width for width in widths) + "  -------")
