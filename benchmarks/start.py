"""Time the start of `pilotlight serve`: from exec to listening, and to the first answer of /livez.

python -m benchmarks.start --rounds 5
"""

import argparse
import statistics
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

from benchmarks.listening import free_port, listening

_SERVE = [str(Path(sysconfig.get_path("scripts")) / "pilotlight"), "serve"]


def start() -> tuple[float, float]:
    """Return the seconds to listening and to the first answer."""
    port = free_port()
    with listening([*_SERVE, "--port", str(port)], port) as (began, seconds):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/livez").close()
        return seconds, time.perf_counter() - began


def main() -> None:
    """Parse the command line and print the medians."""
    parser = argparse.ArgumentParser(description="Time the start of the server.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = [start() for _ in range(parser.parse_args().rounds + 1)][1:]  # the first is for warmth
    heard, answered = (statistics.median(column) for column in zip(*rounds, strict=True))
    sys.stdout.write(f"listening {heard:.3f} s  first answer of /livez {answered:.3f} s\n")


if __name__ == "__main__":
    main()
