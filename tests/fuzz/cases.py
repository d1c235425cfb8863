"""Every case, by its name."""

from tests.fuzz import adapters, foreign_code, images, model_files, outputs, wire

CASES = (
    *images.CASES,
    *model_files.CASES,
    adapters.lora_adapter,
    *outputs.CASES,
    *wire.CASES,
    *foreign_code.CASES,
)
