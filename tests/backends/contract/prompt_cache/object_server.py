"""As much of S3, and of Google's XML API, which is alike, as a cache of states asks of a bucket."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class ObjectServer:
    """Objects of one bucket, `bucket`, by their keys."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.status: int | None = None
        """What everything is answered with; None: as it should be."""
        self.asked: list[tuple[str, str, str]] = []
        """The method, the path with its query, and the range of each request."""
        self.url = ""

    def listing(self, prefix: str) -> bytes:
        """Return the keys below *prefix*, as a page that is the last one."""
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>1</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, data in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return (
            f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: ClassVar[ObjectServer]

    def log_message(self, *_: object) -> None:
        pass

    def _key(self) -> str:
        served = self.served
        served.asked.append((self.command, self.path, self.headers.get("Range", "")))
        return unquote(urlsplit(self.path).path).removeprefix("/bucket").lstrip("/")

    def _answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(self.served.status or status)
        length = headers.pop("Content_Length", str(len(data)))
        for name, value in {"Content-Length": length, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self) -> None:
        key, data = self._key(), self.rfile.read(int(self.headers["Content-Length"]))
        if self.served.status is None:
            self.served.objects[key] = data
        self._answer(200, ETag="1")

    def do_GET(self) -> None:
        key = self._key()
        if not key:
            prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
            self._answer(200, self.served.listing(prefix))
            return
        self._object(key)

    def do_HEAD(self) -> None:
        self._object(self._key())

    def _object(self, key: str) -> None:
        data = self.served.objects.get(key)
        if data is None:
            self._answer(404)
            return
        about = {"ETag": "1", "Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if self.command == "HEAD":
            self._answer(200, Content_Length=str(len(data)), **about)
        elif span := self.headers.get("Range", "").removeprefix("bytes="):
            first, last = (int(part) for part in span.split("-"))
            part = data[first : last + 1]
            about["Content_Range"] = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
            self._answer(206, part, **about)
        else:
            self._answer(200, data, **about)

    def do_DELETE(self) -> None:
        is_there = self.served.objects.pop(self._key(), None) is not None
        self._answer(204 if is_there else 404)


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    """Run a server on this machine."""
    served = ObjectServer()
    handler = type("Handler", (_Handler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
