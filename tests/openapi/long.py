"""Schemathesis at length: `python -m tests.openapi.long --cases 2000 [--keys on] [--seed N]`.

spark is served, and an encoder with random weights; every operation gets so many generated cases,
and so many sequences of operations follow links. Each case is checked in every way.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from pilotlight.config import Secret
from tests.openapi.test_schemathesis import (
    DOCUMENT,
    KEY,
    WITH_KEY,
    own_document,
    schemathesis,
    serving,
)

ALL_PHASES = "--phases=examples,coverage,fuzzing,stateful"


def run(cases: int, seed: int, backend: str, *, keys: bool) -> str:
    """Return the output of schemathesis; raises `AssertionError` with it if it found a fault.

    With *keys* the server and its own document require one: every operation is called without one
    and with a wrong one too.
    """
    flags = [ALL_PHASES, "--mode=all", f"--max-examples={cases}", f"--seed={seed}"]
    settings = {"api_keys": Secret(KEY)} if keys else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder, backend, **settings) as server:
            document = DOCUMENT
            if keys:
                document = own_document(server, folder)
                flags.append(WITH_KEY)
            return schemathesis(server, document, folder, *flags, timeout=None, one_in=1)


def main() -> int:
    """Run it with and without keys, print what it says, and return 1 where it found something."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=2000, help="of each operation")
    parser.add_argument("--keys", choices=("off", "on", "both"), default="both")
    parser.add_argument("--backend", choices=("llama_cpp", "onnx"), default="llama_cpp")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    given = parser.parse_args()
    found = 0
    for keys in (False, True):
        if given.keys == ("off" if keys else "on"):
            continue
        said = f"keys {'on' if keys else 'off'}, --cases {given.cases} --seed {given.seed}"
        print(said, flush=True)  # noqa: T201
        try:
            print(run(given.cases, given.seed, given.backend, keys=keys), flush=True)  # noqa: T201
        except AssertionError as error:
            found = 1
            print(error, flush=True)  # noqa: T201
    return found


if __name__ == "__main__":
    sys.exit(main())
