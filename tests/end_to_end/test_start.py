"""What a start imports, with every backend installed."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

import httpx

START = """
import asyncio, json, sys
from pathlib import Path
from pilotlight.server.app import create_app
from pilotlight.config import Settings

nowhere = Path(sys.argv[1])
settings = Settings(models_dir=nowhere, models_file=nowhere / "none.yaml", cache_dir=nowhere)
app = create_app(settings)
seen = {}
ASK = {"model": "spark", "messages": [{"role": "user", "content": "Hello!"}]}

def look(when):
    seen[when] = sorted(sys.modules)

async def main():
    async with app.lifespan():
        look("started")
        import httpx
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            assert (await client.get("/livez")).status_code == 200
            look("probed")
            answer = await client.post("/v1/chat/completions", json=ASK, timeout=60)
            assert answer.status_code == 200, answer.text
            look("answered")

asyncio.run(main())
print(json.dumps(seen))
"""

NATIVE = {"llama_cpp", "onnxruntime", "onnxruntime_genai"}
PLUGINS = {"pilotlight_llama_cpp", "pilotlight_onnx"}


def modules(folder: Any, *, whole: bool = False) -> dict[str, set[str]]:
    """Return what is imported at each point: packages, or the *whole* names of modules."""
    output = subprocess.run(
        [sys.executable, "-c", START, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ).stdout
    return {
        when: {name if whole else name.partition(".")[0] for name in names}
        for when, names in json.loads(output).items()
    }


def test_no_backend_is_imported_before_a_model_needs_it(tmp_path):
    """With both installed the start imports neither; the first model brings its own runtime."""
    assert {ep.name for ep in entry_points(group="pilotlight")} >= {"llama_cpp", "onnx"}
    seen = modules(tmp_path)
    for when in ("started", "probed"):
        assert seen[when] & (NATIVE | PLUGINS | {"numpy", "jinja2"}) == set(), when
    assert "pilotlight_llama_cpp" in seen["answered"]
    assert seen["answered"] & {"onnxruntime", "onnxruntime_genai", "numpy"} == set()


def test_what_fetches_is_not_imported_where_nothing_is_fetched(tmp_path):
    """The libraries for addresses are many and slow to import."""
    libraries = {"obstore", "aiohttp", "fsspec", "huggingface_hub", "s3fs", "gcsfs", "tqdm"}
    assert modules(tmp_path)["answered"] & libraries == set()


NO_STORAGE = """
import json, sys, threading
from pathlib import Path
from pilotlight_backend import LoadOptions, PromptCacheOptions
from pilotlight_llama_cpp.backend import LlamaCppBackend

backend = LlamaCppBackend()
cache = PromptCacheOptions(memory_bytes=1 << 20, storage=sys.argv[1] or None)
options = LoadOptions(parallel=1, prompt_cache=cache)
engine = backend.load(backend.probe(backend.embedded()), options, lambda _: None)
threads = [one.name for one in threading.enumerate() if "prompt cache" in one.name]
modules = [name for name in sys.modules if name.endswith(("prompt_cache.storage", "guarded"))]
print(json.dumps([sorted(threads), sorted(modules)]))
engine.close()
"""


def test_without_a_state_dir_there_is_no_thread_and_no_module_for_it(tmp_path):
    """With one there are both: a test that cannot fail shows nothing."""
    seen = []
    for storage in ("", str(tmp_path)):
        output = subprocess.run(
            [sys.executable, "-c", NO_STORAGE, storage],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        seen.append(json.loads(output))
    assert seen[0] == [[], []]
    assert seen[1] == [
        ["prompt cache reader", "prompt cache writer"],
        ["pilotlight_backend.prompt_cache.guarded", "pilotlight_backend.prompt_cache.storage"],
    ]


LOADS_FIRST = """
import sys, time
from pilotlight import cli
from pilotlight.server import process as server

build = server._import_and_build

def build_when_loaded(service, *given):
    deadline = time.monotonic() + 30
    while service.preload.readiness().status != "ready" and time.monotonic() < deadline:
        time.sleep(0.01)
    print(service.preload.readiness().status, "uvicorn.server" in sys.modules, flush=True)
    return build(service, *given)

