"""The page's files: served as listed, pinned, small, and untouched until they are asked for."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pilotlight.api.endpoints.docs import _PAGE_FILES
from tests.conftest import FakeService
from tests.page.browser import PAGE

MOST_BYTES = 300_000
VENDOR = PAGE / "vendor"


def test_every_file_is_listed():
    found = {str(one.relative_to(PAGE)) for one in PAGE.rglob("*") if one.suffix in {".js", ".css"}}
    assert found == set(_PAGE_FILES)
    assert list(_PAGE_FILES) == sorted(_PAGE_FILES)


def test_every_import_leads_to_a_file():
    """Languages are imported by name, so the table of markdown.js counts too."""
    names = re.findall(
        r'^  (?:"?[\w+]+"?): "(\w+)",$', (PAGE / "markdown.js").read_text(), re.MULTILINE
    )
    imported = {f"vendor/{name}.min.js" for name in names} | {"page.css", "app.js"}
    for module in PAGE.glob("*.js"):
        imported |= set(
            re.findall(r'^import (?:.* from )?"\./([^"]+)";$', module.read_text(), re.MULTILINE)
        )
    assert imported == set(_PAGE_FILES)


def test_the_page_is_small():
    size = sum((PAGE / name).stat().st_size for name in (*_PAGE_FILES, "index.html"))
    assert size < MOST_BYTES


def test_foreign_files_are_the_released_ones():
    """vendor/README.md has the hash of each, and each has its licence beside it."""
    pinned = dict(
        re.findall(
            r"\| `([\w.]+)` \| .* \| `([0-9a-f]{64})` \|", (VENDOR / "README.md").read_text()
        )
    )
    found = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in VENDOR.glob("*.js")}
    assert pinned == found
    assert {one.name for one in VENDOR.glob("LICENSE-*")} == {
        "LICENSE-dompurify",
        "LICENSE-highlight",
        "LICENSE-marked",
    }


async def test_the_page_and_its_files_are_served(service: FakeService):
    page = await service.client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert 'data-chat-path="v1/chat/completions"' in page.text
    for name in _PAGE_FILES:
        file = await service.client.get(f"/page/{name}")
        assert file.status_code == 200
        assert file.content == (PAGE / name).read_bytes()
        assert file.headers["content-type"].startswith(
            "text/css" if name == "page.css" else "text/javascript"
        )
        assert file.headers["content-security-policy"].startswith("default-src 'none'; ")
        assert file.headers["x-content-type-options"] == "nosniff"


async def test_a_file_that_a_browser_has_is_not_sent_again(service: FakeService):
    first = await service.client.get("/page/app.js")
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}"):
        again = await service.client.get("/page/app.js", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await service.client.get("/page/app.js", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["index.html", "vendor/README.md", "nothing.js", "%2e%2e/docs.py"])
async def test_nothing_else_is_served(service: FakeService, path: str):
    assert (await service.client.get(f"/page/{path}")).status_code == 404


@pytest.mark.parametrize(
    ("settings", "shown"),
    [({"chat_completions_path": "/llm/chat"}, "llm/chat"), ({"chat_completions": False}, "")],
)
async def test_the_page_knows_where_the_chat_endpoint_is(start, settings: Any, shown: str):
    service = await start(**settings)
    assert f'data-chat-path="{shown}"' in (await service.client.get("/")).text


async def test_the_page_can_be_turned_off(start):
    service = await start(page=False)
    assert (await service.client.get("/")).status_code == 307
    assert (await service.client.get("/page/app.js")).status_code == 404


PROGRAM = """
import json, sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from pilotlight.config import Settings
from pilotlight.server.app import create_app
create_app(Settings(page=sys.argv[1] == "true"), backends={})
print(json.dumps({"modules": sorted(sys.modules), "opened": sorted(set(opened))}))
"""


@pytest.mark.slow  # two processes that import the service
def test_a_start_reads_and_imports_nothing_of_the_page(tmp_path: Path):
    """What a process imports and opens is the same with the page and without it."""
    starts = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", PROGRAM, page],
                check=True,
                capture_output=True,
                text=True,
                cwd=tmp_path,
            ).stdout
        )
        for page in ("true", "false")
    ]
    assert starts[0] == starts[1]
    assert not [path for path in starts[0]["opened"] if f"{PAGE}/" in path]
