"""Every case, by its name."""

from tests.fuzz import foreign_code, model_files, outputs, wire

CASES = (*model_files.CASES, *outputs.CASES, *wire.CASES, *foreign_code.CASES)
