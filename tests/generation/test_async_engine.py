"""The bridge from an engine's thread to the event loop."""

import asyncio
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilotlight.generation.async_engine import AsyncEngine, EventStream, Refused
from pilotlight.generation.async_pooling import AsyncEmbedder
from pilotlight_backend import (
    Embedded,
    EmbedEvent,
    EngineClosed,
    EngineEvent,
    EngineStats,
    Failed,
    Finish,
    GenerateRequest,
    InvalidParameter,
    LoadOptions,
    Started,
    Timings,
    Token,
    Usage,
    Vocabulary,
)
from pilotlight_backend.testing.fake import FakeBackend, FakeEngine, FakeModel

REQUEST = GenerateRequest(prompt=(1,), max_tokens=5)
STARTED = Started(1, 0)
FINISH = Finish(
    "stop", Usage(prompt_tokens=1, completion_tokens=1), Timings(queue=0, prefill=0, decode=0)
)


def token(number: int) -> Token:
    return Token(number, b"x")


async def said(stream: EventStream) -> list[EngineEvent]:
    """Return what arrived for the one request of *stream*."""
    return [event for _, event in await stream.next()]


class ManualTicket:
    """Counts how often it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


class ManualEngine:
    """An engine that says what a test says, on a thread of its own."""

    def __init__(self) -> None:
        self.emits: list[Callable[[EngineEvent], None]] = []
        self.tickets: list[ManualTicket] = []
        self.tokenized_on: list[threading.Thread] = []

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> ManualTicket:
        del request
        self.emits.append(emit)
        self.tickets.append(ManualTicket())
        return self.tickets[-1]

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        self.tokenized_on.append(threading.current_thread())
        return [len(text), int(special)]

    def say(self, *said: tuple[int, EngineEvent]) -> None:
        """Emit events, each for the request of that number; the event loop waits meanwhile."""
        thread = threading.Thread(
            target=lambda: [self.emits[number](event) for number, event in said]
        )
        thread.start()
        thread.join()


@pytest.fixture
def manual() -> ManualEngine:
    return ManualEngine()


@pytest.fixture
async def engine(manual: ManualEngine) -> AsyncEngine:
    return AsyncEngine(manual)


# Events


async def test_events_arrive_together_and_in_order(manual, engine):
    """What was emitted since the last look is handed over in one go."""
    stream = engine.submit([REQUEST])
    events = [STARTED, *(token(number) for number in range(100)), FINISH]
    manual.say(*((0, event) for event in events))
    assert await said(stream) == events
    assert await stream.next() == []


async def test_one_wake_up_serves_every_request(manual, engine):
    """A step's events of all requests wake the event loop once; each stream gets its own."""
    wake_ups = 0
    call_soon = engine._loop.call_soon_threadsafe

    def count(*arguments: object) -> None:
        nonlocal wake_ups
        wake_ups += 1
        call_soon(*arguments)

    engine._loop.call_soon_threadsafe = count
    streams = [engine.submit([REQUEST]) for _ in range(3)]
    manual.say((0, token(1)), (1, token(2)), (2, token(3)), (0, token(4)))
    assert [await said(stream) for stream in streams] == [
        [token(1), token(4)],
        [token(2)],
        [token(3)],
    ]
    assert wake_ups == 1
    manual.say((0, FINISH))
    assert await said(streams[0]) == [FINISH]
    assert wake_ups == 2


async def test_reader_waits_for_the_next_event(manual, engine):
    """Without an event the reader waits, as long as it takes."""
    stream = engine.submit([REQUEST])
    reading = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    assert not reading.done()
    manual.say((0, STARTED))
    assert await reading == [(0, STARTED)]


async def test_reader_that_left_may_come_back(manual, engine):
    """A cancelled wait loses no event."""
    stream = engine.submit([REQUEST])
    reading = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    manual.say((0, STARTED), (0, token(1)))
    assert await said(stream) == [STARTED, token(1)]


@pytest.mark.parametrize("last", [FINISH, Failed(EngineClosed("x"))])
async def test_stream_ends_with_its_last_event(manual, engine, last):
    """After the last event nothing is waited for, and cancelling does nothing."""
    stream = engine.submit([REQUEST])
    manual.say((0, last))
    assert await said(stream) == [last]
    assert await stream.next() == []
    stream.cancel()
    assert manual.tickets[0].cancelled == 0


