"""Try to break the parsers for some minutes: `python -m tests.fuzz --minutes 60 [--only NAME]`."""

import argparse
import random
import sys

from tests.fuzz import round_robin
from tests.fuzz.cases import CASES


def main() -> int:
    """Run the cases, print their table, and return 1 where one of them failed."""
    names = ", ".join(case.name for case in CASES)
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"The parsers: {names}")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, help="the same in seconds")
    parser.add_argument("--only", default="", help="those whose name contains this")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    given = parser.parse_args()
    cases = [case for case in CASES if given.only.lower() in case.name.lower()]
    if not cases:
        parser.error(f"--only {given.only}: there are {names}")
    print(f"--seed {given.seed}", flush=True)  # noqa: T201 - for whoever started it
    outcomes = round_robin.run(cases, seconds=given.seconds or 60 * given.minutes, seed=given.seed)
    print(round_robin.table(outcomes))  # noqa: T201
    return int(any(one.failures for one in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
