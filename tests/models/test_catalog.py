"""Which models there are: models.yaml, the models folder, embedded ones."""

import os
from pathlib import Path

import pytest

from pilotlight.config import ConfigError
from pilotlight.models.catalog import Discovery, embedded_entries, read_models_file
from pilotlight.models.registry import Claim, Registry
from pilotlight_backend import ModelFileInvalid
from pilotlight_backend.testing.fake import FakeBackend, FakeModel


@pytest.fixture
def read(tmp_path: Path):
    """Return a function that reads a models.yaml of the given text."""

    def read(text: str):
        path = tmp_path / "models.yaml"
        path.write_text(text)
        return read_models_file(path)

    return read


# models.yaml


def test_names_stand_in_both_places(read, tmp_path):
    """The map `models` and the top level count, a value is a path or a map of options."""
    entries = read(
        "models:\n"
        "  Assistant: weights/a.gguf\n"
        "  thinker:\n"
        "    path: /w/t.gguf\n"
        "    backend: llama_cpp\n"
        "    parallel: 2\n"
        "    context_length: 8192\n"
        "    threads: 4\n"
        "    gpu_layers: -1\n"
        "    chat_template: t.jinja\n"
        "    reasoning_format: think\n"
        "    tool_call_format: hermes\n"
        "small: s.gguf\n"
        "org/name:tag: {path: x.gguf}\n"
    )
    assert [(entry.name, entry.path, entry.source) for entry in entries] == [
        ("small", tmp_path / "s.gguf", "configured"),
        ("org/name:tag", tmp_path / "x.gguf", "configured"),
        ("assistant", tmp_path / "weights/a.gguf", "configured"),
        ("thinker", Path("/w/t.gguf"), "configured"),
    ]
    options = entries[3].options
    assert (options.backend, options.parallel, options.context_length) == ("llama_cpp", 2, 8192)
    assert (options.threads, options.gpu_layers, options.chat_template) == (4, -1, "t.jinja")
    assert (options.reasoning_format, options.tool_call_format) == ("think", "hermes")


def test_address_is_fetched_into_the_models_folder(tmp_path):
    """Under the entry's name, with the address's suffix; a split file is in a folder."""
    file = tmp_path / "models.yaml"
    file.write_text(
        "Mine: hf://owner/repo/m.gguf\n"
        "org/split: {path: 's3://bucket/m-00002-of-00002.gguf', parallel: 2}\n"
    )
    mine, split = read_models_file(file, tmp_path / "models")
    assert (mine.name, mine.path) == ("mine", tmp_path / "models" / "mine.gguf")
    assert split.origin.root == tmp_path / "models" / "org--split"
    assert split.path == split.origin.root / "m-00001-of-00002.gguf"
    assert split.options.parallel == 2


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("ftp://host/m.gguf", "this is no address of a model"),
        ("http://example.org/m.gguf", "for this machine alone"),
        ("hf://owner/repo/*.gguf", "patterns are not known"),
    ],
)
def test_bad_address_is_refused_by_its_key(read, value, reason):
    """At the start, before anybody asks for the model."""
    with pytest.raises(ConfigError, match=rf"models\.yaml: models\.m: .*{reason}"):
        read(f"models: {{m: '{value}'}}")


def test_paths_are_those_of_the_file_and_of_the_home_folder(read, tmp_path, monkeypatch):
    """A relative path starts at the file, `~` at the home folder, in a template's path too."""
    monkeypatch.setenv("HOME", "/home/me")
    entries = read("a: ../a.gguf\nb: {path: ~/b.gguf, chat_template: ~/b.jinja}")
    assert entries[0].path == tmp_path / "../a.gguf"
    assert entries[1].path == Path("/home/me/b.gguf")
    assert entries[1].options.chat_template == "/home/me/b.jinja"


def test_no_file_is_no_models(tmp_path):
    """models.yaml may be absent."""
    assert read_models_file(tmp_path / "models.yaml") == []


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "models:\n", "models: {}", "---\n..."])
def test_empty_file_is_no_models(read, text):
    """So may be what it holds."""
    assert read(text) == []


