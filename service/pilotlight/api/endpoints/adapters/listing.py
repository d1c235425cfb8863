"""`GET /lora-adapters`."""

from collections.abc import Iterable
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.handlers import HTTPRouteHandler

from pilotlight.api.endpoints.adapters.operation import LIST
from pilotlight.api.http.handlers import get
from pilotlight.errors import InvalidRequest
from pilotlight.models.adapter_catalog import AdapterCatalog
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.resolver import Resolver
from pilotlight.schema.adapters import ListedAdapter


def adapters_handler(catalog: AdapterCatalog, resolver: Resolver) -> HTTPRouteHandler:
    """Return the endpoint."""

    @get("/lora-adapters", opt={"operation": LIST})
    async def list_adapters(request: Request[Any, Any, Any]) -> Response[bytes]:
        name = request.query_params.get("model")
        if name == "":
            raise InvalidRequest("model: expected the name of a model, got nothing", param="model")
        if name is not None:
            listed = _listed(catalog.of(await resolver.resolve(name)))
        else:
            parents = {entry.base.name: entry.base for entry in catalog.entries}
            listed = [one for parent in parents.values() for one in _listed(catalog.of(parent))]
        return Response(msgspec.json.encode(listed), media_type=MediaType.JSON)

    return list_adapters


def _listed(entries: Iterable[ModelEntry]) -> list[ListedAdapter]:
    return [
        ListedAdapter(
            id=number,
            path=entry.path.name,
            scale=entry.adapter.scale,
            name=entry.name,
            model=entry.base.name,
        )
        for number, entry in enumerate(entries)
        if entry.adapter
    ]
