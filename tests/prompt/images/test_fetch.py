"""Fetches from a server on loopback, which stands behind every public address."""

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest

from pilotlight.prompt.images.errors import FetchFailed
from pilotlight.prompt.images.fetch import ImageFetcher, is_allowed
from pilotlight.prompt.images.public_address import is_public

PUBLIC = {"images.example": ["93.184.215.14"], "cdn.example": ["2606:2800:21f:cb07::1"]}


class Loopback(httpx.AsyncBaseTransport):
    """Connects to the port of a test's server, and notes where it was to connect to."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._inner = httpx.AsyncHTTPTransport(trust_env=False)
        self.asked: list[tuple[str, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.host, request.extensions["sni_hostname"]))
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Server:
    """Answers each path with bytes of its own; a path that it does not know is never answered."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            path = head.split()[1]
            if path in self.answers:
                writer.write(self.answers[path])
                await writer.drain()
            else:
                await reader.read()  # until the client gives up
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def fetching(answers: dict[str, bytes], hosts=PUBLIC, allowed=("*",), within=5.0):
    async def resolve(host: str) -> list[str]:
        if host not in hosts:
            raise OSError
        found = hosts[host]
        return found.pop(0) if isinstance(found[0], list) else found

    server = Server(answers)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    transport = Loopback(listening.sockets[0].getsockname()[1])
    fetcher = ImageFetcher(allowed, resolve=resolve, transport=transport, timeout=within)
    try:
        yield fetcher, transport, server
    finally:
        await fetcher.close()
        listening.close()


def answer(body: bytes = b"", *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def redirect(to: str) -> bytes:
    return answer(status="302 Found", headers=f"Location: {to}\r\n")


async def test_an_image_is_fetched_from_the_address_that_was_checked():
    async with fetching({"/a.png?sig=1": answer(b"pixels")}) as (fetcher, transport, server):
        assert await fetcher.fetch("https://images.example/a.png?sig=1", 100) == b"pixels"
    assert transport.asked == [("93.184.215.14", "images.example")]
    assert "Host: images.example\r\n" in server.heads[0]
    assert "cookie" not in server.heads[0].lower()


async def test_a_redirect_to_another_host_is_followed():
    answers = {"/a": redirect("https://cdn.example/b"), "/b": redirect("c"), "/c": answer(b"p")}
    async with fetching(answers) as (fetcher, transport, _):
        assert await fetcher.fetch("https://images.example/a", 100) == b"p"
    assert [host for host, _ in transport.asked] == [
        "93.184.215.14",
        *["2606:2800:21f:cb07::1"] * 2,
    ]


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("http://cdn.example/b", "expected an https:// URL"),
        ("https://private.example/b", "not public"),
        ("https://169.254.169.254/latest/meta-data/", "not public"),
        ("https://cdn.example:8443/b", "without a port"),
        ("https://user:word@cdn.example/b", "without a user name"),
        ("https://other.example/b", "not fetched from this host"),
        ("file:///etc/passwd", "expected an https:// URL"),
        ("https://[::1/", "what is no URL"),
        ("/a", "more than 3 redirects"),
    ],
)
async def test_each_redirect_is_checked_anew(to, message):
    hosts = PUBLIC | {"private.example": ["10.0.0.1"], "169.254.169.254": ["169.254.169.254"]}
    async with fetching({"/a": redirect(to)}, hosts, allowed=tuple(hosts)) as (
        fetcher,
        transport,
        _,
    ):
        with pytest.raises(FetchFailed, match=message):
            await fetcher.fetch("https://images.example/a", 100)
        assert {address for address, _ in transport.asked} == {"93.184.215.14"}


async def test_a_host_that_changes_its_address_is_checked_each_time():
    """The second lookup gives a private address, as in an attack by DNS rebinding."""
    hosts = {"images.example": [["93.184.215.14"], ["127.0.0.1"]]}
    async with fetching({"/a": redirect("/b")}, hosts) as (fetcher, transport, _):
        with pytest.raises(FetchFailed, match="not public"):
            await fetcher.fetch("https://images.example/a", 100)
        assert len(transport.asked) == 1


