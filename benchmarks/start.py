"""Time the start of `pilotlight serve`: from exec to listening, and to the first answer of /livez.

python -m benchmarks.start --rounds 5
"""

import argparse
import socket
import statistics
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

_SERVE = [str(Path(sysconfig.get_path("scripts")) / "pilotlight"), "serve"]


def start() -> tuple[float, float]:
    """Return the seconds to listening and to the first answer."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    began = time.perf_counter()
    server = subprocess.Popen(  # noqa: S603 - our own command
        [*_SERVE, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.001)
        listening = time.perf_counter() - began
        urllib.request.urlopen(f"http://127.0.0.1:{port}/livez").close()
        return listening, time.perf_counter() - began
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Parse the command line and print the medians."""
    parser = argparse.ArgumentParser(description="Time the start of the server.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = [start() for _ in range(parser.parse_args().rounds + 1)][1:]  # the first is for warmth
    listening, answering = (statistics.median(column) for column in zip(*rounds, strict=True))
    sys.stdout.write(f"listening {listening:.3f} s  first answer of /livez {answering:.3f} s\n")


if __name__ == "__main__":
    main()
