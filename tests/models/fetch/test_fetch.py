"""Fetching over HTTP: whole files, interrupted ones, and those that are not what they should be."""

import fcntl
import hashlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pilotlight.models.fetch import download as module
from pilotlight.models.fetch.address import Address, Origin, parse_address
from pilotlight.models.fetch.download import Retries
from pilotlight.models.fetch.failure import FetchFailed
from pilotlight.models.fetch.fetch import fetch
from pilotlight.models.fetch.progress import FetchProgress

pytestmark = pytest.mark.slow

KILO = 1024
DATA = random.Random(7).randbytes(300 * KILO + 5)  # noqa: S311 - the same in each run
SHA256 = hashlib.sha256(DATA).hexdigest()
AT_ONCE = Retries(tries=3, wait=0.0)


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RANGE", 32 * KILO)


@pytest.fixture
def root(models_dir: Path) -> Path:
    return models_dir / "m.gguf"


@pytest.fixture
def address(server) -> Address:
    server.files["/m.gguf"] = DATA
    return parse_address(f"{server.url}/m.gguf")


def bring(address: Address, root: Path, note=lambda _: None, **options) -> bool:
    return bool(fetch([Origin(address, root)], note, **({"retries": AT_ONCE} | options)))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def stop_when_standing(server):
    """Return a listener that ends the fetch once an answer stands still."""

    class Stop(Exception):
        pass

    def note(_: FetchProgress) -> None:
        if server.stands.acquire(blocking=False):
            raise Stop

    return Stop, note


# Whole


def test_file_comes_by_ranges(server, address, root):
    """Each byte is asked for once, and the file is in its place with a note of where it is from."""
    assert bring(address, root)
    assert root.read_bytes() == DATA
    assert server.spans() == [
        (at, min(at + 32 * KILO, len(DATA)) - 1) for at in range(0, len(DATA), 32 * KILO)
    ]
    assert names(root.parent) == [".m.gguf.origin", "m.gguf"]


def test_file_that_is_there_is_not_asked_for(server, address, root):
    """What was fetched once is whole; the source is left alone."""
    bring(address, root)
    server.asked.clear()
    assert not bring(address, root)
    assert server.asked == []


def test_progress_ends_with_the_whole(address, root):
    """The last report has every byte."""
    seen: list[FetchProgress] = []
    bring(address, root, seen.append)
    assert (seen[-1].bytes_done, seen[-1].bytes_total, seen[-1].bytes_kept) == (
        len(DATA),
        len(DATA),
        0,
    )


def test_server_without_ranges(server, address, root):
    """It is read in one piece."""
    server.ranges = False
    assert bring(address, root)
    assert root.read_bytes() == DATA
    assert [path for path, _ in server.asked] == ["/m.gguf", "/m.gguf"]


def test_split_file_comes_with_all_its_parts(server, models_dir):
    """Any part names them all; they come into one folder."""
    parts = {f"/m-{n:05}-of-00003.gguf": DATA[n * 1000 : n * 1000 + 999] for n in (1, 2, 3)}
    server.files |= parts
    assert bring(parse_address(f"{server.url}/m-00002-of-00003.gguf"), models_dir / "m")
    assert {
        f"/{name}": (models_dir / "m" / name).read_bytes() for name in names(models_dir / "m")
    } == parts


def test_files_that_are_added_to_a_fetched_folder_do_not_count(server, models_dir):
    """A chat template or a baked prompt beside the parts leaves the model what it is."""
    server.files |= {f"/m-{n:05}-of-00002.gguf": DATA[:999] for n in (1, 2)}
    address = parse_address(f"{server.url}/m-00001-of-00002.gguf")
    assert bring(address, models_dir / "m")
    (models_dir / "m" / "m-00001-of-00002.gguf.baked").write_bytes(b"baked")
    (models_dir / "m" / "chat.jinja").write_text("{{ messages }}")
    server.asked.clear()
    assert not bring(address, models_dir / "m")
    assert server.asked == []


@pytest.mark.parametrize("damage", [Path.unlink, lambda part: part.write_bytes(b"short")])
def test_fetched_folder_that_lacks_a_part_is_named(server, models_dir, damage):
    """It is not fetched over what a user may have put there."""
    server.files |= {f"/m-{n:05}-of-00002.gguf": DATA[:999] for n in (1, 2)}
    address = parse_address(f"{server.url}/m-00001-of-00002.gguf")
    assert bring(address, models_dir / "m")
    damage(models_dir / "m" / "m-00002-of-00002.gguf")
    with pytest.raises(FetchFailed, match=r"m is already .* has changed since it was fetched from"):
        bring(address, models_dir / "m")


def test_redirect_is_followed(server, root):
    """An address may lead to another one."""
    server.files["/there"] = DATA
    server.redirects["/m.gguf"] = "/there"
    assert bring(parse_address(f"{server.url}/m.gguf"), root)
    assert root.read_bytes() == DATA


# Interrupted


