"""From a request's bytes to a struct, or to the documented error."""

import codecs
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import msgspec

from pilotlight.api.http import lenient
from pilotlight.api.http.asgi import state_of
from pilotlight.api.http.content_coding import coding_of, decoded
from pilotlight.api.http.refusals import explained
from pilotlight.api.http.request import Request
from pilotlight.errors import InvalidRequest, UnsupportedMediaType
from pilotlight.schema.declared import decode_declared
from pilotlight_backend import decode_errors

T = TypeVar("T")

_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class BodyDecoder(Generic[T]):
    """Decodes one endpoint's body; made once.

    Litestar's own decoding accepts any content type and names no path: it calls every missing or
    unknown field `data`.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind, dec_hook=_declared)

    async def read(self, request: Request, *, ignore_unknown: bool) -> T:
        """Return the body of *request*.

        Raises `InvalidRequest` with the field at fault, `UnsupportedMediaType`, or
        `ClientDisconnected`.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise UnsupportedMediaType(
                f"the content type is {media_type or 'missing'}, expected application/json"
            )
        body = without_mark(await _bytes_of(request))
        if not body.strip():
            raise InvalidRequest("the body is empty, expected a JSON object")
        return self.decode(body, ignore_unknown=ignore_unknown)

    def decode(self, body: bytes, *, ignore_unknown: bool) -> T:
        """Return *body* as the struct; raises `InvalidRequest`."""
        try:
            return self._decode(body, ignore_unknown=ignore_unknown)
        except msgspec.ValidationError as error:
            reason, path = decode_errors.split(str(error))
            reason = explained(reason, path, self._kind)
            message = f"{path}: {reason}" if path else f"the body: {reason}"
            raise InvalidRequest(message, param=path) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reason = decode_errors.syntax(error)
            raise InvalidRequest(f"the body is not valid JSON: {reason}") from None
        except RecursionError:
            raise InvalidRequest("the body is nested too deeply") from None

    def _decode(self, body: bytes, *, ignore_unknown: bool) -> T:
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as refused:
            try:
                value = msgspec.json.decode(body)
            except msgspec.ValidationError:  # a number out of all bounds; `refused` names its field
                raise refused from None
            # Lenient decoding is slower. It raises the same error for what is wrong in both.
            return lenient.decode(value, self._kind, ignore_unknown=ignore_unknown)


def without_mark(body: bytes) -> bytes:
    """Return *body* without a byte order mark; raises `InvalidRequest` if it is not UTF-8.

    JSON is UTF-8 (RFC 8259, 8.1), and a parser may ignore the mark that Windows' clients send. A
    text in UTF-16 or UTF-32 without a mark has a zero in its first four bytes, as JSON begins with
    ASCII (RFC 4627, 3).
    """
    if body.startswith(codecs.BOM_UTF8):
        return body.removeprefix(codecs.BOM_UTF8)
    coding = next((name for mark, name in _OTHER_MARKS if body.startswith(mark)), None)
    if coding is None and b"\0" in body[:4]:
        coding = "UTF-32" if body[:4].count(0) > 2 else "UTF-16"  # noqa: PLR2004 - of four bytes
    if coding is not None:
        raise InvalidRequest(f"the body is encoded in {coding}, expected UTF-8")
    return body


def _declared(kind: type[Any], value: Any) -> Any:
    return decode_declared(kind, value, msgspec.convert, skip_unknown=False)


async def _bytes_of(request: Request) -> bytes:
    """Return the body of *request*, decoded; raises `ClientDisconnected`, or a `ServiceError`.

    What is sent and what that is decoded to have the same bound.
    """
    coding = coding_of(request.headers.getall("content-encoding"))
    pieces: AsyncIterator[bytes] = request.stream()
    if coding is not None:
        pieces = decoded(pieces, coding, state_of(request.scope).max_request_bytes)
    return b"".join([piece async for piece in pieces])
