"""The table of `docs/clients.md`, between its markers."""

import re
from collections.abc import Mapping, Sequence

from tests.clients.table.catalog import Client
from tests.clients.table.outcome import Outcome

BEGIN, END = "<!-- begin table -->", "<!-- end table -->"
HEAD = "| Client | Version | What ran | Result |\n| --- | --- | --- | --- |\n"


def with_table(page: str, outcomes: Mapping[Client, Outcome]) -> str:
    """Return *page* with the table of *outcomes* between its markers."""
    table = HEAD + "".join(row(client, outcome) for client, outcome in outcomes.items())
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    return re.sub(pattern, lambda _: f"{BEGIN}\n{table}{END}", page, flags=re.DOTALL)


def row(client: Client, outcome: Outcome) -> str:
    """Return the line of one client."""
    package = client.packages[0].removesuffix(client.version)[: -1 if client.on_npm else -2]
    failed = [one.case for one in outcome.cases if one.error is not None]
    result = f"{len(outcome.cases) - len(failed)} of {len(outcome.cases)} pass"
    if failed:
        result += f"; fails: {listing(failed)}"
    ran = listing([one.case for one in outcome.cases])
    return f"| {client.name} (`{package}`) | {outcome.version} | {ran} | {result} |\n"


def listing(cases: Sequence[str]) -> str:
    """Return *cases* as a text; what several prefixes, as in `chat: stream`, share is said once."""
    groups: dict[str, list[str]] = {}
    for case in cases:
        prefix, _, name = case.rpartition(": ")
        groups.setdefault(prefix, []).append(name)
    prefixes: dict[tuple[str, ...], list[str]] = {}
    for prefix, names in groups.items():
        prefixes.setdefault(tuple(names), []).append(prefix)
    return "; ".join(
        f"{' · '.join(shared)}: {', '.join(names)}" if any(shared) else ", ".join(names)
        for names, shared in prefixes.items()
    )
