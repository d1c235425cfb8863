"""Build the image with podman, run it as a careful platform would, and see that it serves and ends.

    .venv-dev/bin/python tests/container/image.py --backend onnx

Where no registry can be reached, `--base-image localhost/python-base` names an image that is there;
where the network has a CA of its own, `--ca-bundle FILE` lends it to the build.
"""

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event

import httpx

REPOSITORY = Path(__file__).parents[2]
PYTHON = "/app/bin/python"
SBOM = "/usr/share/doc/pilotlight/sbom.cdx.json"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # where the build's secret is mounted
COMPRESSIONS = ("gzip", "zstd")
EMPTY_LAYER = 0.001  # megabytes
STARTS = 5
# Many times the four slots, so that SIGTERM finds answers under way and others waiting; and few
# enough to be over within the grace of 8 s.
STREAMS = 48
# No capability, no way to gain one, nothing to write on, not even /tmp; and little of the rest.
HARDENED = (
    "--read-only --read-only-tmpfs=false --cap-drop ALL --security-opt no-new-privileges"
    " --memory 1g --cpus 2 --pids-limit 128"
)


def podman(*arguments: str) -> str:
    """Return what podman prints; its errors go where ours go."""
    command = ["podman", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def with_model(image: str, model: Path) -> str:
    """Return an image that has *model* in a layer of its own, as infra/README.md describes it."""
    made = f"{image}-{model.stem.lower()}"
    with TemporaryDirectory(prefix="pilotlight-model-", dir=model.parent) as folder:
        (Path(folder) / model.name).hardlink_to(model)
        recipe = f"FROM {image}\nCOPY --chmod=755 {model.name} /models/\n"
        (Path(folder) / "Containerfile").write_text(recipe, encoding="utf-8")
        podman("build", "--quiet", f"--tag={made}", folder)
    return made


def build(image: str, options: argparse.Namespace) -> float:
    """Build *image* and return the seconds that it took."""
    arguments = [f"--build-arg=BACKEND={options.backend}"]
    if options.base_image:
        arguments.append(f"--build-arg=BASE_IMAGE={options.base_image}")
    if options.ca_bundle:
        arguments.append(f"--secret=id=ca_bundle,src={options.ca_bundle}")
        arguments.append(f"--build-arg=SSL_CERT_FILE={CA_BUNDLE}")
    began = time.monotonic()
    command = ["podman", "build", f"--tag={image}", *arguments, str(REPOSITORY)]
    subprocess.run(command, check=True)
    return time.monotonic() - began


def layers(image: str) -> Iterator[tuple[str, float, dict[str, float]]]:
    """Yield what made each layer, its megabytes, and its megabytes as pushed, by compression."""
    history = json.loads(podman("history", "--no-trunc", "--format=json", image))
    made = [one for one in reversed(history) if one["size"]]
    pushed = {how: pushed_layers(image, how) for how in COMPRESSIONS}
    for number, layer in enumerate(made):
        sizes = {how: pushed[how][number] for how in COMPRESSIONS}
        yield instruction(layer["CreatedBy"]), layer["size"] / 1e6, sizes


def instruction(created_by: str) -> str:
    """Return the instruction, without the shell that ran it and the digest of what it copied."""
    words = created_by.partition("#(nop)")[2] or created_by
    return re.sub(r"\b(file|dir|multi):\w+", r"\1", " ".join(words.split()))


def pushed_layers(image: str, compression: str) -> list[float]:
    """Return the megabytes of each layer that `podman push` would send."""
    with TemporaryDirectory(prefix="pilotlight-layers-") as folder:
        flags = ("--quiet", f"--compression-format={compression}")
        podman("push", *flags, image, f"oci:{folder}:image")
        blobs = Path(folder) / "blobs" / "sha256"
        index = json.loads((Path(folder) / "index.json").read_text(encoding="utf-8"))
        manifest = json.loads((blobs / digest(index["manifests"][0])).read_text(encoding="utf-8"))
        sizes = [(blobs / digest(one)).stat().st_size / 1e6 for one in manifest["layers"]]
    # Instructions that write nothing have an empty layer each; gzip and zstd need 32 bytes or less.
    return [size for size in sizes if size > EMPTY_LAYER]


def digest(descriptor: dict[str, str]) -> str:
    return descriptor["digest"].partition(":")[2]


def report_layers(image: str) -> None:
    for made_by, size, pushed in layers(image):
        sent = ", ".join(f"{megabytes:.2f} as {how}" for how, megabytes in pushed.items())
        report(f"layer of {size:.2f} MB", f"{sent} · {made_by[:60]}")


def printed(image: str, program: str, *arguments: str) -> str:
    """Return what a *program* of the image's prints."""
    return podman("run", "--rm", "--network=none", f"--entrypoint={program}", image, *arguments)


INSTALLED = """
from importlib.metadata import distributions
print(*sorted(f"{one.name} {one.version}" for one in distributions()), sep="\\n")
"""
DECODED = """
from io import BytesIO
from PIL import Image
for name in ("JPEG", "PNG", "GIF", "WEBP", "BMP"):
    Image.new("RGB", (3, 2), "red").save(file := BytesIO(), name)
    Image.open(file, formats=[name]).load()
"""
PACKAGE = "${db:Status-Status} ${Package} ${Version}\\n"


def unlisted(image: str) -> Sequence[str]:
    """Return what the image has and its SBOM does not list."""
    written = json.loads(printed(image, "cat", SBOM))
    listed = [written["metadata"]["component"], *written["components"]]
    told = {f"{one['name']} {one.get('version')}" for one in listed}
    report("listed in the SBOM", f"{len(listed)} components")
    there = printed(image, PYTHON, "-c", INSTALLED).splitlines()
    for package in printed(image, "dpkg-query", "--show", f"--showformat={PACKAGE}").splitlines():
        state, _, name = package.partition(" ")
        if state == "installed":
            there.append(name)
    return [f"not in the SBOM: {one}" for one in there if one not in told]


class Container:
    """A running container; *listening* and *ready* are seconds since `podman run`."""

    def __init__(self, image: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        began = time.monotonic()
        self.id = podman(
            *("run", "--detach", "--network=host", f"--env=PORT={port}"),
            *("--env=PILOTLIGHT_PRELOAD=spark", *HARDENED.split(), image),
        )
        while not self._listens(port):
            self._expect_running(began)
        self.listening = time.monotonic() - began
        while httpx.get(f"{self.url}/readyz", timeout=30).status_code != 200:
            self._expect_running(began)
        self.ready = time.monotonic() - began

    def _listens(self, port: int) -> bool:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    def _expect_running(self, began: float) -> None:
        time.sleep(0.005)
        if time.monotonic() - began > 60:
            sys.exit(f"it does not get ready:\n{podman('logs', self.id)}")

    def resident_megabytes(self) -> float:
        pid = podman("inspect", "--format={{.State.Pid}}", self.id)
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self) -> int:
        """Stop it as platforms do, SIGTERM and ten seconds; return the exit code."""
        podman("stop", "--time=10", self.id)
        return int(podman("inspect", "--format={{.State.ExitCode}}", self.id))


@contextmanager
def running(image: str) -> Iterator[Container]:
    """Run *image* for as long as the context lasts."""
    container = Container(image)
    try:
        yield container
    finally:
        podman("rm", "--force", container.id)


def ask(url: str) -> str:
    """Return spark's answer to a sum."""
    response = httpx.post(f"{url}/v1/chat/completions", json=request("What is 2+2?"), timeout=60)
    return response.raise_for_status().json()["choices"][0]["message"]["content"]


def request(text: str, **fields: object) -> dict[str, object]:
    message = {"role": "user", "content": text}
    return {"model": "spark", "temperature": 0, "messages": [message], **fields}


def stream(client: httpx.Client, sent: Event) -> tuple[str, float]:
    """Return how a streamed answer ended, and when; set *sent* when the request is out."""

    def trace(event: str, _: object) -> None:
        if event == "http11.receive_response_headers.started":
            sent.set()

    body = request("Count from 1 to 20.", stream=True)
    last = ""
    with client.stream(
        "POST", "/v1/chat/completions", json=body, extensions={"trace": trace}
    ) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if line == "data: [DONE]":
                return json.loads(last)["choices"][0]["finish_reason"], time.monotonic()
            last = line.removeprefix("data: ") or last
    return f"no [DONE] after {last!r}", time.monotonic()


def stop_during_streams(container: Container) -> Sequence[str]:
    """Stop the container while it streams; return what went wrong."""
    sent = [Event() for _ in range(STREAMS)]
    client = httpx.Client(
        base_url=container.url, timeout=60, limits=httpx.Limits(max_connections=None)
    )
    with client, ThreadPoolExecutor(STREAMS) as pool:
        streams = [pool.submit(stream, client, one) for one in sent]
        for one in sent:
            one.wait(30)
        client.get("/livez")  # connections are accepted in turn: the streams' have been, too
        stopped = time.monotonic()
        code = container.stop()
        wait(streams)
    wrong = [] if code == 0 else [f"exit code {code}"]
    failed = [str(one.exception()) for one in streams if one.exception()]
    ends = [one.result() for one in streams if not one.exception()]
    late = sum(when > stopped for _, when in ends)
    report("streams that ended after the stop", f"{late} of {STREAMS}")
    if late == 0:
        wrong.append("every stream was over before the stop: it shows nothing")
    return wrong + failed + [f"a stream ended: {why}" for why, _ in ends if why != "stop"]


def report(what: str, value: str) -> None:
    print(f"{what:<36}{value}", flush=True)  # noqa: T201 - a command's output


def main() -> None:
    """Build, run, look, stop; the exit status tells whether it all went well."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="llama_cpp", help='"llama_cpp onnx" for both')
    parser.add_argument("--base-image", help="in place of the Containerfile's default")
    parser.add_argument("--ca-bundle", help="certificates that the build needs")
    parser.add_argument("--layers", metavar="IMAGE", help="only print the layers of this image")
    parser.add_argument("--model", type=Path, help="with --layers: the model to put on top of it")
    options = parser.parse_args()
    if shutil.which("podman") is None:
        sys.exit("podman is not installed")

    if options.layers:
        image = options.layers
        report_layers(with_model(image, options.model) if options.model else image)
        return
    image = "localhost/pilotlight-" + options.backend.replace("_", "-").replace(" ", "-")
    report("built in", f"{build(image, options):.0f} s")
    report("size, base image included", f"{megabytes(image):.0f} MB")
    if options.base_image:
        report("base image", f"{megabytes(options.base_image):.0f} MB")
    report_layers(image)
    listening, ready, wrong = [], [], [*unlisted(image)]
    printed(
        image, PYTHON, "-c", "import pilotlight.observability.otel"
    )  # the extra is there, and slim enough
    printed(image, PYTHON, "-c", DECODED)
    for start in range(STARTS):
        with running(image) as container:
            listening.append(container.listening)
            ready.append(container.ready)
            if start < STARTS - 1:
                continue
            answer = ask(container.url)
            report("2+2", answer)
            if "4" not in answer:
                wrong.append(f"2+2: {answer}")
            report("resident memory", f"{container.resident_megabytes():.0f} MB")
            wrong += stop_during_streams(container)
    report("from `podman run` to listening", f"{median(listening):.2f} s, of {STARTS} the median")
    report("from `podman run` to spark ready", f"{median(ready):.2f} s")
    sys.exit("\n".join(wrong) or 0)


def megabytes(image: str) -> float:
    return int(podman("image", "inspect", "--format={{.Size}}", image)) / 1e6


if __name__ == "__main__":
    main()
