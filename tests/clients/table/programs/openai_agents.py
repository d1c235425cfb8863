"""The OpenAI Agents SDK with both of its models: chat completions and responses."""

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from cases import KEY, MODEL, PERSON, URL, WEATHER, case, expect, expect_within, main
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(disabled=True)


class Person(BaseModel):
    name: str
    age: int


@function_tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"18 degrees in {city}"


def agent(kind, **fields):
    """Return an agent that speaks through the model class *kind*."""
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY)
    model = kind(model=MODEL, openai_client=client)
    return Agent(**{"name": "helper", "instructions": "Be brief.", "model": model} | fields)


def register(prefix, kind):
    """Make the cases of one model class."""

    @case(f"{prefix}: tool loop")
    async def tools():
        result = await Runner.run(agent(kind, tools=[get_weather]), WEATHER)
        expect_within("18 degrees", result.final_output)

    @case(f"{prefix}: streamed tool loop")
    async def streamed():
        result = Runner.run_streamed(agent(kind, tools=[get_weather]), WEATHER)
        kinds = [event.type async for event in result.stream_events()]
        expect_within("18 degrees", result.final_output)
        expect("raw_response_event" in kinds, wanted=True)

    @case(f"{prefix}: second turn")
    async def second():
        first = await Runner.run(agent(kind), "Think first.")
        expect(first.final_output, "I have thought.")
        asked = [*first.to_input_list(), {"role": "user", "content": "And now?"}]
        expect((await Runner.run(agent(kind), asked)).final_output, "Hello there.")

    @case(f"{prefix}: output_type")
    async def output():
        result = await Runner.run(agent(kind, output_type=Person), PERSON)
        expect(result.final_output, Person(name="Ada", age=36))

    @case(f"{prefix}: handoff")
    async def handoff():
        expert = agent(kind, name="forecaster", tools=[get_weather])
        result = await Runner.run(agent(kind, handoffs=[expert]), "Hand me over. " + WEATHER)
        expect(result.last_agent.name, "forecaster")
        expect_within("18 degrees", result.final_output)

    @case(f"{prefix}: tool_choice required")
    async def required():
        settings = ModelSettings(tool_choice="required", parallel_tool_calls=False)
        helper = agent(kind, tools=[get_weather], model_settings=settings)
        result = await Runner.run(helper, WEATHER)
        expect_within("18 degrees", result.final_output)


register("chat", OpenAIChatCompletionsModel)
register("responses", OpenAIResponsesModel)

if __name__ == "__main__":
    main()
