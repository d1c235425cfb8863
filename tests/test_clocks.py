"""Only times that are shown are read from the wall clock, which may jump."""

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1]
WALL = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow")}
TOLD = {
    "service/pilotlight/cli/bench/streams.py": 1,
    "service/pilotlight/api/endpoints/chat/projection.py": 2,
    "service/pilotlight/api/endpoints/completions/projection.py": 2,
    "service/pilotlight/api/endpoints/responses/projection.py": 2,
    "service/pilotlight/prompt/chat_template.py": 1,
    "service/pilotlight/observability/model_gauges.py": 1,
    "service/pilotlight/observability/request_context.py": 1,
    "service/pilotlight/observability/traces.py": 2,
    "backends/contract/pilotlight_backend/prompt_cache/guarded.py": 1,
    "backends/contract/pilotlight_backend/prompt_cache/storage.py": 1,
}
"""Where the wall's clock is read, and how often: `created`, dates, prompts unlike earlier ones,
when spans ended, when adapters were counted, how old the files are that instances share."""


def readings(source: str) -> int:
    """Return how often *source* reads the wall's clock."""
    return sum(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in WALL
        for node in ast.walk(ast.parse(source))
    )


@pytest.mark.slow
def test_durations_and_deadlines_are_of_a_monotonic_clock():
    """Everything else counts with `time.monotonic` or `time.perf_counter`."""
    found = {}
    for root in ("service", "backends"):
        for path in sorted((SOURCES / root).rglob("*.py")):
            if count := readings(path.read_text(encoding="utf-8")):
                found[path.relative_to(SOURCES).as_posix()] = count
    assert found == TOLD


def test_reading_is_found():
    assert readings("import time\ntime.time()\ntime.monotonic()") == 1
