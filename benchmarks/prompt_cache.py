"""Compare conversations with and without a prompt cache: in one process, and across a restart.

    python -m benchmarks.prompt_cache model.gguf --conversations 12 --tokens 1500 --memory 1GiB
    python -m benchmarks.prompt_cache model.gguf --conversations 12 --memory 1GiB --storage FOLDER
    python -m benchmarks.prompt_cache model.gguf --restart --storage FOLDER

Without `--restart` so many conversations are asked in turn on four slots, `--turns` each; figures
are of the turns after the first. Without a cache those are all alike, so two are asked. `--storage`
is what `--state-dir` takes, a folder or a bucket's address: what memory has no room for goes there.

With it each conversation has one turn, the server is ended by SIGTERM and started again. The first
turn after that is sent at once, as a platform does that starts an instance for a request, and timed
from exec.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.server_process import ServerProcess, serving

SLOTS = 4
ANSWER = 8
"""Tokens of each answer."""


class Turn(NamedTuple):
    """What a client sees of one turn."""

    prompt: int
    cached: int
    seconds: float
    """Until the first token."""
    content: str


class Figures(NamedTuple):
    """Several turns together."""

    share: float
    """Cached tokens of the prompts' tokens."""
    median: float
    """Seconds to the first token."""


def conversation(number: int, length: int) -> list[dict[str, str]]:
    """Return a first turn of so many characters, unlike every other one from its start."""
    words = (f"{number * 7919 + word * 104_729:x}" for word in count())
    text = f"Story {number}. "
    while len(text) < length:
        text += next(words) + " "
    return [{"role": "user", "content": text}]


def characters(server: ServerProcess, model: str, tokens: int) -> int:
    """Return how many characters of such a text are so many tokens."""
    text = conversation(0, 1000)[0]["content"]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps({"model": model, "content": text})
    connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
    found = len(json.load(connection.getresponse())["tokens"])
    connection.close()
    return tokens * len(text) // found


