"""Print which of the generators' schemas are accepted and which are refused, and why.

python -m tests.guidance.generators [--all]
"""

import sys
from collections import defaultdict

from tests.guidance.generators.corpus import generated, verdict
from tests.guidance.walker import tokens


def main() -> None:
    """Print a line for each generator, then one for each schema that is refused."""
    made = tokens()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    lines = []
    for one in generated():
        refused = verdict(one, made)
        counts[one.generator][bool(refused)] += 1
        if refused or "--all" in sys.argv:
            lines.append(f"{one.generator:52} {one.type:56} {refused or 'accepted'}")
    for generator, (accepted, refused) in counts.items():
        sys.stdout.write(f"{generator:52} accepted {accepted:4}  refused {refused:4}\n")
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
