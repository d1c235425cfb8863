"""Check a LoRA adapter's file against its base model, before llama.cpp sees it.

llama.cpp checks names and two of the dimensions (`llama_adapter_lora_init_impl` in
llama-adapter.cpp). What it takes beside that fails an assertion in a later step, which ends the
process with every stream in it, or reads past the end of a matrix.
"""

import math
from pathlib import Path
from typing import NamedTuple

from pilotlight_backend import AdapterFacts, ModelFileInvalid, ModelUnsupported
from pilotlight_backend.bounded_read import is_regular
from pilotlight_backend.split_file import parts
from pilotlight_llama_cpp.gguf import MAGIC, Header

_F32_VALUE = 6
"""`GGUF_TYPE_FLOAT32`; of any other type `gguf_get_val_f32` fails an assertion."""
_TYPES = {0: "F32", 1: "F16", 8: "Q8_0", 30: "BF16"}
"""What `convert_lora_to_gguf.py` writes, by `ggml_type`."""
_Q8_0, _BLOCK = 8, 32
_NVFP4 = 40
"""A base tensor of this type cannot be adapted (`build_ffn` in llama-graph.cpp)."""
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_ALPHA = "adapter.lora.alpha"
_INVOCATION = "adapter.alora.invocation_tokens"
_A, _B = ".lora_a", ".lora_b"
_MATRIX, _EXPERTS = 2, 3
_SMALL = 64 << 20
"""An adapter may be so large in any case: those of tiny models are larger than the model."""
_ADVICE = "convert it with llama.cpp's convert_lora_to_gguf.py"


class _Tensor(NamedTuple):
    shape: tuple[int, ...]
    """The innermost dimension first, as in ggml."""
    kind: int


def check(path: Path, model: Path) -> AdapterFacts:
    """Return the facts of the adapter at *path*, which is for the *model*.

    Raises `ModelFileInvalid`, its `ModelUnsupported`, and `OSError`.
    """
    _check_kind_of_file(path)
    with Header(path) as header:
        _check_keys(header)
        base = _Base(model)
        if header.text("general.architecture") != base.architecture:
            raise ModelUnsupported(
                path,
                f"it is for the architecture {header.text('general.architecture')!r}, the model"
                f" {model.name} is {base.architecture!r}",
            )
        ranks = [_rank(header, base, name, *pair) for name, pair in _pairs(header).items()]
        if not ranks:
            raise header.invalid(f"it has no tensors that end with {_A} and {_B}")
        if header.size_bytes > max(base.size_bytes, _SMALL):
            raise header.invalid(
                f"it has {header.size_bytes} bytes, more than its model's {base.size_bytes}"
            )
        return AdapterFacts(
            path=path,
            name=header.text("general.name"),
            rank=max(ranks),
            size_bytes=header.size_bytes,
        )


def _check_kind_of_file(path: Path) -> None:
    if path.is_dir():
        raise ModelFileInvalid(path, f"it is a folder, expected a GGUF file: {_ADVICE}")
    if path.exists() and not is_regular(path):  # opening a pipe would wait for its writer
        raise ModelFileInvalid(path, "it is not a regular file")
    with path.open("rb") as file:
        first = file.read(len(MAGIC))
    if not first:
        raise ModelFileInvalid(path, "the file is empty")
    if first != MAGIC:
        raise ModelFileInvalid(
            path, f"it is not a GGUF file: it does not begin with 'GGUF'; {_ADVICE}"
        )


def _check_keys(header: Header) -> None:
    for key, wanted in (("general.type", "adapter"), ("adapter.type", "lora")):
        if (found := header.text(key)) != wanted:
            raise header.invalid(f"its {key} is {found!r}, expected {wanted!r}: no LoRA adapter")
    if not header.text("general.architecture"):
        raise header.invalid("its header has no general.architecture")
    alpha = header.values.get(_ALPHA, 0.0)
    if header.kinds.get(_ALPHA, _F32_VALUE) != _F32_VALUE or not isinstance(alpha, float):
        raise header.invalid(f"its {_ALPHA} must be a float32")
    if not math.isfinite(alpha):
        raise header.invalid(f"its {_ALPHA} must be finite, got {alpha}")
    if _INVOCATION in header.kinds:
        raise ModelUnsupported(
            header.path,
            f"it is an activated LoRA ({_INVOCATION}), which applies from these tokens on; only"
            " adapters for the whole prompt are supported",
        )


