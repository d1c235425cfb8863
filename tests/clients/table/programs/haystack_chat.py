"""Haystack: its chat generator, streamed, with a tool, and its agent."""

from cases import KEY, MODEL, URL, WEATHER, case, expect, expect_within, main
from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from haystack.utils import Secret


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"18 degrees in {city}"


def generator(**fields):
    return OpenAIChatGenerator(
        model=MODEL, api_base_url=f"{URL}/v1", api_key=Secret.from_token(KEY), **fields
    )


@case("chat")
def chat():
    answer = generator().run([ChatMessage.from_user("hi")])
    expect(answer["replies"][0].text, "Hello there.")


@case("stream")
def stream():
    parts = []
    generator(streaming_callback=lambda part: parts.append(part.content)).run(
        [ChatMessage.from_user("hi")]
    )
    expect("".join(parts), "Hello there.")


@case("Agent")
def agent():
    helper = Agent(chat_generator=generator(), tools=[get_weather])
    answer = helper.run(messages=[ChatMessage.from_user(WEATHER)])
    expect_within("18 degrees", answer["messages"][-1].text)


if __name__ == "__main__":
    main()
