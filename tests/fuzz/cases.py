"""Every case, by its name."""

from tests.fuzz import foreign_code, images, model_files, outputs, wire

CASES = (*images.CASES, *model_files.CASES, *outputs.CASES, *wire.CASES, *foreign_code.CASES)
