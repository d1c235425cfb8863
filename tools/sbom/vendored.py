"""Libraries of npm whose files are in the service itself: the chat page's, and Swagger UI."""

import re
from collections.abc import Iterable
from pathlib import Path

from tools.sbom.part import Part, purl

_ENDPOINTS = Path("pilotlight/api/endpoints")
TABLES = (_ENDPOINTS / "page/vendor/README.md", _ENDPOINTS / "swagger/README.md")
_ROW = re.compile(r"^\| `([@a-z/.-]+)` \| (\d[\w.-]*) \| ([\w.-]+) \|", re.MULTILINE)


def inside(packages: Path) -> Iterable[Part]:
    """Yield the packages of the tables in the folder *packages*, if the service is there."""
    for table in (packages / path for path in TABLES):
        if table.is_file():
            for name, version, license_id in _ROW.findall(table.read_text("utf-8")):
                at = purl("npm", *name.split("/"), version=version)
                yield Part(name, version, at, license_id, inside="pilotlight")
