"""The live server that the clients meet: a scripted model for each, with a long context."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from pilotlight_backend.testing.fake import Line
from tests.clients.servers import serving
from tests.clients.table.catalog import Client

CONTEXT = 2_000_000
"""The scripted models have a token for each byte, and agents begin with 100 KB and more."""


@contextmanager
def served(clients: Sequence[Client], work: Path) -> Iterator[str]:
    """Serve a model for each of *clients*, which work below *work*; return the address."""
    folder = work / "models"
    folder.mkdir(parents=True)
    models = {
        client.key: {"context_length": CONTEXT, "script": placed(client, work / client.key)}
        for client in clients
    }
    with serving(folder, models, context_length=CONTEXT) as server:
        yield server.url


def placed(client: Client, home: Path) -> tuple[Line, ...]:
    """Return the client's script, with its folder wherever a path is said."""
    folder = str(home / "folder")
    return tuple(
        replace(line, reply=line.reply.replace("{folder}", folder)) for line in client.script
    )
