"""Print what pydantic and msgspec make of ordinary types, a JSON object a line.

    python tests/guidance/generators/python_schemas.py > python.jsonl

Needs pydantic with its extra `email`, and msgspec.
"""

# ruff: noqa: E501, ICN001, PYI061, UP007, UP045 -- types are written in all ways
import dataclasses
import datetime
import decimal
import enum
import ipaddress
import pathlib
import re
import sys
import typing
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, Optional, Union

import msgspec
import pydantic
from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MaxLen, MinLen, MultipleOf
from pydantic import BaseModel, ConfigDict, Discriminator, EmailStr, Field, TypeAdapter
from pydantic.types import (
    AwareDatetime,
    Base64Bytes,
    ByteSize,
    FutureDate,
    Json,
    NaiveDatetime,
    PastDatetime,
    PaymentCardNumber,
    SecretStr,
    conint,
    conlist,
    constr,
)


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    A = "a"
    ONE = 1
    NONE = None


class Point(typing.NamedTuple):
    x: float
    y: float = 0.0


class Movie(typing.TypedDict, total=False):
    title: typing.Required[str]
    year: int


@dataclasses.dataclass
class Address:
    street: str
    city: str = "Bern"
    zip_code: Annotated[str, Field(pattern=r"^\d{4,5}$")] | None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    good: bool


class One(BaseModel):
    version: Literal[1]
    a: str


class Two(BaseModel):
    version: Literal[2]
    b: str


class Node(BaseModel):
    value: int
    next: Optional["Node"] = None


class Tree(BaseModel):
    name: str
    children: list["Tree"] = []


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]
    a: str


class Empty(BaseModel):
    pass


class Described(BaseModel):
    """A person."""

    name: str = Field(description="the name", min_length=1, max_length=40, examples=["Ada"])
    age: int = Field(default=0, ge=0, le=150, title="Age")
    tags: list[str] = Field(default_factory=list, max_length=5)
    nick: str | None = Field(default=None, deprecated=True)
    score: float = Field(0.5, gt=0, lt=1)
    alias: str = Field(alias="also-known as")


class Order(BaseModel):
    id: uuid.UUID
    at: datetime.datetime
    items: list[Described]
    ship_to: Address
    bill_to: Address | None = None
    state: Color = Color.RED
    total: decimal.Decimal
    notes: dict[str, str] = {}
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Generic(BaseModel, typing.Generic[typing.TypeVar("T")]):
    pass


class RootOfList(pydantic.RootModel[list[int]]):
    pass


class RootOfMap(pydantic.RootModel[dict[str, Color]]):
    pass


class Computed(BaseModel):
    a: int

    @pydantic.computed_field
    @property
    def double(self) -> int:
        return self.a * 2


SCALARS: list[Any] = [
    str, int, float, bool, None, bytes, Any, object, complex,
    datetime.date, datetime.time, datetime.datetime, datetime.timedelta, decimal.Decimal,
    uuid.UUID, pathlib.Path, re.Pattern, Fraction,
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Interface,
    EmailStr, pydantic.NameEmail, pydantic.AnyUrl, pydantic.HttpUrl, pydantic.PostgresDsn,
    SecretStr, pydantic.SecretBytes, Json, Json[list[int]], Base64Bytes, ByteSize,
    AwareDatetime, NaiveDatetime, PastDatetime, FutureDate, pydantic.UUID1, pydantic.UUID4,
    pydantic.FilePath, pydantic.DirectoryPath, pydantic.IPvAnyAddress, PaymentCardNumber,
    pydantic.ImportString, pydantic.StrictInt, pydantic.StrictStr, pydantic.StrictBool,
    pydantic.PositiveInt, pydantic.NegativeInt, pydantic.NonNegativeInt, pydantic.NonPositiveInt,
    pydantic.PositiveFloat, pydantic.NegativeFloat, pydantic.NonNegativeFloat, pydantic.FiniteFloat,
    Color, Level, Mixed, Literal["a"], Literal["a", "b", 1, None], Literal[1, 2], Literal[True],
    typing.LiteralString if hasattr(typing, "LiteralString") else str,
]  # fmt: skip
CONSTRAINED: list[Any] = [
    Annotated[int, Ge(0)], Annotated[int, Gt(0), Lt(10)], Annotated[int, Le(-1)],
    Annotated[int, Ge(-(2**63)), Le(2**63 - 1)], Annotated[int, Ge(0), Le(2**64 - 1)],
    Annotated[int, Ge(-(2**31)), Le(2**31 - 1)], Annotated[int, MultipleOf(5)],
    Annotated[int, Interval(ge=1, le=5)], conint(gt=3, multiple_of=2),
    Annotated[float, Ge(0), Le(1)], Annotated[float, Gt(-1e308), Lt(1e308)],
    Annotated[float, MultipleOf(0.5)], Annotated[float, Field(allow_inf_nan=False)],
    Annotated[float, Ge(sys.float_info.min), Le(sys.float_info.max)],
    Annotated[decimal.Decimal, Field(max_digits=5, decimal_places=2)],
    Annotated[decimal.Decimal, Ge(0), Le(100)],
    Annotated[str, MinLen(1)], Annotated[str, MaxLen(20)], Annotated[str, Len(2, 4)],
    Annotated[str, Field(pattern=r"^[a-z]+$")], Annotated[str, Field(pattern="a")],
    Annotated[str, Field(pattern=r"^\w+@\w+\.com$")], Annotated[str, Field(pattern=r"^(?i)abc$")],
    Annotated[str, Field(pattern=r"^[A-Z]{2}\d{2}[A-Z0-9]{1,30}$", max_length=34)],
    constr(min_length=1, pattern=r"^\S+$"), constr(strip_whitespace=True, to_lower=True),
    Annotated[str, Field(json_schema_extra={"format": "color"})],
    Annotated[str, Field(json_schema_extra={"format": "password"})],
    Annotated[bytes, MaxLen(10)],
    Annotated[list[int], MinLen(1)], Annotated[list[int], Len(2, 2)], conlist(str, max_length=3),
    Annotated[dict[str, int], MinLen(1)], Annotated[dict[str, int], MaxLen(3)],
    Annotated[dict[str, int], MinLen(2)], Annotated[datetime.date, Field(ge=datetime.date.min)],
]  # fmt: skip
CONTAINERS: list[Any] = [
    list, list[str], list[list[float]], list[Any], tuple, tuple[int, ...], tuple[int, str],
    tuple[int], tuple[()], tuple[float, float, float], list[tuple[str, int]], Sequence[int],
    set[str], set[Color], frozenset[int], deque[int], typing.Iterable[int],
    dict, dict[str, Any], dict[str, int], dict[str, list[int]], dict[int, str], dict[Color, int],
    dict[Level, int], dict[uuid.UUID, str], dict[datetime.date, float], dict[bool, int],
    dict[Literal["a", "b"], int], dict[Annotated[str, Field(pattern="^[a-z]+$")], int],
    dict[Annotated[str, MinLen(2), MaxLen(3)], int], dict[str, dict[str, bool]],
    dict[EmailStr, int], dict[pydantic.PositiveInt, str], Mapping[str, str],
    defaultdict[str, list[int]], OrderedDict[str, int],
    Point, Movie, Address, list[Address], dict[str, Movie],
    int | str, int | None, Optional[list[int]], Union[int, str, None, list[bool]], float | int,
    str | bytes, list[int] | dict[str, int], Cat | Dog, list[Cat | Dog],
    Annotated[Cat | Dog, Field(discriminator="kind")],
    Annotated[One | Two, Discriminator("version")], dict[str, Annotated[Cat | Dog, Discriminator("kind")]],
    Literal["x"] | int, Color | None, uuid.UUID | Literal["none"],
]  # fmt: skip
MODELS: list[Any] = [
    Cat, Node, Tree, Strict, Open, Extra, Empty, Described, Order, RootOfList, RootOfMap, Computed,
    list[Node], Node | None, tuple[Node, Tree],
]  # fmt: skip


