"""`/v1/models` as Anthropic's clients ask for it."""

import pytest
from anthropic.types import ModelInfo

from pilotlight.api.endpoints.anthropic_models import Page, model_page, page_of
from pilotlight.errors import InvalidRequest
from pilotlight.schema.models import Model
from tests.clients.strict_types import misfits

VERSION = {"anthropic-version": "2023-06-01"}


def models(*names: str) -> list[Model]:
    """Return models as the list has them."""
    return [
        Model(
            id=name,
            created=1767225600,
            owned_by="pilotlight",
            state="absent",
            backend="fake",
            context_length=64,
            capabilities=["completion"],
            input_modalities=["text"],
            root=f"{name}.fake",
            error=None,
        )
        for name in names
    ]


@pytest.mark.parametrize(
    ("query", "names", "more"),
    [
        ({}, "abcd", False),
        ({"limit": "2"}, "ab", True),
        ({"limit": "4"}, "abcd", False),
        ({"after_id": "b"}, "cd", False),
        ({"after_id": "a", "limit": "1"}, "b", True),
        ({"after_id": "d"}, "", False),
        ({"before_id": "c"}, "ab", False),
        ({"before_id": "d", "limit": "2"}, "bc", True),
        ({"after_id": "a", "before_id": "d"}, "bc", False),
    ],
)
def test_a_page(query, names, more):
    """It begins behind `after_id`, or ends before `before_id`."""
    page = model_page(models(*"abcd"), page_of(query))
    assert "".join(model.id for model in page.data) == names
    assert page.has_more == more
    assert (page.first_id or "") == names[:1]
    assert (page.last_id or "") == names[-1:]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"after_id": "z"}, "after_id"),
        ({"before_id": ""}, "before_id"),
    ],
)
def test_a_page_that_is_not_there(query, param):
    """What is wrong is named."""
    with pytest.raises(InvalidRequest) as raised:
        model_page(models(*"abcd"), page_of(query))
    assert raised.value.param == param


def test_no_models_are_an_empty_page():
    """Nothing is first and last."""
    page = model_page([], Page())
    assert (page.data, page.first_id, page.has_more) == ([], None, False)


async def test_each_client_gets_its_shape(start):
    """Anthropic's are known by their header, on aliases too; the others get OpenAI's shape."""
    service = await start(context_length=64)
    service.write("one")
    for path in ("/v1/models/one", "/models/one"):
        anthropics = await service.client.get(path, headers=VERSION)
        assert misfits(anthropics.content, ModelInfo) == []
        assert anthropics.json()["max_input_tokens"] == 64
        openais = await service.client.get(path)
        assert (openais.json()["object"], openais.json()["context_length"]) == ("model", 64)
    page = await service.client.get("/v1/models", headers=VERSION)
    assert (page.json()["has_more"], page.json()["first_id"]) == (False, "one")
    assert (await service.client.get("/v1/models")).json()["object"] == "list"


async def test_errors_have_the_clients_shape(service):
    """A model that is not there, a name of blanks alone, and a page that cannot be."""
    missing = await service.client.get("/v1/models/nobody", headers=VERSION)
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
    blank = await service.client.get("/v1/models/%20")
    assert (blank.status_code, blank.json()["error"]["param"]) == (400, "model")
    limit = await service.client.get("/v1/models?limit=0", headers=VERSION)
    assert limit.json()["type"] == "error"
    assert (limit.status_code, limit.json()["error"]["param"]) == (400, "limit")
