"""LangChain's chat models for both vendors' APIs, and an agent."""

from cases import KEY, MODEL, PERSON, URL, WEATHER, case, expect, expect_within, main
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Person(BaseModel):
    """A person of whom the text says something."""

    name: str
    age: int


ADA = Person(name="Ada", age=36)


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"18 degrees in {city}"


def chat(**fields):
    return ChatOpenAI(model=MODEL, base_url=f"{URL}/v1", api_key=KEY, max_retries=0, **fields)


def responses():
    return chat(use_responses_api=True)


def messages():
    return ChatAnthropic(model=MODEL, base_url=URL, api_key=KEY, max_retries=0)


def register(prefix, model, methods):
    """Make the cases of one model class, with its *methods* of structured output."""

    @case(f"{prefix}: stream")
    def stream():
        expect("".join(chunk.text for chunk in model().stream("hi")), "Hello there.")

    @case(f"{prefix}: bind_tools")
    def bound():
        (call,) = model().bind_tools([get_weather]).invoke(WEATHER).tool_calls
        expect((call["name"], call["args"]), ("get_weather", {"city": "Paris"}))

    @case(f"{prefix}: second turn")
    def second():
        messages = [HumanMessage("Think first.")]
        messages.append(model().invoke(messages))
        expect(messages[-1].text, "I have thought.")
        messages.append(HumanMessage("And now?"))
        expect(model().invoke(messages).text, "Hello there.")

    for method in methods:

        @case(f"{prefix}: with_structured_output {method}")
        def structured(method=method):
            question = f"{PERSON} Answer in JSON."
            expect(model().with_structured_output(Person, method=method).invoke(question), ADA)

    @case(f"{prefix}: create_agent")
    def agent():
        asked = {"messages": [{"role": "user", "content": WEATHER}]}
        answer = create_agent(model(), tools=[get_weather]).invoke(asked)
        expect_within("18 degrees", answer["messages"][-1].text)


FORMS = ("json_schema", "function_calling", "json_mode")
register("chat", chat, FORMS)
register("responses", responses, FORMS)
register("messages", messages, ("function_calling", "json_schema"))

if __name__ == "__main__":
    main()
