"""Let schemathesis ask the model that there is: random names would all be answered with 404.

Only what is valid is replaced, by something as valid, so a case stays what it was generated as.
"""

from typing import Any

import schemathesis
from schemathesis import GenerationMode

_LEAST = 1
_MOST = 2**31 - 1

_MEANINGS = (
    "logit_bias",
    "stop_token_ids",
    "chat_template_kwargs",
    "input",
    "dimensions",
    "tool_choice",
    "tools",
    "top_logprobs",
    "response_format",
    "guided_",
    "grammar",
    "output_config.format.schema",
)
"""Fields whose values the schema allows and the model at hand may not know."""

_EMBEDDINGS = "/v1/embeddings"


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Name spark wherever a model is named, and keep its answers short; bert is to embed."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and body["model"]:
        if context.operation.path == _EMBEDDINGS:
            body["model"] = "bert"
            return body
        body["model"] = "spark"
        for name in ("max_tokens", "max_completion_tokens"):
            value = body.get(name)
            if type(value) is int and _LEAST <= value <= _MOST:
                body[name] = 8
        if context.operation.path == "/v1/chat/completions":  # others require it, or know none
            body.setdefault("max_tokens", 8)
    return body


@schemathesis.check
def refused_for_its_meaning(ctx: Any, response: Any, case: Any) -> None:  # noqa: ARG001 - as above
    """Hold that a request which fits the schema is refused only for what a schema cannot say."""
    valid = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
    if not valid or response.status_code != 400:
        return
    error = response.json()["error"]
    meant = (
        error["code"] == "context_length_exceeded"
        or (error["param"] or "").startswith(_MEANINGS)
        or "chat template" in error["message"]
    )
    assert meant, error
