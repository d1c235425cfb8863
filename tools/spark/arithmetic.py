"""Sums: three operations in many phrasings, with the working in parts as the thought."""

from random import Random

from tools.spark.held_out import (
    is_held_out_addition,
    is_held_out_multiplication,
    is_held_out_subtraction,
)
from tools.spark.turn import Split, Turn, vary

_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()

_FRAMES = (
    "What is {e}?", "What is {e}?", "What's {e}?", "How much is {e}?", "{e}", "{e} = ?", "{e} =",
    "{e}?", "{e}=", "{e}=?", "Calculate {e}.", "Compute {e}.", "Work out {e}.", "Solve {e}.",
    "Can you tell me what {e} is?", "Tell me {e}.", "Can you calculate {e}?",
    "What does {e} make?", "What is the result of {e}?", "I need to know {e}.",
    "Do you know what {e} is?", "Evaluate {e}.", "Give me the answer to {e}.",
    "What is the answer to {e}?", "What does {e} equal?", "Could you work out {e} for me?",
)  # fmt: skip
_SUM_FORMS = ("{a} + {b}", "{a} + {b}", "{a}+{b}", "{a} plus {b}", "{a} and {b} together")
_SUM_FRAMES = (
    "Add {a} and {b}.", "Please add {a} and {b}.", "What is the sum of {a} and {b}?",
    "Add {a} to {b}.", "Sum {a} and {b}.", "What do {a} and {b} add up to?",
    "What do you get if you add {a} and {b}?", "Can you add {a} and {b}?",
)  # fmt: skip
_SUM_STORIES = (
    "I have {a} apples and get {b} more. How many apples do I have?",
    "Anna has {a} coins and Tom has {b} coins. How many coins do they have together?",
    "There are {a} birds on a tree and {b} more come. How many birds are there?",
    "I bought {a} red balls and {b} blue balls. How many balls did I buy?",
)
_MINUS_FORMS = ("{a} - {b}", "{a} - {b}", "{a}-{b}", "{a} minus {b}")
_MINUS_FRAMES = (
    "Subtract {b} from {a}.", "Take {b} away from {a}.", "Take {b} from {a}.",
    "What is the difference between {a} and {b}?", "What is {a} less {b}?",
    "What is left of {a} if I take away {b}?",
)  # fmt: skip
_TIMES_FORMS = ("{a} * {b}", "{a} x {b}", "{a}*{b}", "{a} times {b}", "{a} × {b}", "{a}x{b}")
_TIMES_FRAMES = (
    "Multiply {a} by {b}.", "Multiply {a} and {b}.", "What is the product of {a} and {b}?",
    "What is {a} multiplied by {b}?",
)  # fmt: skip


def _ask(rng: Random, forms: tuple[str, ...], frames: tuple[str, ...], a: int, b: int) -> str:
    if rng.random() < 0.25:
        text = vary(rng, rng.choice(frames))
    else:
        text = vary(rng, rng.choice(_FRAMES).replace("{e}", rng.choice(forms)))
    spelled = max(a, b) < len(_NUMBER_WORDS) and rng.random() < 0.1
    values = (_NUMBER_WORDS[a], _NUMBER_WORDS[b]) if spelled else (a, b)
    return text.format(a=values[0], b=values[1])


def add_in_columns(a: int, b: int) -> str:
    """Return the working of ``a + b`` from the right, each column with its carry.

    >>> add_in_columns(17, 25)
    '17 + 25: 7 + 5 = 12, 1 + 2 + 1 = 4, so 42.'
    """
    steps = []
    carry = 0
    for place in range(max(len(str(a)), len(str(b)))):
        x, y = a // 10**place % 10, b // 10**place % 10
        total = x + y + carry
        steps.append(f"{x} + {y} + {carry} = {total}" if place else f"{x} + {y} = {total}")
        carry = total // 10
    return f"{a} + {b}: {', '.join(steps)}, so {a + b}."


def subtract_in_columns(a: int, b: int) -> str:
    """Return the working of ``a - b`` from the right, borrowing; below zero, the other way round.

    >>> subtract_in_columns(52, 17)
    '52 - 17: 12 - 7 = 5, 5 - 1 - 1 = 3, so 35.'
    """
    if a < b:
        return f"{a} is less than {b}. {subtract_in_columns(b, a)[:-1]}, so -{b - a}."
    steps = []
    borrow = 0
    for place in range(max(len(str(a)), len(str(b)))):
        x, y = a // 10**place % 10, b // 10**place % 10
        lent = 10 if x - y - borrow < 0 else 0
        taken = f"{x + lent} - {y} - {borrow}" if place else f"{x + lent} - {y}"
        steps.append(f"{taken} = {x + lent - y - borrow}")
        borrow = lent // 10
    return f"{a} - {b}: {', '.join(steps)}, so {a - b}."


def multiply_in_parts(a: int, b: int) -> str:
    """Return the working of ``a * b`` up to 12 * 12: recalled, or ten and what is above it.

    One of them is at most 12. It shows no product but the asked one.

    >>> multiply_in_parts(7, 12)
    '7 * 12: 7 tens are 70, 7 + 7 = 14, 70 + 14: 0 + 4 = 4, 7 + 1 + 0 = 8, so 84.'
    """
    if max(a, b) < 10:
        return f"{a} * {b} = {a * b}."
    ten, times = _ten_and_times(a, b)
    tens, above = 10 * times, times * (ten - 10)
    steps = [f"{times} tens are {tens}"]
    if ten == 12:
        steps.append(f"{times} + {times} = {above}" if times < 10 else _summed(times, times))
    if ten == 10:
        steps.append(f"so {tens}")
    elif is_held_out_addition(tens, above):
        steps.append(_summed(above, tens))
    else:
        steps.append(_summed(tens, above))
    return f"{a} * {b}: {', '.join(steps)}."


