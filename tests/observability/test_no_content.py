"""What clients write, and who they are, is in no log line, no metric and no span."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pilotlight.observability.logs import TextFormatter
from pilotlight_backend.testing.fake import FakeBackend
from tests.api.caller import Call
from tests.collector import collecting
from tests.conftest import CHAT, FakeService, chat
from tests.logs import Lines, logged
from tests.observability.test_traces import REASON

WORD = "xyzzyplugh"
HEADERS = {"authorization": f"Bearer {WORD}", "x-api-key": WORD, "user-agent": WORD, "cookie": WORD}
TOOL = {
    "type": "function",
    "function": {
        "name": f"{WORD}_tool",
        "description": WORD,
        "parameters": {"type": "object", "properties": {WORD: {"type": "string"}}},
    },
}
REQUESTS: list[tuple[str, Any]] = [
    (CHAT, chat("m", WORD)),
    (CHAT, chat("m", WORD, stream=True, user=WORD, stop=[WORD])),
    (CHAT, chat("m", WORD, tools=[TOOL])),
    (CHAT, chat("m", WORD, tools=[TOOL], tool_choice="required")),
    (CHAT, chat("m", WORD, response_format={"type": WORD})),
    (CHAT, chat("m", "hi", grammar=f"root ::= {WORD}")),
    (CHAT, chat("m", WORD * 2000)),
    (CHAT, chat(WORD)),
    (CHAT, {WORD: WORD}),
    (CHAT, f'{{"model": "{WORD}'.encode()),
    (CHAT, chat("broken", WORD, stream=True)),
    (CHAT, chat("invalid", WORD)),
    ("/v1/completions", {"model": "m", "prompt": WORD, "echo": True}),
    ("/v1/messages", {"model": "m", "max_tokens": 8, "messages": chat("m", WORD)["messages"]}),
    ("/v1/messages", {"model": WORD, "max_tokens": 8, "messages": [{"role": WORD}]}),
    ("/v1/embeddings", {"model": "e", "input": WORD}),
    ("/v1/embeddings", {"model": "m", "input": WORD}),
    ("/tokenize", {"model": "m", "content": WORD}),
    (f"{CHAT}?key={WORD}", chat("m", WORD)),
    *[
        (
            CHAT,
            {
                "model": model,
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
                ],
            },
        )
        for model in ("m", "sees")
        for url in (f"data:image/png;base64,{WORD}", f"https://{WORD}.example/a.png?{WORD}")
    ],
]


async def ask_everything(service: FakeService) -> None:
    """Send requests of every kind, those that fail and that are left too."""
    service.write("m", reply=f"{WORD} to you.")
    service.write("e", embedding_length=4)
    service.write("sees", reply="hi", image_tokens=4)
    service.write("broken", reply=f"{WORD} to you.", fail_after=3)
    service.write("invalid", load_error="invalid")
    answers = [await service.post(body, path, **HEADERS) for path, body in REQUESTS]
    answers.append(await service.client.get(f"/v1/models/{WORD}", headers=HEADERS))
    told = [answer for answer in answers if WORD in answer.text]
    assert len(told) > 5  # or there was nothing to hide
    assert {answer.status_code for answer in answers} >= {200, 400, 404, 503}
    service.backend.token_gate.hold()
    left = Call(service.app, chat("m", WORD, stream=True), HEADERS)
    await left.next()
    await left.hang_up()
    service.backend.token_gate.release()


@pytest.fixture
def lines() -> Iterator[Lines]:
    with logged(logging.DEBUG, name="") as kept:  # every logger of the process
        yield kept


@pytest.mark.slow
@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
async def test_neither_logs_nor_metrics_tell(start, lines, accept):
    """Prompts, tools, names that clients invent, keys, queries: none of it is kept."""
    service = await start(context_length=4096)
    await ask_everything(service)
    scrape = await service.client.get("/metrics", headers={"accept": accept})
    assert len(lines.access) > len(REQUESTS)
    theirs = [line for line in lines.texts if '"logger":"http' in line]  # the test's own client
    assert [line for line in lines.texts if WORD in line.lower() and line not in theirs] == []
    assert "pilotlight_requests_total" in scrape.text
    assert WORD not in scrape.text.lower()


class _Quoting(FakeBackend):
    """Engines that break on a prompt, and quote it in what they raise."""

    def load(self, facts, options, progress):
        engine = super().load(facts, options, progress)

        def tokenize(text: str, *, special: bool) -> list[int]:
            raise RuntimeError(f"cannot read {text!r}, special={special}") from ValueError(text)

        engine.tokenize = tokenize
        return engine


class _Console(Lines):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(TextFormatter())


async def test_no_trace_tells_what_an_exception_quotes(start, lines):
    """An unforeseen error is logged with its class and frames, in either format."""
    console = _Console()
    logging.getLogger().addHandler(console)
    try:
        service = await start(backend=_Quoting())
        service.write("m")
        answers = [
            await service.post(chat("m", WORD)),
            await service.post({"model": "m", "content": WORD}, "/tokenize"),
            await service.post({"model": "m", "prompt": WORD}, "/v1/completions"),
        ]
    finally:
        logging.getLogger().removeHandler(console)
    assert [answer.status_code for answer in answers] == [500, 500, 500]
    assert [answer for answer in answers if WORD in answer.text] == []
    for kept in (lines, console):
        assert [line for line in kept.texts if WORD in line] == []
        (first, *_) = [line for line in kept.texts if "failed" in line and "RuntimeError" in line]
        assert "ValueError" in first
        assert f"{__file__}" in first
        assert ", in tokenize" in first


@pytest.mark.slow
async def test_no_span_tells(start):
    """What leaves the machine least of all."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason=REASON)
    with collecting() as collector:
        service = await start(otlp_endpoint=collector.url)
        await ask_everything(service)
        await service.app.state.service.traces.close()
    assert len(collector.spans) > len(REQUESTS)
    assert [body for body in collector.bodies if WORD.encode() in body.lower()] == []
