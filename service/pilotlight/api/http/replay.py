"""Streams that can be resumed: their latest events by id, for a client whose connection broke."""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias

from pilotlight.errors import StreamNotFound

_SEPARATOR = b"\n\n"
"""Ends an event and a comment. JSON escapes line breaks, so no data contains it."""
_EVENT_ID = re.compile(r"([0-9a-f]{32}):([0-9]{1,12})")
_ENDED_BUFFERS = 16
"""Streams that have ended take at most the memory of this many full buffers; the oldest go."""


class Timer(Protocol):
    """A scheduled call, such as asyncio's `TimerHandle`."""

    def cancel(self) -> None:
        """Do not make the call."""


Later: TypeAlias = Callable[[float, Callable[[], None]], Timer]
"""Schedules a call in so many seconds."""


def _later(seconds: float, call: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, call)


class EventBuffer:
    """The latest events and comments of a stream, each under its number. Pure."""

    def __init__(self, stream: str, max_bytes: int) -> None:
        """Event ids begin with *stream*."""
        self.size = 0
        """Bytes."""
        self.first = 0
        """The number of the oldest entry."""
        self.end = 0
        """The number of the next entry."""
        self._stream = stream
        self._max_bytes = max_bytes
        self._entries: dict[int, bytes] = {}

    @property
    def full(self) -> bool:
        """Whether it has reached its size."""
        return self.size >= self._max_bytes

    def append(self, message: bytes) -> None:
        """Add *message*, any number of events and comments. Events get an id, comments none."""
        for block in message.split(_SEPARATOR):
            if block:
                head = (
                    b"" if block.startswith(b":") else f"id: {self._stream}:{self.end}\n".encode()
                )
                self._entries[self.end] = entry = head + block + _SEPARATOR
                self.size += len(entry)
                self.end += 1

    def since(self, number: int) -> bytes:
        """Return the entries from *number* on."""
        return b"".join(self._entries[one] for one in range(number, self.end))

    def trim(self, before: int) -> None:
        """Drop the oldest entries before *before* until half of the buffer is free."""
        while self.first < before and self.size > self._max_bytes // 2:
            self.size -= len(self._entries.pop(self.first))
            self.first += 1


