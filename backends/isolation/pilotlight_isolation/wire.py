"""The messages between the service and an engine's process: msgpack, one frame for each struct."""

from array import array
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from pilotlight_backend.guide import Forced, Vocabulary
from pilotlight_backend.image import Image
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
    Scored,
    Started,
    Token,
    TokenizedPairs,
)
from pilotlight_isolation.problem import Problem, describe, rebuild

Kind: TypeAlias = Literal["generates", "bakes", "embeds", "ranks"]

# ── to the child ────────────────────────────────────────────────────────────────────────────────


class Load(Struct, frozen=True, tag=True):
    """Load a model; the first message. *plugin* is a module, *log_level* one of `logging`'s."""

    plugin: str
    facts: ModelFacts
    options: LoadOptions
    log_level: int


class Submit(Struct, frozen=True, tag=True):
    """Generate. A guide stays in the service: the child sends `Restrict` for each token."""

    id: int
    request: GenerateRequest
    guided: bool
    forces: bool = False
    """Whether the guide knows what must come: the child sends `AskForced` too."""
    images: tuple[bytes, ...] = ()
    """Digests of the prompt's images, in whose places it has numbers: see `sent_images`."""


class KeepImage(Struct, frozen=True, tag=True):
    """Keep *image* for requests that have its digest."""

    image: Image


class DropImage(Struct, frozen=True, tag=True):
    """Drop an image: no request has it any more."""

    digest: bytes


class Embed(Struct, frozen=True, tag=True):
    """Embed *inputs*."""

    id: int
    inputs: tuple[tuple[int, ...], ...]


class Rank(Struct, frozen=True, tag=True):
    """Score *pairs*."""

    id: int
    pairs: tuple[tuple[int, ...], ...]


class Cancel(Struct, frozen=True, tag=True):
    """Cancel a request."""

    id: int


class Delivered(Struct, frozen=True, tag=True):
    """So many more events were delivered: the engine may be as far ahead again."""

    count: int


class Restricted(Struct, frozen=True, tag=True):
    """The row of logits is restricted; with *done* false the guide failed and its request ended."""

    done: bool


class MustCome(Struct, frozen=True, tag=True):
    """What the guide forces; None if it failed and its request ended."""

    forced: Forced | None


class Admitted(Struct, frozen=True, tag=True):
    """How many of the tokens the guide admits; None if it failed and its request ended."""

    count: int | None


class Tokenize(Struct, frozen=True, tag=True):
    """Tokenize *text*, UTF-8 that may encode lone surrogates: JSON strings can hold them."""

    id: int
    text: bytes
    special: bool
    verbatim: tuple[tuple[int, int], ...] = ()


class TokenizeInput(Struct, frozen=True, tag=True):
    """Tokenize an input to embed."""

    id: int
    text: bytes


class TokenizePairs(Struct, frozen=True, tag=True):
    """Tokenize a query with each of several documents; UTF-8 as in `Tokenize`."""

    id: int
    query: bytes
    documents: list[bytes]


class CountImage(Struct, frozen=True, tag=True):
    """Return how many tokens an image of that size takes."""

    id: int
    width: int
    height: int


class GetVocabulary(Struct, frozen=True, tag=True):
    """Return the vocabulary."""

    id: int


class Bake(Struct, frozen=True, tag=True):
    """Bake a prompt."""

    id: int
    prompt: tuple[int, ...]
    baked: BakedPrompt


class LoadAdapter(Struct, frozen=True, tag=True):
    """Load the adapter at *path*."""

    id: int
    path: Path


class UnloadAdapter(Struct, frozen=True, tag=True):
    """Undo a load of the *adapter* with this id."""

    id: int
    adapter: str


class SavePrompts(Struct, frozen=True, tag=True):
    """Write cached prompts to storage, for *seconds* at the most."""

    id: int
    seconds: float


class ClearPrompts(Struct, frozen=True, tag=True):
    """Forget the cached prompts of *owner*, None for all."""

    id: int
    owner: str | None


class GetStats(Struct, frozen=True, tag=True):
    """Report the engine's statistics."""


class Close(Struct, frozen=True, tag=True):
    """Close the engine, then exit."""


