"""Endpoints that are imported with their first request."""

import asyncio
import math
import threading
from typing import Any

import httpx
import pytest

from pilotlight.api.deferred import deferred
from pilotlight.api.endpoint import Router, endpoint
from pilotlight.api.framework import declared, import_deferred, litestar_application, operations
from pilotlight.api.http.asgi import AppState
from pilotlight.api.http.paths import Paths
from pilotlight.api.http.request import Request
from pilotlight.api.http.response import Response
from pilotlight.api.openapi.operation import Operation

JSON = {"content-type": "application/json"}
OPERATIONS = {
    path: Operation(id=path, tag="test", summary=path, responses={}) for path in ("/a", "/b")
}


class Making:
    """Makes two endpoints; counts how often, and on which threads."""

    def __init__(self, failures: int = 0) -> None:
        self.threads: list[int] = []
        self._failures = failures
        endpoints = deferred("test", "/a", "/b", make=self)
        self.app = litestar_application([], endpoints, max_request_bytes=1000)
        state = AppState(None, None, Paths([]), max_request_bytes=1000, max_retry_after=math.inf)
        router = Router(endpoints, self.app)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            state.enter(scope)
            await router(scope, receive, send)

        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x")

    def __call__(self) -> list[Any]:
        self.threads.append(threading.get_ident())
        if len(self.threads) <= self._failures:
            raise ImportError("a module is missing")
        return [self._endpoint(path) for path in OPERATIONS]

    def _endpoint(self, path: str) -> Any:
        @endpoint(path, OPERATIONS[path])
        async def answer(request: Request) -> Response:
            body = b"".join([piece async for piece in request.stream()])
            return Response(path.encode() + body)

        return answer


async def test_the_first_request_makes_all_of_them_once():
    making = Making()
    assert making.threads == []
    answers = await asyncio.gather(
        *(making.client.post(path, content="!") for path in ("/a", "/b", "/a"))
    )
    assert [(one.status_code, one.text) for one in answers] == [
        (200, "/a!"),
        (200, "/b!"),
        (200, "/a!"),
    ]
    assert len(making.threads) == 1
    assert making.threads != [threading.get_ident()], "streams would wait for the imports"


async def test_modules_that_cannot_be_imported_are_tried_again():
    making = Making(failures=1)
    assert (await making.client.post("/a")).status_code == 500
    assert (await making.client.post("/a")).status_code == 200


def test_what_is_needed_without_the_modules_is_declared():
    making = Making()
    assert [(path, method, one.tag) for path, method, one in declared(making.app)] == [
        ("/a", "post", "test"),
        ("/b", "post", "test"),
    ]
    assert making.threads == []


def test_the_operations_import_the_modules():
    making = Making()
    assert [one for _, _, one in operations(making.app)] == list(OPERATIONS.values())
    import_deferred(making.app)
    assert len(making.threads) == 1


async def test_each_endpoint_declares_the_tag_that_its_operation_has(service):
    """The metrics of a request read it before the endpoint is imported."""
    app = service.app.litestar
    tags = {(path, method): one.tag for path, method, one in declared(app)}
    assert tags == {(path, method): one.tag for path, method, one in operations(app)}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/tokenize"])
async def test_a_bad_first_request_gets_the_same_error_as_later_ones(service, path):
    first, second = [await service.client.post(path, content=b"{", headers=JSON) for _ in range(2)]
    assert first.status_code == second.status_code == 400
    assert first.json() == second.json()