class Recording:
    """A stream with its buffer, and the client that is connected to it, if any.

    It expires after some time without a client, or if its buffer is full without one. Events that
    were sent may take half of the buffer: they may be lost on their way. The other half is left to
    those that follow a hang-up.
    """

    def __init__(self, account: str, ping: bytes, owner: "Replays") -> None:
        """*account* is its caller's; *ping* is what the stream sends when it is silent."""
        # 128 random bits. The request's id would not do: clients may choose that.
        self.id = secrets.token_hex(16)
        self.account = account
        self.ping = ping
        self.buffer = EventBuffer(self.id, owner.max_bytes)
        self.task: asyncio.Task[None] | None = None
        """Generates and records; it is cancelled when the stream expires."""
        self.ended = False
        self.expired = False
        self._owner = owner
        self._reader: Reader | None = None
        self._timer: Timer | None = None
        self._change = asyncio.Event()

    def append(self, message: bytes) -> None:
        """Record *message*, any number of events and comments."""
        self.buffer.append(message)
        if self._reader is None and self.buffer.full:
            self.expire()
        self._change.set()

    async def room(self) -> None:
        """Wait while the buffer is full of what the connected client has not read yet."""
        while self._reader is not None and self.buffer.full and self._reader.behind:
            await self.changed()

    def sent(self, reader: "Reader", number: int) -> None:
        """Note that *reader* has sent the entries before *number*; they may take half the buffer.

        A reader that was replaced changes nothing: its successor may be further back.
        """
        if self.is_read_by(reader):
            self.buffer.trim(number)
            self._change.set()

    def finish(self) -> None:
        """Note the end of the stream, which can be resumed until it expires."""
        if self.ended or self.expired:
            return
        self.ended = True
        if self._reader is None:
            self._start_timer()
        self._change.set()
        self._owner.ended(self)

    def expire(self) -> None:
        """Forget the stream, and cancel its generation. A client that is connected is cut off."""
        if self.expired:
            return
        self.expired = True
        self._stop_timer()
        self._owner.expired(self)
        self._change.set()
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def attach(self, after: int) -> "Reader":
        """Return the reader of what follows the event *after*. The stream of an earlier one ends.

        Nothing that it is to read is dropped from now on. It begins within the time that the stream
        is kept.
        """
        self._reader = Reader(self, after + 1)
        self._change.set()
        self._start_timer()
        return self._reader

    @contextmanager
    def reading(self, reader: "Reader") -> Iterator[None]:
        """Keep the stream while *reader* reads it."""
        if self._reader is reader:
            self._stop_timer()
        try:
            yield
        finally:
            if self._reader is reader:
                self._reader = None
                self._detached()

    @property
    def attached(self) -> bool:
        """Whether a client is connected."""
        return self._reader is not None

    def is_read_by(self, reader: "Reader") -> bool:
        """Return whether *reader* is still the one, and the stream has not expired."""
        return self._reader is reader and not self.expired

    async def changed(self) -> None:
        """Wait for the next change of anything."""
        self._change.clear()
        await self._change.wait()

    def _detached(self) -> None:
        if self.expired:
            return
        self._change.set()
        # Without an event the request waits for its slot, and is cancelled as any other.
        resumable = self.ended or (self.buffer.end > 0 and not self.buffer.full)
        if resumable and not self._owner.closed:
            self._start_timer()
        else:
            self.expire()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self._owner.later(self._owner.seconds, self.expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Reader:
    """What one connection has of a recording."""

    def __init__(self, recording: Recording, number: int) -> None:
        """Begin with the entry *number*."""
        self._recording = recording
        self._next = number

    @property
    def behind(self) -> bool:
        """Whether there is something to read."""
        return self._next < self._recording.buffer.end

    async def messages(self) -> AsyncGenerator[bytes]:
        """Yield what there is and what comes, until the stream ends or another client reads it."""
        while self._recording.is_read_by(self):
            if self.behind:
                yield self.take()
                self._recording.sent(self, self._next)
            elif self._recording.ended:
                return
            else:
                await self._recording.changed()

    def take(self) -> bytes:
        """Return what there is to read; nothing if another client reads the stream."""
        if not self._recording.is_read_by(self):
            return b""
        taken = self._recording.buffer.since(self._next)
        self._next = self._recording.buffer.end
        return taken


class Replays:
    """The recordings of this server, each for its caller only. Used on one loop."""

    def __init__(self, seconds: float, max_bytes: int, later: Later = _later) -> None:
        """Keep streams for *seconds* without a client, 0 for never, in *max_bytes* each."""
        self.seconds = seconds
        self.max_bytes = max_bytes
        self.later = later
        self.closed = False
        self._recordings: dict[str, Recording] = {}
        self._ended: dict[str, Recording] = {}
        """Those that have ended, the oldest first."""
        self._ended_size = 0

    @property
    def enabled(self) -> bool:
        """Whether streams can be resumed."""
        return self.seconds > 0

    def __len__(self) -> int:
        """Return how many streams are kept."""
        return len(self._recordings)

    def record(self, account: str, ping: bytes) -> Recording:
        """Return a new recording for *account*."""
        recording = Recording(account, ping, self)
        self._recordings[recording.id] = recording
        return recording

    def find(self, account: str, event_id: str) -> tuple[Recording, int]:
        """Return the recording of *account* that has the event *event_id*, and its number.

        Raises `StreamNotFound` unless everything after that event is kept.
        """
        recording, number = self._known(account, event_id)
        if number >= recording.buffer.end:
            raise StreamNotFound(f"the stream has no event {event_id!r} yet")
        if number + 1 < recording.buffer.first:
            raise StreamNotFound(
                f"some events after {event_id!r} are no longer kept: the buffer is full"
            )
        return recording, number

    def stop(self, account: str, event_id: str) -> None:
        """End the stream of *account* that has the event *event_id*; raises `StreamNotFound`."""
        recording, _ = self._known(account, event_id)
        recording.expire()

    def close(self) -> None:
        """End the streams without a client: at a shutdown none can come back to this process."""
        self.closed = True
        for recording in tuple(self._recordings.values()):
            if not recording.attached:
                recording.expire()

    def ended(self, recording: Recording) -> None:
        """Note that *recording* is whole; if too many are kept, the oldest are forgotten."""
        self._ended[recording.id] = recording
        self._ended_size += recording.buffer.size
        limit = _ENDED_BUFFERS * self.max_bytes
        if self._ended_size > limit:
            for oldest in tuple(self._ended.values()):
                if not oldest.attached and self._ended_size > limit:
                    oldest.expire()

    def expired(self, recording: Recording) -> None:
        """Forget *recording*."""
        self._recordings.pop(recording.id, None)
        if self._ended.pop(recording.id, None) is not None:
            self._ended_size -= recording.buffer.size

    def _known(self, account: str, event_id: str) -> tuple[Recording, int]:
        parts = _EVENT_ID.fullmatch(event_id)
        recording = self._recordings.get(parts[1]) if parts else None
        # The same error for the stream of another caller, so that it reveals nothing.
        if parts is None or recording is None or recording.account != account:
            raise StreamNotFound(_unknown(event_id, self))
        return recording, int(parts[2])


def _unknown(event_id: str, replays: Replays) -> str:
    if not replays.enabled:
        return "streams cannot be resumed on this server (--stream-replay)"
    return (
        f"no stream of this caller has the event {event_id[:80]!r}; a stream is kept"
        f" {replays.seconds:g} s after its client disconnected"
    )
