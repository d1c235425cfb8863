"""The backend: probes and loads ONNX Runtime GenAI models."""

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from pilotlight_backend import (
    Engine,
    LoadFailed,
    LoadOptions,
    LoadProgress,
    ModelFacts,
    ModelFileInvalid,
)
from pilotlight_backend.capacity import check_memory, context_length
from pilotlight_backend.cgroup import granted_cpus
from pilotlight_backend.readahead import read_ahead
from pilotlight_onnx import probe

_EMBEDDED = Path(__file__).with_name("spark")


class OnnxBackend:
    """Runs folders of ONNX Runtime GenAI."""

    name = "onnx"

    def probe(self, path: Path) -> ModelFacts | None:
        """Return the facts of a folder with a `genai_config.json`."""
        return probe.probe(path)

    def knows_architecture(self, architecture: str) -> bool:
        """Return False: all models are folders."""
        del architecture
        return False

    def embedded(self) -> Path | None:
        """Return `spark`; None if the plugin was built without it."""
        return _EMBEDDED if _EMBEDDED.is_dir() else None

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> Engine:
        """Load a model: read its files ahead, make a session, warm up with one token."""
        if options.speculation != "none":
            raise LoadFailed(
                f"speculation: {options.speculation!r} is not supported by ONNX Runtime GenAI; set"
                " it to none for this model in models.yaml"
            )
        config = probe.read_config(facts.path)
        facts = replace(facts, context_length=context_length(facts, options))
        check_memory(facts, options)
        total = facts.size_bytes
        try:
            read_ahead(
                probe.weights(facts.path, config),
                lambda count: progress(LoadProgress("read", min(count, total), total)),
            )
        except OSError as error:
            raise ModelFileInvalid(facts.path, f"it cannot be read: {error.strerror}") from error
        # A probe must not import the native library: it is first imported here.
        from pilotlight_backend.sampling import SUPPORTED  # noqa: PLC0415
        from pilotlight_onnx.engine import OnnxEngine  # noqa: PLC0415
        from pilotlight_onnx.model import OnnxModel  # noqa: PLC0415

        progress(LoadProgress("load", total, total))
        model = OnnxModel(
            facts.path,
            config,
            threads=options.threads or granted_cpus(),
            provider=options.execution_provider,
        )
        try:
            progress(LoadProgress("warm", total, total))
            model.warm()
        except BaseException:
            model.close()
            raise
        return OnnxEngine(
            replace(
                facts,
                vocabulary_size=model.vocabulary_size,
                control_names=frozenset(model.vocabulary.special),
                sampling=SUPPORTED,
            ),
            model,
            slots=options.parallel,
            chunk=options.chunk,
            reuse=config.can_rewind,
        )
