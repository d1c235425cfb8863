"""Compare with llama-server in one table: speed, first tokens, starts and memory, in turns.

    python -m benchmarks.versus --llama-server PATH model.gguf [--rounds 5] [--only streams start]

Both serve the model with their defaults, with as many slots of the same length. Each round starts
the servers one after the other, so that none has an idle neighbour, and asks each for the same.
A cell has the median over the rounds; the ratio's median has its least and largest beside it, since
machines drift. `deterministic` is `pilotlight serve --deterministic` against llama-server. On a
machine that others use too, compare the CPU seconds with `--threads 1`: several threads spin at
barriers while one of them has no CPU. llama-server is built from the source inside
llama-cpp-python's sdist, with the same compiler and for the same CPU (target `llama-server`).
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.versus_rows import GROUPS, Row
from benchmarks.versus_servers import (
    LLAMA_SERVER,
    OURS,
    OURS_DETERMINISTIC,
    Servers,
    write_models_file,
)


class Table:
    """What was measured, by row and server, in the order of the rounds."""

    def __init__(self) -> None:
        self._found: dict[Row, dict[str, list[float]]] = {}

    def add(self, server: str, figures: Iterable[tuple[Row, float]]) -> None:
        """Note what a round of *server* gave."""
        for row, figure in figures:
            sys.stderr.write(f"{server:<14}{row.name:<38}{figure:.4g}\n")
            self._found.setdefault(row, {}).setdefault(server, []).append(figure)

    def lines(self) -> Iterable[str]:
        """Yield the table's lines."""
        yield (
            f"{'':<38}{'pilotlight':>12}{'llama-server':>14}{'ratio':>8}{'':<14}"
            f"{'deterministic':>14}"
        )
        for row, found in self._found.items():
            ours, theirs = found.get(OURS, []), found.get(LLAMA_SERVER, [])
            yield (
                f"{row.name:<38}{_median(ours):>12}{_median(theirs):>14}"
                f"{_ratio(ours, theirs):<22}"
                f"{_ratio(found.get(OURS_DETERMINISTIC, []), theirs):<22}"
            )


def _median(figures: Sequence[float]) -> str:
    return f"{statistics.median(figures):.3g}" if figures else "-"


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return the median of the rounds' ratios, and the least and the largest."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=False) if other]
    if not ratios:
        return f"{'-':>8}"
    return f"{statistics.median(ratios):>8.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def compare(servers: Servers, given: argparse.Namespace) -> None:
    """Measure, and print a table."""
    table = Table()
    for number in range(given.rounds):
        # Every second round in the other order: what follows what is no advantage.
        order = given.servers if number % 2 == 0 else given.servers[::-1]
        for group in given.only:
            for server in order:
                table.add(server, GROUPS[group](servers, server, number))
        sys.stderr.write(f"{servers.model.name}: round {number + 1} of {given.rounds}\n")
    print(servers.model.name)  # noqa: T201
    print("\n".join(table.lines()), flush=True)  # noqa: T201


def main() -> None:
    """Parse the command line, measure, and print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="by default what each server chooses")
    parser.add_argument("--only", nargs="+", choices=sorted(GROUPS), default=sorted(GROUPS))
    parser.add_argument(
        "--servers",
        nargs="+",
        choices=[OURS, LLAMA_SERVER, OURS_DETERMINISTIC],
        default=[OURS, LLAMA_SERVER, OURS_DETERMINISTIC],
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for path in given.models:
            model = path.resolve()
            models_file = write_models_file(Path(folder) / "models.yaml", model)
            compare(Servers(given.llama_server.resolve(), model, models_file, given.threads), given)


if __name__ == "__main__":
    main()
