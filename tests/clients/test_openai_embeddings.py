"""Embeddings through the official Python client, unmodified, against the live service."""

import asyncio
import base64
import json
import math
import struct
from collections.abc import Iterator

import httpx
import openai
import pytest
from openai.types import CreateEmbeddingResponse

from pilotlight.config import Settings
from pilotlight.server.app import create_app
from tests.backends import random_bert
from tests.clients.strict_types import misfits
from tests.conftest import LiveServer, live

TEXTS = ["the cat sat on the mat", "what is a dog?", "hello"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Serve an encoder of random weights beside spark."""
    folder = tmp_path_factory.mktemp("models")
    random_bert.write(folder / "bert.gguf")
    settings = Settings(
        backends=("llama_cpp",), models_dir=folder, models_file=folder / "models.yaml"
    )
    with live(create_app(settings)) as server:
        yield server


@pytest.fixture
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        yield client


@pytest.mark.parametrize("fields", [{}, {"encoding_format": "float"}], ids=["base64", "float"])
def test_embeddings_come_as_numbers(client: openai.OpenAI, fields: dict[str, str]):
    """The client asks for base64 where nothing is said, and reads it; numbers are the same."""
    answer = client.embeddings.create(model="bert", input=TEXTS, **fields)

    assert [one.index for one in answer.data] == [0, 1, 2]
    assert answer.model == "bert"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > len(TEXTS)
    for one in answer.data:
        assert len(one.embedding) == random_bert.HIDDEN
        assert math.hypot(*one.embedding) == pytest.approx(1.0, abs=1e-5)
    # The client builds its objects without validation; this validates them strictly.
    type(answer).model_validate(answer.model_dump(), strict=True)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_are_of_the_clients_types(server: LiveServer, encoding: str):
    """An answer has all that the type requires and nothing foreign."""
    body = {"model": "bert", "input": TEXTS, "encoding_format": encoding}

    response = httpx.post(f"{server.url}/v1/embeddings", json=body, timeout=60)

    # The type has numbers alone: the client unpacks base64 before it makes one.
    said = response.json()
    if encoding == "base64":
        for one in said["data"]:
            packed = base64.b64decode(one["embedding"])
            one["embedding"] = list(struct.unpack(f"<{random_bert.HIDDEN}f", packed))
    assert misfits(json.dumps(said), CreateEmbeddingResponse) == []


def test_both_encodings_say_the_same(client: openai.OpenAI):
    """To the last bit of a 32-bit float."""
    packed = client.embeddings.create(model="bert", input=TEXTS)
    plain = client.embeddings.create(model="bert", input=TEXTS, encoding_format="float")

    assert [one.embedding for one in packed.data] == [one.embedding for one in plain.data]


def test_base64_stays_where_it_is_asked_for(client: openai.OpenAI):
    """A client that asks for base64 by name gets it undecoded, four bytes for each number."""
    answer = client.embeddings.create(model="bert", input="hello", encoding_format="base64")

    assert isinstance(answer.data[0].embedding, str)
    assert len(base64.b64decode(answer.data[0].embedding)) == random_bert.HIDDEN * 4


def test_dimensions(client: openai.OpenAI):
    """Fewer numbers are the first ones, of length 1 again; more are refused by name."""
    whole = client.embeddings.create(model="bert", input="hello").data[0].embedding
    short = client.embeddings.create(model="bert", input="hello", dimensions=16).data[0].embedding

    length = math.hypot(*whole[:16])
    assert short == pytest.approx([one / length for one in whole[:16]], abs=1e-6)
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="bert", input="hello", dimensions=65)
    assert caught.value.param == "dimensions"


def test_token_ids(client: openai.OpenAI):
    """The ids that a text has, with the ends that the model wants, have the text's vector."""
    text = client.embeddings.create(model="bert", input="hello").data[0].embedding
    engine_input = [random_bert.CLS, random_bert.token_id("\u2581hello"), random_bert.SEP]
    ids = client.embeddings.create(model="bert", input=engine_input).data[0].embedding
    several = client.embeddings.create(model="bert", input=[engine_input, engine_input[::-1]])

    assert ids == text
    assert several.data[0].embedding == pytest.approx(text, abs=1e-5)
    assert several.data[1].embedding != text


async def test_many_clients_at_once(server: LiveServer):
    """Each gets the vectors that it gets alone."""
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        alone = [
            (await client.embeddings.create(model="bert", input=text)).data[0].embedding
            for text in TEXTS
        ]
        answers = await asyncio.gather(
            *(client.embeddings.create(model="bert", input=text) for text in TEXTS * 10)
        )
    for place, answer in enumerate(answers):
        assert answer.data[0].embedding == pytest.approx(alone[place % len(TEXTS)], abs=1e-5)


def test_errors_are_the_clients_own(client: openai.OpenAI):
    """Too long an input, a model that generates, and an unknown name."""
    with pytest.raises(openai.BadRequestError) as too_long:
        client.embeddings.create(model="bert", input=["hello", "hello " * 600])
    assert (too_long.value.code, too_long.value.param) == ("context_length_exceeded", "input[1]")
    assert "602 tokens" in too_long.value.message
    with pytest.raises(openai.BadRequestError) as writes:
        client.embeddings.create(model="spark", input="hello")
    assert writes.value.param == "model"
    with pytest.raises(openai.BadRequestError) as embeds:
        client.chat.completions.create(
            model="bert", messages=[{"role": "user", "content": "hello"}]
        )
    assert embeds.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nobody", input="hello")
