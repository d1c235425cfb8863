"""What parsers are fed: text in pieces, JSON, and what was valid before it was changed."""

import copy
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

_ODD_NUMBERS = (0, 1, -1, 0.5, 1e308, -0.0, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63), 10**30)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(_ODD_NUMBERS),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
)

json_values: SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def text_of(fragments: Iterable[str]) -> SearchStrategy[str]:
    """Return texts made of *fragments*, of parts of them, and of anything else."""
    known = sorted(fragments)
    part = st.sampled_from(known).flatmap(
        lambda one: st.integers(0, len(one)).map(lambda end: one[:end])
    )
    piece = st.one_of(
        st.sampled_from(known), part, st.sampled_from(" \n\t\r{}[],:\"\\'<>|/é🙂0a"), st.text()
    )
    return st.lists(piece, max_size=12).map("".join)


@st.composite
def cuts(draw: DrawFn, whole: Any) -> list[Any]:
    """Return *whole*, text or bytes, in pieces."""
    places = draw(st.lists(st.integers(0, len(whole)), max_size=8))
    edges = [0, *sorted(places), len(whole)]
    return [whole[start:end] for start, end in pairwise(edges)]


@st.composite
def in_pieces(draw: DrawFn, wholes: SearchStrategy[Any]) -> tuple[Any, list[Any]]:
    """Return something drawn from *wholes*, and the same in pieces."""
    whole = draw(wholes)
    return whole, draw(cuts(whole))


@st.composite
def damaged(draw: DrawFn, whole: bytes, first: int | None = None) -> bytes:
    """Return *whole* with some bytes changed, put in, taken out, or cut off.

    Half of the places are among the *first* bytes.
    """
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        last = len(data)
        place = draw(st.integers(0, min(first or last, last)) | st.integers(0, last))
        match draw(st.sampled_from(["overwrite", "insert", "delete", "number", "cut"])):
            case "overwrite":
                fresh = draw(st.binary(min_size=1, max_size=8))
                data[place : place + len(fresh)] = fresh
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del data[place : place + draw(st.integers(1, 16))]
            case "number":
                number = draw(st.integers(0, 70) | st.integers(2**16, 2**64 - 1))
                data[place : place + 8] = number.to_bytes(8, "little")
            case "cut":
                del data[place:]
    return bytes(data)


@st.composite
def altered(draw: DrawFn, wholes: Iterable[Any]) -> Any:
    """Return one of *wholes*, JSON values, with other values and names in some of its places."""
    value = copy.deepcopy(draw(st.sampled_from(list(wholes))))
    for _ in range(draw(st.integers(0, 3))):
        holder = value
        for _ in range(draw(st.integers(0, 6))):
            inner = holder.values() if isinstance(holder, dict) else holder
            below = [one for one in inner if isinstance(one, dict | list) and one]
            if not below:
                break
            holder = draw(st.sampled_from(below))
        _alter(draw, holder)
    return value


def _alter(draw: DrawFn, holder: dict[str, Any] | list[Any]) -> None:
    if isinstance(holder, list):
        if not holder:
            return
        place: Any = draw(st.integers(0, len(holder) - 1))
    else:
        place = draw(st.sampled_from(sorted(holder)) if holder else st.text(max_size=4))
    match draw(st.sampled_from(["replace", "delete", "rename", "nest"])):
        case "replace":
            holder[place] = draw(json_values)
        case "delete":
            holder.pop(place) if isinstance(holder, list) else holder.pop(place, None)
        case "rename" if isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = holder.pop(place, None)
        case _:
            holder[place] = draw(st.sampled_from((lambda x: [x], lambda x: {"type": x})))(
                holder[place] if isinstance(holder, list) else holder.get(place)
            )
