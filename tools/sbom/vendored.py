"""Libraries of npm whose files are in the service itself: those of the chat page."""

import re
from collections.abc import Iterable
from pathlib import Path

from tools.sbom.part import Part, purl

TABLE = Path("pilotlight/api/endpoints/page/vendor/README.md")
_ROW = re.compile(r"^\| `([@a-z/.-]+)` \| (\d[\w.-]*) \| ([\w.-]+) \|", re.MULTILINE)


def inside(packages: Path) -> Iterable[Part]:
    """Yield the packages of the table that is in the folder *packages*, if the service is there."""
    table = packages / TABLE
    if table.is_file():
        for name, version, license_id in _ROW.findall(table.read_text("utf-8")):
            at = purl("npm", *name.split("/"), version=version)
            yield Part(name, version, at, license_id, inside="pilotlight")
