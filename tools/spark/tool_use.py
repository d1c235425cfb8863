"""Tool calls in Hermes form: many names for one job, parallel calls, answers from results."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tools.spark.arithmetic import pair_to_add
from tools.spark.turn import Message, Split, vary
from tools.spark.words import COLOURS, WORDS, a_name, a_phrase, a_place, made_up_word

Tool = dict[str, Any]
Call = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """A user's wish, the tool that grants it, and the calls to make."""

    question: str
    tool: Tool
    calls: list[Call]


def _schema(rng: Random, kind: str, about: str | None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": kind}
    if about and rng.random() < 0.35:
        schema["description"] = about
    return schema


def _tool(rng: Random, name: str, about: str, properties: dict[str, dict[str, Any]]) -> Tool:
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if properties and rng.random() < 0.75:
        parameters["required"] = list(properties)
    if rng.random() < 0.2:
        parameters["additionalProperties"] = False
    function: dict[str, Any] = {"name": name}
    if rng.random() < 0.8:
        function["description"] = about
    function["parameters"] = parameters
    if rng.random() < 0.08:
        function["strict"] = True
    return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class _Family:
    """One job with one argument, under the many names that people give it."""

    names: tuple[str, ...]
    arguments: tuple[str, ...]
    about: str
    asked: tuple[str, ...]
    asked_twice: tuple[str, ...]
    value: Callable[[Random, Split], Any]
    kind: str = "string"


def _ticker(rng: Random, _split: Split) -> str:
    return "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randint(2, 4)))


def _file(rng: Random, _split: Split) -> str:
    return rng.choice(WORDS) + rng.choice((".txt", ".md", ".json", ".py", ".csv"))


_FAMILIES = (
    _Family(
        ("get_weather", "get_weather", "get_current_weather", "weather", "fetch_weather",
         "weather_lookup", "lookup_weather", "current_weather", "getWeather", "weather_forecast"),
        ("city", "location", "location", "place", "town", "q"),
        "Get the weather",
        ("What is the weather in {v}?", "What's the weather in {v}?", "Weather in {v}?",
         "How is the weather in {v}?", "What's the weather like in {v}?", "Is it raining in {v}?",
         "Is it cold in {v} today?", "Tell me the weather in {v}.", "Get the weather in {v}.",
         "What is the weather in {v} today?", "How warm is it in {v}?", "Weather for {v}"),
        ("What is the weather in {v} and {w}?", "What's the weather in {v} and in {w}?",
         "Compare the weather in {v} and {w}.", "Weather in {v} and {w}?"),
        a_place,
    ),
    _Family(
        ("get_time", "get_current_time", "current_time", "time_in", "clock", "local_time"),
        ("city", "location", "timezone", "place"),
        "Get the time",
        ("What time is it in {v}?", "What is the time in {v}?", "Time in {v}?",
         "Tell me the time in {v}.", "What's the local time in {v}?"),
        ("What time is it in {v} and {w}?", "Tell me the time in {v} and {w}."),
        a_place,
    ),
    _Family(
        ("search", "web_search", "search_web", "find", "search_documents", "google"),
        ("query", "query", "q", "text", "term"),
        "Search the web",
        ("Search for {v}.", "Search the web for {v}.", "Look up {v}.", "Please search for {v}",
         "Find {v}", "Search {v}"),
        ("Search for {v} and for {w}.", "Look up {v} and {w}."),
        lambda rng, _split: a_phrase(rng, 3).rstrip(".!?"),
    ),
    _Family(
        ("get_stock_price", "stock_price", "get_price", "lookup_stock", "quote"),
        ("symbol", "ticker", "stock"),
        "Get a stock price",
        ("What is the price of {v}?", "Stock price of {v}?", "How much is {v} stock?",
         "Get the price of {v}.", "What is the stock price of {v}?"),
        ("What are the prices of {v} and {w}?", "Get the prices of {v} and {w}."),
        _ticker,
    ),
    _Family(
        ("set_timer", "start_timer", "timer", "set_alarm"),
        ("minutes", "duration", "time"),
        "Set a timer in minutes",
        ("Set a timer for {v} minutes.", "Start a timer of {v} minutes.", "Timer for {v} minutes"),
        ("Set timers for {v} and {w} minutes.",),
        lambda rng, _split: rng.randint(1, 99),
        "integer",
    ),
    _Family(
        ("get_user", "find_user", "lookup_user", "get_order", "get_customer", "load_record"),
        ("id", "user_id", "number"),
        "Load a record by its id",
        ("Get the user with id {v}.", "Look up number {v}.", "Load record {v}.", "Find user {v}.",
         "Who is user {v}?", "Show me order {v}."),
        ("Get the users {v} and {w}.", "Load records {v} and {w}."),
        lambda rng, _split: rng.randrange(10 ** rng.randint(1, 5)),
        "integer",
    ),
    _Family(
        ("read_file", "open_file", "cat", "load_file", "delete_file"),
        ("path", "file", "filename"),
        "Work on a file",
        ("Read the file {v}.", "Open {v}.", "Show me {v}.", "What is in {v}?", "Read {v}"),
        ("Read {v} and {w}.", "Open the files {v} and {w}."),
        _file,
    ),
    _Family(
        ("call_person", "phone", "dial", "call_contact", "find_contact"),
        ("name", "person", "contact"),
        "Call a person",
        ("Call {v}.", "Phone {v}.", "Please call {v}", "Ring {v}.", "I want to talk to {v}."),
        ("Call {v} and {w}.", "Phone {v} and then {w}."),
        a_name,
    ),
    _Family(
        ("set_light", "set_color", "light_color", "paint"),
        ("color", "colour"),
        "Set the colour of the light",
        ("Make the light {v}.", "Set the light to {v}.", "Turn the light {v}.", "Light {v}"),
        ("Make the lights {v} and {w}.",),
        lambda rng, _split: rng.choice(COLOURS),
    ),
)  # fmt: skip


def _two_values(rng: Random, split: Split, family: _Family) -> tuple[Any, Any]:
    while True:
        first, second = family.value(rng, split), family.value(rng, split)
        if first != second:
            return first, second


def _from_family(rng: Random, split: Split, family: _Family) -> Request:
    name, argument = rng.choice(family.names), rng.choice(family.arguments)
    properties = {argument: _schema(rng, family.kind, "The " + argument.replace("_", " "))}
    first, second = _two_values(rng, split, family)
    if rng.random() < 0.15:
        question = vary(rng, rng.choice(family.asked_twice)).format(v=first, w=second)
        arguments = [{argument: first}, {argument: second}]
    else:
        question = vary(rng, rng.choice(family.asked)).format(v=first)
        arguments = [{argument: first}]
        if family.value is a_place and rng.random() < 0.2:
            unit = rng.choice(("celsius", "fahrenheit"))
            extra = rng.choice(("unit", "units", "format"))
            properties[extra] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
            question = question.rstrip(".?! ") + f" in {unit}?"
            arguments = [{argument: first, extra: unit}]
    tool = _tool(rng, name, family.about, properties)
    return Request(question, tool, [{"name": name, "arguments": given} for given in arguments])


_OPERATIONS = {
    "+": (("add", "sum", "add_numbers", "plus"), ("What is {a} + {b}?", "Add {a} and {b}.",
           "What is {a} plus {b}?", "{a} + {b}", "{a}+{b}?", "Please add {a} and {b}.")),
    "*": (("multiply", "multiply_numbers", "product"), ("What is {a} * {b}?", "{a} times {b}",
           "Multiply {a} by {b}.", "What is {a} times {b}?")),
}  # fmt: skip


def _calculation(rng: Random, split: Split) -> Request:
    a, b = pair_to_add(rng, split)
    sign = rng.choice(tuple(_OPERATIONS))
    names, frames = _OPERATIONS[sign]
    question = vary(rng, rng.choice(frames)).format(a=a, b=b)
    if rng.random() < 0.5:
        name, argument = rng.choice(("calculate", "calculator", "evaluate", "math")), "expression"
        properties = {argument: _schema(rng, "string", "What to calculate")}
        given: dict[str, Any] = {argument: f"{a} {sign} {b}"}
        about = "Calculate an expression"
    else:
        name = rng.choice(names)
        first, second = rng.choice((("a", "b"), ("a", "b"), ("x", "y"), ("first", "second")))
        kind = rng.choice(("integer", "number"))
        properties = {first: {"type": kind}, second: {"type": kind}}
        given = {first: a, second: b}
        about = "Add two numbers" if sign == "+" else "Multiply two numbers"
    tool = _tool(rng, name, about, properties)
    return Request(question, tool, [{"name": name, "arguments": given}])


def _letter(rng: Random, split: Split) -> Request:
    name = rng.choice(("send_email", "send_mail", "send_message", "text_person", "email"))
    to, body = rng.choice(("to", "recipient", "name")), rng.choice(("text", "body", "message"))
    person, text = a_name(rng, split), a_phrase(rng, 5).rstrip(".!?")
    frame = rng.choice(
        ("Send a message to {n} saying {t}", "Send {n} an email saying {t}", "Tell {n}: {t}",
         "Write to {n}: {t}", "Email {n} the text {t}")
    )  # fmt: skip
    properties = {to: _schema(rng, "string", "Who"), body: _schema(rng, "string", "The text")}
    tool = _tool(rng, name, "Send a message", properties)
    arguments = {to: person, body: text}
    return Request(frame.format(n=person, t=text), tool, [{"name": name, "arguments": arguments}])


def _no_arguments(rng: Random, _split: Split) -> Request:
    names, about, frames = rng.choice(
        (
            (("get_date", "today", "current_date"), "Get the date",
             ("What is the date today?", "What day is it?", "Tell me the date.")),
            (("list_files", "ls", "files"), "List the files",
             ("List the files.", "Which files are there?", "Show me the files.")),
            (("get_news", "news", "headlines"), "Get the news",
             ("What is the news?", "Show me the news.", "Any news?")),
        )
    )  # fmt: skip
    name = rng.choice(names)
    question = vary(rng, rng.choice(frames))
    return Request(question, _tool(rng, name, about, {}), [{"name": name, "arguments": {}}])


def _identifier(rng: Random) -> str:
    parts = [rng.choice(WORDS) if rng.random() < 0.6 else made_up_word(rng) for _ in range(2)]
    return rng.choice((parts[0], "_".join(parts)))


def _by_name(rng: Random, split: Split) -> Request:
    name = _identifier(rng)
    given: dict[str, Any] = {}
    properties: dict[str, dict[str, Any]] = {}
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        argument = _identifier(rng)
        number = rng.random() < 0.35
        given[argument] = rng.randrange(1000) if number else a_name(rng, split).lower()
        properties[argument] = _schema(rng, "integer" if number else "string", None)
    equals = rng.choice((" = ", " ", "=", ": "))
    shown = [f"{argument}{equals}{value}" for argument, value in given.items()]
    frame = rng.choice(
        ("Call {n} with {p}.", "Use {n} with {p}.", "Run {n} with {p}.", "Please call {n} with {p}",
         "Use the tool {n} with {p}.", "Call the function {n} with {p}.")
    )  # fmt: skip
    joined = rng.choice((" and ", ", ")).join(shown)
    tool = _tool(rng, name, rng.choice(("A tool", "A function", "Do " + name)), properties)
    return Request(frame.format(n=name, p=joined), tool, [{"name": name, "arguments": given}])


def a_request(rng: Random, split: Split) -> Request:
    """Draw a wish that a tool grants."""
    chance = rng.random()
    if chance < 0.2:
        return _from_family(rng, split, _FAMILIES[0])
    if chance < 0.6:
        return _from_family(rng, split, rng.choice(_FAMILIES))
    if chance < 0.72:
        return _calculation(rng, split)
    if chance < 0.8:
        return _letter(rng, split)
    if chance < 0.84:
        return _no_arguments(rng, split)
    return _by_name(rng, split)


def other_tools(rng: Random, split: Split, request: Request | None, most: int = 2) -> list[Tool]:
    """Draw tools for other jobs, none of which would grant ``request`` or do sums."""
    taken = request.tool["function"]["name"] if request else ""
    found: list[Tool] = []
    for _ in range(rng.choice((0, 0, 1, most)) if request else rng.randint(1, most)):
        family = rng.choice(_FAMILIES)
        if taken in family.names:
            continue
        other = _from_family(rng, split, family).tool
        if other["function"]["name"] not in {tool["function"]["name"] for tool in found}:
            found.append(other)
    return found


def tools_of(rng: Random, split: Split, request: Request) -> list[Tool]:
    """List the tool of ``request`` among others, in any order."""
    tools = [request.tool, *other_tools(rng, split, request)]
    rng.shuffle(tools)
    return tools


def called_text(calls: list[Call]) -> str:
    """Write calls as the model does: one ``<tool_call>`` block each."""
    return "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls)


def called_thought(calls: list[Call]) -> str:
    """Return the thought before a call: which tool it takes."""
    return f"I need {calls[0]['name']}."


def call_message(calls: list[Call]) -> Message:
    """Return the assistant's turn that made ``calls``, in the shape of the wire."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": call} for call in calls],
    }


_CONDITIONS = ("sunny", "cloudy", "rainy", "windy", "snowy", "clear", "foggy", "warm", "cold")
_RESULT_VALUES: dict[str, Callable[[Random, Split], Any]] = {
    "number": lambda rng, _split: rng.randrange(100),
    "fraction": lambda rng, _split: rng.randrange(100) / 10,
    "condition": lambda rng, _split: rng.choice(_CONDITIONS),
    "name": a_name,
    "place": a_place,
    "time": lambda rng, _split: f"{rng.randrange(24)}:{rng.randrange(60):02}",
    "word": lambda rng, _split: rng.choice(WORDS),
}
_RESULT_KINDS = {
    "temperature": "number", "condition": "condition", "humidity": "number", "wind": "number",
    "time": "time", "date": "word", "price": "fraction", "result": "number", "status": "word",
    "name": "name", "city": "place", "count": "number", "answer": "number", "color": "word",
    "id": "number", "title": "word", "message": "word", "value": "fraction", "total": "number",
    "weather": "condition", "unit": "word", "forecast": "condition", "owner": "name",
    "size": "fraction",
}  # fmt: skip


def a_result(rng: Random, split: Split) -> tuple[str, str]:
    """Draw a tool's result as text, and the sentence that tells it."""
    chance = rng.random()
    if chance < 0.15:
        text = rng.choice(
            (f"{rng.randint(-9, 40)} degrees and {rng.choice(_CONDITIONS)}",
             str(rng.randrange(10 ** rng.randint(1, 4))), rng.choice(_CONDITIONS),
             a_phrase(rng, 5).rstrip(".!?"))
        )  # fmt: skip
        return text, f"The result is {text}."
    if chance < 0.22:
        why = rng.choice(("not found", "no such city", "timeout", "not allowed", "bad request"))
        return json.dumps({"error": why}), f"The tool failed: {why}."
    keys = rng.sample(tuple(_RESULT_KINDS), rng.choice((1, 1, 2, 2, 3)))
    if rng.random() < 0.15:
        keys[0] = _identifier(rng)
    found: dict[str, Any] = {}
    for key in dict.fromkeys(keys):
        kind = _RESULT_KINDS.get(key)
        # Now and then a value of no likely kind: it is to be read, not guessed.
        if kind is None or rng.random() < 0.2:
            kind = rng.choice(tuple(_RESULT_VALUES))
        found[key] = _RESULT_VALUES[kind](rng, split)
    told = [f"the {key.replace('_', ' ')} is {value}" for key, value in found.items()]
    sentence = " and ".join(told)
    text = json.dumps(found)
    if rng.random() < 0.2:
        text = json.dumps(found, separators=(",", ":"))
    return text, sentence[0].upper() + sentence[1:] + "."
