"""The models that ship with backends."""

from pilotlight.models.embedded import embedded_entries
from pilotlight.models.registry import Registry
from pilotlight_backend.testing.fake import FakeBackend
from tests.models.files import put


class _FaultyBackend(FakeBackend):
    def embedded(self):
        raise RuntimeError("no")


def test_embedded_models_have_their_files_names(no_plugins, tmp_path):  # noqa: ARG001
    """Each backend may bring one; the first to bring a name has it, another adds its own name."""
    spark = put(tmp_path, "Spark.fake")
    registry = Registry(
        {
            "a": FakeBackend("a", embedded=spark),
            "b": FakeBackend("b", embedded=put(tmp_path, "b/spark.fake")),
            "c": FakeBackend("c"),
            "d": _FaultyBackend("d"),
        }
    )
    entry, other = embedded_entries(registry)
    assert (entry.name, entry.path, entry.source) == ("spark", spark, "embedded")
    assert entry.options.backend == "a"
    assert (other.name, other.options.backend) == ("spark:b", "b")
