"""`/v1/models` for Anthropic's clients, which send the header `anthropic-version`."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from pilotlight.errors import InvalidRequest
from pilotlight.schema.messages.models import AnthropicModel, AnthropicModelPage
from pilotlight.schema.models import Model

_MOST = 1000
_LIMIT = re.compile(r"[1-9][0-9]{0,3}")


class Page(Struct, frozen=True):
    """The models that a client asks for; all of them by default.

    Anthropic's default is 20, but its list is longer.
    """

    limit: int = _MOST
    after_id: str | None = None
    before_id: str | None = None


def page_of(query: Mapping[str, str]) -> Page:
    """Return the page that *query* asks for. Raises `InvalidRequest`."""
    limit = query.get("limit", str(_MOST))
    if not _LIMIT.fullmatch(limit) or int(limit) > _MOST:
        raise InvalidRequest(
            f"limit: expected a number from 1 to {_MOST}, got {limit!r}", param="limit"
        )
    return Page(int(limit), query.get("after_id"), query.get("before_id"))


def anthropic_model(model: Model) -> AnthropicModel:
    """Return *model* as Anthropic's clients read it."""
    return AnthropicModel(
        id=model.id,
        display_name=model.id,
        created_at=datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        max_input_tokens=model.context_length,
        max_tokens=model.context_length,
    )


def model_page(models: Sequence[Model], page: Page) -> AnthropicModelPage:
    """Return the *page* of *models*.

    Raises `InvalidRequest` for a page that begins or ends at an unknown model.
    """
    ids = [model.id for model in models]
    start, end = 0, len(models)
    if page.after_id is not None:
        start = _index(ids, page.after_id, "after_id") + 1
    if page.before_id is not None:
        end = _index(ids, page.before_id, "before_id")
    backwards = page.before_id is not None and page.after_id is None
    found = models[start:end]
    shown = found[-page.limit :] if backwards else found[: page.limit]
    return AnthropicModelPage(
        data=[anthropic_model(model) for model in shown],
        has_more=len(shown) < len(found),
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


def _index(ids: Sequence[str], wanted: str, param: str) -> int:
    if wanted not in ids:
        raise InvalidRequest(
            f"{param}: no model has the id {wanted!r}; expected one of GET /v1/models", param=param
        )
    return ids.index(wanted)