ToChild: TypeAlias = (
    Load
    | Submit
    | KeepImage
    | DropImage
    | Embed
    | Rank
    | Cancel
    | Delivered
    | Restricted
    | MustCome
    | Admitted
    | Tokenize
    | TokenizeInput
    | TokenizePairs
    | CountImage
    | GetVocabulary
    | Bake
    | LoadAdapter
    | UnloadAdapter
    | SavePrompts
    | ClearPrompts
    | GetStats
    | Close
)
Call: TypeAlias = (
    Tokenize
    | TokenizeInput
    | TokenizePairs
    | CountImage
    | GetVocabulary
    | Bake
    | LoadAdapter
    | UnloadAdapter
    | SavePrompts
    | ClearPrompts
)

# ── from the child ──────────────────────────────────────────────────────────────────────────────


class Snapshot(Struct, frozen=True):
    """The engine's statistics, after it had taken *requests* requests."""

    stats: EngineStats
    requests: int


class Progressed(Struct, frozen=True, tag=True):
    """Progress of the load."""

    progress: LoadProgress


class Loaded(Struct, frozen=True, tag=True):
    """The model is loaded."""

    facts: ModelFacts
    kind: Kind
    snapshot: Snapshot


class NotLoaded(Struct, frozen=True, tag=True):
    """The load failed."""

    problem: Problem


class Accepted(Struct, frozen=True, gc=False, tag=True):
    """A guided request's token was sampled: its guide has to accept it."""

    token: int


class Vector(Struct, frozen=True, gc=False, tag=True):
    """`Embedded`, with its numbers as bytes: msgspec does not encode `array`."""

    data: bytes

    @classmethod
    def of(cls, event: Embedded) -> "Vector":
        """Return *event* in the form that msgspec encodes."""
        return cls(event.vector.tobytes())

    def embedded(self) -> Embedded:
        """Return the event in the contract's form."""
        numbers = array("f")
        numbers.frombytes(self.data)
        return Embedded(numbers)


Event: TypeAlias = Accepted | Started | Token | Vector | Scored | Finish | Failed


class Events(Struct, frozen=True, tag=True):
    """Events of requests, by request id and in order, and the engine's statistics after them."""

    events: list[tuple[int, Event]]
    snapshot: Snapshot


class Restrict(Struct, frozen=True, tag=True):
    """Restrict the row of logits, *size* numbers, with a request's guide. The engine waits."""

    id: int
    size: int


class AskForced(Struct, frozen=True, tag=True):
    """Return what a request's guide forces. The engine waits."""

    id: int


class AskAdmitted(Struct, frozen=True, tag=True):
    """Return how many of *tokens* a request's guide admits. The engine waits."""

    id: int
    tokens: tuple[int, ...]


class Returned(Struct, frozen=True, tag=True):
    """A call returned: token ids, a number of tokens, an adapter's id, or a vocabulary."""

    id: int
    value: list[int] | int | str | Vocabulary


class Paired(Struct, frozen=True, tag=True):
    """A call to tokenize pairs returned."""

    id: int
    value: TokenizedPairs


class Raised(Struct, frozen=True, tag=True):
    """A call raised an exception."""

    id: int
    problem: Problem


class Stats(Struct, frozen=True, tag=True):
    """The reply to `GetStats`."""

    snapshot: Snapshot


class Logged(Struct, frozen=True, tag=True):
    """A log record."""

    logger: str
    level: int
    message: str


FromChild: TypeAlias = (
    Progressed
    | Loaded
    | NotLoaded
    | Events
    | Restrict
    | AskForced
    | AskAdmitted
    | Returned
    | Paired
    | Raised
    | Stats
    | Logged
)


# ── bytes ───────────────────────────────────────────────────────────────────────────────────────


def _encode_foreign(value: Any) -> Any:
    match value:
        case Path():
            return str(value)
        case Exception():
            return describe(value)
        case _:
            raise NotImplementedError(f"{type(value)} cannot be sent")


def _decode_foreign(kind: Any, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    return rebuild(msgspec.convert(value, Problem))  # what is left is an error


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_foreign)
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(
    ToChild, dec_hook=_decode_foreign
)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(
    FromChild, dec_hook=_decode_foreign
)


def encode(message: ToChild | FromChild) -> bytes:
    """Return *message* as bytes."""
    return _encoder.encode(message)


def decode_to_child(data: bytes) -> ToChild:
    """Return the service's message in *data*."""
    return _to_child.decode(data)


def decode_from_child(data: bytes) -> FromChild:
    """Return the child's message in *data*. Raises `msgspec.DecodeError` for anything else."""
    return _from_child.decode(data)
