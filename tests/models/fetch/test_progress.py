"""The line that shows how far a fetch is."""

import io

import pytest

from pilotlight.models.fetch.progress import FetchProgress, ProgressBar, describe, in_bytes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (
            FetchProgress(500_000_000, 2_000_000_000, 0),
            "[######..................]  25 %  500.0 MB of 2.0 GB  50.0 MB/s  0:30 left",
        ),
        (
            FetchProgress(1_500_000_000, 2_000_000_000, 1_000_000_000),
            "[##################......]  75 %  1.5 GB of 2.0 GB  50.0 MB/s  0:10 left",
        ),
        (
            FetchProgress(1_000, 2_000, 1_000),
            "[############............]  50 %  1.0 kB of 2.0 kB",
        ),
        (FetchProgress(0, 0), "contacting the source"),
        (FetchProgress(0, 0, 0, "wait"), "waiting for another process to fetch it"),
        (FetchProgress(2, 2, 0, "check"), "checking the sha256"),
    ],
)
def test_line(progress, line):
    """The rate is that of this try's bytes, and says how long the rest takes."""
    assert describe(progress, 10.0) == line


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (10**13, "10000.0 GB")]
)
def test_bytes(count, text):
    assert in_bytes(count) == text


def test_terminal_has_one_line(clock):
    """It is written over, and left at the end."""
    terminal = Terminal()
    bar = ProgressBar(terminal, clock)
    for done in (0, 50, 100):
        bar(FetchProgress(done, 100))
        clock.advance(0.1)
    bar.end()
    first, second, third, fourth = terminal.getvalue().split("\r")
    assert first == ""
    assert "  0 %" in second
    assert " 50 %" in third
    assert "100 %" in fourth
    assert fourth.endswith("\n")


def test_log_has_a_line_now_and_then(clock):
    """Where lines stay there is one every ten seconds, and a last one."""
    log = io.StringIO()
    bar = ProgressBar(log, clock)
    for done in range(101):
        bar(FetchProgress(done, 100))
        clock.advance(0.25)
    bar.end()
    lines = log.getvalue().splitlines()
    assert [line.partition("%")[0].split()[-1] for line in lines] == ["0", "40", "80", "100"]
