"""The load generator: its figures, a real server, and servers that cannot be measured."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from pilotlight.cli import main
from pilotlight.cli.bench.streams import (
    RoundFigures,
    StreamFailed,
    StreamFigures,
    run_round,
    table,
)
from pilotlight.config import Settings
from pilotlight.server.app import create_app
from pilotlight_backend.testing.fake import FakeBackend, FakeModel

ROUND = RoundFigures(2, 4.0, [StreamFigures(1.0, 3.0, 10, 9), StreamFigures(2.0, 4.0, 10, 5)])
USAGE = {"prompt_tokens": 7, "completion_tokens": 2}


@pytest.fixture
def url(tmp_path: Path, serve: Callable) -> str:
    """Serve the model `m`, which answers with four words."""
    FakeModel(reply="one two three four").write(tmp_path / "m.fake")
    settings = Settings(models_dir=tmp_path, models_file=tmp_path / "none.yaml")
    return f"{serve(create_app(settings, backends={'fake': FakeBackend()})).url}/v1"


def one_round(*chunks: object, status: int = 200, end: str = "data: [DONE]\n\n") -> RoundFigures:
    """Measure two streams of a server that sends *chunks*."""
    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + end

    async def pieces() -> AsyncIterator[bytes]:
        yield text.encode()

    async def run() -> RoundFigures:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, content=pieces()))
        async with httpx.AsyncClient(transport=transport, base_url="http://peer/v1") as client:
            return await run_round(client, model="m", streams=2, prompt_words=3, max_tokens=2)

    return asyncio.run(run())


def test_figures_of_a_round():
    """The first token's share of the time is left out of decoding's, and its token too."""
    assert ROUND.tokens_per_second == 14 / 4
    assert ROUND.decode_tokens_per_second == 12 / (4.0 - 2.0)
    assert ROUND.first_token == 1.5


def test_streams_of_one_token_decode_nothing():
    one = StreamFigures(1.0, 1.0, 10, 1)
    assert RoundFigures(1, 1.0, [one]).decode_tokens_per_second == 0


def test_the_table_has_a_row_for_each_count():
    """The medians over its rounds."""
    slow = RoundFigures(2, 8.0, ROUND.answers)
    alone = RoundFigures(1, 2.0, [StreamFigures(0.5, 1.5, 10, 5)])
    assert table([alone, ROUND, slow])[1:] == [
        ("1", "2.5", "4.0", "0.500 s", "1"),
        ("2", "2.6", "6.0", "1.500 s", "2"),
    ]


def test_a_server_is_measured(url: str, capsys: pytest.CaptureFixture[str]):
    """The command prints a row for each count of streams."""
    flags = ["--url", url, "--model", "m", "--streams", "1,3", "--rounds", "2"]
    main(["bench", "streams", *flags, "--prompt-words", "4", "--max-tokens", "3"])
    header, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["STREAMS", "TOKENS/S", "DECODE", "TOKENS/S", "FIRST", "TOKEN", "ROUNDS"]
    assert [(row[0], row[-1]) for row in rows] == [("1", "2"), ("3", "2")]
    assert all(float(row[1]) > 0 for row in rows)


def test_the_usage_is_read():
    """Chunks before it may have one that is null, as OpenAI's have."""
    chunk = {"choices": [{"delta": {"content": "x" * 5000}}], "usage": None}
    answers = one_round(chunk, {"choices": [], "usage": USAGE}).answers
    assert [(one.prompt_tokens, one.completion_tokens) for one in answers] == [(7, 2)] * 2


@pytest.mark.parametrize(
    ("chunks", "status", "end", "why"),
    [
        ([{"choices": []}], 200, "data: [DONE]\n\n", "no usage"),
        ([], 200, "", "no usage"),
        ([{"choices": []}], 200, 'data: {"usa', "no usage"),
        ([{"error": {"message": "the model failed"}}], 200, "data: [DONE]\n\n", "the model failed"),
        ([], 500, "it is broken", "500: it is broken"),
        ([], 302, "elsewhere", "302: elsewhere"),
    ],
    ids=["without usage", "empty", "broken off", "error event", "error", "redirect"],
)
def test_a_stream_that_cannot_be_measured(chunks, status, end, why):
    with pytest.raises(StreamFailed, match=why):
        one_round(*chunks, status=status, end=end)


def test_the_server_s_error_is_printed(url: str):
    """In its own words, in one line, with the address."""
    with pytest.raises(SystemExit) as ended:
        main(["bench", "streams", "--url", url, "--model", "nobody"])
    assert f"pilotlight: {url}: 404: " in str(ended.value.code)
    assert "model_not_found" in str(ended.value.code)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "ftp://x/v1", "nowhere", "http://[::1"])
def test_a_server_that_is_not_there_is_named(url: str):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "streams", "--url", url])
    assert str(ended.value.code).startswith(f"pilotlight: {url}: ")


@pytest.mark.parametrize("streams", ["", "x", "1,,2", "0", "4,-1", "1.5"])
def test_counts_are_numbers_of_at_least_1(streams: str):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "streams", f"--streams={streams}"])
    assert str(ended.value.code) == (
        "pilotlight: --streams: expected numbers of at least 1, comma-separated"
    )
