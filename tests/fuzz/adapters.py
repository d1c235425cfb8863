"""LoRA adapters: files from elsewhere, which llama.cpp would abort over."""

import tempfile
from pathlib import Path

from hypothesis import strategies as st

from benchmarks import random_lora
from pilotlight_backend import ModelFileInvalid
from pilotlight_llama_cpp import lora_file
from tests.fuzz.case import bounded, case
from tests.fuzz.model_files import SPARK_GGUF, file_of
from tests.fuzz.strategies import damaged


def _adapter() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.gguf")
        return random_lora.write(path, SPARK_GGUF, rank=2, parts=("attn_q",)).read_bytes()


_ADAPTER = _adapter()
_HEADER = _ADAPTER[: _ADAPTER.rindex(b".lora_b") + 64]


@case(
    "LoRA adapter",
    short=50,
    content=st.one_of(
        st.binary().map(lambda rest: b"GGUF\3\0\0\0" + rest),
        damaged(_HEADER, first=len(_HEADER)),
    ),
    size=st.sampled_from((0, len(_ADAPTER), 1 << 24)),
)
def lora_adapter(content: bytes, size: int) -> None:
    """Facts that fit the model, or `ModelFileInvalid` that names the file."""
    with file_of(content, "a.gguf", size=size) as path, bounded(seconds=5, mebibytes=32):
        try:
            facts = lora_file.check(path, SPARK_GGUF)
        except ModelFileInvalid as error:
            assert str(error).startswith("a.gguf: ")
            return
        assert facts.rank >= 1
        assert facts.size_bytes == max(size, len(content))
