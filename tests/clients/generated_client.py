"""What a program does with the client that openapi-python-client makes of our document.

A line of the input is `[CASE, BASE_URL, REQUEST]`; one of the output is `{"value"}`, what the case
got, or `{"thrown"}`. mypy holds it to the generated types, strictly.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from pilotlight_client import AuthenticatedClient, Client
from pilotlight_client.api.chat import create_chat_completion
from pilotlight_client.api.health import livez, readyz
from pilotlight_client.api.models import list_models, retrieve_model
from pilotlight_client.models.chat_completion import ChatCompletion
from pilotlight_client.models.chat_completion_chunk import ChatCompletionChunk
from pilotlight_client.models.chat_completion_request import ChatCompletionRequest
from pilotlight_client.models.error_body import ErrorBody
from pilotlight_client.models.live import Live
from pilotlight_client.models.model import Model
from pilotlight_client.models.model_list import ModelList
from pilotlight_client.models.readiness import Readiness
from pilotlight_client.models.system_message import SystemMessage
from pilotlight_client.models.system_message_role import SystemMessageRole
from pilotlight_client.models.text_part import TextPart
from pilotlight_client.models.text_part_type import TextPartType
from pilotlight_client.models.user_message import UserMessage
from pilotlight_client.models.user_message_role import UserMessageRole

QUESTION = ChatCompletionRequest(
    model="spark",
    messages=[
        SystemMessage(role=SystemMessageRole.SYSTEM, content="You are helpful."),
        UserMessage(
            role=UserMessageRole.USER,
            content=[TextPart(type_=TextPartType.TEXT, text="What is 2+2?")],
        ),
    ],
    temperature=0,
)


def question(client: Client, _: ChatCompletionRequest) -> Any:
    """Ask what is made of the generated types."""
    return told(create_chat_completion.sync(client=client, body=QUESTION))


def answer(client: Client | AuthenticatedClient, request: ChatCompletionRequest) -> Any:
    """Send the request, and print the response or the error."""
    response = create_chat_completion.sync_detailed(client=client, body=request)
    return told(response.parsed) | {"status": int(response.status_code)}


def told(parsed: ChatCompletion | ErrorBody | None) -> dict[str, Any]:
    """Return what is in an answer or in an error; each field is there by its type."""
    if isinstance(parsed, ChatCompletion):
        choice = parsed.choices[0]
        return {
            "object": parsed.object_.value,
            "role": choice.message.role.value,
            "index": choice.index,
            "total": parsed.usage.total_tokens,
            "reason": choice.finish_reason.value,
            "content": choice.message.content,
        }
    if parsed is None:
        raise TypeError("the answer has a status that is not documented")
    error = parsed.error
    return {
        "message": error.message,
        "type": error.type_,
        "param": error.param,
        "code": error.code,
    }


def known(client: Client, request: ChatCompletionRequest) -> Any:
    """Ask with a key, and without it, with the same function."""
    url = str(client.get_httpx_client().base_url)
    with AuthenticatedClient(base_url=url, token="s3cret") as own:  # noqa: S106 - a test's
        return {"with": answer(own, request), "without": answer(client, request)}


def stream(client: Client, request: ChatCompletionRequest) -> Any:
    """Read a stream by the client's own HTTP, and its chunks by the generated type."""
    pieces: list[str] = []
    body = request.to_dict() | {"stream": True}
    http = client.get_httpx_client()
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        for data in events(response.iter_lines()):
            if data == "[DONE]":
                return {"pieces": pieces}
            chunk = ChatCompletionChunk.from_dict(json.loads(data))
            pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    raise EOFError("the stream has no end")


def events(lines: Iterator[str]) -> Iterator[str]:
    """Yield the data of each event."""
    return (line.removeprefix("data: ") for line in lines if line.startswith("data: "))


def patience(client: Client, request: ChatCompletionRequest) -> Any:
    """Try again when `Retry-After` says, as this client does not by itself."""
    statuses: list[int] = []
    while True:
        response = create_chat_completion.sync_detailed(
            client=client, body=request, prefer="wait=1"
        )
        statuses.append(int(response.status_code))
        if not isinstance(response.parsed, ErrorBody):
            return told(response.parsed) | {"statuses": statuses}
        if response.parsed.error.code != "model_loading":
            raise RuntimeError(response.parsed.error.message)
        time.sleep(int(response.headers["Retry-After"]))


def held(client: Client, request: ChatCompletionRequest) -> Any:
    """Have the server hold the request until the model is there."""
    return told(create_chat_completion.sync(client=client, body=request, prefer="wait=30"))


def models(client: Client, _: ChatCompletionRequest) -> Any:
    """List the models, look one up, and one that is not there."""
    listed = list_models.sync(client=client)
    assert isinstance(listed, ModelList)
    one = retrieve_model.sync(listed.data[0].id, client=client)
    assert isinstance(one, Model)
    nobody = retrieve_model.sync("nobody", client=client)
    assert isinstance(nobody, ErrorBody)
    return {
        "first": listed.data[0].to_dict(),
        "same": one.to_dict(),
        "nobody": nobody.error.code,
    }


def health(client: Client, request: ChatCompletionRequest) -> Any:
    """Ask the probes."""
    live = livez.sync(client=client)
    assert isinstance(live, Live)
    ready = readyz.sync(client=client, model=request.model)
    assert isinstance(ready, Readiness)
    return {"live": live.status.value, "ready": ready.status.value}


CASES: dict[str, Callable[[Client, ChatCompletionRequest], Any]] = {
    case.__name__: case
    for case in (question, answer, known, stream, patience, held, models, health)
}


def run(name: str, base_url: str, given: dict[str, Any]) -> Any:
    """Run one case."""
    request = ChatCompletionRequest.from_dict(given)
    with Client(base_url=base_url, timeout=httpx.Timeout(60)) as client:
        return CASES[name](client, request)


def main() -> None:
    """Run one case after another: to import the client takes longer than a case."""
    for line in sys.stdin:
        outcome: dict[str, Any]
        try:
            outcome = {"value": run(*json.loads(line))}
        except Exception:  # noqa: BLE001 - passed on to the test, whatever it is
            outcome = {"thrown": traceback.format_exc()}
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
