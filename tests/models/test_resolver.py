"""From a request's name to a model."""

from pathlib import Path

import pytest

from pilotlight.errors import ModelLoadFailed, ModelNotFound
from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.discovery import Discovered, Discovery
from pilotlight.models.registry import BackendBroken, Claim, Registry
from pilotlight.models.resolver import Resolver, resolve
from pilotlight_backend import ModelFacts, ModelFileInvalid
from pilotlight_backend.testing.fake import FakeBackend, FakeModel


def entry(name: str, path: str = "", source: str = "configured") -> ModelEntry:
    path = path or f"/{source}/{name}"
    return ModelEntry(name, Path(path), source, ModelOptions(path=path))


def discovered(path: str, architecture: str | None, folder: str | None = None) -> Discovered:
    """Return a model of the models folder; without an architecture it is damaged."""
    stem = Path(path).stem.lower()
    claim: Claim | ModelFileInvalid = ModelFileInvalid(Path(path), "damaged")
    if architecture:
        facts = ModelFacts(
            path=Path(path), architecture=architecture, context_length=1, size_bytes=1
        )
        claim = Claim(FakeBackend(), facts)
    return Discovered(entry(stem, path, "discovered"), stem, folder, claim)


LOADED = [entry("chat", source="discovered"), entry("hot", source="embedded")]
CONFIGURED = [entry("chat"), entry("qwen3"), entry("named:tag")]
FOUND = [
    discovered("/m/gemma3.gguf", "llama"),
    discovered("/m/named.gguf", "bert"),
    discovered("/m/one.Q4.gguf", "gemma3"),
    discovered("/m/two.gguf", "qwen3"),
    discovered("/m/bad.gguf", None),
    discovered("/m/Lone/file.gguf", "phi", folder="lone"),
    discovered("/m/bert.gguf", "phi"),
    discovered("/m/spark.gguf", "tiny"),
]
EMBEDDED = [entry("spark", source="embedded"), entry("ember", source="embedded")]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("chat", "/discovered/chat"),  # loaded before configured
        ("hot", "/embedded/hot"),
        ("qwen3", "/configured/qwen3"),  # configured before discovered
        ("  QWEN3\n", "/configured/qwen3"),
        ("named:tag", "/configured/named:tag"),
        ("gemma3", "/m/one.Q4.gguf"),  # an architecture before a file's name
        ("GEMMA3", "/m/one.Q4.gguf"),
        ("two", "/m/two.gguf"),
        ("two.gguf", "/m/two.gguf"),
        ("one.q4", "/m/one.Q4.gguf"),
        ("bad", "/m/bad.gguf"),
        ("lone", "/m/Lone/file.gguf"),
        ("file", "/m/Lone/file.gguf"),
        ("phi", "/m/Lone/file.gguf"),  # the first of two
        ("two:latest", "/m/two.gguf"),
        ("gemma3:4b", "/m/one.Q4.gguf"),
        ("lone:4b", "/m/Lone/file.gguf"),
        ("two:a:b", "/m/two.gguf"),
        ("spark", "/m/spark.gguf"),  # discovered before embedded
        ("ember", "/embedded/ember"),
        ("qwen", None),
        ("ember:latest", None),  # a tag is for the models folder alone
        ("hot:latest", None),
        ("", None),
        (":", None),
        (":two", None),
        ("spark:other", "/m/spark.gguf"),  # a tag that is a backend's name chooses who serves it
        ("spark:fake", "/embedded/spark"),
        ("chat:fake", "/discovered/chat"),
        ("two:other", None),
        ("../m/two", None),
        ("/m/two.gguf", None),
    ],
)
def test_order_of_names(name, path):
    """Loaded, configured, discovered by architecture, file, folder, then less a tag; embedded."""
    found = resolve(
        name,
        loaded=LOADED,
        configured=CONFIGURED,
        discover=lambda: FOUND,
        embedded=lambda: EMBEDDED,
        backends=["fake", "other"],
        backend_of=lambda entry: "other" if entry.path.name == "spark.gguf" else "fake",
    )
    assert (found and str(found.path)) == path


def test_known_names_cost_no_file_access():
    """A name that is loaded or configured is found without looking at any file."""

    def never() -> list:
        raise AssertionError

    for name, source in (("hot", "embedded"), ("qwen3", "configured")):
        found = resolve(name, loaded=LOADED, configured=CONFIGURED, discover=never, embedded=never)
        assert found.source == source


