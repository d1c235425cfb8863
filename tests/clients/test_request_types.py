"""Every field that the installed SDKs can send is honoured, without effect, or refused by name."""

from typing import Any, Literal, TypedDict

import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_count_tokens_params as beta_count_params
from anthropic.types.beta import message_create_params as beta_create_params
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from pilotlight.schema.chat.request import ChatCompletionRequest
from pilotlight.schema.completions import CompletionRequest
from pilotlight.schema.embeddings import EmbeddingRequest
from pilotlight.schema.messages.request import CountTokensRequest, MessagesRequest
from pilotlight.schema.responses.request import ResponseRequest
from tests.clients.request_types import unclassified

HEADERS = ("betas", "user_profile_id", "workspace_id")
"""What Anthropic's SDK sends as headers."""


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (chat_create_params.CompletionCreateParamsBase, ChatCompletionRequest),
        (completion_create_params.CompletionCreateParamsBase, CompletionRequest),
        (embedding_create_params.EmbeddingCreateParams, EmbeddingRequest),
        (response_create_params.ResponseCreateParamsBase, ResponseRequest),
        (message_create_params.MessageCreateParamsBase, MessagesRequest),
        (message_count_tokens_params.MessageCountTokensParams, CountTokensRequest),
        (beta_create_params.MessageCreateParamsBase, MessagesRequest),
        (beta_count_params.MessageCountTokensParams, CountTokensRequest),
    ],
    ids=lambda kind: kind.__module__.removesuffix("_params"),
)
def test_every_field_of_an_sdk_has_a_class(asked: Any, kind: Any):
    """It is walked by field, and by the types of messages, items, parts and tools."""
    assert sorted(unclassified(asked, kind, headers=HEADERS)) == []


class Part(TypedDict):
    type: Literal["hologram"]


class Text(TypedDict):
    type: Literal["text"]
    text: str
    colour: str


class User(TypedDict):
    role: Literal["user"]
    content: list[Text | Part]


class Asked(TypedDict):
    model: str
    messages: list[User]
    temprature: float
    reasoning_effort: Literal["low", "extreme"]


def test_what_has_no_class_is_found():
    """A field at any depth, a part's type, and a value."""
    assert sorted(unclassified(Asked, ChatCompletionRequest)) == [
        "messages.content.colour",
        "messages.content: Part ['hologram']",
        "reasoning_effort: 'extreme'",
        "temprature",
    ]