def test_lost_connections_and_busy_answers_are_tried_again(server, address, root):
    """An answer that breaks off is continued, a 503 repeated."""
    seen: set[int] = set()

    def trouble(_, span):
        if span == (0, 0) or span[1] in seen:
            return None
        seen.add(span[1])
        return 503 if len(seen) % 2 else "cut"

    server.trouble = trouble
    assert bring(address, root)
    assert root.read_bytes() == DATA


def test_cut_answers_without_ranges_begin_anew(server, address, root):
    """Where nothing can be continued, a part is never taken for the whole."""
    server.ranges = False
    count = iter(range(10))
    server.trouble = lambda *_: "cut" if next(count) in (1, 2) else None
    assert bring(address, root)
    assert root.read_bytes() == DATA
    assert len(server.asked) == 4


def test_server_that_stays_busy_is_given_up(server, address, root):
    """The number of tries is bounded; the error may pass, and what is there stays."""
    server.trouble = lambda _, span: None if span and span[0] < 64 * KILO else 503
    with pytest.raises(FetchFailed, match="the server answered 503, 3 times") as caught:
        bring(address, root, connections=1)
    assert not caught.value.permanent
    assert not root.exists()
    server.asked.clear()
    server.trouble = lambda *_: None
    assert bring(address, root)
    assert root.read_bytes() == DATA
    assert server.spans()[0][0] == 64 * KILO


def test_stopped_fetch_goes_on(server, address, root):
    """What ends a fetch leaves nothing that looks whole; the next asks for what is missing."""
    server.gate.clear()
    server.free = 4
    stop, note = stop_when_standing(server)
    with pytest.raises(stop):
        bring(address, root, note, connections=2)
    assert names(root.parent) == [".m.gguf.part/files/m.gguf", ".m.gguf.part/state.json"]
    done = sum(last - first + 1 for first, last in server.spans()[:4])
    server.gate.set()
    server.asked.clear()
    seen: list[FetchProgress] = []
    assert bring(address, root, seen.append)
    assert root.read_bytes() == DATA
    assert seen[-1].bytes_kept >= done
    assert (
        sum(last - first + 1 for first, last in server.spans()) == len(DATA) - seen[-1].bytes_kept
    )


def test_fetch_leaves_no_thread_and_no_file_open(server, address, root):
    """Neither one that succeeds nor one that fails."""

    def here() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    server.trouble = lambda *_: 404
    with pytest.raises(FetchFailed):
        bring(address, root)
    files = here()[1]
    server.trouble = lambda *_: None
    bring(address, root)
    assert here()[1] <= files + 2  # the server's own
    assert not [t.name for t in threading.enumerate() if t.name.startswith("asyncio")]


@pytest.mark.parametrize("etag", ['"2"', None])
def test_another_version_begins_anew(server, address, root, etag):
    """Bytes of an older file, or of one without a version, are discarded."""
    server.gate.clear()
    server.free = 4
    stop, note = stop_when_standing(server)
    with pytest.raises(stop):
        bring(address, root, note, connections=2)
    server.gate.set()
    server.asked.clear()
    server.etag = etag
    server.files["/m.gguf"] = DATA[::-1]
    assert bring(address, root)
    assert root.read_bytes() == DATA[::-1]
    assert sum(last - first + 1 for first, last in server.spans()) == len(DATA)


def test_file_that_changes_meanwhile_begins_anew(server, address, root):
    """Bytes of two versions are never mixed."""

    def trouble(_, span):
        if span and span[0] == 128 * KILO and server.etag == '"1"':
            server.etag = '"2"'
            server.files["/m.gguf"] = DATA[::-1]

    server.trouble = trouble
    assert bring(address, root)
    assert root.read_bytes() == DATA[::-1]


def test_file_that_always_changes_is_given_up(server, address, root):
    """The second change in one fetch is an error that may pass."""

    def trouble(*_):
        server.etag = f'"{len(server.asked)}"'

    server.trouble = trouble
    with pytest.raises(FetchFailed, match="changed during the fetch") as caught:
        bring(address, root)
    assert not caught.value.permanent
    assert names(root.parent) == []


def test_state_that_is_damaged_is_as_none(address, root):
    """It is never trusted: everything is fetched."""
    staging = root.parent / ".m.gguf.part"
    (staging / "files").mkdir(parents=True)
    (staging / "files" / "m.gguf").write_bytes(b"x" * len(DATA))
    (staging / "state.json").write_bytes(b'[{"name": "m.gguf", "si')
    assert bring(address, root)
    assert root.read_bytes() == DATA


# Wrong


def test_right_sha256(address, root):
    """It is compared with the whole file."""
    assert bring(parse_address(f"{address.url}#sha256={SHA256.upper()}"), root)


def test_wrong_sha256(address, root):
    """The file is the file was deleted, the error names both sums and cannot pass."""
    with pytest.raises(FetchFailed, match=f"{SHA256}, expected {'0' * 64}") as caught:
        bring(parse_address(address.url, "0" * 64), root)
    assert caught.value.permanent
    assert names(root.parent) == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, r"no such file \(404\)"),
        (403, r"access is denied \(403\)"),
        (401, r"credentials are required \(401\)"),
        (410, r"the server refused \(410\)"),
    ],
)
def test_refusals_cannot_pass(server, address, root, status, reason):
    """They are asked for once, and nothing is left behind."""
    server.trouble = lambda *_: status
    with pytest.raises(FetchFailed, match=reason) as caught:
        bring(address, root)
    assert caught.value.permanent
    assert len(server.asked) == 1
    assert names(root.parent) == []


