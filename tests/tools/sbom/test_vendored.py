"""The chat page's libraries are listed as what they are: packages of npm."""

from pathlib import Path

from tools.sbom import vendored
from tools.sbom.part import Part

SERVICE = Path(__file__).parents[3] / "service"


def test_the_libraries_of_the_page():
    parts = list(vendored.inside(SERVICE))

    assert [part.name for part in parts] == ["marked", "dompurify", "@highlightjs/cdn-assets"]
    assert parts[2] == Part(
        "@highlightjs/cdn-assets",
        "11.12.0",
        "pkg:npm/%40highlightjs/cdn-assets@11.12.0",
        "BSD-3-Clause",
        inside="pilotlight",
    )
    for part in parts:  # each library names its own version in the first lines of its file
        file = {"marked": "marked.esm", "dompurify": "purify.min"}.get(part.name, "core.min")
        head = (SERVICE / vendored.TABLE.parent / f"{file}.js").read_text("utf-8")[:200]
        assert part.version
        assert part.version in head


def test_an_environment_without_the_service(tmp_path: Path):
    assert list(vendored.inside(tmp_path)) == []
