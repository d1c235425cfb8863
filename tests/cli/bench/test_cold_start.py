"""The cold-start timer: what it measures of a real start, and how it shows it."""

import httpx
import pytest

from pilotlight.cli.bench.cold_start import (
    Start,
    StartFailed,
    ask,
    measure,
    middle,
    picture,
    table,
)

pytestmark = pytest.mark.slow

PRELOADED = Start(
    "warm",
    0.1,
    2.0,
    {"import": 1.0, "begin": 0.5, "read": 0.25, "load": 0.75, "queue": 0.0, "prefill": 0.5},
    1.5,
)


def bar(line: str) -> tuple[int, int]:
    """Return where a line's bar begins and ends."""
    return line.index("█"), line.rindex("█") + 1


def test_bars_stand_where_their_phases_were():
    """The load begins beside the imports, the prefill ends with the first token."""
    lines = {line.split()[0]: line for line in picture(PRELOADED)}
    left, right = 9, 9 + 48
    assert bar(lines["import"]) == (left, left + 24)
    assert bar(lines["read"]) == (left + 12, left + 18)
    assert bar(lines["load"]) == (left + 18, left + 36)
    assert bar(lines["prefill"]) == (left + 36, right)
    assert lines["load"].endswith("0.750 s")
    assert lines["exec"].endswith("2.000 s")


def test_the_table_has_each_round_and_the_medians_of_each_cache():
    """A phase that no start had is left out."""
    slow = Start("dropped", 0.3, 4.0, {"import": 3.0, "fetch": 1.0})
    rows = table([PRELOADED, Start("warm", 0.3, 4.0, {"import": 3.0}, 2.5), slow])
    assert rows[0][:5] == ("CACHE", "ROUND", "LISTENING", "IMPORT", "BEGIN")
    assert rows[0][-2:] == ("FIRST TOKEN", "CPU")
    assert "WARM" not in rows[0]
    assert [row[:2] for row in rows[1:]] == [
        ("warm", "1"),
        ("warm", "2"),
        ("warm", "median"),
        ("dropped", "1"),
        ("dropped", "median"),
    ]
    assert rows[3][2:4] == ("0.200", "2.000")
    assert rows[3][-2:] == ("3.000", "2.000")


def test_medians_are_of_each_phase():
    """One that some starts did not have counts as nothing there."""
    fetched = Start("warm", 0.1, 2.0, {"import": 2.0, "fetch": 8.0})
    assert middle([PRELOADED, fetched]).phases["fetch"] == 4.0
    assert middle([PRELOADED, fetched]).phases["import"] == 1.5


def test_a_real_start_is_measured(tmp_path):
    """The server's own timing is read, and is within what the client measured."""
    flags = [f"--models-dir={tmp_path}", f"--models-file={tmp_path / 'none.yaml'}"]
    (start,) = measure(flags, model="spark", prompt="Hello!", rounds=1, files=None)
    assert 0 < start.listening < start.phases["import"] < start.first_token
    assert {"begin", "read", "load", "warm", "prefill"} <= start.phases.keys()
    # Imports compute on one thread all the time; no start computes more than two threads could.
    assert 0.1 < start.cpu < 2 * start.first_token


@pytest.mark.parametrize(
    ("flags", "model", "why"),
    [
        (["--no-such-flag"], "spark", "unrecognized arguments"),
        (["--models-dir=/nowhere"], "nobody", "model_not_found"),
    ],
)
def test_a_server_that_does_not_answer_is_told(flags, model, why):
    """In its own words."""
    with pytest.raises(StartFailed, match=why):
        list(measure(flags, model=model, prompt="Hello!", rounds=1, files=None))


def test_an_answer_without_a_timing_is_explained():
    """A small model is preloaded before the first request can come."""
    warm = httpx.MockTransport(lambda _: httpx.Response(200, text="data: [DONE]\n\n"))
    with httpx.Client(transport=warm) as client, pytest.raises(StartFailed, match="--preload"):
        ask(client, 1, "spark", "Hello!")
