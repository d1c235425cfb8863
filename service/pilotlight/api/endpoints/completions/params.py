"""A request for text completions as parameters of a generation."""

from pilotlight.api.params.sampling import lora_of, sampling_of, stops_of
from pilotlight.errors import InvalidRequest
from pilotlight.generation import GenerationParams, Prompt, TextPrompt, TokensPrompt
from pilotlight.schema.completions import CompletionRequest

MAX_TOKENS = 16
"""OpenAI's default."""

_MOST_PROMPTS = 1024
_MOST_CHOICES = 2048
"""Of one request. All are submitted at once, and each needs a slot."""


def generation_params(asked: CompletionRequest) -> GenerationParams:
    """Return the parameters of *asked*, with defaults for omitted fields."""
    n = asked.n or 1
    best_of = asked.best_of or n
    prompts = prompts_of(asked)
    _check(asked, n, best_of, len(prompts))
    return GenerationParams(
        model=asked.model,
        prompts=prompts,
        n=best_of,
        echo=bool(asked.echo),
        max_tokens=MAX_TOKENS if asked.max_tokens is None else asked.max_tokens,
        sampling=sampling_of(asked),
        lora=lora_of(asked),
        cache_salt=asked.cache_salt,
        stops=stops_of(asked),
        stop_token_ids=frozenset(asked.stop_token_ids or ()),
        ignore_eos=bool(asked.ignore_eos),
        min_tokens=asked.min_tokens or 0,
        # The best choices are found by their log probabilities, returned or not.
        logprobs=0 if asked.logprobs is None and best_of > n else asked.logprobs,
    )


def _check(asked: CompletionRequest, n: int, best_of: int, prompts: int) -> None:
    """Raise `InvalidRequest` for fields that cannot be combined."""
    if best_of < n:
        raise InvalidRequest(f"best_of: expected at least n, {n}, got {best_of}", param="best_of")
    if asked.stream and best_of > n:
        raise InvalidRequest("best_of: cannot be greater than n in a stream", param="best_of")
    if asked.echo and asked.logprobs is not None:
        raise InvalidRequest(
            "logprobs: cannot be combined with echo; a prompt has no log probabilities",
            param="logprobs",
        )
    if prompts * best_of > _MOST_CHOICES:
        param = "n" if asked.best_of is None else "best_of"
        raise InvalidRequest(
            f"{param}: expected at most {_MOST_CHOICES} choices in all, got {best_of} for each of"
            f" {prompts} prompts",
            param=param,
        )


def prompts_of(asked: CompletionRequest) -> tuple[Prompt, ...]:
    """Return the prompts, each with its JSON path.

    Raises `InvalidRequest` for a list that is neither one prompt of tokens nor a list of prompts.
    """
    match asked.prompt:
        case None:
            return (TextPrompt(""),)
        case str():
            return (TextPrompt(asked.prompt),)
        case [int(), *_] as tokens:
            return (TokensPrompt(tuple(map(_token, tokens, range(len(tokens))))),)
        case several:
            if len(several) > _MOST_PROMPTS:
                raise InvalidRequest(
                    f"prompt: expected at most {_MOST_PROMPTS} prompts, got {len(several)}",
                    param="prompt",
                )
            return tuple(map(_prompt, several, range(len(several))))


def _token(item: str | int | list[int], index: int) -> int:
    if not isinstance(item, int):
        raise _mixed(index, "a token id")
    return item


def _prompt(item: str | int | list[int], index: int) -> Prompt:
    match item:
        case str():
            return TextPrompt(item, param=f"prompt[{index}]")
        case list():
            return TokensPrompt(tuple(item), param=f"prompt[{index}]")
        case _:
            raise _mixed(index, "a text or a list of token ids")


def _mixed(index: int, expected: str) -> InvalidRequest:
    param = f"prompt[{index}]"
    return InvalidRequest(f"{param}: expected {expected}, like the other items", param=param)
