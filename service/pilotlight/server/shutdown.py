"""How a server stops listening without losing anybody whom the kernel has let in.

To close a listener resets whoever waits in it, and a backlog of 0 still lets one wait (Linux's
`sk_acceptq_is_full`), so that between the last accept and the close there is always room for one
more, who has perhaps sent its request. So the listener is told to look away from whoever knocks;
who has been let in is accepted, and asked; only then is it closed.
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
"""asm-generic/socket.h; the module `socket` does not name it."""
_LOAD_BYTE, _JUMP_IF_SET, _RETURN = 0x30, 0x45, 0x06
"""BPF_LD|BPF_B|BPF_ABS, BPF_JMP|BPF_JSET|BPF_K, BPF_RET|BPF_K of linux/bpf_common.h."""
_FLAGS, _SYN = 13, 0x02
"""Where a segment's flags are, and the one of a segment that asks for a connection (RFC 9293)."""
_DROP, _PASS = 0, 0xFFFFFFFF
_NO_SYN = (
    (_LOAD_BYTE, 0, 0, _FLAGS),
    (_JUMP_IF_SET, 0, 1, _SYN),
    (_RETURN, 0, 0, _DROP),
    (_RETURN, 0, 0, _PASS),
)

_HANDSHAKE = 0.1
"""Seconds in which a connection that was asked for comes about: a way to the client and back."""
_FIRST_WORD = 1.0
"""Seconds in which who has connected asks. A busy client takes some tenths; who connects to look
whether the port is open, or in advance as browsers do, never asks."""
_TURN = 0.01
"""Seconds between two looks."""


class Closable(Protocol):
    """What accepts connections on an event loop."""

    def close(self) -> None:
        """Stop that."""


class Connection(Protocol):
    """What uvicorn's HTTP protocols have in common."""

    cycle: Any
    """The latest request; None before the first."""
    transport: Any

    def shutdown(self) -> None:
        """Close it, or after the answer that is under way."""


async def close(
    listener: socket.socket, servers: Iterable[Closable], connections: Iterable[Connection]
) -> None:
    """Close *listener*, on which *servers* accept, and then the *connections* that are idle.

    Everybody whom the kernel let in has been answered by then, or has not asked in a second.
    """

    async def turn() -> None:
        await asyncio.sleep(_TURN)

    until = time.monotonic() + _FIRST_WORD

    def waits() -> bool:
        return time.monotonic() < until

    look_away(listener)
    await asyncio.sleep(_HANDSHAKE)
    await emptied(listener, waits, turn)
    for server in servers:
        server.close()
    await farewell(connections, waits, turn)


def look_away(listener: socket.socket) -> None:
    """Let *listener* take no notice of whoever asks for a connection from here on.

    Their kernels ask again a second later, and are refused where it is closed by then. Handshakes
    that have begun are ended, which a filter of everything would break. Where the kernel has no
    such filters (gVisor, macOS) the backlog is made as short as it can be.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_SYN)
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HP", len(_NO_SYN), ctypes.addressof(code))
    if sys.platform == "linux":  # elsewhere the number may mean another option
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
            return
    listener.listen(0)


def has_news(one: Any) -> bool:
    """Tell whether there is something that the event loop has not taken from *one* yet.

    Of a listener a connection, of a connection data, or its end.
    """
    poll = select.poll()
    poll.register(one, select.POLLIN)
    return bool(poll.poll(0))


async def emptied(
    listener: socket.socket, waits: Callable[[], bool], turn: Callable[[], Awaitable[None]]
) -> None:
    """Return when nobody waits in *listener* any more; *turn* lets the loop accept.

    Where the kernel still lets people in there may be no such moment: then when *waits* says no.
    """
    while has_news(listener) and waits():
        await turn()


async def farewell(
    connections: Iterable[Connection],
    waits: Callable[[], bool],
    turn: Callable[[], Awaitable[None]],
) -> None:
    """Close those of *connections*, a live collection, on which nothing is under way.

    One on which something has arrived is left for the loop to read and to answer. One that never
    asked is waited for as long as *waits* says so: a client may be slow between connecting and
    asking. One that asked before was told with its answer to ask no more, or was silent since.
    """
    while idle := [one for one in connections if is_idle(one)]:
        patient = waits()
        for one in idle:
            if one.cycle is None and patient:
                continue
            if not (has_news(one.transport.get_extra_info("socket")) and patient):
                one.shutdown()
        await turn()


def is_idle(connection: Connection) -> bool:
    """Tell whether no request of *connection* is under way; a WebSocket has none at any time."""
    if not hasattr(connection, "cycle") or connection.transport.is_closing():
        return False
    return connection.cycle is None or bool(connection.cycle.response_complete)
