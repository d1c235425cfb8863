"""What training never sees: a tenth of the number pairs, names, ranges and scenes, by hash.

The choice is a pure function of the values, so a test needs no record of the training data.
"""

import hashlib

_ONE_IN = 10
_TEN = 10
_TEENS = 20

# Asked for by everyone's first try, so taught on purpose.
_COMMON_ENDS = frozenset({3, 5, 10, 20, 50, 100, 200})


def _chosen(kind: str, *values: object) -> bool:
    text = ":".join([kind, *map(str, values)])
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") % _ONE_IN == 0


def is_held_out_addition(a: int, b: int) -> bool:
    """Return whether ``a + b``, in this order, is kept from training.

    One-digit sums are the facts that every longer sum is made of: they are all taught.
    """
    return max(a, b) >= _TEN and _chosen("add", a, b)


def is_held_out_subtraction(a: int, b: int) -> bool:
    """Return whether ``a - b`` is kept from training; ``a`` below 20 less one digit is taught."""
    return (a >= _TEENS or b >= _TEN) and _chosen("sub", a, b)


def is_held_out_multiplication(a: int, b: int) -> bool:
    """Return whether ``a * b``, in this order, is kept from training; one-digit ones are taught."""
    return max(a, b) >= _TEN and _chosen("mul", a, b)


def is_held_out_name(name: str) -> bool:
    """Return whether a name (of a person, a place, a made-up word) is kept from training."""
    return _chosen("name", name.lower())


def is_held_out_range(first: int, last: int) -> bool:
    """Return whether counting from ``first`` to ``last`` is kept from training."""
    if first == 1 and last in _COMMON_ENDS:
        return False
    return _chosen("range", first, last)


def is_held_out_number(number: int) -> bool:
    """Return whether pictures of a number are kept from training."""
    return _chosen("number", number)


def is_held_out_scene(shape: str | None, colour: str, background: str, count: int) -> bool:
    """Return whether pictures of *count* such shapes are kept from training."""
    return _chosen("scene", shape, colour, background, count)


def held_out_additions(below: int = 100) -> list[tuple[int, int]]:
    """List the ordered pairs below ``below`` whose sum was never trained on, in order."""
    return [(a, b) for a in range(below) for b in range(below) if is_held_out_addition(a, b)]


_ADDITION_QUESTIONS = (
    "What is {a} + {b}?",
    "What is {a}+{b}?",
    "{a} + {b} = ?",
    "Please add {a} and {b}.",
    "How much is {a} plus {b}?",
    "Calculate {a} + {b}.",
    "what's {a} plus {b}",
    "Can you tell me what {a} + {b} is?",
)


def ask_addition(a: int, b: int) -> str:
    """Return a user's question for ``a + b``; the phrasing varies with the pair, always the same.

    >>> ask_addition(2, 2)
    'How much is 2 plus 2?'
    """
    return _ADDITION_QUESTIONS[(7 * a + 3 * b) % len(_ADDITION_QUESTIONS)].format(a=a, b=b)
