"""Random JSON Schemas from a seed: all that is honoured, nested into each other."""

import random
from typing import Any

NAMES = ("a", "id", "name", "kind", "n", "überschrift", "a b", 'q"t', "tag", "x/y~z")
PATTERNS = (
    "^[a-z]{1,5}$",
    "^(red|green|blue)$",
    "^[A-Z]{2}-[0-9]{3}$",
    "^\\d{1,4}$",
    "^\\w{2,4}(é|ß)?$",
    '^[^\\s"]{1,6}$',
)
FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "ipv6")
UNBOUNDED_FORMATS = ("email", "hostname", "duration", "uri")
CONSTANTS: tuple[Any, ...] = (
    "yes",
    "",
    'a"b\\c',
    "né\n",
    0,
    -7,
    2.5,
    True,
    None,
    [1, "x"],
    {"k": []},
)


class SchemaMaker:
    """Makes schemas. *bounded* ones have no answer that may go on for ever, but for digits."""

    def __init__(self, seed: int, *, bounded: bool) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a test's seed is no secret
        self._bounded = bounded
        self._definitions: dict[str, Any] = {}

    def make(self) -> dict[str, Any]:
        """Return a schema, an object's or a list's."""
        one = self._random
        for name in ("one", "two")[: one.randint(0, 2)]:
            self._definitions[name] = self._schema(depth=1)
        schema = one.choice((self._object, self._object, self._array))(3)
        if self._definitions:
            schema["$defs"] = self._definitions
        return schema

    def _schema(self, depth: int) -> Any:
        scalars = (self._string, self._string, self._integer, self._number, self._constant)
        makers = [*scalars, self._enum, self._simple, self._reference]
        if depth > 0:
            makers += [self._object, self._array, self._tuple, self._any_of, self._one_of]
            makers += [self._map, self._all_of]
        return self._random.choice(makers)(depth - 1)

    def _object(self, depth: int) -> dict[str, Any]:
        one = self._random
        names = one.sample(NAMES, one.randint(0, 4))
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: self._schema(depth) for name in names},
            "required": [name for name in names if one.random() < 0.6],
            "additionalProperties": False,
        }
        if not self._bounded and one.random() < 0.4:
            schema["additionalProperties"] = one.choice((True, self._schema(depth)))
            if one.random() < 0.3:
                del schema["additionalProperties"]
        return schema

    def _map(self, depth: int) -> dict[str, Any]:
        """Return a schema for an object of names that it does not know."""
        one = self._random
        schema: dict[str, Any] = {"type": "object", "maxProperties": one.randint(0, 3)}
        if self._bounded or one.random() < 0.5:
            schema |= {
                "patternProperties": {"^[a-z]{1,3}$": self._schema(depth)},
                "additionalProperties": False,
            }
        else:
            schema["additionalProperties"] = self._schema(depth)
        if schema["maxProperties"] and one.random() < 0.5:
            schema["minProperties"] = 1
        return schema

    def _array(self, depth: int) -> dict[str, Any]:
        least = self._random.randint(0, 2)
        most = least + self._random.randint(0, 2)
        schema = {"type": "array", "items": self._schema(depth), "minItems": least}
        if self._bounded or self._random.random() < 0.5:
            schema["maxItems"] = most
        return schema

    def _tuple(self, depth: int) -> dict[str, Any]:
        items = [self._schema(depth) for _ in range(self._random.randint(1, 3))]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}

    def _any_of(self, depth: int) -> dict[str, Any]:
        return {"anyOf": [self._schema(depth) for _ in range(self._random.randint(2, 3))]}

    def _one_of(self, depth: int) -> dict[str, Any]:
        """Return a union whose schemas differ in a constant, as in a union of types with a tag."""
        options = []
        for kind in ("cat", "dog"):
            option = self._object(depth)
            option["properties"] = {"kind": {"const": kind}} | {
                name: value for name, value in option["properties"].items() if name != "kind"
            }
            option["required"] = ["kind", *(n for n in option["required"] if n != "kind")]
            options.append(option)
        return {"oneOf": options}

    def _all_of(self, _depth: int) -> dict[str, Any]:
        least = self._random.randint(0, 5)
        return self._random.choice(
            (
                {"allOf": [{"type": "integer", "minimum": -least}, {"maximum": 99}]},
                {"type": "string", "allOf": [{"minLength": least}, {"maxLength": 8}]},
                {"allOf": [{"enum": ["a", "b", 3]}, {"type": "string"}]},
            )
        )

    def _string(self, _depth: int) -> dict[str, Any]:
        one = self._random
        if not self._bounded and one.random() < 0.3:
            return one.choice(({"type": "string"}, {"type": "string", "minLength": 2}))
        least = one.randint(0, 4)
        formats = FORMATS if self._bounded else FORMATS + UNBOUNDED_FORMATS
        return one.choice(
            (
                {"type": "string", "minLength": least, "maxLength": least + one.randint(0, 8)},
                {"type": "string", "pattern": one.choice(PATTERNS)},
                {"type": "string", "format": one.choice(formats)},
                {"type": "string", "pattern": "^[a-z]+", "maxLength": 6, "minLength": least},
            )
        )

    def _integer(self, _depth: int) -> dict[str, Any]:
        one = self._random
        low = one.randint(-1000, 1000)
        schema: dict[str, Any] = {"type": "integer"}
        if one.random() < 0.6:
            bound = one.choice(("", "exclusive"))
            names = ("exclusiveMinimum", "exclusiveMaximum") if bound else ("minimum", "maximum")
            schema |= dict(zip(names, (low, low + one.randint(12, 5000)), strict=True))
        if one.random() < 0.3:
            schema["multipleOf"] = one.choice((1, 2, 5, 10))
        return schema

    def _number(self, _depth: int) -> dict[str, Any]:
        one = self._random
        low = round(one.uniform(-50, 50), 2)
        return one.choice(
            (
                {"type": "number"},
                {"type": "number", "minimum": low, "maximum": round(low + 2.5, 2)},
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                {"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 10},
            )
        )

    def _constant(self, _depth: int) -> dict[str, Any]:
        return {"const": self._random.choice(CONSTANTS)}

    def _enum(self, _depth: int) -> dict[str, Any]:
        return {"enum": self._random.sample(CONSTANTS, self._random.randint(1, 4))}

    def _simple(self, _depth: int) -> Any:
        kinds = self._random.sample(("null", "boolean"), self._random.randint(1, 2))
        return self._random.choice(({"type": kinds}, {"type": kinds[0]}))

    def _reference(self, depth: int) -> Any:
        if not self._definitions:
            return self._simple(depth)
        return {"$ref": f"#/$defs/{self._random.choice(sorted(self._definitions))}"}
