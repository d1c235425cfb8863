"""Pydantic AI: each of its models for our three APIs, and each way it has to an output type."""

from cases import KEY, MODEL, PERSON, URL, WEATHER, case, expect, expect_within, main
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


class Person(BaseModel):
    name: str
    age: int


ADA = Person(name="Ada", age=36)


def chat():
    return OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY))


def responses():
    return OpenAIResponsesModel(MODEL, provider=OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY))


def messages():
    return AnthropicModel(MODEL, provider=AnthropicProvider(base_url=URL, api_key=KEY))


def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"18 degrees in {city}"


def reasoning(part):
    """Return the reasoning of *part*; what is no summary stands in the details of its provider."""
    if part.part_kind != "thinking":
        return []
    return [part.content] if part.content else part.provider_details["raw_content"]


def register(prefix, model):
    """Make the cases of one model class."""

    @case(f"{prefix}: tool loop")
    async def tools():
        result = await Agent(model(), tools=[get_weather]).run(WEATHER)
        expect_within("18 degrees", result.output)

    @case(f"{prefix}: streamed tool loop")
    async def streamed():
        async with Agent(model(), tools=[get_weather]).run_stream(WEATHER) as result:
            parts = [part async for part in result.stream_text(delta=True)]
        expect_within("18 degrees", "".join(parts))

    @case(f"{prefix}: second turn")
    async def second():
        first = await Agent(model()).run("Think first.")
        expect(first.output, "I have thought.")
        expect(list(map(reasoning, first.new_messages()[-1].parts)), [["Let me think."], []])
        answer = await Agent(model()).run("And now?", message_history=first.all_messages())
        expect(answer.output, "Hello there.")

    for kind in (ToolOutput, NativeOutput, PromptedOutput):
        if kind is NativeOutput and model is messages:
            continue  # it refuses that itself, unless it knows the model's name

        @case(f"{prefix}: {kind.__name__}")
        async def output(kind=kind):
            result = await Agent(model(), output_type=kind(Person)).run(PERSON)
            expect(result.output, ADA)

    @case(f"{prefix}: streamed output")
    async def streamed_output():
        async with Agent(model(), output_type=ToolOutput(Person)).run_stream(PERSON) as result:
            expect(await result.get_output(), ADA)


register("chat", chat)
register("responses", responses)
register("messages", messages)

if __name__ == "__main__":
    main()
