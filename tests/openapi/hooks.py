"""Let schemathesis ask the model that there is: random names would all be answered with 404.

Only what is valid is replaced, by something as valid, so a case stays what it was generated as.
"""

import json
import os
import re
import zlib
from typing import Any

import schemathesis
from schemathesis import GenerationMode

_ONE_IN = int(os.environ.get("PILOTLIGHT_TEST_ONE_IN", "1"))
_LEAST = 1
_MOST = 2**31 - 1
_ANSWERS = 128
_TOKENS = 256

_MEANINGS = (
    "logit_bias",
    "stop_token_ids",
    "chat_template_kwargs",
    "tool_choice",
    "prompt",
    "tokens",
    "input",
    "dimensions",
    "continue_final_message",
    "repetition_penalty",
)
"""Fields whose values the schema allows and the model at hand, or another field, may not."""

_OF_IMAGES = ("images_unsupported", "invalid_image", "invalid_image_url")
"""A schema says neither what a model sees nor what an image file is."""

_TOGETHER = {
    "/v1/responses": ("text.format", "tools"),
    "/v1/chat/completions": (
        "top_logprobs",
        "grammar",
        "guided_",
        "repetition_penalty",
        "response_format",
        "tools",
    ),
    "/v1/messages": ("tools", "output_config.format"),
    "/v1/stream": ("Last-Event-ID",),  # or the query parameter
    "/v1/completions": ("best_of", "logprobs", "repetition_penalty"),
    "/tokenize": (
        "content",
        "messages",
        "add_special",
        "parse_special",
        "add_generation_prompt",
        "continue_final_message",
        "tools",
    ),
    "/v1/rerank": ("documents", "texts", "query", "model"),  # one that is omitted is looked for
    "/v2/rerank": ("documents", "texts", "query", "model"),
}
"""Fields that do not go with every other, or whose text says more than a schema, by path."""

_MODELS = {"/v1/embeddings": "bert", "/v1/rerank": "cross", "/v2/rerank": "cross"}


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Name spark wherever a model is named, with tokens that it has, and keep its answers short.

    bert is to embed, and cross to rank.
    """
    if not isinstance(body, dict) or not isinstance(body.get("model"), str) or not body["model"]:
        return body
    body["model"] = _MODELS.get(context.operation.path, "spark")
    for name in ("prompt", "tokens"):
        if name in body:
            body[name] = _known(body[name])
    if context.operation.path.endswith("completions"):
        _shorten(body, "max_tokens", "max_completion_tokens")
        for name, least in (("n", 1), ("best_of", 2)):
            if _is_within(body.get(name), _ANSWERS):
                body[name] = least + body[name] % 2
    if context.operation.path == "/v1/responses":
        _shorten(body, "max_output_tokens")
    return body


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """Leave out what has an unknown field that is null: it counts as omitted, and is accepted.

    The names of unknown fields are random, and hardly ever spelled as those of known ones.
    """
    if isinstance(body, dict):
        return all(
            (value is not None or re.fullmatch("[a-z_]+", name)) and filter_body(context, value)
            for name, value in body.items()
        )
    return not isinstance(body, list) or all(filter_body(context, one) for one in body)


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:  # noqa: ARG001 - the hook's signature
    """Send one in `PILOTLIGHT_TEST_ONE_IN` of the coverage phase's bodies.

    They have each value of each field in turn, which makes 7,362 requests in 35 CPU seconds. Which
    are sent depends on the body alone, so they are the same in every run.
    """
    if case.meta.phase.name.name != "COVERAGE" or not isinstance(case.body, dict):
        return True
    written = json.dumps(case.body, sort_keys=True, default=repr)
    return zlib.crc32(written.encode(errors="surrogatepass")) % _ONE_IN == 0


def _shorten(body: dict[str, Any], *names: str) -> None:
    """Set what bounds an answer's length, by any of *names*, to a few tokens."""
    for name in names:
        if _is_within(body.get(name), _MOST):
            body[name] = 8
    body.setdefault(names[0], 8)
    least = body.get("min_tokens")
    if type(least) in (int, float) and 0 <= least <= _MOST:
        body["min_tokens"] = least % 8


def _is_within(value: Any, most: int) -> bool:
    return type(value) is int and _LEAST <= value <= most


def _known(value: Any) -> Any:
    """Return *value* with token ids that are small, wherever it has any."""
    if isinstance(value, list):
        return [_known(item) for item in value]
    return value % _TOKENS if _is_within(value, _MOST) else value


@schemathesis.check
def refused_for_its_meaning(ctx: Any, response: Any, case: Any) -> None:  # noqa: ARG001 - the hook's signature
    """Hold that a request which fits the schema is refused only for what a schema cannot say."""
    valid = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
    if valid and response.status_code == 401:
        sent = {name.lower() for name in response.request.headers}
        assert sent >= {"authorization", "x-api-key"}, "one key, the right one, was refused"
    if not valid or response.status_code != 400:
        return
    error = response.json()["error"]
    meant = (
        error["code"] in ("context_length_exceeded", *_OF_IMAGES)
        or (case.path in _MODELS and error["code"] == "model_unsupported")
        or (error["param"] or "").startswith((*_MEANINGS, *_TOGETHER.get(case.path, ())))
        or "chat template" in error["message"]
        or error["message"] == f"{error['param']}: this model's backend does not support it"
    )
    assert meant, error
