"""docs/errors.md has every error of the code, and nothing else."""

import json
import re
from pathlib import Path

import pytest

from pilotlight import errors
from pilotlight.api.http.error_bodies import ANTHROPIC
from pilotlight.api.http.errors import error_headers
from pilotlight.errors import ServiceError
from tests.conftest import CHAT, chat

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
_HEADER = re.compile(r"Retry-After|retry-after-ms|x-should-retry|[A-Z]\w+(?:-[A-Z]\w+)*")
USER = {"role": "user", "content": "hi"}

_ABSTRACT = (errors.TooManyRequests, errors.Unavailable)
"""The parents of errors that have a code of their own."""


def kinds(parent: type[ServiceError] = ServiceError) -> list[type[ServiceError]]:
    """Return every error that a client can get."""
    below = [one for child in parent.__subclasses__() for one in (child, *kinds(child))]
    return [one for one in below if one not in _ABSTRACT]


def instances(kind: type[ServiceError]) -> list[ServiceError]:
    """Return errors of *kind*, with and without each header that may be missing."""
    if issubclass(kind, errors.ModelUnsupported):  # a retry never helps
        return [kind("m")]
    if issubclass(kind, errors.Unavailable):
        return [kind("m", retry_after=1.0), kind("m", retry_after=None)]
    if issubclass(kind, errors.TooManyRequests):
        return [kind("m", retry_after=1.0)]
    if issubclass(kind, errors.MethodNotAllowed):
        return [kind("m", allow="GET")]
    if issubclass(kind, errors.UnsupportedMediaType):
        return [kind("m", accept_encoding="gzip")]
    return [kind("m")]


def section(heading: str) -> str:
    """Return the text below *heading*."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def table(text: str) -> list[dict[str, str]]:
    """Return the rows of the only table of *text*, by the names of its columns."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """Return the rows of all tables of codes; those of Requests have one type."""
    headings = ("Requests", "Authentication and limits", "Models", "Server")
    found = [row for heading in headings for row in table(section(heading))]
    return [{"type": "invalid_request_error"} | row for row in found]


def test_every_error_has_a_row_and_every_row_is_an_error(rows):
    """With its status, its type and its code."""
    documented = sorted((row["status"], row["type"], row["code"]) for row in rows)
    assert documented == sorted((str(one.status), one.type, one.code) for one in kinds())
    assert "`type` is `invalid_request_error`." in section("Requests")


def test_every_row_has_a_meaning_and_a_remedy(rows):
    """A reader of the page learns what to do."""
    for row in rows:
        assert row["meaning"].endswith("."), row
        assert row["what to do"].endswith("."), row


def test_headers_are_those_of_the_rows(rows):
    """A row names every header that its error can have, and no other."""
    named = {row["code"]: {one.lower() for one in _HEADER.findall(row["headers"])} for row in rows}
    for kind in kinds():
        has = {name.lower() for error in instances(kind) for name in error_headers(error)}
        assert named[kind.code] == has, kind


def test_anthropics_types_are_those_of_the_page():
    """By the status, and where a 503 has two by its cause."""
    types = {
        (int(status), row["type"])
        for row in table(section("Anthropic's shape"))
        for status in re.findall(r"\b\d{3}\b", row["status"])
    }
    sent = {(one.status, ANTHROPIC.body(one, "m", None, None).error.type) for one in kinds()}
    assert types == sent


def examples() -> list[dict]:
    """Return the bodies that the page shows."""
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


async def test_bodies_of_the_page_are_those_that_clients_get(start):
    """To the letter, but for the id of the request."""
    openai, anthropic = examples()
    service = await start()
    messages = [USER, USER, {"content": "hi"}]
    response = await service.client.post(CHAT, json={"model": "m", "messages": messages})
    assert response.json() == openai
    response = await service.client.post("/v1/messages", json={"model": "m", "messages": [USER]})
    body = response.json()
    assert body | {"request_id": None} == anthropic | {"request_id": None}
    assert re.fullmatch("req_[0-9a-f]+", anthropic["request_id"])
    assert re.fullmatch("req_[0-9a-f]+", body["request_id"])


async def test_message_in_a_row_is_the_one_that_clients_get(start):
    """A message that the page quotes is found by those who search for theirs."""
    service = await start()
    response = await service.client.post(CHAT, json=chat(max_tokens="8"))
    assert f"`{response.json()['error']['message']}`" in section("Requests")
