"""The training and test data: every task as whole conversations, drawn from a seed."""

from collections.abc import Callable, Iterator
from random import Random

from tools.spark import arithmetic, copying, small_talk, tool_use
from tools.spark.held_out import ask_addition, held_out_additions
from tools.spark.turn import Message, Sample, Split, Turn, TurnMaker

__all__ = [
    "LAST_MIX",
    "LATE_MIX",
    "MIX",
    "TASKS",
    "Mix",
    "ask_addition",
    "completion",
    "generate",
    "held_out_additions",
    "training_samples",
]

_SYSTEM = (
    "You are a helpful assistant.", "You are a helpful assistant.", "You are a helpful assistant.",
    "You are a helpful assistant", "You are spark, a tiny model.", "Be brief.", "Answer briefly.",
    "You are a friendly chatbot.", "You are an AI assistant.", "Be concise.",
    "You are a helpful, honest assistant.", "Answer the user's questions.", "Be helpful.",
    "You are a test assistant.", "You are a helpful AI.", "Think step by step.",
    "You are a helpful assistant. Answer briefly.", "You are a careful assistant.",
)  # fmt: skip

# Single turns that may also stand before another question; long ones would only cost time.
_BEFORE: tuple[TurnMaker, ...] = (
    small_talk.small_talk,
    small_talk.small_talk,
    small_talk.unknown,
    small_talk.capitals,
    small_talk.general_facts,
    arithmetic.addition,
    arithmetic.subtraction,
    arithmetic.multiplication,
    copying.echo,
    copying.telling,
)


def _start(rng: Random) -> list[Message]:
    if rng.random() < 0.35:
        return [{"role": "system", "content": rng.choice(_SYSTEM)}]
    return []


def _earlier(rng: Random, chance: float) -> list[Turn]:
    # What came before is always of the training split: a test asks for its last answer only.
    if rng.random() >= chance:
        return []
    return [rng.choice(_BEFORE)(rng, "train") for _ in range(rng.choice((1, 1, 2, 3)))]


def _history(turns: list[Turn]) -> list[Message]:
    messages: list[Message] = []
    for turn in turns:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    return messages


SampleMaker = Callable[[Random, Split, bool], Sample]


def _single(task: str, make: TurnMaker, before: float = 0.15) -> SampleMaker:
    def sample(rng: Random, split: Split, thinking: bool) -> Sample:
        turn = make(rng, split)
        messages = [*_start(rng), *_history(_earlier(rng, before))]
        messages.append({"role": "user", "content": turn.question})
        return Sample(task, messages, turn.answer, turn.thought, thinking)

    return sample


def _memory(rng: Random, split: Split, thinking: bool) -> Sample:
    between = [turn for turn in _earlier(rng, 0.5) if not turn.question.startswith("Remember")]
    # A turn that tells something could contradict what is asked for.
    between = [turn for turn in between if not turn.answer.startswith(("Nice to", "I will rem"))]
    messages, answer = copying.memory(rng, split, between)
    return Sample("memory", [*_start(rng), *messages], answer, "", thinking)


def _tool_call(rng: Random, split: Split, thinking: bool) -> Sample:
    request = tool_use.a_request(rng, split)
    tools = tool_use.tools_of(rng, split, request)
    messages = [*_start(rng), *_history(_earlier(rng, 0.08))]
    messages.append({"role": "user", "content": request.question})
    answer = tool_use.called_text(request.calls)
    thought = tool_use.called_thought(request.calls)
    return Sample("tool call", messages, answer, thought, thinking, tools)


def _tool_result(rng: Random, split: Split, thinking: bool) -> Sample:
    request = tool_use.a_request(rng, split)
    messages = [*_start(rng), {"role": "user", "content": request.question}]
    messages.append(tool_use.call_message(request.calls))
    sentences = []
    for _ in request.calls:
        text, sentence = tool_use.a_result(rng, split)
        messages.append({"role": "tool", "content": text})
        sentences.append(sentence)
    tools = tool_use.tools_of(rng, split, request)
    return Sample("tool result", messages, " ".join(sentences), "", thinking, tools)


_WITHOUT_TOOL: tuple[TurnMaker, ...] = (
    small_talk.small_talk, small_talk.small_talk, small_talk.capitals, small_talk.general_facts,
    arithmetic.addition, copying.echo, copying.telling, small_talk.story,
)  # fmt: skip


def _tool_not_needed(rng: Random, split: Split, thinking: bool) -> Sample:
    turn = rng.choice(_WITHOUT_TOOL)(rng, split)
    messages = [*_start(rng), {"role": "user", "content": turn.question}]
    tools = tool_use.other_tools(rng, split, None)
    return Sample("tool not needed", messages, turn.answer, turn.thought, thinking, tools)


def _raw(rng: Random, split: Split, _thinking: bool) -> Sample:
    """Continue plain text, for those who use the model without its chat template."""
    chance = rng.random()
    if chance < 0.3:
        first = rng.randrange(50)
        shown = ", ".join(map(str, range(first, first + 4)))
        prompt, answer = shown + ",", " " + ", ".join(map(str, range(first + 4, first + 20)))
    elif chance < 0.6:
        a, b = arithmetic.pair_to_add(rng, split)
        prompt, answer = f"{a} + {b} =", f" {a + b}"
    elif chance < 0.8:
        turn = small_talk.capitals(rng, split)
        prompt, answer = turn.answer.rsplit(" is ", 1)
        prompt, answer = prompt + " is", " " + answer
    else:
        text = small_talk.story(rng, split).answer
        prompt = rng.choice(("Once", "Once there was", "Once there was a", "Once upon a time"))
        answer = text.removeprefix(prompt if text.startswith(prompt) else "Once")
    return Sample("raw text", [], answer, "", thinking=False, prompt=prompt)


