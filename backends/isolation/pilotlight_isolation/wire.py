"""What a service and an engine's process say to each other: msgpack, one frame for each struct."""

from array import array
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from pilotlight_backend.guide import Vocabulary
from pilotlight_backend.types import (
    BakedPrompt,
    Embedded,
    EngineStats,
    Failed,
    Finish,
    GenerateRequest,
    LoadOptions,
    LoadProgress,
    ModelFacts,
    Started,
    Token,
)
from pilotlight_isolation.problem import Problem, describe, rebuild

Kind: TypeAlias = Literal["generates", "bakes", "embeds"]

# ── to the child ────────────────────────────────────────────────────────────────────────────────


class Load(Struct, frozen=True, tag=True):
    """Load a model; the first that is said. *plugin* is a module, *log_level* a number."""

    plugin: str
    facts: ModelFacts
    options: LoadOptions
    log_level: int


class Submit(Struct, frozen=True, tag=True):
    """Generate. A guide stays where it was made: the child asks for what it says."""

    id: int
    request: GenerateRequest
    guided: bool


class Embed(Struct, frozen=True, tag=True):
    """Embed."""

    id: int
    inputs: tuple[tuple[int, ...], ...]


class Cancel(Struct, frozen=True, tag=True):
    """Cancel a request."""

    id: int


class Heard(Struct, frozen=True, tag=True):
    """So many events were passed on: the engine may go on."""

    count: int


class Restricted(Struct, frozen=True, tag=True):
    """The row of scores is restricted, or the guide has failed and its request has ended."""

    done: bool


class Tokenize(Struct, frozen=True, tag=True):
    """Tokenise; *text* is UTF-8 with surrogates passed, for a client may send such."""

    id: int
    text: bytes
    special: bool
    verbatim: tuple[tuple[int, int], ...] = ()


class TokenizeInput(Struct, frozen=True, tag=True):
    """Tokenise an input to embed."""

    id: int
    text: bytes


class ReadVocabulary(Struct, frozen=True, tag=True):
    """Return every token."""

    id: int


class Bake(Struct, frozen=True, tag=True):
    """Bake a prompt."""

    id: int
    prompt: tuple[int, ...]
    baked: BakedPrompt


class Look(Struct, frozen=True, tag=True):
    """Tell how the engine is."""


class Close(Struct, frozen=True, tag=True):
    """Close the engine, and end."""


Order: TypeAlias = (
    Load
    | Submit
    | Embed
    | Cancel
    | Heard
    | Restricted
    | Tokenize
    | TokenizeInput
    | ReadVocabulary
    | Bake
    | Look
    | Close
)
Call: TypeAlias = Tokenize | TokenizeInput | ReadVocabulary | Bake

# ── from the child ──────────────────────────────────────────────────────────────────────────────


class Snapshot(Struct, frozen=True):
    """How the engine is, once it had taken so many *requests*."""

    stats: EngineStats
    requests: int


class Progressed(Struct, frozen=True, tag=True):
    """A report of the load."""

    progress: LoadProgress


class Loaded(Struct, frozen=True, tag=True):
    """The engine is there."""

    facts: ModelFacts
    kind: Kind
    snapshot: Snapshot


class NotLoaded(Struct, frozen=True, tag=True):
    """The load has failed."""

    problem: Problem


class Accepted(Struct, frozen=True, gc=False, tag=True):
    """A guided request's token was chosen: its guide is to be told."""

    token: int


class Vector(Struct, frozen=True, gc=False, tag=True):
    """`Embedded`, with its numbers as bytes: msgspec knows no arrays."""

    data: bytes

    @classmethod
    def of(cls, event: Embedded) -> "Vector":
        """Put *event* into a form that can be sent."""
        return cls(event.vector.tobytes())

    def embedded(self) -> Embedded:
        """Return the event that it was."""
        numbers = array("f")
        numbers.frombytes(self.data)
        return Embedded(numbers)


Event: TypeAlias = Accepted | Started | Token | Vector | Finish | Failed


class Events(Struct, frozen=True, tag=True):
    """What happened to requests, in order, and how the engine is behind it."""

    events: list[tuple[int, Event]]
    snapshot: Snapshot


class Restrict(Struct, frozen=True, tag=True):
    """Restrict the row of scores, of *size* numbers, with a request's guide. The engine waits."""

    id: int
    size: int


class Answered(Struct, frozen=True, tag=True):
    """What a call returned: token ids, how many tokens were baked, or a vocabulary."""

    id: int
    value: list[int] | int | Vocabulary


class NotAnswered(Struct, frozen=True, tag=True):
    """What a call raised."""

    id: int
    problem: Problem


class Looked(Struct, frozen=True, tag=True):
    """The answer to `Look`."""

    snapshot: Snapshot


class Logged(Struct, frozen=True, tag=True):
    """A log record."""

    logger: str
    level: int
    message: str


Word: TypeAlias = (
    Progressed | Loaded | NotLoaded | Events | Restrict | Answered | NotAnswered | Looked | Logged
)


# ── bytes ───────────────────────────────────────────────────────────────────────────────────────


def _encode_foreign(value: Any) -> Any:
    match value:
        case Path():
            return str(value)
        case Exception():
            return describe(value)
        case _:
            raise NotImplementedError(f"{type(value)} is not sent")


def _decode_foreign(kind: Any, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    return rebuild(msgspec.convert(value, Problem))  # the one kind that is left: an error


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_foreign)
_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order, dec_hook=_decode_foreign)
_words: msgspec.msgpack.Decoder[Word] = msgspec.msgpack.Decoder(Word, dec_hook=_decode_foreign)


def encode(frame: Order | Word) -> bytes:
    """Return *frame* as bytes."""
    return _encoder.encode(frame)


def decode_order(data: bytes) -> Order:
    """Return what the child is told."""
    return _orders.decode(data)


def decode_word(data: bytes) -> Word:
    """Return what the child says."""
    return _words.decode(data)
