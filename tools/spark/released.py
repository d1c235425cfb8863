"""The text model as it is exported: the weights that the other exports and the eyes must fit."""

from pathlib import Path

import gguf
import torch
from tokenizers import Tokenizer

from tools.spark.export_gguf import gguf_name
from tools.spark.model import Shape, Spark
from tools.spark.tokenizer import load_tokenizer


def load_released(path: Path) -> Spark:
    """Read the model of a GGUF, its Q8_0 weights as float32."""
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    model = Spark(Shape())
    weights = {}
    for name, weight in model.state_dict().items():
        tensor = found[gguf_name(name)]
        array = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        weights[name] = torch.tensor(array).reshape(weight.shape)
    model.load_state_dict(weights)
    return model.eval()


def load_released_tokenizer(onnx: Path) -> Tokenizer:
    """Read the tokenizer beside the exported ONNX model; the GGUF has the same."""
    return load_tokenizer(onnx / "tokenizer.json")
