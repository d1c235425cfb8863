"""A stand-in for Knative's queue-proxy: what it does when a revision's `timeoutSeconds` are over.

As seen with the real one, at Serving 98e5ef9: before the headers a plain 504, after them the text
`request timeout` as the end of a body that has nothing wrong with it.
"""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TEXT = b"request timeout"
_OVERDUE = (
    b"HTTP/1.1 504 Gateway Timeout\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(TEXT), TEXT)
)
_LAST_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(TEXT), TEXT)


@contextmanager
def queue_proxy(upstream: str, timeout: float) -> Iterator[str]:
    """Yield the address of a proxy before *upstream* that cuts requests after *timeout* seconds."""
    host, port = upstream.removeprefix("http://").split(":")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            deadline = time.monotonic() + timeout
            with socket.create_connection((host, int(port))) as server, suppress(OSError):
                server.sendall(_request(self.request))
                _relay(server, self.request, deadline)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
            thread.join()


def _request(client: socket.socket) -> bytes:
    """Read a request with a Content-Length; its connection is for it alone."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += client.recv(65536)
    head, _, body = read.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    (length,) = (
        int(line.partition(b":")[2])
        for line in lines
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += client.recv(65536)
    return b"\r\n".join([*lines, b"Connection: close", b"", body])


def _relay(server: socket.socket, client: socket.socket, deadline: float) -> None:
    """Pass the response on as it comes, chunks as they are."""
    answered = False
    try:
        while True:
            server.settimeout(max(deadline - time.monotonic(), 0.001))
            if not (piece := server.recv(65536)):
                return
            client.sendall(piece)
            answered = True
    except TimeoutError:
        client.sendall(_LAST_CHUNKS if answered else _OVERDUE)
