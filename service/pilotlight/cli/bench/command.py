"""The commands `bench streams` and `bench coldstart`."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from pilotlight.cli.table import print_table
from pilotlight.config import ConfigError, load_settings

VARIABLE = "OPENAI_API_KEY"
"""OpenAI's own clients read it too. There is no flag: every user can read a command line."""


def bench_streams(arguments: dict[str, Any]) -> None:
    """Measure a running server, and print a table."""
    import asyncio  # noqa: PLC0415

    import httpx  # noqa: PLC0415

    from pilotlight.cli.bench.streams import StreamFailed, bench, table  # noqa: PLC0415

    streams = _counts(arguments.pop("streams"))
    url, headers = arguments.pop("url"), key_headers(os.environ)
    try:
        figures = asyncio.run(bench(url, streams=streams, headers=headers, **arguments))
    except (StreamFailed, httpx.HTTPError, httpx.InvalidURL) as error:
        sys.exit(f"pilotlight: {url}: {error}")
    print_table(table(figures))


def _counts(text: str) -> list[int]:
    """Return the counts in *text*, such as `1,4,8`. Raises `ConfigError`."""
    try:
        counts = [int(count) for count in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise ConfigError("--streams: expected numbers of at least 1, comma-separated")
    return counts


def bench_cold_start(arguments: dict[str, Any]) -> None:
    """Measure cold starts, and print a table and a chart of their phases."""
    import asyncio  # noqa: PLC0415

    from pilotlight.cli.bench.cold_start import (  # noqa: PLC0415
        StartFailed,
        measure,
        middle,
        picture,
        table,
    )
    from pilotlight.errors import ServiceError  # noqa: PLC0415
    from pilotlight.service import Service  # noqa: PLC0415

    model, prompt, rounds, drop = (
        arguments.pop(name) for name in ("model", "prompt", "rounds", "drop_page_cache")
    )
    headers = key_headers(os.environ)
    service = Service(load_settings(arguments))
    try:
        path = asyncio.run(service.resolver.resolve(model)).path
        files = [file for file in (path, *path.rglob("*")) if file.is_file()] if drop else None
        serve = [f"--{name.replace('_', '-')}={value}" for name, value in arguments.items()]
        asked = {"model": model, "prompt": prompt, "rounds": rounds}
        starts = list(measure(serve, **asked, files=files, headers=headers))
    except (StartFailed, ServiceError) as error:
        sys.exit(f"pilotlight: {error}")
    print_table(table(starts))
    for cache in dict.fromkeys(start.cache for start in starts):
        print(f"\n{cache} page cache, medians")  # noqa: T201 - a command's output
        own = [start for start in starts if start.cache == cache]
        print("\n".join(picture(middle(own))))  # noqa: T201


def key_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the header with the API key of *environ*; empty if it is unset or blank.

    Raises `ConfigError` for a key that no header can hold, and does not repeat the key. HTTP
    clients would repeat the whole header in their errors.
    """
    key = environ.get(VARIABLE, "").strip()
    if not key:
        return {}
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError(f"{VARIABLE}: expected printable ASCII without spaces")
    return {"Authorization": f"Bearer {key}"}