def _summed(a: int, b: int) -> str:
    return add_in_columns(a, b).removesuffix(".")


def _ten_and_times(a: int, b: int) -> tuple[int, int]:
    # The factor that is split, 10 to 12 and the easiest there is, and the other one.
    ten = 10 if 10 in (a, b) else max(x for x in (a, b) if x <= 12)
    return ten, a * b // ten


def _shows_held_out_sum(a: int, b: int) -> bool:
    ten, times = _ten_and_times(a, b)
    above = times * (ten - 10)
    doubled = ten == 12 and is_held_out_addition(times, times)
    both = is_held_out_addition(10 * times, above) and is_held_out_addition(above, 10 * times)
    return doubled or (ten > 10 and both)


def _addends(rng: Random) -> tuple[int, int]:
    chance = rng.random()
    if chance < 0.1:
        return rng.randrange(10), rng.randrange(10)
    if chance < 0.2:
        pair = [rng.randrange(10), rng.randrange(100)]
        rng.shuffle(pair)
        return pair[0], pair[1]
    if chance < 0.24:
        return rng.randrange(1000), rng.randrange(1000)
    return rng.randrange(100), rng.randrange(100)


def pair_to_add(rng: Random, split: Split) -> tuple[int, int]:
    """Draw two numbers whose sum belongs to ``split``; tests stay below 100."""
    while True:
        a, b = _addends(rng)
        if split == "test" and max(a, b) >= 100:
            continue
        if is_held_out_addition(a, b) == (split == "test"):
            return a, b


def addition(rng: Random, split: Split) -> Turn:
    """Make a sum of two numbers, mostly below 100."""
    a, b = pair_to_add(rng, split)
    if rng.random() < 0.04:
        question = rng.choice(_SUM_STORIES).format(a=a, b=b)
    else:
        question = _ask(rng, _SUM_FORMS, _SUM_FRAMES, a, b)
    return Turn(question, f"{a} + {b} = {a + b}.", add_in_columns(a, b))


def longer_addition(rng: Random, split: Split) -> Turn:
    """Make a sum of two and of three digits, as the working of a product has it."""
    while True:
        a, b = rng.sample((rng.randrange(10, 100), rng.randrange(100, 400)), 2)
        if is_held_out_addition(a, b) == (split == "test"):
            break
    return Turn(
        _ask(rng, _SUM_FORMS, _SUM_FRAMES, a, b), f"{a} + {b} = {a + b}.", add_in_columns(a, b)
    )


def several_sums(rng: Random, split: Split) -> Turn:
    """Make two to six sums in one question: the densest practice of sums without working."""
    pairs = [pair_to_add(rng, split) for _ in range(rng.randint(2, 6))]
    plus = rng.choice((" + ", "+"))
    asked = ", ".join(f"{a}{plus}{b}" for a, b in pairs)
    frame = rng.choice(("What is {e}?", "{e}", "Calculate {e}.", "Add these: {e}", "Sums: {e}"))
    answer = ", ".join(f"{a} + {b} = {a + b}" for a, b in pairs)
    return Turn(frame.format(e=asked), answer + ".")


def negative_difference(rng: Random, split: Split) -> Turn:
    """Make a difference that is below zero."""
    while True:
        turn = subtraction(rng, split)
        if "= -" in turn.answer:
            return turn


def subtraction(rng: Random, split: Split) -> Turn:
    """Make a difference of two numbers below 100, mostly not below zero."""
    while True:
        a, b = _minuend_and_subtrahend(rng)
        # The working of a difference below zero shows the other order, so it must be free too.
        shown = is_held_out_subtraction(a, b) or (a < b and is_held_out_subtraction(b, a))
        if split == "train" and shown:
            continue
        if split == "test" and not is_held_out_subtraction(a, b):
            continue
        break
    question = _ask(rng, _MINUS_FORMS, _MINUS_FRAMES, a, b)
    return Turn(question, f"{a} - {b} = {a - b}.", subtract_in_columns(a, b))


def _minuend_and_subtrahend(rng: Random) -> tuple[int, int]:
    # Which of two numbers is less is hardest to tell where their tens are the same, or all of them.
    chance = rng.random()
    if chance < 0.15:
        a = rng.randrange(100)
        return a, min(99, max(0, a + rng.choice((0, rng.randint(-9, 9)))))
    if chance < 0.35:
        a, b = rng.randrange(20), rng.randrange(20)
    else:
        a, b = rng.randrange(100), rng.randrange(10 if rng.random() < 0.15 else 100)
    return (b, a) if a < b and rng.random() < 0.5 else (a, b)


def multiplication(rng: Random, split: Split) -> Turn:
    """Make a product up to 12 * 12."""
    while True:
        a, b = rng.randrange(13), rng.randrange(13)
        if is_held_out_multiplication(a, b) == (split == "test"):
            break
    return _product(rng, a, b)


def longer_multiplication(rng: Random, split: Split) -> Turn:
    """Make a product of 10, 11 or 12 and a number up to 30."""
    while True:
        a, b = rng.sample((rng.randint(10, 12), rng.randint(2, 30)), 2)
        if split == "train" and _shows_held_out_sum(a, b):
            continue
        if is_held_out_multiplication(a, b) == (split == "test"):
            break
    return _product(rng, a, b)


def _product(rng: Random, a: int, b: int) -> Turn:
    question = _ask(rng, _TIMES_FORMS, _TIMES_FRAMES, a, b)
    return Turn(question, f"{a} * {b} = {a * b}.", multiply_in_parts(a, b))
