"""`DELETE /v1/prompt_cache`."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, delete
from litestar.handlers import HTTPRouteHandler

from pilotlight.api.http.auth import account_of
from pilotlight.api.http.handlers import scope_of
from pilotlight.api.openapi.operation import Operation, SuccessResponse
from pilotlight.errors import StorageUnavailable

CLEAR = Operation(
    id="clearPromptCache",
    tag="prompt_cache",
    summary="Delete cached prompts",
    description=(
        "Deletes the caller's cached prompts, with every `cache_salt`: in slots, in memory and in"
        " storage, of every model. With `--prompt-cache-scope all` it deletes those of all callers."
        " A running request keeps its slot, which is emptied when it ends."
    ),
    responses={204: SuccessResponse(description="They are deleted.")},
    errors=[StorageUnavailable],
)


def prompt_cache_handler(clear: Callable[[str], Awaitable[None]]) -> HTTPRouteHandler:
    """Return the endpoint; *clear* deletes the prompts of a caller."""

    @delete("/v1/prompt_cache", status_code=204, opt={"operation": CLEAR})
    async def clear_prompt_cache(request: Request[Any, Any, Any]) -> None:
        await clear(account_of(scope_of(request)))

    return clear_prompt_cache
