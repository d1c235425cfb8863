"""Backends by name: plugins that work, and plugins that go wrong each in its way."""

import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pilotlight.models.registry import BackendBroken, Registry
from pilotlight_backend import ModelFileInvalid
from pilotlight_backend.testing.fake import FakeBackend, FakeModel

FAKE = "pilotlight_backend.testing.plugin"
BROKEN = {
    "import": "pilotlight_backend.testing.broken_import",
    "hook": "pilotlight_backend.testing.broken_hook",
    "backend": "pilotlight_backend.testing.broken_backend",
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs a distribution with one entry point in a folder on the path.

    *source* is the text of a module of the plugin's own.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(name: str, module: str, source: str | None = None) -> None:
        dist = site / f"plugin_{module.replace('.', '_')}-1.0.dist-info"
        dist.mkdir()
        (dist / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (dist / "entry_points.txt").write_text(f"[pilotlight]\n{name} = {module}\n")
        if source is not None:
            (site / f"{module}.py").write_text(source)

    yield install
    for path in site.glob("*.py"):
        sys.modules.pop(path.stem, None)


# Plugins


def test_listing_imports_nothing(install):
    """The names come from metadata: not even a plugin that works is imported for them."""
    install("quiet", "pilotlight_quiet", "raise SystemExit")
    registry = Registry()
    assert "quiet" in registry.names
    assert registry.names == sorted(registry.names)
    assert "pilotlight_quiet" not in sys.modules


def test_plugin_is_loaded_once(install):
    """A plugin's backend is made when it is first asked for, and kept."""
    install("fake", FAKE)
    registry = Registry()
    backend = registry.get("fake")
    assert isinstance(backend, FakeBackend)
    assert registry.get("fake") is backend


def test_plugin_is_loaded_once_for_many_threads(install):
    """Requests that need a plugin at once share its one backend."""
    install("fake", FAKE)
    registry = Registry()
    together = threading.Barrier(8)

    def get(_: int) -> object:
        together.wait(10)
        return registry.get("fake")

    with ThreadPoolExecutor(8) as pool:
        backends = list(pool.map(get, range(8)))
    assert len(set(map(id, backends))) == 1


@pytest.mark.parametrize(
    ("module", "cause"),
    [
        (BROKEN["import"], "libfake.so: cannot open shared object file"),
        (BROKEN["hook"], "the fake backend found no usable device"),
        (BROKEN["backend"], "expected one backend"),
    ],
)
def test_broken_plugin_says_so(install, caplog, module, cause):
    """A plugin that cannot be used raises one error of ours, which chains and logs the cause."""
    install("broken", module)
    registry = Registry()
    with pytest.raises(BackendBroken, match="the plugin of backend 'broken'") as caught:
        registry.get("broken")
    assert cause in str(caught.value.__cause__)
    assert cause in caplog.text


@pytest.mark.parametrize(
    "source",
    ["raise SystemExit(3)", "import no_such_module", "def broken(:", "", "pilotlight_x = 1 / 0"],
)
def test_strange_plugin_is_broken(install, source):
    """A module that exits, does not compile, or has no hook at all ends nothing but itself."""
    install("strange", "pilotlight_strange", source)
    with pytest.raises(BackendBroken):
        Registry().get("strange")


def test_two_plugins_of_one_name_are_one_backend(install):
    """Of two distributions that bring a name, the first on the path has it."""
    install("fake", FAKE)
    install("fake", "pilotlight_other", f"from {FAKE} import pilotlight_register_backend")
    registry = Registry()
    assert registry.names.count("fake") == 1
    assert isinstance(registry.get("fake"), FakeBackend)


def test_cause_is_logged_once_and_kept_small(install, caplog):
    """Asking again costs no import, no log, and does not grow what the exception holds."""
    install("broken", BROKEN["hook"])
    registry = Registry()
    errors = []
    for _ in range(3):
        with pytest.raises(BackendBroken) as caught:
            registry.get("broken")
        errors.append(caught.value)
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1
    assert len({id(error) for error in errors}) == 3
    assert len({id(error.__cause__) for error in errors}) == 1


def test_unknown_backend_is_a_key_error(registry):
    """A name that nothing is installed under is no broken plugin."""
    with pytest.raises(KeyError, match="onnx"):
        registry.get("onnx")


# Whose a path is


def test_broken_plugin_spoils_no_other(install, tmp_path):
    """A working backend serves its models whatever else is installed."""
    for name, module in BROKEN.items():
        install(f"a_broken_{name}", module)
    registry = Registry({"fake": FakeBackend()})
    claim = registry.recognise(FakeModel().write(tmp_path / "m.fake"))
    assert claim.backend.name == "fake"


def test_path_that_only_a_broken_backend_may_know_says_so(install, tmp_path):
    """Where no working backend recognises a path, the broken one is the reason to give."""
    install("a_broken", BROKEN["import"])
    path = tmp_path / "m.bin"
    path.write_bytes(b"what?")
    with pytest.raises(BackendBroken, match="a_broken"):
        Registry({"fake": FakeBackend()}).recognise(path)


def test_first_backend_by_name_has_a_path(no_plugins, tmp_path):  # noqa: ARG001
    """Of two backends that recognise a path the first by name serves it, or the one asked for."""
    registry = Registry({"zebra": FakeBackend("zebra"), "ant": FakeBackend("ant")})
    path = FakeModel().write(tmp_path / "m.fake")
    assert registry.recognise(path).backend.name == "ant"
    assert registry.claim(path, None).backend.name == "ant"
    assert registry.claim(path, "zebra").backend.name == "zebra"


def test_unrecognised_path_is_nobodys(registry, tmp_path):
    """A file of an unknown kind is no model, and an error only if a request names it."""
    path = tmp_path / "readme.txt"
    path.write_text("hello")
    assert registry.recognise(path) is None
    with pytest.raises(ModelFileInvalid, match=r"readme.txt: no backend recognises it"):
        registry.claim(path, None)
    with pytest.raises(ModelFileInvalid, match=r"tried: fake"):
        registry.claim(path, "fake")


def test_folder_that_is_no_model_is_refused_with_a_remedy(tmp_path, no_plugins):  # noqa: ARG001
    """Such as a repository of the Hub with one GGUF file for each quantization."""
    FakeModel().write(tmp_path / "q4.fake")
    with pytest.raises(ModelFileInvalid, match=r"recognises it \(tried: fake\); name one of its"):
        Registry({"fake": FakeBackend()}).claim(tmp_path, None)


def test_claim_without_any_backend_says_so(no_plugins, tmp_path):  # noqa: ARG001
    """Without a backend the error says that none is installed."""
    with pytest.raises(ModelFileInvalid, match="none is installed"):
        Registry().claim(tmp_path, None)


class _FaultyBackend(FakeBackend):
    def probe(self, path: Path) -> None:
        raise KeyError(path.name)

    def embedded(self) -> None:
        raise RuntimeError("no")


def test_faulty_probe_spoils_no_other(no_plugins, tmp_path, caplog):  # noqa: ARG001
    """A backend whose probe raises what it must not is logged, and the next one is asked."""
    registry = Registry({"a_faulty": _FaultyBackend(), "fake": FakeBackend()})
    path = FakeModel().write(tmp_path / "m.fake")
    assert registry.recognise(path).backend.name == "fake"
    assert "a_faulty" in caplog.text
    with pytest.raises(BackendBroken, match="a_faulty"):
        registry.claim(path, "a_faulty")


def test_faulty_embedded_model_is_the_backends_fault(no_plugins):  # noqa: ARG001
    """A backend whose `embedded` fails raises one error of the registry."""
    with pytest.raises(BackendBroken, match="'faulty' has failed"):
        Registry({"faulty": _FaultyBackend()}).embedded("faulty")
