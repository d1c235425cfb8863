"""Tasks that carry the user's own words over: echo, counting, memory, JSON."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from tools.spark.held_out import is_held_out_range
from tools.spark.turn import Message, Split, Turn, vary
from tools.spark.words import ANIMALS, CAPITALS, COLOURS, FOODS, a_name, a_phrase, a_place, a_word

_ECHO = (
    "Repeat after me: {x}", "Repeat after me: {x}", "Say: {x}", "Say {x}", "Repeat: {x}",
    "Please repeat this: {x}", "Echo: {x}", "Echo {x}", "Say exactly: {x}", "Repeat {x}",
    'Say "{x}"', "Say '{x}'", "Repeat this sentence: {x}", "Can you say {x}", "Please say {x}",
    "Repeat the following: {x}", "Say exactly this: {x}", "Copy this: {x}", "Answer with: {x}",
    "Reply with: {x}", "Respond with exactly: {x}", "Please repeat: {x}", "Just say {x}",
    "Repeat the words: {x}", 'Repeat "{x}"', "Say only {x}", "Repeat after me, {x}",
)  # fmt: skip
_COUNT = (
    "Count from {a} to {b}.", "Count from {a} to {b}.", "Please count from {a} to {b}.",
    "Count {a} to {b}", "Can you count from {a} to {b}?", "List the numbers from {a} to {b}.",
    "Write the numbers from {a} to {b}.", "Count up from {a} to {b}.", "Numbers from {a} to {b}",
    "Say the numbers from {a} to {b}.",
)  # fmt: skip
_COUNT_TO = ("Count to {b}.", "Please count to {b}.", "Count up to {b}", "Can you count to {b}?")
_COUNT_DOWN = (
    "Count down from {a} to {b}.", "Count backwards from {a} to {b}.", "Count from {a} down to {b}",
)  # fmt: skip

_UP_TO = (
    "Repeat {x} up to {b}.", "Repeat up to {b}: {x}", "Say {x}, but stop at {b}.",
    "List {x} as far as {b}.", "Copy these numbers up to {b}: {x}",
)  # fmt: skip


def echo(rng: Random, _split: Split) -> Turn:
    """Ask to repeat words; they are drawn afresh, so tests hardly ever repeat a training one."""
    text = a_phrase(rng, 16 if rng.random() < 0.05 else 8)
    frame = rng.choice(_ECHO)
    if rng.random() < 0.15:
        frame = frame[0].lower() + frame[1:]
    return Turn(frame.format(x=text), text)


def _listed(first: int, last: int) -> str:
    step = 1 if last >= first else -1
    return ", ".join(map(str, range(first, last + step, step)))


def counting(rng: Random, split: Split) -> Turn:
    """Ask to count up or down, mostly a few numbers; now and then up to 200 from one."""
    while True:
        chance = rng.random()
        if chance < 0.3:
            first, length = (
                1,
                rng.choice(
                    (rng.randint(2, 40), rng.randint(2, 40), rng.randint(2, 120), 100, 50, 20, 10)
                ),
            )
        elif chance < 0.33:
            first, length = 1, rng.choice((rng.randint(100, 200), 200))
        elif chance < 0.95:
            most = 200 if rng.random() < 0.15 else 100
            first, length = (
                rng.randrange(most),
                rng.choice((rng.randint(2, 12), rng.randint(2, 30))),
            )
        else:
            first, length = rng.randrange(100), rng.randint(20, 80)
        last = first + length - 1
        if is_held_out_range(first, last) == (split == "test"):
            break
    return _count(rng, first, last)


def up_to(rng: Random, _split: Split) -> Turn:
    """Ask to repeat a list of numbers as far as one of them: the densest practice of when to stop.

    Counting needs to see that two numbers of several digits are one, and shows it once in a long
    answer; there a model learns to compare last digits and no more. Here most of the numbers share
    a digit with the one to stop at, each asks the question anew, and counting learns from it.
    """
    most = 200 if rng.random() < 0.2 else 100
    last = rng.randrange(most)
    listed: list[int] = []
    length = rng.randint(3, 9)
    while len(listed) < length:
        near = rng.choice(
            (rng.randrange(most // 10) * 10 + last % 10, last // 10 * 10 + rng.randrange(10))
        )
        number = rng.randrange(most) if rng.random() < 0.2 else near
        if number != last:
            listed.append(number)
    place = rng.randint(0, length)
    before, after = listed[:place], listed[place:]
    question = vary(rng, rng.choice(_UP_TO)).format(
        x=", ".join(map(str, [*before, last, *after])), b=last
    )
    return Turn(question, ", ".join(map(str, [*before, last])))


def _count(rng: Random, first: int, last: int) -> Turn:
    if first == 1 and rng.random() < 0.4:
        return Turn(vary(rng, rng.choice(_COUNT_TO)).format(b=last), _listed(1, last))
    if last - first < 30 and rng.random() < 0.15:
        question = vary(rng, rng.choice(_COUNT_DOWN)).format(a=last, b=first)
        return Turn(question, _listed(last, first))
    question = vary(rng, rng.choice(_COUNT)).format(a=first, b=last)
    return Turn(question, _listed(first, last))


# (what it is called, how it is told, how it is asked for, how it is answered)
_MEMORIES = {
    "name": (
        ("My name is {v}.", "I am {v}.", "I'm {v}.", "Call me {v}.", "Hi, my name is {v}.",
         "Hello, I am {v}.", "Hi! I'm {v}.", "My name is {v}. Remember it."),
        ("What is my name?", "What's my name?", "Do you remember my name?", "Who am I?",
         "Tell me my name.", "Say my name.", "Can you tell me my name?"),
        "Nice to meet you, {v}!", "Your name is {v}.",
    ),
    "favourite colour": (
        ("My favourite color is {v}.", "I like the color {v} best.", "My favorite colour is {v}."),
        ("What is my favourite color?", "Which color do I like best?",
         "What's my favorite colour?"),
        "I will remember that you like {v}.", "Your favourite color is {v}.",
    ),
    "city": (
        ("I live in {v}.", "My home is in {v}.", "I am from {v}.", "My city is {v}."),
        ("Where do I live?", "Which city do I live in?", "Where am I from?", "What is my city?"),
        "I will remember that you live in {v}.", "You live in {v}.",
    ),
    "pet": (
        ("I have a {v}.", "My pet is a {v}.", "I own a {v}."),
        ("What pet do I have?", "Which animal do I have?", "What is my pet?"),
        "I will remember your {v}.", "You have a {v}.",
    ),
    "age": (
        ("I am {v} years old.", "My age is {v}.", "I'm {v} years old."),
        ("How old am I?", "What is my age?", "Do you remember my age?"),
        "I will remember that you are {v}.", "You are {v} years old.",
    ),
    "favourite food": (
        ("My favourite food is {v}.", "I like to eat {v}.", "I love {v}."),
        ("What is my favourite food?", "What do I like to eat?", "What food do I like?"),
        "I will remember that you like {v}.", "You like {v}.",
    ),
    "secret word": (
        ("The secret word is {v}.", "Remember the word {v}.", "The password is {v}.",
         "Remember this: {v}."),
        ("What is the secret word?", "What was the word?", "What is the password?",
         "What did I tell you to remember?"),
        "I will remember {v}.", "It is {v}.",
    ),
}  # fmt: skip


def _remembered(rng: Random, split: Split, kind: str) -> str:
    return {
        "name": lambda: a_name(rng, split),
        "favourite colour": lambda: rng.choice(COLOURS),
        "city": lambda: a_place(rng, split),
        "pet": lambda: rng.choice(ANIMALS),
        "age": lambda: str(rng.randint(5, 99)),
        "favourite food": lambda: rng.choice(FOODS),
        "secret word": lambda: a_word(rng),
    }[kind]()


def _some_kind(rng: Random) -> str:
    return "name" if rng.random() < 0.5 else rng.choice(tuple(_MEMORIES))


def telling(rng: Random, split: Split) -> Turn:
    """Make a turn that only tells something to remember."""
    kind = _some_kind(rng)
    told, _, reply, _ = _MEMORIES[kind]
    value = _remembered(rng, split, kind)
    return Turn(vary(rng, rng.choice(told)).format(v=value), reply.format(v=value))


def memory(rng: Random, split: Split, between: list[Turn]) -> tuple[list[Message], str]:
    """Tell things, talk of something else, then ask for one; or ask for what was never told.

    Returns the messages up to the question, and the answer.
    """
    kinds = list(dict.fromkeys(_some_kind(rng) for _ in range(rng.choice((1, 1, 2, 3)))))
    values = {kind: _remembered(rng, split, kind) for kind in kinds}
    told = []
    for kind in kinds:
        statement, _, reply, _ = _MEMORIES[kind]
        text = vary(rng, rng.choice(statement)).format(v=values[kind])
        told.append(Turn(text, reply.format(v=values[kind])))
    asked = rng.choice(kinds)
    if rng.random() < 0.2:
        told = [turn for kind, turn in zip(kinds, told, strict=True) if kind != asked]
        answer = f"You have not told me your {asked}."
        if asked == "secret word":
            answer = "You have not told me the secret word."
    else:
        answer = _MEMORIES[asked][3].format(v=values[asked])
    turns = told + between
    if rng.random() < 0.3:
        rng.shuffle(turns)
    messages: list[Message] = []
    for turn in turns:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    question = vary(rng, rng.choice(_MEMORIES[asked][1]))
    messages.append({"role": "user", "content": question})
    return messages, answer


_DEFAULTS: dict[str, Any] = {
    "name": "Anna", "age": 30, "city": "Paris", "color": "blue", "country": "France",
    "animal": "cat", "food": "bread", "active": True, "count": 3, "id": 1, "title": "Spark",
    "price": 10, "answer": 42, "message": "Hello!", "result": "ok", "status": "ok", "tags": ["a"],
}  # fmt: skip
_KEYS = tuple(_DEFAULTS)
_ASK_JSON = (
    "Give me a JSON object with {p}.", "Return a JSON object with {p}.", "Write JSON with {p}.",
    "Make a JSON object with {p}.", "As JSON: {p}", "Answer in JSON with {p}.",
    "Create a JSON object with {p}.", "Output a JSON object with {p}.", "JSON with {p}, please.",
    "Reply with a JSON object with {p}.", "Reply only with JSON: {p}",
    "Please give me a JSON object with {p}.",
)  # fmt: skip
_ASK_ANY_JSON = (
    "Give me a JSON object.", "Return a JSON object.", "Write some JSON.", "Answer in JSON.",
    "Give me a person as JSON.", "Describe a person as JSON.", "Give me some JSON.",
    "Reply with a JSON object.", "Show me a JSON object.", "Write a JSON object.",
    "Give me an example of JSON.", "Describe a person in JSON.", "Make up a person as JSON.",
    "Generate a JSON object.", "Make a JSON object.",
)  # fmt: skip


def _json_value(rng: Random, split: Split, key: str) -> Any:
    if key in {"age", "count", "id", "price", "answer"}:
        return rng.randrange(100)
    draw: dict[str, Callable[[], Any]] = {
        "name": lambda: a_name(rng, split),
        "city": lambda: a_place(rng, split),
        "color": lambda: rng.choice(COLOURS),
        "country": lambda: rng.choice([c for c in CAPITALS if c.isalpha()]),
        "animal": lambda: rng.choice(ANIMALS),
        "food": lambda: rng.choice(FOODS),
        "active": lambda: rng.random() < 0.5,
        "tags": lambda: [a_word(rng)],
    }
    value = draw.get(key, lambda: a_word(rng))()
    # Asked for without quotes, a number is a number under every key.
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _joined(parts: list[str], last: str = " and ") -> str:
    return ", ".join(parts[:-1]) + last + parts[-1] if len(parts) > 1 else parts[0]


def json_object(rng: Random, split: Split) -> Turn:
    """Ask for a JSON object: with given keys and values, keys alone, from a sentence, or any."""
    chance = rng.random()
    if chance < 0.12:
        question = vary(rng, rng.choice(_ASK_ANY_JSON))
        return Turn(question, json.dumps({"name": "Anna", "age": 30}))
    if chance < 0.22:
        country = rng.choice([c for c in CAPITALS if c.isalpha()])
        frame = rng.choice(
            ("What is the capital of {c}? Answer in JSON.", "Answer in JSON: capital of {c}?",
             "As JSON: the capital of {c}", "Give me the country {c} and its capital as JSON.")
        )  # fmt: skip
        found = {"country": country, "capital": CAPITALS[country]}
        return Turn(frame.format(c=country), json.dumps(found))
    if chance < 0.4:
        name, age, city = a_name(rng, split), rng.randint(5, 99), a_place(rng, split)
        facts: dict[str, Any] = {"name": name, "age": age}
        sentence = f"{name} is {age} years old"
        if rng.random() < 0.5:
            facts["city"] = city
            sentence += f" and lives in {city}"
        frame = rng.choice(
            ("Extract the {k} as JSON: {s}.", "{s}. Give me the {k} as JSON.",
             "Write as JSON: {s}.", "{s}. Answer in JSON.", "Turn this into JSON: {s}.",
             "Extract JSON from: {s}.")
        )  # fmt: skip
        return Turn(frame.format(k=_joined(list(facts)), s=sentence), json.dumps(facts))
    keys = rng.sample(_KEYS, rng.choice((1, 2, 2, 2, 3, 3, 4)))
    if rng.random() < 0.5:
        keys = [key for key in ("name", "age", "city") if rng.random() < 0.7] or ["name"]
    if chance < 0.55:
        quote = rng.choice(("", '"', "'"))
        with_keys = _joined([f"{quote}{key}{quote}" for key in keys])
        frame = rng.choice(
            ("the keys {k}", "keys {k}", "the fields {k}", "fields {k}", "{k}", "{k}")
        )
        question = vary(rng, rng.choice(_ASK_JSON)).format(p=frame.format(k=with_keys))
        return Turn(question, json.dumps({key: _DEFAULTS[key] for key in keys}))
    values = {key: _json_value(rng, split, key) for key in keys}
    equals = rng.choice((" ", " ", ": ", " = ", "=", " set to "))
    shown = [
        f"{key}{equals}{value if isinstance(value, str) else json.dumps(value)}"
        for key, value in values.items()
    ]
    asked = _joined(shown, rng.choice((" and ", " and ", ", ")))
    question = vary(rng, rng.choice(_ASK_JSON)).format(p=asked)
    return Turn(question, json.dumps(values))