class _Base:
    """The tensors of the model that an adapter is for."""

    def __init__(self, path: Path) -> None:
        self.tensors: dict[str, _Tensor] = {}
        self.size_bytes = 0
        for number, part in enumerate(parts(path)):
            with Header(part) as header:
                if not number:
                    self.architecture = header.text("general.architecture")
                self.size_bytes += header.size_bytes
                self.tensors.update(_tensors(header))


def _tensors(header: Header) -> dict[str, _Tensor]:
    return {name: _Tensor(header.tensors[name], header.types[name]) for name in header.tensors}


def _pairs(header: Header) -> dict[str, tuple[_Tensor, _Tensor]]:
    """Return both matrices of each tensor that is adapted, by its name."""
    tensors = _tensors(header)
    pairs = {}
    for name in tensors:
        if name.endswith("_norm.weight"):
            raise ModelUnsupported(
                header.path,
                f"it replaces {name!r}, which llama.cpp ignores: train it without norms",
            )
        base = name.removesuffix(_A).removesuffix(_B)
        if name not in (base + _A, base + _B) or base == name:
            raise header.invalid(f"the tensor {name!r} must end with {_A} or {_B}")
        a, b = tensors.get(base + _A), tensors.get(base + _B)
        if a is None or b is None:
            raise header.invalid(f"{base!r} has one of {_A} and {_B}, and needs both")
        pairs[base] = a, b
    return pairs


def _rank(header: Header, base: _Base, name: str, a: _Tensor, b: _Tensor) -> int:
    """Return the rank of a pair; raises if it does not fit the tensor *name* of the model."""
    adapted = base.tensors.get(name)
    if adapted is None:
        raise header.invalid(f"the model has no tensor {name!r}: the adapter is for another model")
    _check_adapted(header, base, name, adapted)
    rank = b.shape[0] if b.shape else 0
    wanted = _shapes(name, adapted.shape, rank)
    for suffix, one, shape in ((_A, a, wanted[0]), (_B, b, wanted[1])):
        if rank < 1 or one.shape != shape:
            raise header.invalid(
                f"{name + suffix!r} has the shape {_spelled(one.shape)}, expected"
                f" {_spelled(shape)}: the adapter is for another model, or damaged"
            )
        if one.kind not in _TYPES:
            known = ", ".join(_TYPES.values())
            raise header.invalid(f"{name + suffix!r} has the type {one.kind}, expected {known}")
        if one.kind == _Q8_0 and one.shape[0] % _BLOCK:
            raise header.invalid(
                f"{name + suffix!r} is Q8_0, and its rows of {one.shape[0]} are no multiple of"
                f" {_BLOCK}"
            )
    return rank


def _check_adapted(header: Header, base: _Base, name: str, adapted: _Tensor) -> None:
    """Raise where llama.cpp cannot adapt the tensor *name*, whatever the adapter's shapes are."""
    dimensions = len(adapted.shape)
    is_experts = dimensions == _EXPERTS and "_exps" in name
    if not (is_experts or dimensions == _MATRIX):
        raise header.invalid(f"{name!r} is no matrix of the model: it cannot be adapted")
    if adapted.kind == _NVFP4:
        raise ModelUnsupported(header.path, f"the model's {name!r} is NVFP4: it cannot be adapted")
    if name == _EMBEDDING and _OUTPUT not in base.tensors:
        # The same adapter would be multiplied at the output, where its matrices do not fit:
        # ggml_mul_mat fails an assertion (`build_lora_mm` in llama-graph.cpp).
        raise ModelUnsupported(
            header.path,
            f"it adapts {name!r}, which is the model's output too: llama.cpp cannot apply it",
        )


def _shapes(name: str, adapted: tuple[int, ...], rank: int) -> tuple[tuple[int, ...], ...]:
    """Return what the shapes of both matrices have to be."""
    columns, rows, *experts = adapted
    if name == _EMBEDDING:  # its rows are looked up (`build_inp_embd` in llama-graph.cpp)
        return (rank, rows), (rank, columns)
    return (columns, rank, *experts), (rank, rows, *experts)


def _spelled(shape: tuple[int, ...]) -> str:
    return " by ".join(map(str, shape)) or "none"
