"""`python -m benchmarks [NAME ...] [--json FILE] [--long] [--database sqlite|postgresql]`: prints one table a benchmark.

Exit code 0 whether goals are met or not: a shared machine decides too much of it to break a build; 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from contextlib import ExitStack
from types import ModuleType
from typing import Any

from benchmarks import live_pages, members_page, memory, pacing, planning, replies, sending, webhook
from benchmarks.ground import POSTGRESQL, SQLITE, Bench
from benchmarks.results import print_table

# In this order; each module has a TITLE and measure(bench), which yields results. Those of LONG run when named, or with --long.
BENCHMARKS: dict[str, ModuleType] = {
    "webhook": webhook, "planning": planning, "sending": sending, "pacing": pacing, "replies": replies, "members": members_page,
    "live": live_pages,
}  # fmt: skip


LONG = {"memory": memory}


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How Chorus compares, side by side in one run.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(BENCHMARKS | LONG)} (default: all, the last one only with --long)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    parser.add_argument("--long", action="store_true", help="take the time for the slow ones too")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="on this kind only")
    told = parser.parse_args(arguments)
    unknown = sorted(set(told.names) - set(BENCHMARKS | LONG))
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS | LONG)}")
    return told


def main(arguments: list[str] | None = None) -> int:
    told = read_arguments(arguments)
    databases = {None: (SQLITE, POSTGRESQL), "sqlite": (SQLITE,), "postgresql": (POSTGRESQL,)}[told.database]
    found: dict[str, Any] = {}
    began = time.monotonic()
    with ExitStack() as stack:
        bench = Bench(stack, databases, told.long)
        for name in told.names or (BENCHMARKS | LONG if told.long else BENCHMARKS):
            module = (BENCHMARKS | LONG)[name]
            started = time.monotonic()
            results = list(module.measure(bench))
            seconds = time.monotonic() - started
            print_table(f"{module.TITLE}  ({name}, {seconds:.0f} s)", results)
            found[name] = {"seconds": round(seconds, 1), "results": [result.as_json() for result in results]}
    print(f"\n{time.monotonic() - began:.0f} s in all, Python {platform.python_version()}, {platform.machine()}")
    if told.json:
        with open(told.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=2, ensure_ascii=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
