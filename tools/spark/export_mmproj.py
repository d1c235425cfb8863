"""Write the vision tower and its projector as the file that llama.cpp loads beside the model."""

from pathlib import Path

import gguf
import numpy as np

from tools.spark.vision import VisionShape, load_vision

F16, F32 = gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.F32


def _tensor_name(name: str) -> str:
    """Return llama.cpp's name of a weight.

    >>> _tensor_name("blk.0.ln1.bias"), _tensor_name("mm_0.weight")
    ('v.blk.0.ln1.bias', 'mm.0.weight')
    """
    if name == "position_embd":
        return "v.position_embd.weight"
    return name.replace("_", ".", 1) if name.startswith("mm_") else f"v.{name}"


def _add_shape(writer: gguf.GGUFWriter, shape: VisionShape) -> None:
    writer.add_clip_has_vision_encoder(True)  # noqa: FBT003 - its only form
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)  # noqa: FBT003
    for key in (
        "image_size", "patch_size", "embedding_length", "feed_forward_length", "block_count",
        "projection_dim",
    ):  # fmt: skip
        writer.add_uint32(f"clip.vision.{key}", getattr(shape, key))
    writer.add_uint32("clip.vision.attention.head_count", shape.head_count)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", shape.layer_norm_epsilon)
    writer.add_array("clip.vision.image_mean", [shape.image_mean] * 3)
    writer.add_array("clip.vision.image_std", [shape.image_std] * 3)
    # Without it llama.cpp leaves the last block out, as LLaVA does.
    writer.add_array("clip.vision.feature_layer", [shape.block_count])


def export_mmproj(folder: Path, path: Path) -> None:
    """Write the tower of ``folder`` to ``path``."""
    vision = load_vision(folder)
    shape, size = vision.shape, vision.shape.patch_size
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_name("spark")
    writer.add_description("The eyes of the tiny chat model inside Pilotlight")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_shape(writer, shape)
    for name, weight in vision.state_dict().items():
        array = weight.numpy()
        if name == "patch_embd.weight":
            array = array.reshape(-1, 3, size, size)
        # Biases and norms are few, and llama.cpp adds them in float32.
        whole = array.ndim == 1 or name == "position_embd"
        writer.add_tensor(_tensor_name(name), array.astype(np.float32 if whole else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path.name}: {path.stat().st_size} bytes")
