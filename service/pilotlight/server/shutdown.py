"""Stop listening without losing a connection that the kernel has accepted.

Closing a listener resets the connections in its backlog. A backlog of 0 still holds one connection
(Linux's `sk_acceptq_is_full`), so between the last accept and the close another one can arrive,
perhaps with its request. Therefore a packet filter on the listener first drops new connection
requests; then the backlog is accepted and served; only then is the listener closed.
"""

import asyncio
import ctypes
import select
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

_SO_ATTACH_FILTER = 26
"""asm-generic/socket.h; the module `socket` does not have it."""
_LOAD_BYTE, _JUMP_IF_SET, _RETURN = 0x30, 0x45, 0x06
"""BPF_LD|BPF_B|BPF_ABS, BPF_JMP|BPF_JSET|BPF_K, BPF_RET|BPF_K of linux/bpf_common.h."""
_FLAGS, _SYN = 13, 0x02
"""Offset of a TCP segment's flags, and the flag of a connection request (RFC 9293)."""
_DROP, _PASS = 0, 0xFFFFFFFF
_NO_SYN = (
    (_LOAD_BYTE, 0, 0, _FLAGS),
    (_JUMP_IF_SET, 0, 1, _SYN),
    (_RETURN, 0, 0, _DROP),
    (_RETURN, 0, 0, _PASS),
)

_HANDSHAKE = 0.1
"""Seconds for handshakes that have begun: one round trip to the client."""
_FIRST_REQUEST = 1.0
"""Seconds for a new connection to send its request. A busy client takes some tenths; port checks
and the spare connections of browsers never send one."""
_POLL = 0.01
"""Seconds between two checks."""


class AcceptingServer(Protocol):
    """What accepts connections on an event loop, such as `asyncio.Server`."""

    def close(self) -> None:
        """Stop accepting."""


class UvicornConnection(Protocol):
    """What uvicorn's HTTP protocols have in common."""

    cycle: Any
    """The latest request; None before the first."""
    transport: Any

    def shutdown(self) -> None:
        """Close it, if need be after the response under way."""


async def close(
    listener: socket.socket,
    servers: Iterable[AcceptingServer],
    connections: Iterable[UvicornConnection],
) -> None:
    """Close *listener*, on which *servers* accept, and then the idle *connections*.

    Every connection in the backlog is served, if it sends a request within a second.
    """

    async def pause() -> None:
        await asyncio.sleep(_POLL)

    until = time.monotonic() + _FIRST_REQUEST

    def has_time() -> bool:
        return time.monotonic() < until

    drop_new_connections(listener)
    await asyncio.sleep(_HANDSHAKE)
    await drain_backlog(listener, has_time, pause)
    for server in servers:
        server.close()
    await close_idle(connections, has_time, pause)


def drop_new_connections(listener: socket.socket) -> None:
    """Let the kernel drop new connection requests to *listener*.

    Clients' kernels repeat the request a second later, and are refused if it is closed by then. A
    filter that drops everything would break handshakes that have begun; this one lets them finish.
    If the system has no such filters (gVisor, macOS), the backlog is made as short as possible.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_SYN)
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HP", len(_NO_SYN), ctypes.addressof(code))
    if sys.platform == "linux":  # elsewhere the number may be another option
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
            return
    listener.listen(0)


def is_readable(one: Any) -> bool:
    """Return whether the event loop has something to read from the socket *one*.

    From a listener that is a connection, from a connection data or its end.
    """
    poll = select.poll()
    poll.register(one, select.POLLIN)
    return bool(poll.poll(0))


async def drain_backlog(
    listener: socket.socket, has_time: Callable[[], bool], pause: Callable[[], Awaitable[None]]
) -> None:
    """Return when the backlog of *listener* is empty; *pause* lets the event loop accept.

    Without a packet filter it may never be empty: then return when *has_time* returns False.
    """
    while is_readable(listener) and has_time():
        await pause()


async def close_idle(
    connections: Iterable[UvicornConnection],
    has_time: Callable[[], bool],
    pause: Callable[[], Awaitable[None]],
) -> None:
    """Close those of *connections*, a live collection, that have no request in flight.

    A connection with unread data is left to the event loop. A connection without any request yet
    is kept while *has_time* returns True: its client may be slow. One that had a request got
    `Connection: close` with its response, or has been silent since.
    """
    while idle := [one for one in connections if is_idle(one)]:
        waiting = has_time()
        for one in idle:
            if one.cycle is None and waiting:
                continue
            if not (is_readable(one.transport.get_extra_info("socket")) and waiting):
                one.shutdown()
        await pause()


def is_idle(connection: UvicornConnection) -> bool:
    """Return whether *connection* has no request in flight; False for a WebSocket."""
    if not hasattr(connection, "cycle") or connection.transport.is_closing():
        return False
    return connection.cycle is None or bool(connection.cycle.response_complete)