def test_anchors_share_options(read):
    """YAML's own means work: options can be written once."""
    entries = read("a: &a {path: a.gguf, parallel: 3}\nb: {<<: *a, path: b.gguf}")
    assert [(one.path.name, one.options.parallel) for one in entries] == [
        ("a.gguf", 3),
        ("b.gguf", 3),
    ]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("models: [a, b]", "models: expected a map"),
        ("models: []", "models: expected a map"),
        ("models: 0", "models: expected a map"),
        ("models: {a: {pth: x}}", r"models.a: .*`pth`"),
        ("a: {parallel: 2}", "a: .*`path`"),
        ("a: {path: x, parallel: 0}", r"a: .*\$.parallel"),
        ("a: {path: x, parallel: two}", r"a: .*\$.parallel"),
        ("a: {path: x, threads: 1.5}", r"a: .*\$.threads"),
        ("a: {path: ''}", r"a: .*\$.path"),
        ("a: ''", r"a: .*\$.path"),
        ("a:", "a: .*null"),
        ("a: 5", "a: .*int"),
        ("a: [x]", "a: .*array"),
        ("a: {path: {path: x}}", r"a: .*\$.path"),
        ("a: ~nobody-lives-here/x", "a: .*home"),
        ("A: x\na: y", "a: this model is named twice"),
        ("models: {a: x}\na: y", r"models.a: this model is named twice"),
        ("yes: x", "True: a name is text"),
        ("1.10: x", "1.1: a name is text"),
        ("~: x", "None: a name is text"),
        ("' ': x", " : a name is text"),
        ('a: "x\\0"', r"a: 'x\\x00' has a null character"),
        ('a: "~\\0"', r"a: '~\\x00' has a null character"),
        ('a: "~\\ud800/x"', r"a: '~\\ud800/x' has .* surrogate"),
        ('a: {path: x, chat_template: "~\\0"}', "a: .* null character"),
        ('a: {path: x, baked: "\\udfff"}', "a: .* surrogate"),
        ('"\\ud800": x', "\ud800: .* surrogate"),
    ],
)
def test_bad_key_is_named(read, tmp_path, text, names):
    """What is wrong is told in one line that names the file and the key."""
    with pytest.raises(ConfigError, match=f"^{tmp_path}/models.yaml: {names}") as caught:
        read(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["a: x\na: y", "models: {a: x}\nmodels: {b: y}", "models:\n  a: {path: x, path: y}"],
)
def test_repeated_key_is_refused(read, text):
    """A key that is there twice would silently lose the first."""
    with pytest.raises(ConfigError, match="this key is there twice"):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b",
        "hello",
        "a: {",
        "a: b: c",
        "\ta: b",
        "a: 2024-99-99",
        "a: !!int x",
        "a: !!timestamp x",
        "a: !!bool x",
        "a: !!float ''",
        "!!int ",
        "a: !!python/object/apply:os.system ['true']",
        "a: *nowhere",
        "? [a]\n: b",
        "a: x\n---\nb: y",
        "a: \x00",
        "a: &a [*a]",
        "a: " + "9" * 5000,
        "[" * 100_000,
        "a: " + "{b: " * 3000,
        "<<: 5",
    ],
)
def test_what_is_no_map_of_models_is_refused(read, tmp_path, text):
    """Invalid, strange and hostile YAML is one line, and runs nothing."""
    with pytest.raises(ConfigError, match=f"^{tmp_path}/models.yaml: ") as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_aliases_do_not_multiply(read):
    """Nested aliases are shared, not copied: nine levels of nine cost nothing."""
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10))
    with pytest.raises(ConfigError, match="l0: "):
        read(f"l0: &l0 [x]\n{levels}")


