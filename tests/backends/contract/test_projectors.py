"""Which projector is a model's, by the names of files."""

import pytest

from pilotlight_backend.projectors import best_projector, is_projector, projector_name


@pytest.mark.parametrize(
    ("model", "others", "found"),
    [
        ("SmolVLM-Q8_0.gguf", ["mmproj-SmolVLM-f16.gguf"], "mmproj-SmolVLM-f16.gguf"),
        ("smolvlm-q4_k_m.gguf", ["mmproj-SmolVLM-f16.gguf"], "mmproj-SmolVLM-f16.gguf"),
        ("gemma-3-4b-it-Q4_K_M.gguf", ["mmproj-F16.gguf"], "mmproj-F16.gguf"),
        ("gemma-3-4b-it-Q4_K_M.gguf", ["mmproj-model-f16.gguf"], "mmproj-model-f16.gguf"),
        ("Qwen2.5-VL-Q4_0.gguf", ["Qwen2.5-VL-mmproj-bf16.gguf"], "Qwen2.5-VL-mmproj-bf16.gguf"),
        ("a.gguf", ["mmproj-F32.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf"], "mmproj-F16.gguf"),
        ("a.gguf", ["mmproj-BF16.gguf", "mmproj-Q8_0.gguf"], "mmproj-Q8_0.gguf"),
        ("a.gguf", ["mmproj-F32.gguf", "mmproj-BF16.gguf"], "mmproj-BF16.gguf"),
        ("a.gguf", ["mmproj-f16.gguf", "mmproj-a-f32.gguf"], "mmproj-a-f32.gguf"),
        ("a.gguf", ["mmproj-b-f16.gguf"], None),
        ("ab.gguf", ["mmproj-a-f16.gguf"], None),
        ("a.gguf", ["b.gguf", "mmproj-f16.gguf"], None),
        ("a.gguf", ["b.gguf", "mmproj-a.gguf"], "mmproj-a.gguf"),
        ("a-Q4_0.gguf", ["a-Q8_0.gguf", "A-UD-IQ2_XXS.gguf", "mmproj-F16.gguf"], "mmproj-F16.gguf"),
        ("model.gguf", ["b.gguf", "mmproj-model-f16.gguf"], "mmproj-model-f16.gguf"),
        ("b.gguf", ["model.gguf", "mmproj-model-f16.gguf"], None),
        ("a.gguf", ["mmproj-f16.bin"], None),
        ("a-00001-of-00002.gguf", ["a-00002-of-00002.gguf", "mmproj-f16.gguf"], "mmproj-f16.gguf"),
        ("a.gguf", [], None),
        ("mmproj-a.gguf", [], None),
    ],
)
def test_projector_is_found_by_its_name(model, others, found):
    assert best_projector(model, [model, *others]) == found


@pytest.mark.parametrize(
    ("model", "names", "found"),
    [
        ("a.gguf", ["a.gguf", "mtp-a.gguf", "mmproj-f16.gguf"], "mmproj-f16.gguf"),
        ("a.gguf", ["a.gguf", "mmproj-b-f16.gguf"], None),
    ],
)
def test_all_files_of_a_folder_may_be_of_one_model(model, names, found):
    assert best_projector(model, names, one_model=True) == found


@pytest.mark.parametrize(
    ("model", "projector", "name"),
    [
        ("qwen-Q4_K_M.gguf", "mmproj-F16.gguf", "mmproj-qwen-F16.gguf"),
        ("SmolVLM-Q8_0.gguf", "mmproj-SmolVLM-f16.gguf", "mmproj-SmolVLM-f16.gguf"),
        ("org--mine.gguf", "x-mmproj.gguf", "mmproj-org--mine.gguf"),
        ("model.gguf", "mmproj-model-q8_0.gguf", "mmproj-model-q8_0.gguf"),
    ],
)
def test_projector_in_a_folder_of_many_models_names_its_own(model, projector, name):
    given = projector_name(model, projector)

    assert given == name
    assert is_projector(given)
    assert best_projector(model, [given, model, "other.gguf"]) == given
