"""How a server stops listening: whom the kernel let in is heard, and nobody else gets in."""

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


class Connection:
    """A connection as uvicorn has it, whose latest request is *cycle*; *peer* is its client."""

    def __init__(self, connections: set["Connection"], cycle: object) -> None:
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


async def test_who_waits_is_let_in_and_who_comes_is_not(listener: socket.socket):
    """A request that was sent is read and answered; who comes later is refused at the close."""
    before = socket.create_connection(listener.getsockname())
    before.send(b"request")
    shutdown.look_away(listener)
    after = socket.socket()
    after.settimeout(0)
    assert after.connect_ex(listener.getsockname()) == errno.EINPROGRESS

    accepted = []

    async def accept() -> None:
        accepted.append(listener.accept()[0])

    await shutdown.emptied(listener, lambda: True, accept)
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

    shutdown.look_away(SimpleNamespace(setsockopt=refuse, listen=said.append))
    assert said == [0]


def test_another_system_gets_no_socket_option(monkeypatch: pytest.MonkeyPatch):
    """The number of Linux's packet filter may be anything there."""
    monkeypatch.setattr(shutdown.sys, "platform", "darwin")
    backlogs: list[int] = []

    shutdown.look_away(SimpleNamespace(setsockopt=pytest.fail, listen=backlogs.append))

    assert backlogs == [0]


async def test_where_people_still_come_it_closes_all_the_same(listener: socket.socket):
    """Nobody holds a shutdown up by connecting again and again."""
    patience = iter((True, True, False))
    clients = [socket.create_connection(listener.getsockname())]

    async def another() -> None:
        clients.append(socket.create_connection(listener.getsockname()))

    await shutdown.emptied(listener, lambda: next(patience), another)
    assert len(clients) == 3
    for one in clients:
        one.close()


async def test_one_that_has_not_asked_yet_is_waited_for():
    """Its request is read and answered; the connection ends after that."""
    connections: set[Connection] = set()
    slow = Connection(connections, None)
    steps = iter((lambda: slow.peer.send(b"request"), slow.read))

    async def turn() -> None:
        next(steps)()

    await shutdown.farewell(connections, lambda: True, turn)  # returns with the request under way
    assert slow.cycle is not None
    slow.answer()
    assert slow.peer.recv(100) == b"answer"

    async def no_more() -> None:
        return

    await shutdown.farewell(connections, lambda: True, no_more)
    assert not connections
    slow.end()


async def test_one_that_never_asks_is_closed_in_the_end():
    """Port scans and browsers that connect in advance hold nothing up for longer."""
    connections: set[Connection] = set()
    silent = Connection(connections, None)
    patience = iter((True, True, False))
    turns = []

    async def turn() -> None:
        turns.append(silent.is_closing())

    await shutdown.farewell(connections, lambda: next(patience), turn)
    assert turns == [False, False, True]
    assert silent.peer.recv(100) == b""
    silent.end()


async def test_a_kept_one_is_closed_unless_it_has_just_asked():
    """What arrived and was not read yet is no silence; what is under way is let be."""
    connections: set[Connection] = set()
    idle = Connection(connections, SimpleNamespace(response_complete=True))
    asking = Connection(connections, SimpleNamespace(response_complete=True))
    busy = Connection(connections, SimpleNamespace(response_complete=False))
    asking.peer.send(b"request")

    async def turn() -> None:
        asking.read()

    await shutdown.farewell(connections, lambda: True, turn)
    assert connections == {asking, busy}
    assert idle.peer.recv(100) == b""
    for one in (idle, asking, busy):
        one.end()


async def test_what_is_no_http_connection_is_left_to_its_own_end():
    """WebSockets are closed by uvicorn, with a word of theirs."""
    other = SimpleNamespace()

    async def turn() -> None:
        raise AssertionError

    await shutdown.farewell([other], lambda: True, turn)
