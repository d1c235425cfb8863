"""Read the facts of a model from the small files of its folder."""

from pathlib import Path, PurePath
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from pilotlight_backend import ModelFacts, ModelFileInvalid
from pilotlight_backend.bounded_read import read_bounded
from pilotlight_backend.decode_errors import describe
from pilotlight_onnx import onnx_file, vocabulary

CONFIG = "genai_config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"
_KV_BYTES = 4
"""Bytes of a number in the KV cache of models for the CPU; others have 2 and are overestimated."""

# A decoder with these inputs alone has a plain cache of keys and values, which can be rewound to
# any length. Recurrent states and convolutions have other inputs.
_PLAIN_INPUTS = frozenset(
    {
        "input_ids", "attention_mask", "position_ids", "past_key_names", "past_value_names",
        "past_sequence_length", "total_sequence_length", "current_sequence_length",
    }
)  # fmt: skip


class DecoderSection(Struct):
    """`model.decoder` of genai_config.json."""

    filename: str = ""
    num_hidden_layers: int = 0
    num_key_value_heads: int = 0
    head_size: int = 0
    sliding_window: Any = None
    inputs: dict[str, Any] = {}
    pipeline: Any = None


class ModelSection(Struct):
    """`model` of genai_config.json."""

    type: str
    context_length: int
    vocab_size: int
    eos_token_id: int | list[int] = []
    decoder: DecoderSection = msgspec.field(default_factory=DecoderSection)

    @property
    def end_tokens(self) -> frozenset[int]:
        """The ids that end a generation."""
        ids = self.eos_token_id
        return frozenset([ids] if isinstance(ids, int) else ids)

    @property
    def can_rewind(self) -> bool:
        """Whether a sequence can be rewound exactly to any length."""
        decoder = self.decoder
        plain = bool(decoder.inputs) and decoder.inputs.keys() <= _PLAIN_INPUTS
        return plain and not decoder.sliding_window


class _Config(Struct):
    model: ModelSection


class _NamedTemplate(Struct):
    name: str
    template: str


class _SpecialToken(Struct):
    content: str


class _TokenizerConfig(Struct):
    chat_template: str | list[_NamedTemplate] | None = None
    bos_token: str | _SpecialToken | None = None
    eos_token: str | _SpecialToken | None = None
    add_bos_token: bool | None = None


T = TypeVar("T")


def read_config(folder: Path) -> ModelSection:
    """Return `model` of genai_config.json. Raises `ModelFileInvalid`."""
    return _read(folder / CONFIG, _Config).model


def probe(path: Path) -> ModelFacts | None:
    """Return the facts of the model in the folder *path*; None if it is not a GenAI folder."""
    if not (path / CONFIG).is_file():
        return None
    check_names(path / CONFIG)
    model = read_config(path)
    _check(path, model)
    tokenizer = _TokenizerConfig()
    if (path / _TOKENIZER_CONFIG).is_file():
        tokenizer = _read(path / _TOKENIZER_CONFIG, _TokenizerConfig)
    decoder = model.decoder
    per_layer = 2 * decoder.num_key_value_heads * decoder.head_size * _KV_BYTES
    return ModelFacts(
        path=path,
        architecture=model.type.lower(),
        name=path.name,
        context_length=model.context_length,
        chat_template=_template(path, tokenizer),
        bos_token=_name(tokenizer.bos_token),
        eos_token=_name(tokenizer.eos_token),
        add_bos=bool(tokenizer.add_bos_token),
        size_bytes=sum(file.stat().st_size for file in weights(path, model)),
        kv_bytes_per_token=decoder.num_hidden_layers * per_layer,
    )


def check_names(config: Path) -> None:
    """Raise `ModelFileInvalid` if a configuration names files outside its folder, or native code.

    The library opens every file that the configuration names, and runs `custom_ops_library`.
    """
    inside: list[tuple[str, Any]] = [("", _read(config, dict[str, Any]))]
    while inside:
        key, value = inside.pop()
        if isinstance(value, dict):
            inside += value.items()
        elif isinstance(value, list):
            inside += ((key, one) for one in value)
        elif isinstance(value, str) and value:
            _check_name(config, key, value)


def _check_name(config: Path, key: str, value: str) -> None:
    path = PurePath(value)
    if key.endswith("filename") and (path.is_absolute() or ".." in path.parts):
        raise ModelFileInvalid(config, f"{key} names a file outside of the folder: {value[:80]}")
    native = ".so" in path.suffixes or path.suffix in (".dll", ".dylib")
    # A bare name is a library of the system; with a slash it is a file that came with the model.
    if key == "custom_ops_library" or (native and "/" in value):
        raise ModelFileInvalid(config, f"{key} names native code, which is not run: {value[:80]}")


def weights(folder: Path, model: ModelSection) -> list[Path]:
    """Return the files that a load reads: the graph, and files whose names start with its name.

    Weights outside the graph are by convention in `model.onnx.data` or `model.onnx_data`.
    """
    graph = folder / model.decoder.filename
    beside = (file for file in folder.iterdir() if file.name.startswith(graph.name))
    return [graph, *sorted(file for file in beside if file != graph and file.is_file())]


def _check(folder: Path, model: ModelSection) -> None:
    """Raise `ModelFileInvalid` if the folder is not a complete model that generates."""
    config = folder / CONFIG
    if model.context_length <= 0 or model.vocab_size <= 0:
        raise ModelFileInvalid(config, "model.context_length and model.vocab_size must be above 0")
    decoder = model.decoder
    if min(decoder.num_hidden_layers, decoder.num_key_value_heads, decoder.head_size) < 0:
        raise ModelFileInvalid(
            config,
            "num_hidden_layers, num_key_value_heads and head_size must be at least 0",
        )
    if not model.decoder.filename or Path(model.decoder.filename).name != model.decoder.filename:
        raise ModelFileInvalid(
            config, "model.decoder.filename must be the name of a file in this folder"
        )
    for name in (model.decoder.filename, vocabulary.FILE_NAME):
        try:
            found = (folder / name).is_file()
        except OSError as error:  # the name is too long
            raise ModelFileInvalid(config, f"{name[:40]}: {error.strerror}") from error
        if not found:
            raise ModelFileInvalid(folder / name, "the file is missing")
    onnx_file.check_whole(folder / model.decoder.filename)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(read_bounded(path), type=kind)
    except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ModelFileInvalid(path, f"it cannot be read: {describe(error)}") from error


def _template(folder: Path, config: _TokenizerConfig) -> str | None:
    path = folder / _TEMPLATE
    try:
        return read_bounded(path).decode()
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileInvalid(path, f"it cannot be read: {error}") from error
    templates = config.chat_template
    if isinstance(templates, list):
        return next((one.template for one in templates if one.name == "default"), None)
    return templates


def _name(token: str | _SpecialToken | None) -> str:
    return token.content if isinstance(token, _SpecialToken) else token or ""