# With files


@pytest.fixture
def make_resolver(tmp_path: Path, registry: Registry):
    """Return a function that makes a resolver of the models folder `tmp_path`."""

    def make_resolver(
        configured: list[ModelEntry] = [],  # noqa: B006 - never changed
        loaded: list[ModelEntry] = [],  # noqa: B006
        registry: Registry = registry,
    ) -> Resolver:
        return Resolver(registry, configured, Discovery(tmp_path, registry), lambda: loaded)

    return make_resolver


async def test_resolver_finds_every_kind(make_resolver, tmp_path, no_plugins):  # noqa: ARG001
    """Loaded, configured, discovered and embedded models are found by their names."""
    FakeModel(architecture="qwen3").write(tmp_path / "found.fake")
    spark = FakeModel().write(tmp_path / "b.fake").rename(tmp_path / "b.embedded.fake")
    registry = Registry({"fake": FakeBackend(embedded=spark)})
    resolver = make_resolver([entry("named")], [entry("hot")], registry)
    for name, found in (
        (" Hot ", "hot"),
        ("Named", "named"),
        ("Qwen3:0.6b", "found"),
        ("b.embedded", "b.embedded"),
    ):
        assert (await resolver.resolve(name)).name == found


async def test_configured_file_is_found_by_its_other_names(make_resolver, tmp_path):
    """A file that models.yaml describes is served as described there, whatever name asks."""
    path = FakeModel(architecture="qwen3").write(tmp_path / "weights.fake")
    named = entry("assistant", str(path))
    resolver = make_resolver([named])
    for name in ("assistant", "qwen3", "weights", "weights.fake", "qwen3:4b"):
        assert await resolver.resolve(name) is named
    assert await resolver.entries() == [named]


async def test_unknown_name_is_not_found(make_resolver):
    """A name that means nothing is a 404 that repeats it."""
    with pytest.raises(ModelNotFound, match="there is no model ' No/such:one'") as caught:
        await make_resolver().resolve(" No/such:one")
    assert caught.value.param == "model"


async def test_no_backend_at_all_is_told(make_resolver, no_plugins):  # noqa: ARG001
    """With nothing installed no name can be found, and no try can help."""
    with pytest.raises(ModelLoadFailed, match="no backend is installed") as caught:
        await make_resolver(registry=Registry()).resolve("spark")
    assert caught.value.should_retry is False


class _BrokenRegistry(Registry):
    """A registry in which one plugin is broken."""

    def __init__(self) -> None:
        super().__init__({"fake": FakeBackend(), "broken": FakeBackend("broken")})

    def get(self, name: str):
        if name == "broken":
            raise BackendBroken("the plugin of backend 'broken' cannot be used")
        return super().get(name)


async def test_broken_backend_is_told_to_whom_it_may_concern(
    make_resolver,
    tmp_path,
    no_plugins,  # noqa: ARG001
):
    """A model that works is found; for an unknown name the error names the broken backend."""
    FakeModel().write(tmp_path / "good.fake")
    resolver = make_resolver(registry=_BrokenRegistry())
    assert (await resolver.resolve("good")).name == "good"
    with pytest.raises(ModelLoadFailed, match="'spark': the plugin of backend 'broken'") as caught:
        await resolver.resolve("spark")
    assert caught.value.retry_after is None


async def test_entries_are_listed_once_in_the_order_of_the_look_up(
    make_resolver,
    tmp_path,
    no_plugins,  # noqa: ARG001
):
    """Configured, discovered, embedded; of two with one name the one that a request would get."""
    (tmp_path / "inside").mkdir()
    spark = FakeModel().write(tmp_path / "inside" / "ember.fake")
    for name in ("b", "spark"):
        FakeModel().write(tmp_path / f"{name}.fake")
    (tmp_path / "bad.fake").write_text("{")
    registry = Registry({"fake": FakeBackend(embedded=spark)})
    resolver = make_resolver([entry("z"), entry("b")], [], registry)
    assert [(one.name, one.source) for one in await resolver.entries()] == [
        ("z", "configured"),
        ("b", "configured"),
        ("b.fake", "discovered"),
        ("bad", "discovered"),
        ("ember", "discovered"),
        ("spark", "discovered"),
    ]
