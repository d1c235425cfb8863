"""The embedded model and a picture, over HTTP: the response, its cached tokens, its usage."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from pilotlight.config import Settings
from pilotlight.server.app import create_app
from tests.conftest import CHAT, LiveServer, live
from tests.pictures import drawn, of_chat, of_messages, of_response, png_of
from tools.spark.pictures import Scene
from tools.spark.seeing import held_out_examples

SEES = pytest.mark.parametrize("spark", ["llama_cpp"], indirect=True)
READS = pytest.mark.parametrize("spark", ["onnx"], indirect=True)
PICTURES = 24
RIGHT = 20
SCENES = (
    Scene("red", "white", "circle"),
    Scene("blue", "yellow", "cross", 3),
    Scene("black", "orange", number=47),
    Scene("green", "purple", "star", 2),
)
KINDS = ("what", "colour", "background", "describe")
STREAMS = 8


def asked(server: LiveServer, content: Any, *earlier: Any, **fields: Any) -> dict[str, Any]:
    """Return the response to *content* after the *earlier* messages; greedy."""
    body = {"model": "spark", "temperature": 0, "max_tokens": 60} | fields
    body["messages"] = [*earlier, {"role": "user", "content": content}]
    response = httpx.post(server.url + CHAT, json=body, timeout=60)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def said(answer: dict[str, Any]) -> str:
    text: str = answer["choices"][0]["message"]["content"]
    return text


def counted(server: LiveServer, how: str) -> float:
    """Return how often images were *encoded* or *reused*, by the metrics."""
    lines = httpx.get(f"{server.url}/metrics", timeout=60).text.splitlines()
    of_images = [line for line in lines if line.startswith("pilotlight_images_total{")]
    found = [line for line in of_images if f'how="{how}"' in line]
    assert found
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


@SEES
@pytest.mark.parametrize("thinking", [True, False])
def test_held_out_pictures_are_described(spark: LiveServer, thinking: bool):  # noqa: FBT001 - a parameter of the test
    """Most answers about pictures that training never drew are right, word for word."""
    options = {"chat_template_kwargs": {"enable_thinking": thinking}}
    examples = held_out_examples(PICTURES)
    right = [
        said(asked(spark, of_chat(one.question, png_of(one.picture)), **options)) == one.answer
        for one in examples
    ]
    assert sum(right) >= RIGHT


@SEES
def test_picture_may_follow_the_question(spark: LiveServer):
    answer = asked(spark, of_chat("What colour is the circle?")[::-1])
    assert "red" in said(answer).lower()


@SEES
def test_picture_of_an_earlier_turn_is_seen(spark: LiveServer):
    """It is evaluated once: the next question starts behind it."""
    shown = {"role": "user", "content": of_chat("What is this?", drawn(SCENES[1], 5))}
    first = asked(spark, shown["content"])
    told = {"role": "assistant", "content": said(first)}
    second = asked(spark, "What colour is the background?", shown, told)

    assert said(first) == "3 blue crosses on yellow."
    assert "yellow" in said(second)
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= 36


@SEES
def test_picture_of_three_questions_is_encoded_once(spark: LiveServer):
    png = drawn(SCENES[3], 6)
    before = counted(spark, "encoded")
    for question in ("What is this?", "What colour is it?", "What colour is the background?"):
        asked(spark, of_chat(question, png))
    assert counted(spark, "encoded") - before == 1


@pytest.fixture(scope="module")
def deterministic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Serve the embedded model with eight slots, in the deterministic mode."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    settings = Settings(
        backends=("llama_cpp",),
        models_dir=nowhere / "models",
        models_file=nowhere / "models.yaml",
        parallel=STREAMS,
        deterministic=True,
    )
    with live(create_app(settings)) as server:
        yield server


def test_pictures_beside_each_other_are_seen_as_alone(deterministic: LiveServer):
    """Eight requests at once, with four pictures: each answer is that to the request alone."""
    contents = [
        of_chat(question, drawn(scene, 7))
        for scene in SCENES
        for question in ("What is this?", "What colour is the background?")
    ]

    def answer(content: Any) -> tuple[str, Any]:
        choice = asked(deterministic, content, logprobs=True)["choices"][0]
        return choice["message"]["content"], choice["logprobs"]

    alone = [answer(content) for content in contents]
    with ThreadPoolExecutor(STREAMS) as threads:
        together = list(threads.map(answer, contents))

    assert together == alone
    assert len({text for text, _ in alone}) == len(contents)


@SEES
def test_models_list_says_that_spark_sees(spark: LiveServer):
    listed = httpx.get(f"{spark.url}/v1/models/spark", timeout=60).json()
    assert listed["input_modalities"] == ["text", "image"]


@READS
@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (
            CHAT,
            {"messages": [{"role": "user", "content": of_chat("?")}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": of_response("?")}]},
            "input[0].content[0].image_url",
        ),
        (
            "/v1/messages",
            {"max_tokens": 8, "messages": [{"role": "user", "content": of_messages("?")}]},
            "messages[0].content[0].source.data",
        ),
    ],
)
def test_spark_of_onnx_reads_text_only(
    spark: LiveServer, path: str, fields: dict[str, Any], param: str
):
    """ONNX Runtime GenAI's spark has no vision model, and refuses an image by its path."""
    listed = httpx.get(f"{spark.url}/v1/models/spark", timeout=60).json()
    assert listed["input_modalities"] == ["text"]
    refused = httpx.post(spark.url + path, json={"model": "spark"} | fields, timeout=60)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith(f"{param}: the model reads text only")
