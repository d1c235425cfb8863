"""A request for text completions as parameters of a generation."""

from pilotlight.api.params.sampling import sampling_of, stops_of
from pilotlight.errors import InvalidRequest
from pilotlight.generation import GenerationParams, Prompt, TextPrompt, TokensPrompt
from pilotlight.schema.completions import CompletionRequest

MAX_TOKENS = 16
"""What an omitted value means, as for OpenAI."""

_MOST_PROMPTS = 1024
_MOST_ANSWERS = 2048
"""Of one request. All are submitted at once, and each waits for a slot of its own."""


def generation_params(asked: CompletionRequest) -> GenerationParams:
    """Return what *asked* means, with the defaults for what it leaves out."""
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
        stops=stops_of(asked),
        stop_token_ids=frozenset(asked.stop_token_ids or ()),
        ignore_eos=bool(asked.ignore_eos),
        min_tokens=asked.min_tokens or 0,
        # The best are chosen by their log probabilities, told or not.
        logprobs=0 if asked.logprobs is None and best_of > n else asked.logprobs,
    )


def _check(asked: CompletionRequest, n: int, best_of: int, prompts: int) -> None:
    """Raise `InvalidRequest` for fields that do not go together."""
    if best_of < n:
        raise InvalidRequest(f"best_of: {best_of} is less than n, {n}", param="best_of")
    if asked.stream and best_of > n:
        raise InvalidRequest("best_of: the best cannot be told in a stream", param="best_of")
    if asked.echo and asked.logprobs is not None:
        raise InvalidRequest(
            "logprobs: a prompt's own log probabilities are not known, so echo comes without",
            param="logprobs",
        )
    if prompts * best_of > _MOST_ANSWERS:
        param = "n" if asked.best_of is None else "best_of"
        raise InvalidRequest(
            f"{param}: {best_of} answers to each of {prompts} prompts are more than"
            f" {_MOST_ANSWERS}",
            param=param,
        )


def prompts_of(asked: CompletionRequest) -> tuple[Prompt, ...]:
    """Return the prompts, each by its place in the request.

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
                    f"prompt: {len(several)} prompts are more than {_MOST_PROMPTS}", param="prompt"
                )
            return tuple(map(_prompt, several, range(len(several))))


def _token(item: str | int | list[int], index: int) -> int:
    if not isinstance(item, int):
        raise _neither(index, "the others are token ids")
    return item


def _prompt(item: str | int | list[int], index: int) -> Prompt:
    match item:
        case str():
            return TextPrompt(item, param=f"prompt[{index}]")
        case list():
            return TokensPrompt(tuple(item), param=f"prompt[{index}]")
        case _:
            raise _neither(index, "the others are prompts")


def _neither(index: int, others: str) -> InvalidRequest:
    place = f"prompt[{index}]"
    return InvalidRequest(f"{place}: {others}, this is none", param=place)