def test_errors_show_no_secret(server, root):
    """Neither a password nor a signature is in a message."""
    url = server.url.replace("http://", "http://me:pass-word@")
    with pytest.raises(FetchFailed) as caught:
        bring(parse_address(f"{url}/m.gguf?X-Signature=secret"), root)
    assert str(caught.value) == f"{server.url}/m.gguf: no such file (404)"
    assert caught.value.__cause__ is None


def test_nobody_listens(root):
    """A refused connection may pass."""
    with pytest.raises(FetchFailed, match=r"cannot connect to 127\.0\.0\.1") as caught:
        bring(parse_address("http://127.0.0.1:1/m.gguf?secret"), root)
    assert not caught.value.permanent
    assert "secret" not in str(caught.value)


def test_server_that_tells_no_size(server, address, root):
    """A file of unknown size cannot be known to be whole."""
    server.ranges = server.sized = False
    with pytest.raises(FetchFailed, match="does not report the size"):
        bring(address, root)


def test_empty_file(server, root):
    """It is no model."""
    server.files["/m.gguf"] = b""
    with pytest.raises(FetchFailed, match="it is empty"):
        bring(parse_address(f"{server.url}/m.gguf"), root)


def test_redirects_in_a_circle(server, root):
    """They end."""
    server.redirects["/m.gguf"] = "/m.gguf?secret"
    with pytest.raises(FetchFailed, match="too many redirects") as caught:
        bring(parse_address(f"{server.url}/m.gguf"), root)
    assert "secret" not in str(caught.value)


def test_disk_without_room(address, root, monkeypatch):
    """It is found out before anything is fetched."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": len(DATA) - 1}))
    with pytest.raises(FetchFailed, match="to fetch, 307204 bytes free"):
        bring(address, root)
    assert not root.exists()


def test_folder_that_cannot_be_written(address, tmp_path):
    """The error says why and cannot pass."""
    (tmp_path / "models").write_text("a file")
    with pytest.raises(
        FetchFailed, match="cannot write to the models folder: File exists"
    ) as caught:
        bring(address, tmp_path / "models" / "m.gguf")
    assert caught.value.permanent


def test_place_that_is_taken(server, address, root):
    """A file of another origin is never replaced, nor taken for the model."""
    root.parent.mkdir()
    root.write_bytes(b"mine")
    with pytest.raises(FetchFailed, match="is already in the models folder") as caught:
        bring(address, root)
    assert caught.value.permanent
    assert root.read_bytes() == b"mine"
    assert server.asked == []


def test_sha256_that_is_added_later_is_checked(address, root):
    """Against the file that is there: it is the right one, or stays and is not loaded."""
    assert bring(address, root)
    assert not bring(parse_address(f"{address.url}#sha256={SHA256}"), root)
    with pytest.raises(FetchFailed, match=r"m\.gguf is already .* has another sha256 than"):
        bring(parse_address(f"{address.url}#sha256={'0' * 64}"), root)
    assert root.read_bytes() == DATA


def test_place_that_is_taken_by_the_same_file(server, address, root):
    """A matching sha256 proves that it is the right file."""
    root.parent.mkdir()
    root.write_bytes(DATA)
    assert not bring(parse_address(f"{address.url}#sha256={SHA256}"), root)
    assert server.asked == []


# Several at once


def test_two_fetch_one_file(server, address, root):
    """One fetches, the other waits and uses it; the source is asked once for each byte."""
    with ThreadPoolExecutor() as threads:
        outcomes = list(threads.map(lambda _: bring(address, root), range(2)))
    assert sorted(outcomes) == [False, True]
    assert root.read_bytes() == DATA
    assert len(server.spans()) == 10
    assert names(root.parent) == [".m.gguf.origin", "m.gguf"]


def test_nobody_waits_for_a_fetch_that_is_alone(address, root):
    """The phase `wait` is for another process, so it is reported only if there is one."""
    phases: list[str] = []
    assert bring(address, root, lambda progress: phases.append(progress.phase))
    assert phases[0] == "fetch"
    assert "wait" not in phases


def test_the_one_that_waits_takes_over(server, address, root):
    """Where the first ends without the file, the second fetches it."""
    root.parent.mkdir()
    with (root.parent / ".m.gguf.lock").open("w") as held, ThreadPoolExecutor() as threads:
        fcntl.flock(held, fcntl.LOCK_EX)
        waits = threading.Event()

        def note(progress: FetchProgress) -> None:
            if progress.phase == "wait":
                waits.set()

        second = threads.submit(bring, address, root, note)
        assert waits.wait(30)
        assert server.asked == []
        held.close()
        assert second.result(30)
    assert root.read_bytes() == DATA
