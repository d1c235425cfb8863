"""What an engine's process knows of the service's environment."""

import sys

import pytest

from pilotlight_isolation.environment import child_environment

SECRETS = (
    *("PILOTLIGHT_API_KEYS", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_SECRET", "DATABASE_URL", "PGPASSWORD"),
    *("LLAMA_API_KEY", "LLAMA_ARG_HF_TOKEN", "CUDA_REGISTRY_PASSWORD", "https_proxy"),
    *("OTEL_EXPORTER_OTLP_HEADERS", "KUBERNETES_SERVICE_HOST", "SSH_AUTH_SOCK", "Path"),
)
NEEDED = (
    *("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("OMP_NUM_THREADS", "GOMP_CPU_AFFINITY", "KMP_BLOCKTIME", "MALLOC_ARENA_MAX", "PYTHONHOME"),
    *("GGML_CUDA_DISABLE_GRAPHS", "LLAMA_TRACE", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    *("HIP_VISIBLE_DEVICES", "ORT_DISABLE_TELEMETRY", "PYTHONUNBUFFERED", "XDG_CACHE_HOME"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_stay(name):
    assert name not in child_environment({name: "x", "PATH": "/bin"})


@pytest.mark.parametrize("name", NEEDED)
def test_what_libraries_read_is_given(name):
    assert child_environment({name: "x"})[name] == "x"


def test_it_imports_from_where_the_service_does():
    given = child_environment({"PYTHONPATH": "/elsewhere"})["PYTHONPATH"]
    assert given.split(":") == [path for path in sys.path if path]


def test_the_process_has_nothing_else(plugin, monkeypatch, tmp_path):
    """As the process itself sees it, which a plugin writes down."""
    from pilotlight_backend import LoadOptions  # noqa: PLC0415
    from pilotlight_backend.testing.fake import FakeModel  # noqa: PLC0415

    for name in SECRETS:
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    seen = tmp_path / "seen"
    backend = plugin(
        f"def load(self, *given):\n"
        f"    open({str(seen)!r}, 'wb').write(open('/proc/self/environ', 'rb').read())\n"
        f"    return FakeBackend.load(self, *given)\n"
        f"Changed.load = load\n"
    )
    path = FakeModel().write(tmp_path / "m.fake")
    backend.load(backend.probe(path), LoadOptions(), lambda _: None).close()
    environ = seen.read_text()
    assert "a secret" not in environ
    assert "OMP_NUM_THREADS=2" in environ