def test_file_that_cannot_be_read_is_refused(tmp_path):
    """A folder in its place, or bytes that are no text, are named."""
    with pytest.raises(ConfigError, match=f"^{tmp_path}: "):
        read_models_file(tmp_path)
    (tmp_path / "models.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match=r"models\.yaml: "):
        read_models_file(tmp_path / "models.yaml")


# The models folder


class _CountingBackend(FakeBackend):
    """Remembers what it was asked to probe."""

    def __init__(self) -> None:
        super().__init__()
        self.probed: list[str] = []

    def probe(self, path: Path):
        self.probed.append(path.name)
        return super().probe(path)


@pytest.fixture
def counting() -> _CountingBackend:
    return _CountingBackend()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def discovery(folder, counting, no_plugins) -> Discovery:  # noqa: ARG001
    return Discovery(folder, Registry({"fake": counting}))


def put(folder: Path, name: str, **keys: object) -> Path:
    """Write a model at *name* inside *folder*."""
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    return FakeModel(**keys).write(path)


def test_missing_folder_holds_nothing(registry, tmp_path):
    """The models folder may be absent, or no folder."""
    assert Discovery(tmp_path / "none", registry).scan() == []
    (tmp_path / "file").write_text("x")
    assert Discovery(tmp_path / "file", registry).scan() == []


def test_files_and_files_one_folder_down_are_found(discovery, folder):
    """Models are found by their content; what is hidden, deeper or no model is passed over."""
    put(folder, "Top.fake", architecture="qwen3")
    put(folder, "Lone/file.fake")
    put(folder, "both/one.fake")
    put(folder, "both/two.fake")
    put(folder, "deep/er/m.fake")
    put(folder, ".hidden/m.fake")
    put(folder, ".m.fake")
    (folder / "Lone/readme.md").write_text("x")
    (folder / "dangling.fake").symlink_to(folder / "nowhere")
    found = discovery.scan()
    assert [(one.entry.name, one.file, one.folder) for one in found] == [
        ("file", "file", "lone"),
        ("top", "top", None),
        ("one", "one", None),
        ("two", "two", None),
    ]
    assert found[1].claim.facts.architecture == "qwen3"
    assert {one.entry.source for one in found} == {"discovered"}


def test_every_model_has_a_name_of_its_own(discovery, folder):
    """Where a file's name is taken, the model is called as its path inside the folder is."""
    put(folder, "a/model.fake")
    put(folder, "b/model.fake")
    put(folder, "b/model.x.fake")
    put(folder, "model.fake")
    names = [(one.entry.name, one.file) for one in discovery.scan()]
    assert names == [
        ("model", "model"),
        ("b/model", "model"),
        ("model.x", "model.x"),
        ("model.fake", "model"),
    ]


def test_configured_file_is_the_configured_model(discovery, folder, read):
    """A file that models.yaml names is that model, with its options; its name is taken."""
    put(folder, "m.fake")
    put(folder, "named.fake")
    configured = read("named: {path: models/m.fake, parallel: 1}")
    found = discovery.scan(configured)
    assert found[0].entry is configured[0]
    assert found[0].file == "m"
    assert found[1].entry.name == "named.fake"


def test_damaged_file_is_found_with_its_error(discovery, folder):
    """A model that cannot be read is there all the same, and says why it is not served."""
    (folder / "bad.fake").write_text("{")
    (one,) = discovery.scan()
    assert one.entry.name == "bad"
    assert isinstance(one.claim, ModelFileInvalid)


def test_file_is_probed_once(discovery, folder, counting):
    """A second scan lists folders and reads no header, of models and of other files."""
    put(folder, "m.fake")
    put(folder, "inside/n.fake")
    (folder / "bad.fake").write_text("{")
    (folder / "readme.md").write_text("x")
    first = discovery.scan()
    assert sorted(counting.probed) == ["bad.fake", "inside", "m.fake", "n.fake", "readme.md"]
    assert discovery.scan() == first
    assert len(counting.probed) == 5


def test_changed_file_is_probed_again(discovery, folder, counting):
    """A file that is written again, even to the same size, is read again; a deleted one is gone."""
    path = put(folder, "m.fake", architecture="one")
    discovery.scan()
    put(folder, "m.fake", architecture="two")
    os.utime(path, ns=(1, 1))
    (found,) = discovery.scan()
    assert found.claim.facts.architecture == "two"
    assert counting.probed == ["m.fake", "m.fake"]
    path.unlink()
    assert discovery.scan() == []


def test_folder_is_probed_again_when_a_file_inside_changes(discovery, folder, counting):
    """A model may be a folder: what is written inside it counts as its change."""
    path = put(folder, "whole/m.fake")
    discovery.scan()
    os.utime(path, ns=(1, 1))
    discovery.scan()
    assert counting.probed.count("whole") == 2


class _FolderBackend(FakeBackend):
    """Knows folders and no files."""

    def probe(self, path: Path):
        return FakeModel().facts(path) if path.is_dir() else None


def test_folder_may_be_a_model(folder, no_plugins):  # noqa: ARG001
    """A folder that a backend recognises is one model, dots in its name included."""
    put(folder, "Qwen2.5-onnx/x.fake")
    (found,) = Discovery(folder, Registry({"folders": _FolderBackend()})).scan()
    assert (found.entry.name, found.entry.path) == ("qwen2.5-onnx", folder / "Qwen2.5-onnx")
    assert isinstance(found.claim, Claim)


class _DeniedBackend(FakeBackend):
    def probe(self, path: Path):
        raise PermissionError(13, "denied", str(path))


def test_file_that_is_not_ours_to_read_is_passed_over(folder, no_plugins):  # noqa: ARG001
    """What the system denies is no model of ours."""
    put(folder, "m.fake")
    assert Discovery(folder, Registry({"denied": _DeniedBackend()})).scan() == []


# Embedded models


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
