"""What a prompt is to a model, and what tokens say, without generating anything."""

from collections.abc import Sequence

from msgspec import Struct

from pilotlight.generation.generator import Generator
from pilotlight.generation.params import Prompt
from pilotlight.generation.rendering import render
from pilotlight.generation.spelling import pieces_of, text_of
from pilotlight.models.loaded import Hold


class Tokenized(Struct, frozen=True):
    """A prompt's tokens, with the bytes of each where they are asked for."""

    tokens: tuple[int, ...]
    pieces: Sequence[bytes]
    context_length: int
    """Tokens that the model's context holds, prompt and answer."""


async def tokenize(
    generator: Generator, model: str, prompt: Prompt, *, pieces: bool, hold: Hold, caller: str = ""
) -> Tokenized:
    """Return what requests that name *model* would evaluate *prompt* as."""
    async with generator.speaking(model, hold=hold, caller=caller) as dialect:
        tokens = (await render(dialect, prompt)).tokens
        vocabulary = await dialect.engine.vocabulary() if pieces else None
        spelt = () if vocabulary is None else pieces_of(vocabulary, tokens, prompt.param)
        return Tokenized(tokens, spelt, dialect.engine.context_length)


async def detokenize(
    generator: Generator,
    model: str,
    tokens: Sequence[int],
    *,
    param: str,
    hold: Hold,
    caller: str = "",
) -> str:
    """Return the text of *tokens*, which the request calls *param*.

    Raises `InvalidRequest` with the place of one that the model does not have.
    """
    async with generator.speaking(model, hold=hold, caller=caller) as dialect:
        return text_of(pieces_of(await dialect.engine.vocabulary(), tokens, param))
