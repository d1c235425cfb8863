"""A server of files on this machine that behaves as a test says."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote

Span = tuple[int, int]


class FileServer:
    """Serves *files* by path.

    *trouble* is asked at each request for a file: a number is the status to answer with, `cut` ends
    the answer in its middle, None lets it be.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.sized = True
        self.etag: str | None = '"1"'
        self.redirects: dict[str, str] = {}
        self.trouble: Callable[[str, Span | None], int | str | None] = lambda *_: None
        self.asked: list[tuple[str, Span | None]] = []
        """Each request for a file: its path, and the first and last byte of the range."""
        self.headers: list[dict[str, str]] = []
        self.gate = threading.Event()
        """While it is not set, answers stand still after `free` of them."""
        self.gate.set()
        self.free = 0
        self.stands = threading.Semaphore(0)
        """Released by each answer that stands still."""
        self.url = ""
        self.other: Callable[[BaseHTTPRequestHandler, str], bool] = lambda *_: False
        """Respond to a path that is no file, and return whether it was one."""

    def spans(self) -> list[Span]:
        """Return the ranges that were asked for, but for looks at the first byte."""
        return sorted(span for _, span in self.asked if span and span != (0, 0))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: ClassVar[FileServer]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        served = self.served
        path = unquote(self.path.partition("?")[0])
        if served.other(self, path):
            return
        if target := served.redirects.get(path):
            self.answer(302, b"", Location=target)
            return
        data = served.files.get(path)
        span = self.span()
        served.asked.append((path, span))
        served.headers.append({name.lower(): value for name, value in self.headers.items()})
        if data is None:
            self.answer(404, b"no such file")
            return
        trouble = served.trouble(path, span)
        if isinstance(trouble, int):
            self.answer(trouble, b"trouble")
            return
        headers = {"ETag": served.etag} if served.etag else {}
        status = 200
        if span and served.ranges:
            if span[0] >= len(data):
                self.answer(416, b"")
                return
            size = len(data)
            data = data[span[0] : span[1] + 1]
            headers["Content-Range"] = f"bytes {span[0]}-{span[0] + len(data) - 1}/{size}"
            status = 206
        self.answer(status, data, cut=trouble == "cut", **headers)

    do_HEAD = do_POST = do_GET  # noqa: N815 - what http.server looks for

    def span(self) -> Span | None:
        value = self.headers.get("Range")
        if value is None:
            return None
        first, _, last = value.removeprefix("bytes=").partition("-")
        return int(first), int(last)

    def answer(self, status: int, data: bytes, *, cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if self.served.sized:
            self.send_header("Content-Length", str(len(data)))
        else:
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self._send(data, cut=cut)
        except OSError:
            self.close_connection = True

    def _send(self, data: bytes, *, cut: bool) -> None:
        half = len(data) // 2
        self.wfile.write(data[:half])
        self.wfile.flush()
        if len(data) > 1 and not self.served.gate.is_set():
            if self.served.free:
                self.served.free -= 1
            else:
                self.served.stands.release()
                self.served.gate.wait(30)
        if cut:
            self.close_connection = True
        else:
            self.wfile.write(data[half:])


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Run a server for as long as the context lasts."""
    served = FileServer()
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        served.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
