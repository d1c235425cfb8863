"""The search for the place of a fault in a schema: it ends, however large the schema is."""

from typing import Any

import pytest

from pilotlight.guidance.json_schema.faults import fault_in
from pilotlight.guidance.json_schema.subschemas import count

BAD = {"type": "string", "pattern": "(?=x)"}


class Compiler:
    """Compiles what leads to no pattern, and counts the schemas that it was given."""

    def __init__(self) -> None:
        self.compiled = 0

    def __call__(self, schema: Any) -> str | None:
        self.compiled += count(schema)
        todo = [schema]
        while todo:
            one = todo.pop()
            if "pattern" in one:
                return "look-around"
            todo += one.get("properties", {}).values()
            if "$ref" in one:
                todo.append(schema["$defs"][one["$ref"].removeprefix("#/$defs/")])
        return None


def chain(length: int) -> dict[str, Any]:
    """Return a schema of types that each hold the next; the last has a pattern."""
    types = {
        f"{n}": {"type": "object", "properties": {"next": {"$ref": f"#/$defs/{n + 1}"}}}
        for n in range(length)
    }
    return {"$defs": types | {f"{length}": BAD}, "$ref": "#/$defs/0"}


@pytest.mark.parametrize("length", [1, 5, 30])
def test_a_fault_is_found_where_it_is(length):
    fault = fault_in(chain(length), Compiler())

    assert fault is not None
    assert (fault.pointer, str(fault)) == (
        f"/$defs/{length}/pattern",
        "look-ahead is not supported",
    )


@pytest.mark.parametrize("length", [300, 3000])
def test_a_fault_deep_in_a_large_schema_ends_the_search_early(length):
    """Each step compiles all definitions again: the place is as deep as the effort allows."""
    compiler = Compiler()

    fault = fault_in(chain(length), compiler)

    assert fault is not None
    assert str(fault) == "look-ahead is not supported"
    assert fault.pointer is not None
    assert fault.pointer == "" or fault.pointer.startswith("/$defs/")
    assert compiler.compiled < 25_000 + 2 * count(chain(length))


def test_a_large_schema_without_definitions_is_searched_to_its_end():
    """Its parts are compiled without the rest, so that there is enough for all."""
    inner = {f"p{n}": {"type": "string"} for n in range(2000)} | {"last": BAD}
    schema = {"properties": {"a": {"properties": {"b": {"properties": inner}}}}}

    fault = fault_in(schema, Compiler())

    assert fault is not None
    assert fault.pointer == "/properties/a/properties/b/properties/last/pattern"
