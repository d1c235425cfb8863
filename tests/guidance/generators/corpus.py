"""The schemas of the generators, and what becomes of each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
from msgspec import Struct

from pilotlight.guidance import (
    Grammar,
    GrammarInvalid,
    GuideTokenizer,
    JsonSchema,
    compile_grammar,
)
from tests.guidance.test_random_schemas import finite
from tests.guidance.walker import walk

FILES = ("python.jsonl", "javascript.jsonl", "dotnet.jsonl")
SEEDS = 3
"""Answers to each schema."""


ENDLESS = {"unanchored", "endsWith"}
"""Types of texts that chance does not come to an end of, since an expression must match one."""


class Generated(Struct, frozen=True):
    """What *generator* makes of a type."""

    generator: str
    type: str
    schema: Any


def generated() -> Iterator[Generated]:
    """Yield every schema."""
    for name in FILES:
        for line in (Path(__file__).parent / name).read_text().splitlines():
            yield Generated(**json.loads(line))


def verdict(one: Generated, tokens: GuideTokenizer) -> str:
    """Return "" for a schema that is kept, or why it is refused: a path and a reason.

    Raises `AssertionError` for an answer that is not valid by the schema, as it was generated.
    """
    try:
        guides = compile_grammar(Grammar(content=JsonSchema(one.schema, strict=False)), tokens)
    except GrammarInvalid as error:
        return f"{error.path}: {error}"
    validator = validator_of(one.schema)
    for seed in range(0 if one.type in ENDLESS else SEEDS):
        text, ended = walk(guides(), seed, limit=20_000)
        assert ended, (one, text)
        value = json.loads(text, parse_float=finite)
        problem = next(validator.iter_errors(value), None)
        assert problem is None, (one, text, problem)
    return ""


def validator_of(schema: Any) -> Any:
    """Return a validator by the draft that *schema* names, or else is written in.

    Some generators write an empty tuple, which no draft knows, and expressions that only a looser
    check of expressions takes.
    """
    text = json.dumps(schema)
    drafts = [jsonschema_rs.Draft202012Validator]
    if "draft-04" in text or '"exclusiveMinimum": true' in text:
        drafts.insert(0, jsonschema_rs.Draft4Validator)
    elif "draft-07" in text or '"items": [' in text:
        drafts.insert(0, jsonschema_rs.Draft7Validator)
    if '"maxItems": 0' in text:
        schema = {"type": "array", "maxItems": 0}
    for draft in drafts:
        try:
            return draft(schema, validate_formats=True)
        except jsonschema_rs.ValidationError as error:
            problem = error
    raise AssertionError(f"no validator takes the schema: {problem}")
