"""`POST /v1/load_lora_adapter`, `POST /v1/unload_lora_adapter`."""

from collections.abc import Sequence

from pilotlight.api.endpoint import Endpoint, endpoint
from pilotlight.api.endpoints.adapters.operation import LOAD, UNLOAD
from pilotlight.api.http.request import Request
from pilotlight.api.http.response import Response
from pilotlight.api.serving import RequestReader, hold_for
from pilotlight.config import Settings
from pilotlight.models.adapter_files import AdapterFiles
from pilotlight.schema.adapters import LoadAdapterRequest, UnloadAdapterRequest


def adapters_handlers(files: AdapterFiles, settings: Settings) -> Sequence[Endpoint]:
    """Return the two endpoints."""
    loads = RequestReader(LoadAdapterRequest, settings)
    unloads = RequestReader(UnloadAdapterRequest, settings)

    @endpoint("/v1/load_lora_adapter", LOAD)
    async def load(request: Request) -> Response:
        asked = await loads.read(request)
        entry = await files.load(
            asked.lora_name,
            asked.lora_path,
            base=asked.base_model_name,
            scale=1.0 if asked.scale is None else asked.scale,
            in_place=bool(asked.load_inplace),
            hold=hold_for(request.headers, settings),
        )
        return _text(f"Success: LoRA adapter '{entry.name}' added successfully.")

    @endpoint("/v1/unload_lora_adapter", UNLOAD)
    async def unload(request: Request) -> Response:
        asked = await unloads.read(request)
        files.unload(asked.lora_name)
        return _text(f"Success: LoRA adapter '{asked.lora_name}' removed successfully.")

    return load, unload


def _text(text: str) -> Response:
    """Return *text* in vLLM's words: its clients show them."""
    return Response(text.encode(), media_type="text/plain; charset=utf-8")
