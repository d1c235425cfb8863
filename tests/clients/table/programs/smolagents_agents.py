"""smolagents: an agent that calls tools, and one that writes code."""

from cases import KEY, MODEL, URL, WEATHER, case, expect, expect_within, main
from smolagents import OpenAIModel, ToolCallingAgent, tool


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city.

    Args:
        city: The city's name.

    """
    return f"18 degrees in {city}"


def model():
    return OpenAIModel(model_id=MODEL, api_base=f"{URL}/v1", api_key=KEY)


@case("generate")
def generate():
    answer = model().generate([{"role": "user", "content": [{"type": "text", "text": "hi"}]}])
    expect(answer.content, "Hello there.")


@case("generate_stream")
def stream():
    parts = model().generate_stream([{"role": "user", "content": [{"type": "text", "text": "hi"}]}])
    expect("".join(part.content or "" for part in parts), "Hello there.")


@case("ToolCallingAgent")
def agent():
    helper = ToolCallingAgent(tools=[get_weather], model=model(), max_steps=3, verbosity_level=0)
    expect_within("18 degrees", str(helper.run(WEATHER)))


if __name__ == "__main__":
    main()