server._import_and_build = build_when_loaded
cli.main(["serve", "--port", "0", "--preload", "spark", "--models-dir", sys.argv[1]])
"""


def test_models_load_while_the_http_server_is_imported(tmp_path):
    """A model to preload needs nothing of it: here it is not imported before the model is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", LOADS_FIRST, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as server:
        try:
            assert server.stdout.readline() == "ready False\n"
            assert "listens on" in server.stdout.readline()
        finally:
            server.terminate()
            assert server.wait(30) == 0


POINTS = """
import json, sys, threading
from pilotlight import cli
from pilotlight.server import process

seen = {}
listen, build, loading = process.listen, process._import_and_build, threading.Event()

def look(when):
    seen.setdefault(when, sorted(sys.modules))

def note_listening(settings):
    look("listening")
    return listen(settings)

def build_once_it_loads(service, *given):
    assert loading.wait(30)
    built = build(service, *given)
    look("serving")
    return built

class NoteImports:
    def find_spec(self, name, *_):
        if name == "pilotlight_llama_cpp.backend":  # the first thing that a load imports
            look("loading")
            loading.set()
        if name == "pilotlight.server.app":
            look("building")

process._FIRST_LOAD = 30  # a busy machine is no reason to build before the load is under way
process.listen = note_listening
process._import_and_build = build_once_it_loads
sys.meta_path.insert(0, NoteImports())
cli.main(["serve", "--port", "0", "--preload", "spark", "--models-dir", sys.argv[1]])
look("ended")
print(json.dumps(seen))
"""

FOLDERS = {
    "listening": {"cli", "config", "observability", "schema", "server"},
    "loading": {"access", "models", "scheduling"},
    "building": set(),
    "serving": {"api"},
    "ended": {"generation", "guidance", "output", "prompt"},
}
"""The folders of the service that each point adds: what is not needed for it comes later."""
SLOW = {
    *("click", "yaml.reader", "bdb", "multiprocessing", "jinja2", "numpy", "llguidance"),
    *("httpx", "prometheus_client", "attr._make"),
    *("importlib.metadata", "email.message", "zipfile", "statistics", "logging.handlers"),
}
"""Modules that take long and that no point needs. (Litestar imports pydantic if it is installed,
which it is not with the requirements of a server.)"""
OF_LITESTAR = {"importlib.metadata", "email.message", "zipfile"}
"""Those that Litestar imports, after the first answer."""
EAGER = {"health"}
"""Endpoints that are imported with the application: platforms probe a server that starts."""


def test_each_point_of_the_start_imports_what_it_needs(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", POINTS, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as server:
        try:
            url = server.stdout.readline().split()[-1]
            assert httpx.get(f"{url}/livez").status_code == 200
            asked = {"model": "spark", "messages": [{"role": "user", "content": "Hello!"}]}
            answer = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60)
            assert answer.status_code == 200
        finally:
            server.terminate()
            rest = server.stdout.read()
            assert server.wait(30) == 0
    seen = {when: set(names) for when, names in json.loads(rest.splitlines()[-1]).items()}
    assert list(seen) == list(FOLDERS)
    expected: set[str] = set()
    for when, names in seen.items():
        expected |= FOLDERS[when]
        assert parts(names, "pilotlight.", packages=True) == expected, when
        assert names & SLOW == (set() if when != "ended" else {"jinja2"} | OF_LITESTAR), when
    assert "uvicorn" not in seen["loading"]
    assert "llama_cpp.llama_cpp" in seen["building"], "llama.cpp loads before that is imported"
    assert "litestar" not in seen["serving"]
    assert "litestar" in seen["ended"], "it is imported once the server has settled"
    assert parts(seen["serving"], "pilotlight.api.endpoints.") == EAGER


def test_the_first_answer_imports_its_endpoint_alone(tmp_path):
    answered = modules(tmp_path, whole=True)["answered"]
    assert parts(answered, "pilotlight.api.endpoints.") == EAGER | {"chat", "openai"}
    assert "pilotlight.api.openapi.document" not in answered
    assert answered & {"litestar", "llguidance", "numpy", "prometheus_client"} == set()


def parts(names: set[str], prefix: str, *, packages: bool = False) -> set[str]:
    """Return the part after *prefix* of the modules *names*; of *packages*, those in folders."""
    rest = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    return {name.partition(".")[0] for name in rest if "." in name or not packages}
