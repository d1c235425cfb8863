"""Stop listening: the backlog is served, and new connections are dropped."""

import errno
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from pilotlight.server import shutdown


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


class FakeConnection:
    """A connection as uvicorn has it, whose latest request is *cycle*; *peer* is its client."""

    def __init__(self, connections: set["FakeConnection"], cycle: object) -> None:
        self._connections = connections
        self._socket, self.peer = socket.socketpair()
        self.cycle = cycle
        self.transport = self
        connections.add(self)

    def get_extra_info(self, _name: str) -> socket.socket:
        return self._socket

    def is_closing(self) -> bool:
        return self._socket.fileno() < 0

    def shutdown(self) -> None:
        self._socket.close()
        self._connections.discard(self)

    def end(self) -> None:
        """Close both ends."""
        self._socket.close()
        self.peer.close()

    def read(self) -> None:
        """Take the request that has arrived, and be at work on it."""
        self._socket.recv(100)
        self.cycle = SimpleNamespace(response_complete=False)

    def answer(self) -> None:
        self._socket.send(b"answer")
        self.cycle.response_complete = True


async def test_the_backlog_is_served_and_new_connections_are_dropped(listener: socket.socket):
    """A request in the backlog is answered; a later connection is refused at the close."""
    before = socket.create_connection(listener.getsockname())
    before.send(b"request")
    shutdown.drop_new_connections(listener)
    after = socket.socket()
    after.settimeout(0)
    assert after.connect_ex(listener.getsockname()) == errno.EINPROGRESS

    accepted = []

    async def accept() -> None:
        accepted.append(listener.accept()[0])

    await shutdown.drain_backlog(listener, lambda: True, accept)
    listener.close()
    [server] = accepted
    assert server.recv(100) == b"request"
    server.send(b"answer")
    assert before.recv(100) == b"answer"
    after.settimeout(None)
    with pytest.raises(ConnectionRefusedError):
        after.send(b"request")  # waits for what becomes of the connection
    for one in (before, after, server):
        one.close()


async def test_a_kernel_without_filters_keeps_its_backlog_short():
    """The next best thing, and no error."""
    said = []

    def refuse(*_) -> None:
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    shutdown.drop_new_connections(SimpleNamespace(setsockopt=refuse, listen=said.append))
    assert said == [0]


def test_another_system_gets_no_socket_option(monkeypatch: pytest.MonkeyPatch):
    """The number of Linux's packet filter may be anything there."""
    monkeypatch.setattr(shutdown.sys, "platform", "darwin")
    backlogs: list[int] = []

    shutdown.drop_new_connections(SimpleNamespace(setsockopt=pytest.fail, listen=backlogs.append))

    assert backlogs == [0]


async def test_new_connections_do_not_delay_the_close(listener: socket.socket):
    """Clients that connect again and again do not keep it from closing."""
    patience = iter((True, True, False))
    clients = [socket.create_connection(listener.getsockname())]

    async def another() -> None:
        clients.append(socket.create_connection(listener.getsockname()))

    await shutdown.drain_backlog(listener, lambda: next(patience), another)
    assert len(clients) == 3
    for one in clients:
        one.close()


async def test_a_connection_without_a_request_gets_time():
    """Its request is read and answered; the connection ends after that."""
    connections: set[FakeConnection] = set()
    slow = FakeConnection(connections, None)
    steps = iter((lambda: slow.peer.send(b"request"), slow.read))

    async def turn() -> None:
        next(steps)()

    await shutdown.close_idle(connections, lambda: True, turn)  # returns with the request under way
    assert slow.cycle is not None
    slow.answer()
    assert slow.peer.recv(100) == b"answer"

    async def no_more() -> None:
        return

    await shutdown.close_idle(connections, lambda: True, no_more)
    assert not connections
    slow.end()


async def test_one_that_never_asks_is_closed_in_the_end():
    """Port scans and browsers that connect in advance hold nothing up for longer."""
    connections: set[FakeConnection] = set()
    silent = FakeConnection(connections, None)
    patience = iter((True, True, False))
    turns = []

    async def turn() -> None:
        turns.append(silent.is_closing())

    await shutdown.close_idle(connections, lambda: next(patience), turn)
    assert turns == [False, False, True]
    assert silent.peer.recv(100) == b""
    silent.end()


async def test_a_kept_one_is_closed_unless_it_has_just_asked():
    """What arrived and was not read yet is no silence; what is under way is let be."""
    connections: set[FakeConnection] = set()
    idle = FakeConnection(connections, SimpleNamespace(response_complete=True))
    asking = FakeConnection(connections, SimpleNamespace(response_complete=True))
    busy = FakeConnection(connections, SimpleNamespace(response_complete=False))
    asking.peer.send(b"request")

    async def turn() -> None:
        asking.read()

    await shutdown.close_idle(connections, lambda: True, turn)
    assert connections == {asking, busy}
    assert idle.peer.recv(100) == b""
    for one in (idle, asking, busy):
        one.end()


async def test_what_is_no_http_connection_is_left_to_its_own_end():
    """WebSockets are closed by uvicorn, with a word of theirs."""
    other = SimpleNamespace()

    async def turn() -> None:
        raise AssertionError

    await shutdown.close_idle([other], lambda: True, turn)
