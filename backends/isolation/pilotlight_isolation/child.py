"""The other process: an engine, and what it is told to do."""

import fcntl
import importlib
import logging
import os
import queue
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pluggy
from msgspec.structs import replace

from pilotlight_backend import hookspecs
from pilotlight_backend.errors import BackendError, InferenceFailed, LoadFailed
from pilotlight_backend.guide import Vocabulary
from pilotlight_backend.hookspecs import PROJECT
from pilotlight_backend.protocols import (
    Backend,
    BakingEngine,
    BaseEngine,
    EmbeddingEngine,
    Engine,
    Ticket,
)
from pilotlight_backend.redaction import trace
from pilotlight_backend.types import (
    Embedded,
    EmbedEvent,
    EngineEvent,
    Failed,
    Finish,
    LoadProgress,
    ModelFacts,
)
from pilotlight_isolation import wire
from pilotlight_isolation.channel import Frames
from pilotlight_isolation.problem import describe
from pilotlight_isolation.row import Row
from pilotlight_isolation.telling import Telling

if TYPE_CHECKING:
    from pilotlight_backend.logits import Logits

logger = logging.getLogger("pilotlight.isolation")

_READ = 1 << 18
_GONE: Any = object()
_CALLERS = 4
"""Threads for calls: a text is tokenised while another one is, or while a prompt is baked."""


