"""LiteLLM: the loop over tools that its documentation has, streams, forms, and its three APIs."""

import json

import litellm
from cases import KEY, MODEL, PERSON, URL, WEATHER, case, expect, expect_within, main
from pydantic import BaseModel

AT = {"model": f"openai/{MODEL}", "api_base": f"{URL}/v1", "api_key": KEY, "num_retries": 0}


class Person(BaseModel):
    name: str
    age: int


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def loop(**at):
    """Ask, run what is called, and send the results back, as the documentation does."""
    messages = [{"role": "user", "content": WEATHER}]
    first = litellm.completion(messages=messages, tools=[TOOL], tool_choice="auto", **at)
    message = first.choices[0].message
    messages.append(message)
    for call in message.tool_calls:
        city = json.loads(call.function.arguments)["city"]
        messages.append(
            {
                "tool_call_id": call.id,
                "role": "tool",
                "name": call.function.name,
                "content": f"18 degrees in {city}",
            }
        )
    return litellm.completion(messages=messages, **at).choices[0].message.content


@case("tool loop")
def tools():
    expect_within("18 degrees", loop(**AT))


@case("tool loop of anthropic/")
def anthropic():
    expect_within(
        "18 degrees",
        loop(model=f"anthropic/{MODEL}", api_base=URL, api_key=KEY, num_retries=0),
    )


@case("stream")
def stream():
    chunks = litellm.completion(messages=[{"role": "user", "content": "hi"}], stream=True, **AT)
    expect("".join(chunk.choices[0].delta.content or "" for chunk in chunks), "Hello there.")


@case("second turn")
def second():
    messages = [{"role": "user", "content": "Think first."}]
    message = litellm.completion(messages=messages, **AT).choices[0].message
    expect((message.content, message.reasoning_content), ("I have thought.", "Let me think."))
    messages += [message, {"role": "user", "content": "And now?"}]
    answer = litellm.completion(messages=messages, **AT).choices[0].message
    expect(answer.content, "Hello there.")


@case("response_format")
def form():
    asked = [{"role": "user", "content": PERSON}]
    answer = litellm.completion(messages=asked, response_format=Person, **AT)
    text = answer.choices[0].message.content
    expect(Person.model_validate_json(text), Person(name="Ada", age=36))


@case("responses")
def responses():
    answer = litellm.responses(input="hi", **AT)
    expect(answer.output_text, "Hello there.")


@case("text_completion")
def completion():
    answer = litellm.text_completion(
        prompt="hi", **AT | {"model": f"text-completion-openai/{MODEL}"}
    )
    expect(answer.choices[0].text, "Hello there.")


if __name__ == "__main__":
    main()
