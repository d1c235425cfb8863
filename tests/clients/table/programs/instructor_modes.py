"""instructor in each mode that a client of OpenAI's or of Anthropic's API has."""

import instructor
from anthropic import Anthropic
from cases import KEY, MODEL, PERSON, URL, case, expect, main
from openai import OpenAI
from pydantic import BaseModel

QUESTION = [{"role": "user", "content": PERSON}]
OPENAI = (
    "TOOLS",
    "TOOLS_STRICT",
    "FUNCTIONS",
    "JSON",
    "JSON_O1",
    "JSON_SCHEMA",
    "MD_JSON",
    "PARALLEL_TOOLS",
    "RESPONSES_TOOLS",
)
ANTHROPIC = ("ANTHROPIC_TOOLS", "ANTHROPIC_JSON", "ANTHROPIC_PARALLEL_TOOLS")


class Person(BaseModel):
    """A person of whom the text says something."""

    name: str
    age: int


ADA = {"name": "Ada", "age": 36}


def openai(mode):
    """Return instructor's client over OpenAI's."""
    return instructor.from_openai(OpenAI(base_url=f"{URL}/v1", api_key=KEY), mode=mode)


def anthropic(mode):
    """Return instructor's client over Anthropic's."""
    return instructor.from_anthropic(Anthropic(base_url=URL, api_key=KEY), mode=mode)


def ask(client, mode, **fields):
    """Ask for a person, in *mode*, once: nothing is asked again where the answer does not fit."""
    if "PARALLEL" in mode:
        from collections.abc import Iterable  # noqa: PLC0415

        fields["response_model"] = Iterable[Person]
    given = {"model": MODEL, "response_model": Person, "messages": QUESTION, "max_retries": 0}
    answer = client.chat.completions.create(**given | fields)
    return list(answer)[0] if "PARALLEL" in mode else answer  # noqa: RUF015


def register(name, make, **fields):
    """Make the mode *name* a case, where this version still has it."""
    mode = getattr(instructor.Mode, name, None)
    if mode is None:
        return

    @case(name)
    def run():
        expect(ask(make(mode), name, **fields).model_dump(), ADA)


for one in OPENAI:
    register(one, openai)
for one in ANTHROPIC:
    register(one, anthropic, max_tokens=500)


@case("create_partial")
def partial():
    parts = openai(instructor.Mode.TOOLS).chat.completions.create_partial(
        model=MODEL, response_model=Person, messages=QUESTION
    )
    expect(list(parts)[-1].model_dump(), ADA)


@case("create_iterable")
def iterable():
    people = openai(instructor.Mode.TOOLS).chat.completions.create_iterable(
        model=MODEL, response_model=Person, messages=QUESTION
    )
    expect([person.model_dump() for person in people], [ADA])


if __name__ == "__main__":
    main()
