"""`python -m bot.languages check`: what is not yet said in every language. Exit 0: nothing; 1: something; 2: wrong usage."""

import sys
from pathlib import Path

from bot.languages.catalog import LANGUAGES
from bot.languages.collect import collect_texts, find_gaps


def main(arguments: list[str]) -> int:
    if arguments != ["check"]:
        print("usage: python -m bot.languages check", file=sys.stderr)
        return 2
    found = collect_texts(Path(__file__).resolve().parents[2])
    gaps = find_gaps(found)
    for gap in gaps:
        print(gap)
    print(f"{len(found)} texts in {len(LANGUAGES)} languages, {len(gaps)} gaps")
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
