"""What the OpenAPI document says of the endpoints for adapters."""

from pilotlight.api.openapi.generation import PREFER
from pilotlight.api.openapi.operation import Content, Operation, SuccessResponse, model_query
from pilotlight.errors import (
    InsufficientMemory,
    InvalidRequest,
    ModelLoadFailed,
    ModelLoading,
    ModelNotFound,
    RequestTooLarge,
    ShuttingDown,
    UnsupportedMediaType,
)
from pilotlight.schema.adapters import ListedAdapter, LoadAdapterRequest, UnloadAdapterRequest

_NAME = "customer-a"

LOAD = Operation(
    id="loadLoraAdapter",
    tag="adapters",
    summary="Load a LoRA adapter",
    description=(
        "vLLM's endpoint. Served if the setting `--lora-dir` names a folder. The adapter is there"
        " until it is unloaded or the server ends."
    ),
    parameters=[PREFER],
    body=Content(
        type=LoadAdapterRequest,
        examples={"adapter": {"lora_name": _NAME, "lora_path": f"{_NAME}.gguf"}},
    ),
    responses={
        200: SuccessResponse(
            description="It is loaded.",
            content=[
                Content(
                    media_type="text/plain",
                    schema={"type": "string"},
                    examples={"loaded": f"Success: LoRA adapter '{_NAME}' added successfully."},
                )
            ],
        )
    },
    errors=[
        InvalidRequest,
        ModelNotFound,
        RequestTooLarge,
        UnsupportedMediaType,
        ModelLoading,
        ModelLoadFailed,
        InsufficientMemory,
        ShuttingDown,
    ],
)

UNLOAD = Operation(
    id="unloadLoraAdapter",
    tag="adapters",
    summary="Unload a LoRA adapter",
    description=(
        "vLLM's endpoint. Served if the setting `--lora-dir` names a folder. Running requests end"
        " as they would; the adapter's memory is free after the last."
    ),
    body=Content(type=UnloadAdapterRequest, examples={"adapter": {"lora_name": _NAME}}),
    responses={
        200: SuccessResponse(
            description="It takes no more requests.",
            content=[
                Content(
                    media_type="text/plain",
                    schema={"type": "string"},
                    examples={"unloaded": f"Success: LoRA adapter '{_NAME}' removed successfully."},
                )
            ],
        )
    },
    errors=[InvalidRequest, ModelNotFound, RequestTooLarge, UnsupportedMediaType],
)

LIST = Operation(
    id="listLoraAdapters",
    tag="adapters",
    summary="List LoRA adapters",
    description=(
        "llama-server's endpoint: the ids that a request's field `lora` names adapters by. Each"
        " model numbers its own, so `model` chooses one."
    ),
    parameters=[
        model_query("A model, or one of its adapters; those of all models if omitted."),
    ],
    responses={
        200: SuccessResponse(
            description="The adapters, by model and id.",
            content=[
                Content(
                    type=list[ListedAdapter],
                    examples={
                        "one": [
                            {
                                "id": 0,
                                "path": f"{_NAME}.gguf",
                                "scale": 1.0,
                                "name": _NAME,
                                "model": "spark",
                            }
                        ]
                    },
                )
            ],
        )
    },
    errors=[InvalidRequest, ModelNotFound, ModelLoadFailed],
)