async def test_a_host_with_one_private_address_is_refused():
    hosts = {"images.example": ["93.184.215.14", "192.168.1.1"]}
    async with fetching({}, hosts) as (fetcher, transport, _):
        with pytest.raises(FetchFailed, match="not public"):
            await fetcher.fetch("https://images.example/a", 100)
        assert not transport.asked


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/a",
        "https://[::1]/a",
        "https://0x7f.1/a",
        "https://2130706433/a",
        "https://localhost/a",
        "https://[::ffff:10.0.0.1]/a",
    ],
)
async def test_an_address_is_checked_like_a_name(url):
    fetcher = ImageFetcher(("*",))  # the real resolver reads all of these
    with pytest.raises(FetchFailed, match=r"not public|host is unknown"):
        await fetcher.fetch(url, 100)
    await fetcher.close()


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (answer(status="404 Not Found"), "answered with status 404"),
        (answer(status="206 Partial Content"), "answered with status 206"),
        (answer(b"a" * 101), "larger than 100 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 101, "larger than 100 bytes"),
        (answer(b"a", headers="Content-Encoding: gzip\r\n"), "compressed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\npart", "connection .* failed"),
        (b"no HTTP", "connection .* failed"),
        (b"", "connection .* failed"),
        (answer(status="302 Found"), "answered with status 302"),
    ],
)
async def test_what_is_no_image_is_refused(sent, message):
    async with fetching({"/a": sent}) as (fetcher, *_):
        with pytest.raises(FetchFailed, match=message):
            await fetcher.fetch("https://images.example/a", 100)


async def test_a_server_that_does_not_answer_is_given_up():
    async with fetching({}, within=0.1) as (fetcher, *_):
        with pytest.raises(FetchFailed, match=r"no image within 0.1 seconds"):
            await fetcher.fetch("https://images.example/a", 100)


async def test_an_unknown_host_is_refused():
    async with fetching({}) as (fetcher, *_):
        with pytest.raises(FetchFailed, match="host is unknown"):
            await fetcher.fetch("https://nowhere.example/a", 100)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://images.example/a", "expected an https:// URL"),
        ("https:///a", "expected an https:// URL"),
        ("ftp://images.example/a", "expected an https:// URL"),
        (f"https://images.example/{'a' * 5000}", "at most 4096 characters"),
        ("https://[::1/", "expected a URL: https://HOST/PATH"),
        ("https://other.example/a", "not fetched from this host"),
    ],
)
def test_a_url_that_is_never_fetched_is_refused_without_a_lookup(url, message):
    with pytest.raises(FetchFailed, match=message):
        ImageFetcher(("images.example",)).check(url)


def test_nothing_is_fetched_by_default():
    with pytest.raises(FetchFailed, match="send a data URL"):
        ImageFetcher(()).check("https://images.example/a")


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("a.example", ["a.example"], True),
        ("A.example.", ["a.Example"], True),
        ("a.example", ["*"], True),
        ("x.a.example", ["*.a.example"], True),
        ("a.example", ["*.a.example"], False),
        ("xa.example", ["*.a.example", "a.example"], False),
        ("a.example.evil", ["a.example", "*.example"], False),
        ("a.example", [], False),
    ],
)
def test_hosts_are_allowed_by_name(host, allowed, expected):
    assert is_allowed(host, allowed) is expected


@pytest.mark.parametrize(
    "address",
    [
        *["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1"],
        *["100.100.100.200", "168.63.129.16", "192.0.0.192", "255.255.255.255", "198.18.0.1"],
        *["0.0.0.0", "203.0.113.1", "224.0.0.1", "240.0.0.1", "", "host"],  # noqa: S104
        *["::", "::1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fec0::1", "ff02::1"],
        *["::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"],
        *["2001:0:7f00:1::", "2001:db8::1"],
    ],
)
def test_a_private_address_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"]
)
def test_a_public_address_is(address):
    assert is_public(address)
