"""A chat request as parameters of a generation."""

from pilotlight.api.endpoints.chat.conversation import chat_conversation
from pilotlight.api.endpoints.chat.structured_output import structured_output_of
from pilotlight.api.endpoints.chat.tools import offer_of
from pilotlight.api.params.reasoning import thinking_budget
from pilotlight.api.params.sampling import lora_of, sampling_of, stops_of
from pilotlight.errors import InvalidRequest
from pilotlight.generation import ChatPrompt, GenerationParams
from pilotlight.schema.chat.request import ChatCompletionRequest


def generation_params(asked: ChatCompletionRequest, *, max_tokens: int) -> GenerationParams:
    """Return the parameters of *asked*, with defaults for omitted fields; one is *max_tokens*."""
    if asked.top_logprobs and not asked.logprobs:
        raise InvalidRequest("top_logprobs: requires logprobs to be true", param="top_logprobs")
    offer = offer_of(asked)
    conversation = chat_conversation(
        asked.messages,
        offer.tools,
        template_kwargs=asked.chat_template_kwargs,
        effort=asked.reasoning_effort,
        continues=asked.continue_final_message,
        begins=asked.add_generation_prompt,
    )
    return GenerationParams(
        model=asked.model,
        prompts=(ChatPrompt(conversation),),
        n=asked.n or 1,
        max_tokens=asked.max_completion_tokens or asked.max_tokens or max_tokens,
        sampling=sampling_of(asked),
        lora=lora_of(asked),
        cache_salt=asked.cache_salt,
        stops=stops_of(asked),
        stop_token_ids=frozenset(asked.stop_token_ids or ()),
        ignore_eos=bool(asked.ignore_eos),
        min_tokens=asked.min_tokens or 0,
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
        structured_output=structured_output_of(asked),
        thinking_budget=thinking_budget(asked.reasoning_effort),
        tool_calling=offer.tool_calling,
    )
