"""Tokenizes and detokenizes without generating."""

from collections.abc import Sequence

from msgspec import Struct

from pilotlight.generation.generator import Generator
from pilotlight.generation.params import Prompt
from pilotlight.generation.prepared_model import PreparedModel
from pilotlight.generation.rendering import Rendered, pieces_of, text_of
from pilotlight.models.loaded import Hold

IMAGE = -1
"""In the place of a token of an image: llama.cpp's `LLAMA_TOKEN_NULL`."""


class Tokenized(Struct, frozen=True):
    """A prompt's tokens, with the bytes of each if requested; `IMAGE` for those of images."""

    tokens: tuple[int, ...]
    pieces: Sequence[bytes]
    context_length: int
    """Tokens that the model's context holds, prompt and completion."""


async def tokenize(
    generator: Generator, model: str, prompt: Prompt, *, pieces: bool, hold: Hold, caller: str = ""
) -> Tokenized:
    """Return the tokens of *prompt* in requests to *model*."""
    async with generator.prepared(model, hold=hold, caller=caller) as prepared:
        rendered = await generator.render(prepared, prompt)
        tokens = await _with_images(prepared, rendered)
        spelled: Sequence[bytes] = ()
        if pieces:
            vocabulary = await prepared.engine.vocabulary()
            words = pieces_of(vocabulary, [one for one in tokens if one != IMAGE], prompt.param)
            rest = iter(words)
            spelled = [b"" if one == IMAGE else next(rest) for one in tokens]
        return Tokenized(tokens, spelled, prepared.engine.context_length)


async def _with_images(model: PreparedModel, prompt: Rendered) -> tuple[int, ...]:
    """Return the tokens of *prompt*, with `IMAGE` for each one of an image."""
    tokens: list[int] = []
    for part in prompt.parts:
        if isinstance(part, int):
            tokens.append(part)
        else:
            tokens += [IMAGE] * await model.engine.image_tokens(part.width, part.height)
    return tuple(tokens)


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
