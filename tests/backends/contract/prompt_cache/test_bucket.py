"""States in S3 and in Google Cloud Storage, through obstore, on a server of this machine."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pilotlight_backend.prompt_cache import PromptCache, Snapshot, bucket
from pilotlight_backend.prompt_cache.bucket import Bucket, is_known_to_obstore, open_bucket
from pilotlight_backend.prompt_cache.guarded import GuardedStorage
from tests.backends.contract.prompt_cache.object_server import object_server

obstore = pytest.importorskip("obstore")

AWS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture
def server():
    with object_server() as server:
        yield server


@pytest.fixture(params=["s3", "gs"])
def opened(request, server, monkeypatch):
    """Return a bucket below the prefix `states`."""
    monkeypatch.setattr(bucket, "_RETRIES", {"max_retries": 0})
    if request.param == "s3":
        for name, value in {**AWS, "AWS_ENDPOINT_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        return open_bucket("s3://bucket/states")
    return Bucket(
        obstore.store.GCSStore(
            "bucket",
            prefix="states",
            config={"base_url": server.url},
            credential_provider=lambda: {"token": "token", "expires_at": None},
            client_options=bucket._CLIENT,
            retry_config=bucket._RETRIES,
        )
    )


def cache(storage) -> PromptCache:
    files = GuardedStorage(lambda: storage, prefix="abc-", limit=None, ttl=None)
    return PromptCache(identity="abc", memory_limit=0, files=files)


def stored(one: PromptCache, tokens: range, state: bytes) -> None:
    one.put("", tokens, Snapshot(state=state), least=1, store=True)
    assert one.wait(10)


def fetched(one: PromptCache, tokens: range):
    found, done = [], threading.Event()

    def note(what) -> None:
        found.append(what)
        done.set()

    prompt = [*tokens, -1]
    begun = one.fetch("", prompt, len(tokens), have=0, seconds_per_token=1.0, done=note)
    assert not begun or done.wait(10)
    return found[0] if begun else None


def test_what_one_instance_stores_another_one_finds(opened, server):
    first = cache(opened)
    stored(first, range(100), b"one" * 50)
    stored(first, range(1000, 1200), b"two" * 70)
    first.close(10)
    assert all(key.startswith("states/abc-") for key in server.objects)
    second = cache(opened)
    assert bytes(fetched(second, range(1000, 1200)).snapshot.state) == b"two" * 70
    assert fetched(second, range(500, 600)) is None
    second.clear()
    second.close(10)
    assert server.objects == {}


def test_header_that_is_longer_than_what_is_read_at_first(opened):
    tokens = range(bucket.GUESS // 4 + 500)
    stored(cache(opened), tokens, b"s")
    assert fetched(cache(opened), tokens).tokens == len(tokens)


def test_large_state_is_read_in_pieces_and_written_in_one(opened, server, monkeypatch):
    """What is left of an upload in parts, when its process is killed, is paid for."""
    monkeypatch.setattr(bucket, "_PIECE", 1000)
    data = bytes(range(256)) * 20
    opened.write("a.state", [data[:7], memoryview(data)[7:]])
    assert [method for method, _, _ in server.asked] == ["PUT"]
    assert bytes(opened.read("a.state")) == data
    spans = sorted(span for method, _, span in server.asked if method == "GET")
    assert len(spans) == 6
    assert "bytes=5000-5119" in spans


def test_files_are_those_of_the_prefix_alone(opened, server):
    server.objects |= {
        "states/a.state": b"four", "states/notes.txt": b"", "states/deep/b.state": b"",
        "states-of-others/c.state": b"", "d.state": b"",
    }  # fmt: skip
    (file,) = opened.files()
    assert (file.name, file.size) == ("a.state", 4)
    assert datetime.fromtimestamp(file.used, UTC).year == 2026


def test_object_that_is_gone(opened, server):
    server.objects["states/empty.state"] = b""
    opened.write("a.state", [b"state"])
    files = opened.files()
    server.objects.pop("states/a.state")
    assert list(opened.starts(files)) == []
    with pytest.raises(FileNotFoundError):
        opened.read("a.state")
    opened.delete("a.state")


@pytest.mark.parametrize("status", [403, 503])
def test_bucket_that_refuses_is_an_os_error_in_a_line(opened, server, status):
    opened.write("a.state", [b"state"])
    files = opened.files()
    server.status = status
    for use in (
        opened.files,
        lambda: list(opened.starts(files)),
        lambda: opened.read("a.state"),
        lambda: opened.write("b.state", [b"state"]),
        lambda: opened.delete("a.state"),
    ):
        with pytest.raises(OSError) as refused:  # noqa: PT011 - its text is the library's
            use()
        assert "\n" not in str(refused.value.strerror)


@pytest.mark.parametrize(
    ("address", "environment", "is_known"),
    [
        ("s3://b", AWS, True),
        ("s3://b", {"AWS_REGION": "eu-west-1"}, True),
        ("s3://b", {"AWS_ENDPOINT_URL": "http://minio:9000"}, True),
        ("s3://b", {}, False),
        ("s3://b", {"AWS_REGION": "eu-west-1", "AWS_PROFILE": "work"}, False),
        ("s3://b", {**AWS, "AWS_PROFILE": "work"}, True),
        ("s3://b", {**AWS, "FSSPEC_S3_KEY": "key"}, False),
        ("gs://b", {}, True),
        ("gs://b", {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}, False),
    ],
)
def test_what_obstore_does_not_know_is_left_to_fsspec(address, environment, is_known, tmp_path):
    assert is_known_to_obstore(address, environment, tmp_path) is is_known


def test_profile_of_the_aws_cli_is_left_to_fsspec(tmp_path: Path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").touch()
    here = {"AWS_REGION": "eu-west-1"}
    assert not is_known_to_obstore("s3://b", here, tmp_path)
    assert is_known_to_obstore("s3://b", AWS, tmp_path)
