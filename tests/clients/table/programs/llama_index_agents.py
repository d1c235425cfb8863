"""LlamaIndex through its class for servers like OpenAI's."""

from cases import KEY, MODEL, PERSON, URL, WEATHER, case, expect, expect_within, main
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Person(BaseModel):
    """A person of whom the text says something."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"18 degrees in {city}"


def llm(**fields):
    """Return the model, as one that has a chat and calls functions."""
    return OpenAILike(
        model=MODEL,
        api_base=f"{URL}/v1",
        api_key=KEY,
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
        **fields,
    )


@case("chat")
def chat():
    answer = llm().chat([ChatMessage(role="user", content="hi")])
    expect(answer.message.content, "Hello there.")


@case("stream_chat")
def stream():
    parts = llm().stream_chat([ChatMessage(role="user", content="hi")])
    expect("".join(part.delta for part in parts), "Hello there.")


@case("complete")
def complete():
    answer = llm(max_tokens=100).complete("hi")
    expect(answer.text, "Hello there.")


@case("as_structured_llm")
def structured():
    answer = llm().as_structured_llm(Person).complete(PERSON)
    expect(answer.raw, Person(name="Ada", age=36))


@case("as_structured_llm by response_format")
def formed():
    answer = llm(should_use_structured_outputs=True).as_structured_llm(Person).complete(PERSON)
    expect(answer.raw, Person(name="Ada", age=36))


@case("FunctionAgent")
async def agent():
    helper = FunctionAgent(tools=[get_weather], llm=llm(), system_prompt="Be brief.")
    expect_within("18 degrees", str(await helper.run(WEATHER)))


if __name__ == "__main__":
    main()