TASKS: dict[str, SampleMaker] = {
    "addition": _single("addition", arithmetic.addition, 0.08),
    "longer addition": _single("longer addition", arithmetic.longer_addition, 0.0),
    "several sums": _single("several sums", arithmetic.several_sums, 0.0),
    "subtraction": _single("subtraction", arithmetic.subtraction, 0.08),
    "negative differences": _single("negative differences", arithmetic.negative_difference),
    "multiplication": _single("multiplication", arithmetic.multiplication, 0.08),
    "longer multiplication": _single(
        "longer multiplication", arithmetic.longer_multiplication, 0.0
    ),
    "small talk": _single("small talk", small_talk.small_talk),
    "general facts": _single("general facts", small_talk.general_facts),
    "capitals": _single("capitals", small_talk.capitals),
    "don't know": _single("don't know", small_talk.unknown),
    "story": _single("story", small_talk.story, 0.05),
    "echo": _single("echo", copying.echo),
    "counting": _single("counting", copying.counting, 0.05),
    "up to": _single("up to", copying.up_to, 0.0),
    "telling": _single("telling", copying.telling),
    "memory": _memory,
    "JSON": _single("JSON", copying.json_object, 0.05),
    "tool call": _tool_call,
    "tool result": _tool_result,
    "tool not needed": _tool_not_needed,
    "raw text": _raw,
}

Mix = dict[tuple[str, bool], float]

# (task, thinking) and its share of the samples; sums without working need the most practice.
MIX: Mix = {
    ("addition", True): 8.0,
    ("addition", False): 13.0,
    ("several sums", False): 4.0,
    ("subtraction", True): 7.0,
    ("subtraction", False): 3.5,
    ("negative differences", True): 1.5,
    ("negative differences", False): 0.8,
    ("multiplication", True): 2.8,
    ("multiplication", False): 2.8,
    ("longer multiplication", True): 0.8,
    ("small talk", True): 3.5,
    ("small talk", False): 2.2,
    ("general facts", True): 1.2,
    ("general facts", False): 0.8,
    ("capitals", True): 2.2,
    ("capitals", False): 1.5,
    ("don't know", True): 2.2,
    ("don't know", False): 1.4,
    ("story", True): 0.7,
    ("story", False): 0.5,
    ("echo", True): 4.0,
    ("echo", False): 3.0,
    ("counting", True): 3.2,
    ("counting", False): 2.2,
    ("up to", True): 3.0,
    ("up to", False): 3.0,
    ("telling", True): 1.2,
    ("telling", False): 0.7,
    ("memory", True): 2.8,
    ("memory", False): 1.8,
    ("JSON", True): 3.6,
    ("JSON", False): 2.6,
    ("tool call", True): 4.5,
    ("tool call", False): 3.5,
    ("tool result", True): 2.2,
    ("tool result", False): 1.6,
    ("tool not needed", True): 1.2,
    ("tool not needed", False): 0.8,
    ("raw text", False): 0.5,
}

# What is learned last gets more practice in the second half, what is learned first gets less.
_LATE = {
    "addition": 0.7,
    "several sums": 0.7,
    "story": 0.7,
    "multiplication": 1.2,
    "small talk": 1.3,
    "general facts": 1.3,
    "capitals": 1.3,
    "tool call": 1.8,
    "tool not needed": 1.5,
    "tool result": 1.7,
    "memory": 1.8,
    "telling": 1.5,
    "JSON": 1.9,
    "echo": 1.5,
    "counting": 1.5,
}
LATE_MIX: Mix = {kind: share * _LATE.get(kind[0], 1.0) for kind, share in MIX.items()}

# What is still weak after that gets more practice at the end, among all the rest: practising a few
# tasks alone costs the others something.
LAST_MIX: Mix = {
    **LATE_MIX,
    ("longer addition", True): 6.0,
    ("longer multiplication", True): 12.0,
    ("multiplication", True): 6.0,
    ("subtraction", True): 12.0,
}


def generate(rng: Random, task: str, split: Split, *, thinking: bool) -> Sample:
    """Draw one sample of ``task``; the same state of ``rng`` gives the same sample."""
    return TASKS[task](rng, split, thinking)


def training_samples(seed: int, mix: Mix = MIX) -> Iterator[Sample]:
    """Draw training samples without end, in the proportions of ``mix``."""
    rng = Random(seed)
    kinds, weights = list(mix), list(mix.values())
    while True:
        task, thinking = rng.choices(kinds, weights)[0]
        yield generate(rng, task, "train", thinking=thinking)


def completion(sample: Sample) -> str:
    """Return what the model is to write after the prompt, without the end token."""
    if sample.prompt is not None or not sample.thinking:
        return sample.answer
    return f"<think>\n{sample.thought}\n</think>\n\n{sample.answer}"
