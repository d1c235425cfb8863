"""``python -m tools.audit FILE...``: look for known vulnerabilities in pinned requirements.

The exit status is 1 where there is one, 2 where not all could be looked at, and 0 where there is
none, or where nobody could be asked: the one line then says that.
"""

import argparse
import sys
from pathlib import Path

from pip_audit._service import PyPIService

from tools.audit.service import audit


def main() -> None:
    """Audit, print what was found, and exit with its status."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="requirements with hashes")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="ID", help="one that does not matter here"
    )
    options = parser.parse_args()
    verdict = audit(PyPIService(timeout=15), options.files, set(options.ignore))
    for line in verdict.lines:
        sys.stdout.write(f"{line}\n")
    sys.exit(verdict.status)


if __name__ == "__main__":
    main()
