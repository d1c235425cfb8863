"""What the scripted models answer: calls where tools are declared, then texts and forms."""

import json
from typing import Any

from pilotlight_backend.testing.fake import Line

ADA = {"name": "Ada", "age": 36}
ADA_TEXT = json.dumps(ADA)


def call(name: str, /, **arguments: Any) -> str:
    """Return the markup of a call of the tool *name*, as Qwen3 writes it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def declared(name: str) -> str:
    """Return the pattern of a prompt that declares the tool *name*."""
    return rf'"name": "{name}"'


def reading(tool: str, **arguments: Any) -> tuple[Line, ...]:
    """Return an agent's script: it reads `note.txt` with *tool*, and says the word in it.

    Requests without the tool, such as for a title of the session, are answered with a few words.
    """
    return (
        Line(r"plover", "The secret word is plover."),
        Line(declared(tool), call(tool, **arguments)),
        Line("", "A secret word"),
    )


EDITING = (
    Line(
        r"SEARCH/REPLACE",
        "hello.py\n```python\n<<<<<<< SEARCH\n"
        '    return "hello"\n=======\n    return "good morning"\n>>>>>>> REPLACE\n```\n',
    ),
    Line("", "Greet with good morning"),
)
"""A change of `hello.py` in the format that aider asks for."""

FINAL = call("final_answer", answer="It is 18 degrees in Paris.")
THOUGHT = "<think>Let me think.</think>"
WEATHER = call("get_weather", city="Paris")
SDK = (
    Line(declared("final_answer") + "(?s:.*)18 degrees in Paris", FINAL),
    Line("18 degrees", "It is 18 degrees in Paris."),
    Line(declared("weather-get_weather"), call("weather-get_weather", city="Paris")),
    Line(declared("get_weather") + r"(?s:.*)weather in Paris", f"{THOUGHT}{WEATHER}"),
    Line(declared("transfer_to_forecaster"), call("transfer_to_forecaster")),
    Line(declared("final_result"), call("final_result", **ADA)),
    Line(declared("IterablePerson"), call("IterablePerson", tasks=[ADA])),
    Line(declared("PartialPerson"), call("PartialPerson", **ADA)),
    Line(declared("Person"), call("Person", **ADA)),
    Line(declared("json"), call("json", **ADA)),
    Line(r"And now\?", "Hello there."),
    Line(r"Think first\.", f"{THOUGHT}I have thought."),
    Line(r"(?i)codeblock", f"```json\n{ADA_TEXT}\n```"),
    Line(r"Ada Lovelace", ADA_TEXT),
    Line("", "Hello there."),
)
"""A tool for the weather, a person as a tool's arguments or as JSON, and else a greeting."""