class MCat(msgspec.Struct, tag="cat"):
    lives: int = 9


class MDog(msgspec.Struct, tag="dog"):
    good: bool


class MOne(msgspec.Struct, tag=1):
    a: str


class MTwo(msgspec.Struct, tag=2):
    b: str


class MPoint(msgspec.Struct, array_like=True):
    x: float
    y: float
    label: str = ""


class MNode(msgspec.Struct, forbid_unknown_fields=True):
    value: int
    next: Optional["MNode"] = None


class MOrder(msgspec.Struct, rename="camel"):
    order_id: uuid.UUID
    placed_at: datetime.datetime
    pets: list[MCat | MDog]
    where: MPoint | None = None
    names: Annotated[list[str], msgspec.Meta(max_length=3)] = []


MSGSPEC: list[Any] = [
    *(one for one in SCALARS[:14] if one not in (object, complex)), Color, Level, Literal["a", "b"],
    Literal[1, None],
    list[int], set[str], tuple[int, str], tuple[int, ...], dict[str, int], dict[Color, int],
    dict[Annotated[str, msgspec.Meta(pattern="^x")], int], dict[uuid.UUID, int],
    Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)], Annotated[int, msgspec.Meta(gt=0, multiple_of=3)],
    Annotated[str, msgspec.Meta(pattern="^[a-z]*$", max_length=8)],
    Annotated[str, msgspec.Meta(min_length=1)], Annotated[float, msgspec.Meta(ge=0, lt=1)],
    Annotated[list[int], msgspec.Meta(min_length=1, max_length=2)],
    Annotated[datetime.datetime, msgspec.Meta(tz=True)], Annotated[bytes, msgspec.Meta(max_length=9)],
    MCat, MDog, MCat | MDog, MOne | MTwo, MPoint, MNode, MOrder, Movie, Point, Address,
    int | str | None, list[MNode], msgspec.Raw, dict[str, Any],
]  # fmt: skip


def emit(generator: str, name: str, schema: Any) -> None:
    line = {"generator": generator, "type": name, "schema": schema}
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")


def name_of(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and "[" not in repr(kind) else repr(kind)


def main() -> None:
    pydantic_version = f"pydantic {pydantic.VERSION}"
    for kind in (*SCALARS, *CONSTRAINED, *CONTAINERS, *MODELS):
        for mode in ("validation", "serialization"):
            try:
                schema = TypeAdapter(kind).json_schema(mode=mode)
            except pydantic.errors.PydanticUserError:
                continue  # it has no JSON Schema
            except Exception as error:  # noqa: BLE001 - not every type is in every release
                sys.stderr.write(f"{kind}: {type(error).__name__}\n")
                continue
            if mode == "validation":
                first = schema
            elif schema == first:
                continue
            emit(pydantic_version, f"{name_of(kind)} {mode}", schema)
    for kind in MSGSPEC:
        try:
            schema = msgspec.json.schema(kind)
        except TypeError:
            continue
        emit(f"msgspec {msgspec.__version__}", name_of(kind), schema)


if __name__ == "__main__":
    main()
