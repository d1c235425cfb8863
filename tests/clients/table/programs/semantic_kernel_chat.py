"""Semantic Kernel: its chat completion service, streamed, with a function, and a form."""

from cases import KEY, MODEL, PERSON, URL, WEATHER, case, expect, expect_within, main
from openai import AsyncOpenAI
from pydantic import BaseModel
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import (
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
)
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import kernel_function


class Person(BaseModel):
    name: str
    age: int


class Weather:
    @kernel_function(name="get_weather", description="Get the weather of a city")
    def get_weather(self, city: str) -> str:
        return f"18 degrees in {city}"


def service():
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    return OpenAIChatCompletion(ai_model_id=MODEL, async_client=client)


def history(text):
    chat = ChatHistory()
    chat.add_user_message(text)
    return chat


@case("chat")
async def chat():
    settings = OpenAIChatPromptExecutionSettings()
    answer = await service().get_chat_message_content(history("hi"), settings)
    expect(str(answer), "Hello there.")


@case("stream")
async def stream():
    settings = OpenAIChatPromptExecutionSettings()
    parts = service().get_streaming_chat_message_content(history("hi"), settings)
    expect("".join([str(part) async for part in parts]), "Hello there.")


@case("response_format")
async def form():
    settings = OpenAIChatPromptExecutionSettings(response_format=Person)
    answer = await service().get_chat_message_content(history(PERSON), settings)
    expect(Person.model_validate_json(str(answer)), Person(name="Ada", age=36))


@case("automatic function calling")
async def functions():
    kernel = Kernel()
    kernel.add_plugin(Weather(), plugin_name="weather")
    settings = OpenAIChatPromptExecutionSettings(
        function_choice_behavior=FunctionChoiceBehavior.Auto()
    )
    answer = await service().get_chat_message_content(history(WEATHER), settings, kernel=kernel)
    expect_within("18 degrees", str(answer))


if __name__ == "__main__":
    main()
