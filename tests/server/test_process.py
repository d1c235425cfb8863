"""What a server says of itself when it starts."""

import asyncio
import errno
import gc
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pilotlight.config import ConfigError, Secret, Settings, load_settings
from pilotlight.scheduling.admission import Admission
from pilotlight.server.http_server import closing_on_shutdown, settle
from pilotlight.server.process import (
    banner,
    exposure_warning,
    listen,
    models_folder_warning,
    resources,
)

CLUSTER = {"K_SERVICE": "x", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.mark.parametrize(
    ("environ", "flags", "told"),
    [
        ({"K_SERVICE": "x"}, {}, "platform cloud_run (K_SERVICE is set): "),
        (CLUSTER, {}, "platform knative (K_SERVICE and KUBERNETES_SERVICE_HOST are set): "),
        ({}, {}, ""),  # a plain machine has no platform to name
        ({}, {"platform": "none"}, ""),
        ({}, {"platform": "cloud_run"}, "platform cloud_run (--platform): "),
        ({"K_SERVICE": "s"}, {"platform": "none"}, "platform none (--platform): "),
    ],
)
def test_it_says_where_it_runs_and_why(environ, flags, told):
    """With the CPUs and the memory that it found, and how long requests are held."""
    settings = load_settings(flags, environ)
    line = resources(settings, environ)
    rest = r"[0-9]+ CPUs?, [0-9.]+ GB of memory; a request waits up to [0-9]+ s for a model"
    assert re.match(re.escape(told) + rest, line)
    assert f"up to {settings.hold:g} s" in line


class Listener:
    """Listens on *host*, as far as it says."""

    def __init__(self, host: str) -> None:
        self._host = host

    def getsockname(self) -> tuple[str, int]:
        return self._host, 8080


def test_a_port_in_use_is_an_error_that_says_what_to_change():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            listen(Settings(host="127.0.0.1", port=port))
    assert str(caught.value) == (
        f"--host 127.0.0.1 --port {port}:"
        " another process listens there; stop it or set another --port"
    )


def test_an_address_of_another_machine_is_an_error():
    with pytest.raises(ConfigError) as caught:
        listen(Settings(host="192.0.2.1", port=0))
    reason = os.strerror(errno.EADDRNOTAVAIL)
    assert str(caught.value) == f"--host 192.0.2.1 --port 0: {reason}"


def test_a_models_folder_that_is_missing_is_a_warning(tmp_path):
    """A misspelled path looks like a server without models."""
    file = tmp_path / "file"
    file.touch()
    assert models_folder_warning(tmp_path) is None
    assert models_folder_warning(file).startswith(f"--models-dir {file}: not a folder; ")
    missing = tmp_path / "nowhere"
    assert models_folder_warning(missing).startswith(f"--models-dir {missing}: no such folder; ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "fe80::1%eth0"])  # noqa: S104 - what is looked at
def test_it_warns_where_others_reach_it(host):
    """The address and what to do about it."""
    warning = exposure_warning(Listener(host))
    assert warning.startswith(f"anyone who can reach {host} can use this server")
    assert "--api-keys-file" in warning


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_it_does_not_warn_where_nobody_else_does(host):
    """Asked for by name, the socket still says an address."""
    with socket.create_server(
        (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
    ) as listener:
        assert exposure_warning(listener) is None


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, False),
        ({"api_keys": Secret("s3cret")}, True),
        ({"api_keys_file": Path("/keys")}, True),
        ({"trusted_proxies": ("10.0.0.1",)}, False),
    ],
)
def test_the_lines_to_paste_have_a_place_for_the_key(settings, needed):
    """Where a key is required; the error does not reveal which."""
    printed = banner(Settings(**settings), Listener("127.0.0.1"))
    lines = [line for line in printed.splitlines() if "curl" in line]
    assert len(lines) == 2
    for line in lines:
        assert ('-H "Authorization: Bearer $KEY"' in line) == needed
    assert "s3cret" not in printed


