"""The libraries of the service's pages are listed as what they are: packages of npm."""

import hashlib
import re
from pathlib import Path

from tools.sbom import vendored
from tools.sbom.part import Part

SERVICE = Path(__file__).parents[3] / "service"


def test_the_libraries_of_the_page():
    parts = list(vendored.inside(SERVICE))

    page = ["marked", "dompurify", "@highlightjs/cdn-assets"]
    assert [part.name for part in parts] == [*page, "swagger-ui-dist"]
    assert parts[2] == Part(
        "@highlightjs/cdn-assets",
        "11.12.0",
        "pkg:npm/%40highlightjs/cdn-assets@11.12.0",
        "BSD-3-Clause",
        inside="pilotlight",
    )
    for part in parts[:3]:  # each library names its own version in the first lines of its file
        file = {"marked": "marked.esm", "dompurify": "purify.min"}.get(part.name, "core.min")
        head = (SERVICE / vendored.TABLES[0].parent / f"{file}.js").read_text("utf-8")[:200]
        assert part.version
        assert part.version in head


def test_swagger_ui():
    """Its script has the version, and its files are the package's."""
    table = SERVICE / vendored.TABLES[1]
    (part,) = (one for one in vendored.inside(SERVICE) if one.name == "swagger-ui-dist")
    assert part.purl == f"pkg:npm/swagger-ui-dist@{part.version}"
    assert part.license_id == "Apache-2.0"
    files = {path.name: path.read_bytes() for path in table.parent.glob("swagger-ui*")}
    assert f'PACKAGE_VERSION:"{part.version}"'.encode() in files["swagger-ui-bundle.js"]
    row = re.compile(r"^\| `(swagger-ui\S+)` .*`([0-9a-f]{64})` \|$", re.MULTILINE)
    listed = dict(row.findall(table.read_text("utf-8")))
    assert listed == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def test_an_environment_without_the_service(tmp_path: Path):
    assert list(vendored.inside(tmp_path)) == []