def ask(server: ServerProcess, model: str, messages: list[dict[str, str]]) -> Turn:
    """Ask for the next turn of a conversation, streamed.

    Raises `ConnectionError` where the stream is cut.
    """
    body = {
        "model": model,
        "messages": messages,
        "max_tokens": ANSWER,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began = time.perf_counter()
    connection = _connected(server.port)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    first, content, usage = 0.0, "", dict[str, Any]()
    for chunk in _events(connection.getresponse()):
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            piece = choice["delta"].get("content") or choice["delta"].get("reasoning_content") or ""
            # The first chunk, with the role alone, comes before the prompt is evaluated.
            if piece and not first:
                first = time.perf_counter() - began
            content += piece
    connection.close()
    if not usage:
        raise ConnectionError("the stream was cut")
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return Turn(usage["prompt_tokens"], cached, first, content)


def _connected(port: int) -> http.client.HTTPConnection:
    """Connect as soon as the server listens."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        try:
            connection.connect()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return connection


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(response.read().decode())
    for line in response:
        if line.startswith(b"data: {"):
            yield json.loads(line.removeprefix(b"data: "))


def follow_up(messages: list[dict[str, str]], turn: Turn) -> None:
    """Add the answer, and the user's next message."""
    messages += [
        {"role": "assistant", "content": turn.content},
        {"role": "user", "content": f"And what came after that, in {len(messages)} words?"},
    ]


def in_turn(
    server: ServerProcess, model: str, conversations: list[list[dict[str, str]]]
) -> list[Turn]:
    """Ask each conversation once, one after another; return its turns."""
    turns = []
    for messages in conversations:
        turn = ask(server, model, messages)
        follow_up(messages, turn)
        turns.append(turn)
    return turns


def figures(turns: list[Turn]) -> Figures:
    """Return what several turns have in common."""
    cached, prompt = sum(turn.cached for turn in turns), sum(turn.prompt for turn in turns)
    return Figures(cached / prompt, statistics.median(turn.seconds for turn in turns))


class Comparison(NamedTuple):
    """How servers are started: the same but for the prompt cache."""

    model: Path
    flags: dict[str, object]
    folder: Path

    @contextmanager
    def server(
        self, cache: dict[str, object], *, await_ready: bool = True
    ) -> Iterator[ServerProcess]:
        """Serve with the flags in *cache*."""
        flags = {"--models-dir": self.model.parent, "--parallel": SLOTS, **self.flags}
        flags |= {f"--{name.replace('_', '-')}": value for name, value in cache.items()}
        log = self.folder / "server.log"
        with serving(flags, log, await_ready=await_ready) as server:
            yield server


def many(
    compare: Comparison, total: int, tokens: int, rounds: int, cache: dict[str, object]
) -> None:
    """Print the figures of *total* conversations in turn, with and without *cache*."""
    model = compare.model.stem
    rows = {}
    for name, flags in (
        ("none", {"prompt_cache": "0"}),
        (" ".join(map(str, cache.values())), cache),
    ):
        with compare.server({"preload": model, **flags}) as server:
            length = characters(server, model, tokens)
            conversations = [conversation(number, length) for number in range(total)]
            asked = rounds if flags is cache else 2
            turns = [in_turn(server, model, conversations) for _ in range(asked)]
            rows[name] = figures([turn for later in turns[1:] for turn in later])
            size = turns[0][0].prompt
    _table(f"{total} conversations of {size} tokens in turn on {SLOTS} slots", rows)
    shares = " ".join(f"{figures(later).share:.3f}" for later in turns[1:])
    print(f"cached share of each further turn: {shares}")  # noqa: T201 - a command's output


def restarted(compare: Comparison, total: int, tokens: int, storage: str) -> None:
    """Print the figures of the first turns after a restart, with and without *storage*."""
    model = compare.model.stem
    caches: dict[str, dict[str, object]] = {
        "none": {"prompt_cache": "0"},
        storage: {"prompt_cache": "0", "state_dir": storage},
    }
    rows = {}
    for name, cache in caches.items():
        with compare.server({"preload": model, **cache}) as server:
            length = characters(server, model, tokens)
            conversations = [conversation(number, length) for number in range(total)]
            size = in_turn(server, model, conversations)[0].prompt
        began = time.perf_counter()
        with compare.server({"preload": model, **cache}, await_ready=False) as server:
            started = time.perf_counter() - began
            first, *others = in_turn(server, model, conversations)
        share, _ = figures([first, *others])
        rows[name] = Figures(share, started + first.seconds)
    title = f"{total} conversations of {size} tokens, ended by SIGTERM; exec to a first token"
    _table(title, rows)


def _table(title: str, rows: dict[str, Figures]) -> None:
    without, with_ = rows.values()
    lines = [title, "| prompt cache | cached share | first token, s |", "|---|---|---|"]
    lines += [f"| {name} | {row.share:.3f} | {row.median:.2f} |" for name, row in rows.items()]
    lines.append(f"| ratio | | {with_.median / without.median:.3f} |")
    print("\n".join(lines))  # noqa: T201 - a command's output


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--conversations", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=1500)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--storage")
    parser.add_argument("--cache-type", default="f16", help="of keys and of values")
    parser.add_argument("--grace", type=float, default=8.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare = Comparison(
            arguments.model.resolve(),
            {
                "--grace": arguments.grace,
                "--step-timeout": 0,
                "--cache-type-k": arguments.cache_type,
                "--cache-type-v": arguments.cache_type,
            },
            Path(folder),
        )
        if arguments.restart:
            storage = arguments.storage or f"{folder}/states"
            restarted(compare, arguments.conversations, arguments.tokens, storage)
        else:
            cache: dict[str, object] = {"prompt_cache": arguments.memory}
            if arguments.storage:
                cache["state_dir"] = arguments.storage
            many(compare, arguments.conversations, arguments.tokens, arguments.turns, cache)


if __name__ == "__main__":
    main()