@pytest.mark.parametrize(("ends", "headers"), [(False, []), (True, [(b"connection", b"close")])])
async def test_a_server_that_ends_keeps_no_connection(ends, headers):
    """Its answers say so, and only then; the rest of them is as it was."""
    sent = []

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    async def note(message):
        sent.append(message)

    await closing_on_shutdown(app, lambda: ends)({"type": "http"}, None, note)
    assert sent == [
        {"type": "http.response.start", "status": 200, "headers": headers},
        {"type": "http.response.body", "body": b"x"},
    ]


@pytest.fixture
def frozen_before() -> Iterator[None]:
    """Stop garbage collection for one test, as in a start."""
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.usefixtures("frozen_before")
async def test_what_is_there_for_good_is_not_collected(monkeypatch):
    """What the start built is set aside at once, and what preloading brought when it is done."""
    monkeypatch.setattr("pilotlight.server.http_server._FIRST_REQUEST", 0.01)
    loading = asyncio.Event()
    imported: list[str] = []
    service = SimpleNamespace(
        preloaded=loading.wait, preload=SimpleNamespace(names=("m",)), admission=Admission()
    )
    task = asyncio.create_task(settle(service, lambda: imported.append("rest")))
    await asyncio.sleep(0)
    started = gc.get_freeze_count()
    assert started > 1000
    assert gc.isenabled()
    brought = [[number] for number in range(100)]
    assert imported == []
    loading.set()
    await task
    assert imported == ["rest"]
    assert gc.get_freeze_count() > started
    assert not any(one is brought for one in gc.get_objects())


@pytest.mark.usefixtures("frozen_before")
async def test_requests_that_waited_for_a_preload_come_before_the_other_endpoints():
    loading, imported = asyncio.Event(), asyncio.Event()
    admission = Admission()
    loop = asyncio.get_running_loop()
    service = SimpleNamespace(
        preloaded=loading.wait, preload=SimpleNamespace(names=("m",)), admission=admission
    )
    task = asyncio.create_task(settle(service, lambda: loop.call_soon_threadsafe(imported.set)))
    with admission.request():
        loading.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not imported.is_set()
    await asyncio.wait_for(task, 10)
    await asyncio.wait_for(imported.wait(), 10)


@pytest.mark.usefixtures("frozen_before")
async def test_requests_in_the_socket_come_before_the_other_endpoints(monkeypatch):
    """The model was ready before the server accepted them."""
    monkeypatch.setattr("pilotlight.server.http_server._FIRST_REQUEST", 30.0)
    ready, imported = asyncio.Event(), asyncio.Event()
    ready.set()
    admission = Admission()
    loop = asyncio.get_running_loop()
    service = SimpleNamespace(
        preloaded=ready.wait, preload=SimpleNamespace(names=("m",)), admission=admission
    )
    task = asyncio.create_task(settle(service, lambda: loop.call_soon_threadsafe(imported.set)))
    for _ in range(5):
        await asyncio.sleep(0)
    with admission.request():
        assert not imported.is_set()
    await asyncio.wait_for(task, 10)
    await asyncio.wait_for(imported.wait(), 10)


@pytest.mark.usefixtures("frozen_before")
async def test_without_models_to_preload_the_first_request_comes_before_the_other_endpoints():
    admission = Admission()
    imported = asyncio.Event()
    loop = asyncio.get_running_loop()
    service = SimpleNamespace(admission=admission, preload=SimpleNamespace(names=()))
    task = asyncio.create_task(settle(service, lambda: loop.call_soon_threadsafe(imported.set)))
    with admission.request():
        with admission.request():
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # one has ended, and another one is in flight
        assert not imported.is_set()
        began = [[number] for number in range(100)]
    await asyncio.wait_for(task, 10)
    await asyncio.wait_for(imported.wait(), 10)
    assert any(one is began for one in gc.get_objects()), "what a request made is not frozen"
