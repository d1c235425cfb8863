"""As much of the Hub, of S3 and of Google Cloud Storage as a fetch asks of them."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

from tests.models.fetch.server import FileServer

HUB_ROOT = "/owner/repo/resolve/main/"


def be_hub(server: FileServer, files: dict[str, bytes]) -> None:
    """Let *server* be a Hub with one repository, `owner/repo`, of *files*."""
    server.files |= {HUB_ROOT + name: data for name, data in files.items()}

    def answer(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if not path.startswith("/api/models/"):
            return False
        recursive = "recursive=True" in handler.path or "recursive=true" in handler.path
        status, body = _hub(server, path.removeprefix("/api/models/"), recursive=recursive)
        handler.answer(status, json.dumps(body).encode(), Content_Type="application/json")
        return True

    server.other = answer


def _hub(server: FileServer, path: str, *, recursive: bool) -> tuple[int, object]:
    repository, _, rest = path.partition("owner/repo")
    if repository:
        return 404, {"error": "Repository not found"}
    kind, _, rest = rest.strip("/").partition("/")
    if kind in ("", "revision"):
        if rest in ("", "main"):
            return 200, {"id": "owner/repo", "sha": "c0ffee", "siblings": []}
        return 404, {"error": "Revision not found"}
    folder = rest.partition("/")[2]
    below = f"{folder}/" if folder else ""
    listed: dict[str, dict[str, object]] = {}
    for full, data in server.files.items():
        name = full.removeprefix(HUB_ROOT)
        if not full.startswith(HUB_ROOT) or not name.startswith(below):
            continue
        first, slash, _ = name.removeprefix(below).partition("/")
        if slash:
            inside = below + first
            listed[inside] = {"type": "directory", "path": inside, "oid": "0", "size": 0}
            if not recursive:
                continue
        listed[name] = {"type": "file", "path": name, "size": len(data), "oid": _git_oid(data)}
        if len(data) > 1000:
            sha256 = hashlib.sha256(data).hexdigest()
            listed[name]["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 134}
    return (200, list(listed.values())) if listed else (404, {"error": "Entry not found"})


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def be_s3(server: FileServer, files: dict[str, bytes]) -> None:
    """Let *server* be an S3 with one bucket, `bucket`, of *files*."""
    server.files |= {f"/bucket/{name}": data for name, data in files.items()}

    def answer(handler: BaseHTTPRequestHandler, _: str) -> bool:
        query = parse_qs(urlsplit(handler.path).query)
        if "list-type" not in query:
            return False
        prefix = query.get("prefix", [""])[0]
        found = [
            f"<Contents><Key>{escape(name)}</Key><Size>{len(data)}</Size>"
            f"<ETag>{server.etag}</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for full, data in server.files.items()
            if (name := full.removeprefix("/bucket/")).startswith(prefix)
        ]
        body = (
            "<?xml version='1.0'?><ListBucketResult"
            " xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Name>bucket</Name>"
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(found)}</KeyCount>"
            f"<IsTruncated>false</IsTruncated>{''.join(found)}</ListBucketResult>"
        )
        handler.answer(200, body.encode(), Content_Type="application/xml")
        return True

    server.other = answer


def be_gcs(server: FileServer, files: dict[str, bytes]) -> None:
    """Let *server* be a Google Cloud Storage with one bucket, `bucket`, of *files*."""
    server.files |= {f"/bucket/{name}": data for name, data in files.items()}

    def entry(name: str) -> dict[str, str]:
        size = len(server.files[f"/bucket/{name}"])
        return {
            "kind": "storage#object",
            "bucket": "bucket",
            "name": name,
            "size": str(size),
            "etag": server.etag or "",
            "generation": "1",
        }

    def answer(handler: BaseHTTPRequestHandler, path: str) -> bool:
        download = "/download/storage/v1/b/bucket/o/"
        if path.startswith(download):
            handler.path = f"/bucket/{quote(path.removeprefix(download))}"
            handler.do_GET()
            return True
        if path.startswith("/bucket/"):
            return False
        below = path.partition("/storage/v1/b/bucket/o")[2]
        if below:
            name = below.strip("/")
            known = f"/bucket/{name}" in server.files
            status, body = (200, entry(name)) if known else (404, {"error": {"code": 404}})
        else:
            query = parse_qs(urlsplit(handler.path).query)
            names = [full.removeprefix("/bucket/") for full in server.files]
            found = [n for n in names if n.startswith(query.get("prefix", [""])[0])]
            status, body = 200, {"kind": "storage#objects", "items": [entry(n) for n in found]}
        handler.answer(status, json.dumps(body).encode(), Content_Type="application/json")
        return True

    server.other = answer