def main(connection: int, row: int, service: int) -> None:
    """Serve the descriptors that were inherited; never returns.

    *service* is a pipe that ends with the service. What is sent to every process of a container
    when it is stopped is the service's to answer: it ends this one when its streams have ended.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _end_with(service)
    threading.excepthook = _thread_ended
    try:
        Child(socket.socket(fileno=connection), Row(row)).run()
    except Exception:
        handler = logging.StreamHandler()  # it goes to standard error, which is read
        handler.setFormatter(Tracing())
        logging.getLogger().handlers = [handler]
        logger.exception("the engine's process fails")
        os._exit(1)
    os._exit(0)  # at once: what native libraries do at an orderly exit helps nobody any more


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    """Log what ended a thread: Python would write out what it says."""
    if args.exc_value is not None:
        logger.error("a thread has ended", exc_info=args.exc_value)


def _end_with(service: int) -> None:
    """Have the kernel end this process, whatever hangs in it, when *service* is closed there.

    SIGIO ends a process that does not care for it. Linux's PR_SET_PDEATHSIG would do so when the
    thread ends that started this process, which need not live as long as the service.
    """
    fcntl.fcntl(service, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(service, fcntl.F_GETFL)
    fcntl.fcntl(service, fcntl.F_SETFL, flags | os.O_ASYNC)


class Child:
    """Takes orders until it is told to close, or nobody is there to give any."""

    def __init__(self, connection: socket.socket, row: Row) -> None:
        self._connection = connection
        self._telling = Telling(connection, self._snapshot)
        self._asking = Asking(self._telling, row)
        self._calls = ThreadPoolExecutor(_CALLERS, thread_name_prefix="call")
        self._engine: BaseEngine
        self._lock = threading.Lock()
        self._tickets: dict[int, Ticket | None] = {}
        """Of the requests under way; None for a moment, until the engine has given one."""
        self._requests = 0
        self._last: wire.Snapshot | None = None
        """For a moment in which the engine cannot say how it is."""

    def run(self) -> None:
        """Serve until the service closes the connection."""
        frames = Frames()
        while data := self._connection.recv(_READ):
            for frame in frames.feed(data):
                self._obey(wire.decode_order(frame))

    def _obey(self, order: wire.Order) -> None:
        """Do what *order* says; what goes wrong there is its own, and no other request's."""
        try:
            self._do(order)
        except Exception:
            logger.exception("an order fails: %s", type(order).__name__)

    def _do(self, order: wire.Order) -> None:
        match order:
            case wire.Heard():
                self._telling.heard(order.count)
            case wire.Restricted():
                self._asking.answers.put(order.done)
            case wire.Submit() | wire.Embed():
                self._submit(order)
            case wire.Cancel():
                self._cancel(order.id)
            case wire.Look():
                self._telling.say(wire.Looked(self._snapshot()))
            case wire.Load():
                self._load(order)
            case wire.Close():
                # Not here: an engine may wait to be heard, or for a guide, before it closes.
                threading.Thread(target=self._close, name="close").start()
            case _:
                self._calls.submit(self._answer, order)

    # ── loading ────────────────────────────────────────────────────────────────────────────────

    def _load(self, order: wire.Load) -> None:
        logging.getLogger().setLevel(order.log_level)
        logging.getLogger().addHandler(LogToService(self._telling))
        try:
            engine = _backend_of(order.plugin).load(order.facts, order.options, self._progressed)
            facts = _with_vocabulary_size(engine)
            self._engine = engine
            loaded = wire.Loaded(facts, _kind_of(engine), self._snapshot())
        except BackendError as error:
            self._telling.say(wire.NotLoaded(describe(error)))
            return
        except Exception as error:
            logger.exception("the load fails: %s", error)  # noqa: TRY401 - a trace leaves the words out
            failure = LoadFailed(f"{order.facts.path.name}: it cannot be loaded; the log says why")
            self._telling.say(wire.NotLoaded(describe(failure)))
            return
        self._telling.say(loaded)

    def _progressed(self, progress: LoadProgress) -> None:
        self._telling.say(wire.Progressed(progress))

    def _close(self) -> None:
        try:
            self._engine.close()
        except Exception:
            logger.exception("closing the engine fails")
        self._telling.finish()
        os._exit(0)

    def _snapshot(self) -> wire.Snapshot:
        # Counted first: a request that comes between the two is then counted twice, for a moment,
        # and not missed.
        requests = self._requests
        try:
            self._last = wire.Snapshot(self._engine.stats(), requests)
        except Exception:
            if self._last is None:
                raise
            logger.exception("the engine does not say how it is")
        return self._last

    # ── requests ───────────────────────────────────────────────────────────────────────────────

    def _submit(self, order: wire.Submit | wire.Embed) -> None:
        with self._lock:
            self._tickets[order.id] = None
        try:
            ticket = self._ticket(order)
        except Exception as error:  # whatever a backend raises ends this request alone
            if not isinstance(error, BackendError):
                logger.exception("the engine fails to take a request")
                error = InferenceFailed(f"the engine failed with {type(error).__name__}")
            if self._ended(order.id):
                self._telling.tell(order.id, Failed(error))
            return
        finally:
            self._requests += 1
        with self._lock:
            if order.id in self._tickets:  # else it has ended already
                self._tickets[order.id] = ticket

    def _ticket(self, order: wire.Submit | wire.Embed) -> Ticket:
        emit = partial(self._emit, order.id)
        if isinstance(order, wire.Embed):
            return cast("EmbeddingEngine", self._engine).embed(order.inputs, emit)
        request = order.request
        if order.guided:
            request = replace(request, guide=GuideElsewhere(order.id, self._asking))
        return cast("Engine", self._engine).submit(request, emit)

    def _emit(self, number: int, event: EngineEvent | EmbedEvent) -> None:
        """Run on the engine's thread."""
        if isinstance(event, Finish | Failed) and not self._ended(number):
            return  # it was told already that it has ended
        self._telling.tell(number, wire.Vector.of(event) if isinstance(event, Embedded) else event)

    def _ended(self, number: int) -> bool:
        """Forget a request; returns whether it was under way until now."""
        with self._lock:
            return self._tickets.pop(number, _GONE) is not _GONE

    def _cancel(self, number: int) -> None:
        with self._lock:
            ticket = self._tickets.get(number)
        if ticket is not None:
            ticket.cancel()

    # ── calls ──────────────────────────────────────────────────────────────────────────────────

    def _answer(self, call: wire.Call) -> None:
        try:
            self._telling.say(wire.Answered(call.id, self._value(call)))
        except Exception as error:  # whatever a backend raises is the caller's
            if not isinstance(error, BackendError | OSError):
                logger.exception("a call failed")
            self._telling.say(wire.NotAnswered(call.id, describe(error)))

    def _value(self, call: wire.Call) -> list[int] | int | Vocabulary:
        match call:
            case wire.Tokenize():
                text, special = _text(call.text), call.special
                if not call.verbatim:
                    return self._engine.tokenize(text, special=special)
                engine = cast("Engine", self._engine)
                return engine.tokenize(text, special=special, verbatim=call.verbatim)
            case wire.TokenizeInput():
                return cast("EmbeddingEngine", self._engine).tokenize_input(_text(call.text))
            case wire.ReadVocabulary():
                return cast("Engine", self._engine).vocabulary()
            case wire.Bake():
                return cast("BakingEngine", self._engine).bake(call.prompt, call.baked)


