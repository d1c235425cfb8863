"""The backend: what the service calls to find out about a model and to load it."""

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from pilotlight_backend import Engine, LoadOptions, LoadProgress, ModelFacts
from pilotlight_backend.capacity import check_memory, context_length
from pilotlight_echo import tokenizer
from pilotlight_echo.file import SUFFIX, read_file


class EchoBackend:
    """Serves `.echo` files."""

    name = "echo"

    def probe(self, path: Path) -> ModelFacts | None:
        """Return the facts of a model file, or None for files of another kind."""
        if path.suffix != SUFFIX or not path.is_file():
            return None
        file = read_file(path)
        return ModelFacts(
            path=path,
            architecture="echo",
            name=file.name,
            context_length=file.context_length,
            chat_template=tokenizer.CHAT_TEMPLATE,
            eos_token=tokenizer.CONTROL[0],
            size_bytes=path.stat().st_size,
            kv_bytes_per_token=128,  # about an int and a `State`
        )

    def embedded(self) -> Path | None:
        """Return None: no model ships inside."""
        return None

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> Engine:
        """Load a model."""
        total = facts.size_bytes
        progress(LoadProgress("read", 0, total))
        file = read_file(facts.path)
        facts = replace(facts, context_length=context_length(facts, options))
        check_memory(facts, options)
        progress(LoadProgress("load", total, total))
        # A native library is imported here, not before.
        from pilotlight_backend.sampling import SUPPORTED  # noqa: PLC0415
        from pilotlight_echo.engine import EchoEngine  # noqa: PLC0415
        from pilotlight_echo.model import Model  # noqa: PLC0415

        facts = replace(
            facts,
            vocabulary_size=len(tokenizer.PIECES),
            control_names=frozenset(tokenizer.CONTROL),
            sampling=SUPPORTED,
        )
        return EchoEngine(facts, options, Model(file.confidence))
