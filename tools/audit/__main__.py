"""``python -m tools.audit FILE...``: look for known vulnerabilities in pinned requirements.

The exit status is 1 for a vulnerability and 2 for an audit in part. It is 0 for none, and where the
index cannot be reached or knows no vulnerabilities: then the one line is `not audited`.
"""

import argparse
import sys
from pathlib import Path

from tools.audit.service import audit


def main() -> None:
    """Audit, print what was found, and exit with its status."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="requirements with hashes")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="ID", help="a vulnerability to ignore"
    )
    options = parser.parse_args()
    verdict = audit(options.files, options.ignore)
    for line in verdict.lines:
        sys.stdout.write(f"{line}\n")
    sys.exit(verdict.status)


if __name__ == "__main__":
    main()