async def test_cancelling_passes_on_to_the_engine(manual, engine):
    """A stream that is cancelled cancels its own ticket, and may be read to its end."""
    stream = engine.submit([REQUEST])
    engine.submit([REQUEST])
    stream.cancel()
    assert [ticket.cancelled for ticket in manual.tickets] == [1, 0]
    manual.say((0, FINISH))
    assert await said(stream) == [FINISH]


async def test_requests_submitted_together_are_one_stream(manual, engine):
    """Events say whose they are; one that ended is cancelled no more, and the others go on."""
    stream = engine.submit([REQUEST, REQUEST, REQUEST])
    manual.say((1, STARTED), (0, token(1)), (1, FINISH))
    assert await stream.next() == [(1, STARTED), (0, token(1)), (1, FINISH)]
    stream.cancel(2)
    assert [ticket.cancelled for ticket in manual.tickets] == [0, 0, 1]
    stream.cancel()
    assert [ticket.cancelled for ticket in manual.tickets] == [1, 0, 2]
    manual.say((0, FINISH), (2, FINISH))
    assert await stream.next() == [(0, FINISH), (2, FINISH)]
    assert await stream.next() == []


async def test_requests_are_submitted_all_or_none(manual, engine):
    """Where one is refused, those before it are cancelled."""
    submit = manual.submit

    def refuse(request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> ManualTicket:
        if len(manual.tickets) == 2:
            raise EngineClosed("closed")
        return submit(request, emit)

    manual.submit = refuse
    with pytest.raises(Refused, match="closed") as refused:
        engine.submit([REQUEST, REQUEST, REQUEST])
    assert refused.value.number == 2
    assert [ticket.cancelled for ticket in manual.tickets] == [1, 1]


def test_engine_may_outlive_the_loop(manual):
    """Events after the loop's end are dropped, and do not disturb the engine's thread."""
    streams: list[EventStream] = []

    async def begin() -> None:
        streams.append(AsyncEngine(manual).submit([REQUEST]))

    asyncio.run(begin())
    for event in (STARTED, token(1), FINISH):
        manual.emits[0](event)
    assert len(streams) == 1


# Text


async def test_short_text_is_tokenised_at_once_and_long_text_in_a_thread(manual, engine):
    """Only what takes its time leaves the event loop."""
    assert await engine.tokenize("x" * 8191, special=True) == [8191, 1]
    assert await engine.tokenize("x" * 8192, special=False) == [8192, 0]
    here, there = manual.tokenized_on
    assert here is threading.current_thread()
    assert there is not here


# With a real thread


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    backend = FakeBackend()
    facts = backend.probe(FakeModel(reply="hello").write(tmp_path / "m.fake"))
    engine = backend.load(facts, LoadOptions(parallel=2), lambda _: None)
    yield engine
    engine.close()


async def read(stream: EventStream) -> list[EngineEvent]:
    """Read a stream to its end."""
    events: list[EngineEvent] = []
    while arrived := await stream.next():
        events += [event for _, event in arrived]
    return events


async def test_requests_of_a_real_engine_run_together(fake):
    """Each of many streams gets its own events, whole and in order."""
    engine = AsyncEngine(fake)
    answers = await asyncio.gather(*(read(engine.submit([REQUEST])) for _ in range(20)))
    for events in answers:
        assert isinstance(events[0], Started)
        assert b"".join(event.piece for event in events if isinstance(event, Token)) == b"hello"
        assert isinstance(events[-1], Finish)
    assert isinstance(engine.stats(), EngineStats)
    assert engine.stats().queued == 0


async def test_cancelled_request_finishes(fake):
    """A cancelled request of a real engine ends, and says that it was cancelled."""
    fake._token_gate.hold()
    stream = AsyncEngine(fake).submit([REQUEST])
    stream.cancel()
    events = await read(stream)
    assert events[-1].reason == "cancelled"


async def test_refused_request_raises_at_once(fake):
    """A request that can never run, or comes too late, raises at once."""
    engine = AsyncEngine(fake)
    with pytest.raises(Refused) as refused:
        engine.submit([GenerateRequest(prompt=(), max_tokens=1)])
    assert isinstance(refused.value.error, InvalidParameter)
    fake.close()
    with pytest.raises(Refused) as refused:
        engine.submit([REQUEST])
    assert isinstance(refused.value.error, EngineClosed)


async def test_refused_request_is_named_and_the_others_end(fake):
    """If one of several requests is refused none runs, and the error has its number."""
    fake._token_gate.hold()
    with pytest.raises(Refused) as refused:
        AsyncEngine(fake).submit([REQUEST, REQUEST, GenerateRequest(prompt=(), max_tokens=1)])
    assert refused.value.number == 2
    following = AsyncEngine(fake).submit([REQUEST])
    fake._token_gate.release()
    assert isinstance((await read(following))[-1], Finish)
    assert fake.stats().completion_tokens == len("hello")


async def test_the_vocabulary_is_read_once(fake, monkeypatch):
    """All who ask at once get the one vocabulary, which a thread reads."""
    read_on: list[threading.Thread] = []
    vocabulary = fake.vocabulary

    def reading() -> Vocabulary:
        read_on.append(threading.current_thread())
        return vocabulary()

    monkeypatch.setattr(fake, "vocabulary", reading)
    engine = AsyncEngine(fake)
    first, second = await asyncio.gather(engine.vocabulary(), engine.vocabulary())
    assert first is second
    assert first.pieces[ord("h")] == b"h"
    assert len(read_on) == 1
    assert read_on[0] is not threading.current_thread()


# Embedding


VECTOR = array("f", [1.0])


class ManualEmbedder:
    """An engine that embeds as a test says, on a thread of its own."""

    def __init__(self) -> None:
        self.emits: list[Callable[[EmbedEvent], None]] = []
        self.tickets: list[ManualTicket] = []
        self.tokenized_on: list[threading.Thread] = []

    def embed(self, inputs: list[list[int]], emit: Callable[[EmbedEvent], None]) -> ManualTicket:
        del inputs
        self.emits.append(emit)
        self.tickets.append(ManualTicket())
        return self.tickets[-1]

    def tokenize_input(self, text: str) -> list[int]:
        self.tokenized_on.append(threading.current_thread())
        return list(text.encode())

    def say(self, *events: EmbedEvent) -> None:
        """Emit *events* on another thread."""

        def emit() -> None:
            for event in events:
                self.emits[-1](event)

        thread = threading.Thread(target=emit)
        thread.start()
        thread.join()


async def test_vectors_come_with_the_end():
    """The start is reported at once; the vectors are complete and in order at the end."""
    engine, started = ManualEmbedder(), asyncio.Event()
    embedding = asyncio.create_task(AsyncEmbedder(engine).embed([[1], [2]], started=started.set))
    await asyncio.sleep(0)
    engine.say(STARTED)
    async with asyncio.timeout(10):
        await started.wait()
    assert not embedding.done()
    engine.say(Embedded(VECTOR), Embedded(VECTOR), FINISH)
    assert await embedding == ([VECTOR, VECTOR], FINISH)
    assert engine.tickets[0].cancelled == 1  # a no-op once it has ended


async def test_failed_embedding_has_its_error():
    """The failure is the result."""
    engine = ManualEmbedder()
    embedding = asyncio.create_task(AsyncEmbedder(engine).embed([[1]], started=lambda: None))
    await asyncio.sleep(0)
    failed = Failed(EngineClosed("closed"))
    engine.say(failed)
    assert (await embedding)[1] is failed


async def test_cancelled_embedding_cancels_its_ticket():
    """Events of the engine after that have no effect."""
    engine = ManualEmbedder()
    embedding = asyncio.create_task(AsyncEmbedder(engine).embed([[1]], started=lambda: None))
    await asyncio.sleep(0)
    embedding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await embedding
    assert engine.tickets[0].cancelled == 1
    engine.say(STARTED, Embedded(VECTOR), FINISH)
    await asyncio.sleep(0)


@pytest.mark.parametrize(("length", "in_thread"), [(10, False), (5000, True)])
async def test_long_inputs_are_tokenised_in_a_thread(length, in_thread):
    """Together they count; token ids stay as they are."""
    engine = ManualEmbedder()
    text = "x" * length
    assert await AsyncEmbedder(engine).tokenize([text, [7], text]) == [
        list(text.encode()),
        [7],
        list(text.encode()),
    ]
    elsewhere = {thread is not threading.current_thread() for thread in engine.tokenized_on}
    assert elsewhere == {in_thread}
