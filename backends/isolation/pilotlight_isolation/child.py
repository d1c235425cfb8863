"""The child process: the real engine, and the messages that it handles."""

import fcntl
import importlib
import logging
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import pluggy
from msgspec.structs import replace

from pilotlight_backend import hookspecs
from pilotlight_backend.errors import BackendError, InferenceFailed, LoadFailed
from pilotlight_backend.guide import Vocabulary
from pilotlight_backend.hookspecs import PROJECT
from pilotlight_backend.image import Image
from pilotlight_backend.protocols import (
    AdaptingEngine,
    Backend,
    BakingEngine,
    BaseEngine,
    CachingEngine,
    EmbeddingEngine,
    Engine,
    RankingEngine,
    SeeingEngine,
    Ticket,
)
from pilotlight_backend.types import (
    Embedded,
    EmbedEvent,
    EngineEvent,
    Failed,
    Finish,
    LoadProgress,
    ModelFacts,
    RankEvent,
    TokenizedPairs,
)
from pilotlight_isolation import wire
from pilotlight_isolation.channel import FrameDecoder
from pilotlight_isolation.child_guides import GuideCalls, RemoteForcingGuide, RemoteGuide
from pilotlight_isolation.child_log import LogToService, RedactingFormatter
from pilotlight_isolation.problem import describe
from pilotlight_isolation.row import Row
from pilotlight_isolation.sender import Sender
from pilotlight_isolation.sent_images import with_images

logger = logging.getLogger("pilotlight.isolation")

_READ = 1 << 18
_ABSENT: Any = object()
_CALLERS = 4
"""Threads for calls: texts are tokenized side by side, and while a prompt is baked."""


def main(connection: int, row: int, service: int) -> None:
    """Serve the inherited descriptors; never returns.

    *service* is a pipe that the service holds open as long as it lives. SIGTERM and SIGINT are
    ignored: a container that stops sends them to every process, and the service closes this one
    once its streams have ended.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _exit_with(service)
    threading.excepthook = _log_thread_exception
    try:
        Child(socket.socket(fileno=connection), Row(row)).run()
    except Exception:
        handler = logging.StreamHandler()  # standard error, which the service logs
        handler.setFormatter(RedactingFormatter())
        logging.getLogger().handlers = [handler]
        logger.exception("the engine's process failed")
        os._exit(1)
    os._exit(0)  # skips the exit handlers of native libraries: the memory is freed anyway


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    """Log the exception without its message, which Python's own hook would print."""
    if args.exc_value is not None:
        logger.error("a thread ended with an exception", exc_info=args.exc_value)


