"""Ask a server what held-out pictures show, and print how many answers of `spark` are right.

    python -m benchmarks.spark_pictures --pictures 200

The pictures, questions and answers are those of `python -m tools.spark evaluate-vision`, which asks
the weights in PyTorch; so are the rows of the table.
"""

import argparse
import json
import shutil
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.listening import free_port
from benchmarks.seeing import data_url, serving
from tools.spark.seeing import KINDS, Example, held_out_examples


def body_of(example: Example, *, thinking: bool) -> dict[str, object]:
    """Return a greedy request for chat: the picture, then the question."""
    content = [
        {"type": "image_url", "image_url": {"url": data_url(example)}},
        {"type": "text", "text": example.question},
    ]
    return {
        "model": "spark",
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": 60,
        "chat_template_kwargs": {"enable_thinking": thinking},
    }


def answer(url: str, example: Example, *, thinking: bool) -> str:
    """Return what the server at *url* answers."""
    request = urllib.request.Request(  # noqa: S310 - this machine
        f"{url}/v1/chat/completions",
        json.dumps(body_of(example, thinking=thinking)).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310 - this machine
        return str(json.load(response)["choices"][0]["message"]["content"])


def right(url: str, examples: list[Example], *, thinking: bool, streams: int = 4) -> int:
    """Return how many answers are right as a whole."""
    with ThreadPoolExecutor(streams) as threads:
        said = threads.map(lambda one: answer(url, one, thinking=thinking), examples)
        return sum(text == one.answer for text, one in zip(said, examples, strict=True))


def main() -> None:
    """Parse the command line, ask, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=200, help="for each kind of question")
    parser.add_argument("--only-all", action="store_true", help="the row of all kinds alone")
    asked = parser.parse_args()
    port = free_port()
    pilotlight = shutil.which("pilotlight", path=str(Path(sys.executable).parent)) or "pilotlight"
    url = f"http://127.0.0.1:{port}"
    write = sys.stdout.write
    write("| question | thinking | not thinking |\n| --- | --- | --- |\n")
    with serving([pilotlight, "serve", "--port", str(port), "--backends", "llama_cpp"], port):
        for kind in (None,) if asked.only_all else (*KINDS, None):
            examples = held_out_examples(asked.pictures, kind)
            counts = (right(url, examples, thinking=thinking) for thinking in (True, False))
            cells = (f"{100 * n / asked.pictures:.1f} % ({n} of {asked.pictures})" for n in counts)
            write(f"| {kind or 'all kinds'} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
