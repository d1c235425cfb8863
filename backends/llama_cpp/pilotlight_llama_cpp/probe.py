"""Read the facts of a model from the header of its GGUF file."""

from pathlib import Path

from pilotlight_backend import ModelFacts, ModelFileInvalid, ModelUnsupported
from pilotlight_backend.bounded_read import is_regular
from pilotlight_backend.split_file import parts
from pilotlight_llama_cpp import footprint
from pilotlight_llama_cpp.gguf import MAGIC, Header
from pilotlight_llama_cpp.servable import (
    ENCODERS,
    TOKENS,
    Pooling,
    check_divisors,
    check_numbers,
    pooling_of,
    relevance_of,
    why_not_served,
)

_SUFFIX = ".gguf"
_LFS = b"version https://git-lfs"  # https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md


def probe(path: Path) -> ModelFacts | None:
    """Return the facts of the model at *path*; None if it is not a GGUF file.

    Raises `ModelUnsupported` for a GGUF file that llama.cpp cannot generate, embed or rank with,
    and
    `ModelFileInvalid` for one that is damaged or that only its name says to be one.
    """
    try:
        if path.is_dir():
            return None
        if not is_regular(path):  # opening a pipe would wait for its writer
            return _foreign(path, "it is not a regular file")
        with path.open("rb") as file:
            first = file.read(len(_LFS))
        if not first.startswith(MAGIC):
            return _foreign(path, _what_else(first))
        with Header(path, keep_strings=(TOKENS,)) as header:
            return _facts(header)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelFileInvalid(path, f"it cannot be read: {error.strerror}") from error


def _foreign(path: Path, reason: str) -> ModelFacts | None:
    """Return None for another kind of file; raise `ModelFileInvalid` if its name ends in .gguf."""
    if path.suffix.lower() == _SUFFIX:
        raise ModelFileInvalid(path, reason)
    return None


def _what_else(first: bytes) -> str:
    """Return why a file named .gguf that begins with *first* is not one."""
    if not first:
        return "the file is empty"
    if first == _LFS:
        return "it is a Git LFS pointer and not the file itself: run `git lfs pull`"
    return "it is not a GGUF file: it does not begin with 'GGUF'"


def _facts(header: Header) -> ModelFacts:
    architecture = header.text("general.architecture")
    if not architecture:
        raise header.invalid("its header has no general.architecture")
    if reason := why_not_served(header, architecture):
        raise ModelUnsupported(header.path, reason)
    context_length = header.number(f"{architecture}.context_length")
    if not context_length:
        raise header.invalid(f"its header must have {architecture}.context_length, above 0")
    check_numbers(header, architecture)
    check_divisors(header, architecture)
    pooling = pooling_of(header, architecture)
    ranks = pooling is Pooling.RANK
    embeds = not ranks and (architecture in ENCODERS or pooling is not Pooling.NONE)
    size_bytes = _size_bytes(header)
    memory = footprint.of(header, architecture, pools=embeds or ranks)
    return ModelFacts(
        path=header.path,
        architecture=architecture,
        name=header.text("general.name"),
        context_length=context_length,
        chat_template=header.text("tokenizer.chat_template"),
        bos_token=_token(header, "tokenizer.ggml.bos_token_id"),
        eos_token=_token(header, "tokenizer.ggml.eos_token_id"),
        add_bos=header.flag("tokenizer.ggml.add_bos_token"),
        size_bytes=size_bytes,
        kv_bytes_per_token=memory.kv_per_token,
        attention=memory.attention,
        state_bytes=memory.state,
        step_bytes=memory.step,
        score_bytes=memory.score,
        vocabulary_size=_vocabulary_size(header),
        embedding_length=_embedding_length(header, architecture) if embeds else 0,
        relevance=relevance_of(architecture) if ranks else None,
    )


def _vocabulary_size(header: Header) -> int:
    """Return the tokens that have an embedding; 0 if the header does not say."""
    shape = header.tensors.get("token_embd.weight", ())
    return shape[1] if len(shape) > 1 else 0


def _embedding_length(header: Header, architecture: str) -> int:
    """Return the length of the vectors; a last layer may change it (`embedding_length_out`)."""
    length = header.number(f"{architecture}.embedding_length_out") or header.number(
        f"{architecture}.embedding_length"
    )
    if not length:
        raise header.invalid(f"its header must have {architecture}.embedding_length, above 0")
    return length


def _size_bytes(header: Header) -> int:
    """Return the bytes of all parts, and check each of them."""
    count = header.number("split.count") or 1
    paths = parts(header.path)
    if len(paths) != count:
        raise header.invalid(f"its header names {count} parts, its file name {len(paths)}")
    size = header.size_bytes
    for path in paths[1:]:
        try:
            with Header(path) as part:
                size += part.size_bytes
                header.tensors.update(part.tensors)
        except FileNotFoundError as error:
            raise header.invalid(f"its part {path.name} is missing") from error
        except (OSError, ValueError) as error:  # an empty file cannot be mapped: ValueError
            raise header.invalid(f"its part {path.name} cannot be read") from error
    return size


def _token(header: Header, key: str) -> str:
    index = header.number(key)
    return "" if index is None else header.string_at(TOKENS, index)