def _exit_with(service: int) -> None:
    """Have the kernel end this process, even one that hangs, when the service closes *service*.

    SIGIO's default action ends a process. Linux's PR_SET_PDEATHSIG would fire when the thread that
    started this process ends, which may be long before the service does (prctl(2)).
    """
    fcntl.fcntl(service, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(service, fcntl.F_GETFL)
    fcntl.fcntl(service, fcntl.F_SETFL, flags | os.O_ASYNC)


class Child:
    """Handles messages until the service closes the engine or the connection."""

    def __init__(self, connection: socket.socket, row: Row) -> None:
        self._connection = connection
        self._sender = Sender(connection, self._snapshot)
        self._guides = GuideCalls(self._sender, row)
        self._calls = ThreadPoolExecutor(_CALLERS, thread_name_prefix="call")
        self._engine: BaseEngine
        self._lock = threading.Lock()
        self._tickets: dict[int, Ticket | None] = {}
        """Of the running requests; None until `submit` has returned the ticket."""
        self._images: dict[bytes, Image] = {}
        """Of requests that run, or come next; by digest."""
        self._requests = 0
        self._last: wire.Snapshot | None = None
        """The latest snapshot, for when `stats` raises."""

    def run(self) -> None:
        """Serve until the service closes the connection."""
        frames = FrameDecoder()
        while data := self._connection.recv(_READ):
            for frame in frames.feed(data):
                self._handle(wire.decode_to_child(frame))

    def _handle(self, message: wire.ToChild) -> None:
        """Handle *message*; an exception is logged and concerns no other message."""
        try:
            self._dispatch(message)
        except Exception:
            logger.exception("the message %s failed", type(message).__name__)

    def _dispatch(self, message: wire.ToChild) -> None:
        match message:
            case wire.Delivered():
                self._sender.delivered(message.count)
            case wire.Restricted() | wire.MustCome() | wire.Admitted():
                self._guides.reply(message)
            case wire.Submit() | wire.Embed() | wire.Rank():
                self._submit(message)
            case wire.KeepImage():
                self._images[message.image.digest] = message.image
            case wire.DropImage():
                self._images.pop(message.digest, None)
            case wire.Cancel():
                self._cancel(message.id)
            case wire.GetStats():
                self._sender.send(wire.Stats(self._snapshot()))
            case wire.Load():
                self._load(message)
            case wire.Close():
                # Not on this thread: an engine may wait for a listener or a guide before it closes.
                threading.Thread(target=self._close, name="close").start()
            case _:
                self._calls.submit(self._call, message)

    # ── loading ────────────────────────────────────────────────────────────────────────────────

    def _load(self, message: wire.Load) -> None:
        logging.getLogger().setLevel(message.log_level)
        logging.getLogger().addHandler(LogToService(self._sender))
        try:
            engine = _backend_of(message.plugin).load(
                message.facts, message.options, self._progressed
            )
            facts = _with_vocabulary_size(engine)
            self._engine = engine
            loaded = wire.Loaded(facts, _kind_of(engine), self._snapshot())
        except BackendError as error:
            self._sender.send(wire.NotLoaded(describe(error)))
            return
        except Exception as error:
            logger.exception("loading failed: %s", error)  # noqa: TRY401 - the traceback omits the message
            failure = LoadFailed(f"{message.facts.path.name}: loading failed, see the log")
            self._sender.send(wire.NotLoaded(describe(failure)))
            return
        self._sender.send(loaded)

    def _progressed(self, progress: LoadProgress) -> None:
        self._sender.send(wire.Progressed(progress))

    def _close(self) -> None:
        try:
            self._engine.close()
        except Exception:
            logger.exception("closing the engine failed")
        self._sender.finish()
        os._exit(0)

    def _snapshot(self) -> wire.Snapshot:
        # Read before the statistics: a request that arrives between the two is counted twice for a
        # moment. The other way round it would be missed.
        requests = self._requests
        try:
            self._last = wire.Snapshot(self._engine.stats(), requests)
        except Exception:
            if self._last is None:
                raise
            logger.exception("the engine's stats failed")
        return self._last

    # ── requests ───────────────────────────────────────────────────────────────────────────────

    def _submit(self, message: wire.Submit | wire.Embed | wire.Rank) -> None:
        with self._lock:
            self._tickets[message.id] = None
        try:
            ticket = self._ticket(message)
        except Exception as error:  # ends this request alone, whatever a backend raises
            if not isinstance(error, BackendError):
                logger.exception("the engine failed to accept a request")
                error = InferenceFailed(f"the engine failed with {type(error).__name__}")
            if self._ended(message.id):
                self._sender.emit(message.id, Failed(error))
            return
        finally:
            self._requests += 1
        with self._lock:
            if message.id in self._tickets:  # otherwise the request has ended already
                self._tickets[message.id] = ticket

    def _ticket(self, message: wire.Submit | wire.Embed | wire.Rank) -> Ticket:
        emit = partial(self._emit, message.id)
        if isinstance(message, wire.Embed):
            return cast("EmbeddingEngine", self._engine).embed(message.inputs, emit)
        if isinstance(message, wire.Rank):
            return cast("RankingEngine", self._engine).rank(message.pairs, emit)
        images = [self._images[digest] for digest in message.images]
        request = with_images(message.request, images)
        if message.guided:
            remote = RemoteForcingGuide if message.forces else RemoteGuide
            request = replace(request, guide=remote(message.id, self._guides))
        return cast("Engine", self._engine).submit(request, emit)

    def _emit(self, number: int, event: EngineEvent | EmbedEvent | RankEvent) -> None:
        """Pass an event on; runs on the engine's thread."""
        if isinstance(event, Finish | Failed) and not self._ended(number):
            return  # its end was emitted already
        self._sender.emit(number, wire.Vector.of(event) if isinstance(event, Embedded) else event)

    def _ended(self, number: int) -> bool:
        """Forget a request; return whether it was running until now."""
        with self._lock:
            return self._tickets.pop(number, _ABSENT) is not _ABSENT

    def _cancel(self, number: int) -> None:
        with self._lock:
            ticket = self._tickets.get(number)
        if ticket is not None:
            ticket.cancel()

    # ── calls ──────────────────────────────────────────────────────────────────────────────────

    def _call(self, call: wire.Call) -> None:
        try:
            result = self._result(call)
            if isinstance(result, TokenizedPairs):
                self._sender.send(wire.Paired(call.id, result))
            else:
                self._sender.send(wire.Returned(call.id, result))
        except Exception as error:  # goes to the caller, whatever a backend raises
            if not isinstance(error, BackendError | OSError):
                logger.exception("a call failed")
            self._sender.send(wire.Raised(call.id, describe(error)))

    def _result(self, call: wire.Call) -> list[int] | int | str | Vocabulary | TokenizedPairs:
        match call:
            case wire.Tokenize() | wire.TokenizeInput() | wire.TokenizePairs() | wire.CountImage():
                return self._tokens(call)
            case wire.GetVocabulary():
                return cast("Engine", self._engine).vocabulary()
            case wire.Bake():
                return cast("BakingEngine", self._engine).bake(call.prompt, call.baked)
            case wire.LoadAdapter():
                return self._adapting().load_adapter(call.path)
            case wire.UnloadAdapter():
                self._adapting().unload_adapter(call.adapter)
                return 0
            case wire.SavePrompts() | wire.ClearPrompts():
                self._care_for_prompts(call)
                return 0

    def _adapting(self) -> AdaptingEngine:
        if isinstance(self._engine, AdaptingEngine):
            return self._engine
        raise LoadFailed("the engine has no adapters")

    def _tokens(
        self, call: wire.Tokenize | wire.TokenizeInput | wire.TokenizePairs | wire.CountImage
    ) -> list[int] | int | TokenizedPairs:
        match call:
            case wire.Tokenize():
                text, special = _text(call.text), call.special
                if not call.verbatim:
                    return self._engine.tokenize(text, special=special)
                engine = cast("Engine", self._engine)
                return engine.tokenize(text, special=special, verbatim=call.verbatim)
            case wire.TokenizeInput():
                return cast("EmbeddingEngine", self._engine).tokenize_input(_text(call.text))
            case wire.TokenizePairs():
                documents = [_text(one) for one in call.documents]
                ranker = cast("RankingEngine", self._engine)
                return ranker.tokenize_pairs(_text(call.query), documents)
            case wire.CountImage():
                return cast("SeeingEngine", self._engine).image_tokens(call.width, call.height)

    def _care_for_prompts(self, call: wire.SavePrompts | wire.ClearPrompts) -> None:
        if not isinstance(self._engine, CachingEngine):
            return
        if isinstance(call, wire.SavePrompts):
            self._engine.save_prompts(call.seconds)
        else:
            self._engine.clear_prompts(call.owner)


def _backend_of(plugin: str) -> Backend:
    plugins = pluggy.PluginManager(PROJECT)
    plugins.add_hookspecs(hookspecs)
    plugins.register(importlib.import_module(plugin))
    (backend,) = plugins.hook.pilotlight_register_backend()
    return cast("Backend", backend)


def _with_vocabulary_size(engine: BaseEngine) -> ModelFacts:
    """Return the facts with the vocabulary's size: the service refuses unknown tokens by it."""
    if engine.facts.vocabulary_size or not isinstance(engine, Engine):
        return engine.facts
    return replace(engine.facts, vocabulary_size=len(engine.vocabulary().pieces))


def _kind_of(engine: BaseEngine) -> wire.Kind:
    if isinstance(engine, EmbeddingEngine):
        return "embeds"
    if isinstance(engine, RankingEngine):
        return "ranks"
    return "bakes" if isinstance(engine, BakingEngine) else "generates"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
