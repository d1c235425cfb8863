"""From tokens to the text that they stand for."""

from collections.abc import Sequence

from pilotlight.errors import InvalidRequest
from pilotlight.generation.dialect import Dialect
from pilotlight.generation.params import Prompt, TextPrompt, TokensPrompt
from pilotlight_backend import Vocabulary


async def spell(dialect: Dialect, prompt: Prompt) -> str:
    """Return the text of *prompt* where it is one; a conversation has none.

    Raises `InvalidRequest` for a token that the model does not have.
    """
    match prompt:
        case TextPrompt():
            return prompt.text
        case TokensPrompt():
            pieces = pieces_of(await dialect.engine.vocabulary(), prompt.tokens, prompt.param)
            return text_of(pieces)
        case _:
            return ""


def pieces_of(vocabulary: Vocabulary, tokens: Sequence[int], param: str) -> list[bytes]:
    """Return the bytes of each of *tokens*, which a request calls *param*.

    Raises `InvalidRequest` with the place of one that the vocabulary does not have.
    """
    size = len(vocabulary.pieces)
    for index, token in enumerate(tokens):
        if not 0 <= token < size:
            place = f"{param}[{index}]"
            raise InvalidRequest(f"{place}: the vocabulary has no token {token}", param=place)
    return [vocabulary.pieces[token] for token in tokens]


def text_of(pieces: Sequence[bytes]) -> str:
    """Return the text of *pieces*; what is no UTF-8 becomes U+FFFD."""
    return b"".join(pieces).decode("utf-8", "replace")
