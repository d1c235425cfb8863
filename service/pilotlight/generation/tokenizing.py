"""Tokenizes and detokenizes without generating."""

from collections.abc import Sequence

from msgspec import Struct

from pilotlight.generation.generator import Generator
from pilotlight.generation.params import Prompt
from pilotlight.generation.rendering import pieces_of, render, text_of
from pilotlight.models.loaded import Hold


class Tokenized(Struct, frozen=True):
    """A prompt's tokens, with the bytes of each if requested."""

    tokens: tuple[int, ...]
    pieces: Sequence[bytes]
    context_length: int
    """Tokens that the model's context holds, prompt and completion."""


async def tokenize(
    generator: Generator, model: str, prompt: Prompt, *, pieces: bool, hold: Hold, caller: str = ""
) -> Tokenized:
    """Return the tokens of *prompt* in requests to *model*."""
    async with generator.prepared(model, hold=hold, caller=caller) as prepared:
        tokens = (await render(prepared, prompt)).tokens
        vocabulary = await prepared.engine.vocabulary() if pieces else None
        spelled = () if vocabulary is None else pieces_of(vocabulary, tokens, prompt.param)
        return Tokenized(tokens, spelled, prepared.engine.context_length)


async def detokenize(
    generator: Generator,
    model: str,
    tokens: Sequence[int],
    *,
    param: str,
    hold: Hold,
    caller: str = "",
) -> str:
    """Return the text of *tokens*; *param* is their field in the request.

    Raises `InvalidRequest` for a token that is not in the vocabulary.
    """
    async with generator.prepared(model, hold=hold, caller=caller) as prepared:
        return text_of(pieces_of(await prepared.engine.vocabulary(), tokens, param))