class Asking:
    """Asks the service what a guide says; one engine's thread at a time."""

    def __init__(self, telling: Telling, row: Row) -> None:
        self.answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._telling = telling
        self._row = row
        self._lock = threading.Lock()

    def restrict(self, request: int, logits: "Logits") -> None:
        """Have *logits* restricted, in place."""
        with self._lock:
            row = self._row.scores(logits.size)
            row[:] = logits
            self._telling.ask(wire.Restrict(request, logits.size))
            if not self.answers.get():
                raise GuideGone("it has failed in the service, which logs why")
            logits[:] = row

    def accepted(self, request: int, token: int) -> None:
        """Have the guide be told *token*; what it raises ends the request in the service."""
        self._telling.tell(request, wire.Accepted(token))


class GuideGone(Exception):
    """A guide failed where it is, or its request has ended there."""


class GuideElsewhere:
    """A request's guide, which is in the service."""

    def __init__(self, request: int, asking: Asking) -> None:
        self._request = request
        self._asking = asking

    def restrict(self, logits: "Logits") -> None:
        """Have every token refused that may not come next."""
        self._asking.restrict(self._request, logits)

    def accept(self, token: int) -> None:
        """Pass on the token that was chosen."""
        self._asking.accepted(self._request, token)


class Tracing(logging.Formatter):
    """Writes a record with an exception's frames, and not with what it says."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name and method
        """Return the class and the frames of the exception in *ei*."""
        return "" if ei[1] is None else trace(ei[1])


class LogToService(logging.Handler):
    """Sends what is logged to the service's log."""

    def __init__(self, telling: Telling) -> None:
        super().__init__()
        self._telling = telling
        self.setFormatter(Tracing())

    def emit(self, record: logging.LogRecord) -> None:
        """Send *record*, its traceback too."""
        message = self.format(record).encode("utf-8", "replace").decode()
        self._telling.say(wire.Logged(record.name, record.levelno, message))


def _backend_of(plugin: str) -> Backend:
    plugins = pluggy.PluginManager(PROJECT)
    plugins.add_hookspecs(hookspecs)
    plugins.register(importlib.import_module(plugin))
    (backend,) = plugins.hook.pilotlight_register_backend()
    return cast("Backend", backend)


def _with_vocabulary_size(engine: BaseEngine) -> ModelFacts:
    """Return the engine's facts; the service refuses unknown tokens itself, and needs the size."""
    if engine.facts.vocabulary_size or not isinstance(engine, Engine):
        return engine.facts
    return replace(engine.facts, vocabulary_size=len(engine.vocabulary().pieces))


def _kind_of(engine: BaseEngine) -> wire.Kind:
    if isinstance(engine, EmbeddingEngine):
        return "embeds"
    return "bakes" if isinstance(engine, BakingEngine) else "generates"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
