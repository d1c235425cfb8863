"""Images are encoded one after the other, once for all who want them, and kept within a bound."""

import threading
from array import array

import pytest

from pilotlight_backend import EngineClosed, Image, InferenceFailed
from pilotlight_llama_cpp.encoder import Encoder

SECONDS = 30


def picture(number):
    return Image.of(1, 1, bytes([number] * 3))


def want(encoder, number):
    """Want an image, and begin to encode it beside."""
    encoding = encoder.want(picture(number))
    encoder.begin()
    return encoding


class FakeProjector:
    """Encodes an image to one vector of its first byte; waits for *gate* first."""

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Semaphore(0)
        self.encoded = []
        self.error = None
        self.numbers = 4
        self.is_closed = False

    def close(self):
        self.is_closed = True

    def encode(self, image):
        self.begun.release()
        assert self.gate.wait(SECONDS)
        if self.error is not None:
            raise self.error
        self.encoded.append(image)
        return [array("f", [float(image.rgb[0])] * self.numbers)]


class Woken:
    def __init__(self):
        self.calls = threading.Semaphore(0)

    def __call__(self):
        self.calls.release()

    def wait(self, count=1):
        for _ in range(count):
            assert self.calls.acquire(timeout=SECONDS)


@pytest.fixture
def projector():
    return FakeProjector()


@pytest.fixture
def woken():
    return Woken()


@pytest.fixture
def encoder(projector, woken):
    made = Encoder(projector, woken, kept_bytes=32)
    yield made
    projector.gate.set()
    made.close()


def test_image_is_encoded_and_its_pixels_are_dropped(encoder, woken):
    encoding = want(encoder, 7)
    woken.wait()

    assert encoding.done
    assert encoding.vectors == [array("f", [7.0] * 4)]
    assert encoding.image is None
    assert encoder.counts() == (1, 0)


def test_same_image_is_encoded_once_for_all(encoder, projector, woken):
    projector.gate.clear()
    wanted = [want(encoder, 7) for _ in range(3)]
    projector.gate.set()
    woken.wait()
    later = want(encoder, 7)

    assert {id(one) for one in (*wanted, later)} == {id(later)}
    assert projector.encoded == [picture(7)]
    assert encoder.counts() == (1, 1)


def test_images_are_encoded_in_their_order(encoder, projector, woken):
    projector.gate.clear()
    for number in (3, 1, 2):
        want(encoder, number)
    projector.gate.set()
    woken.wait(3)

    assert projector.encoded == [picture(3), picture(1), picture(2)]


def test_image_that_nobody_wants_any_more_is_not_encoded(encoder, projector, woken):
    projector.gate.clear()
    first, second = want(encoder, 1), want(encoder, 2)
    assert projector.begun.acquire(timeout=SECONDS)
    encoder.release(second)
    encoder.release(first)
    projector.gate.set()
    woken.wait()

    want(encoder, 3)
    woken.wait()
    assert projector.encoded == [picture(1), picture(3)]


def test_image_that_another_request_wants_is_encoded(encoder, projector, woken):
    projector.gate.clear()
    want(encoder, 1)
    first, second = want(encoder, 2), want(encoder, 2)
    encoder.release(first)
    projector.gate.set()
    woken.wait(2)

    assert second.done
    assert projector.encoded == [picture(1), picture(2)]


def test_least_recently_used_is_forgotten(encoder, projector, woken):
    """Two of 16 bytes fit."""
    for number in (1, 2, 1, 3, 1, 2):
        encoding = want(encoder, number)
        if not encoding.done:
            woken.wait()
        encoder.release(encoding)

    assert projector.encoded == [picture(1), picture(2), picture(3), picture(2)]


def test_what_is_in_use_is_not_forgotten(encoder, woken):
    wanted = [want(encoder, number) for number in range(5)]
    woken.wait(5)

    assert all(one.vectors for one in wanted)
    assert [want(encoder, number) for number in range(5)] == wanted


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InferenceFailed("no memory"), "no memory"),
        (MemoryError("oops"), "the image cannot be encoded: oops"),
    ],
)
def test_failure_is_reported_and_the_next_request_tries_again(
    encoder, projector, woken, error, expected
):
    projector.error = error
    failed = want(encoder, 1)
    woken.wait()

    assert failed.done
    assert str(failed.error) == expected
    projector.error = None
    again = want(encoder, 1)
    woken.wait()
    assert again.vectors
    assert encoder.counts() == (1, 0)


def test_thread_ends_with_the_last_image(encoder, woken):
    """OpenMP keeps a pool of threads for each thread that has computed."""
    want(encoder, 1)
    woken.wait()
    encoder.close()

    assert not any(one.name == "llama.cpp images" for one in threading.enumerate())


def test_close_waits_for_one_and_encodes_no_more(encoder, projector):
    projector.gate.clear()
    first, second = want(encoder, 1), want(encoder, 2)
    assert projector.begun.acquire(timeout=SECONDS)
    closing = threading.Thread(target=encoder.close)
    closing.start()
    while second.error is None:
        pass
    projector.gate.set()
    closing.join(SECONDS)

    assert not closing.is_alive()
    assert isinstance(second.error, EngineClosed)
    assert first.done
    assert projector.encoded == [picture(1)]
    assert projector.is_closed


def test_image_is_encoded_on_the_calling_thread(encoder, projector):
    """One at a time, so that the engine looks for other requests between two."""
    first, second = encoder.want(picture(1)), encoder.want(picture(2))
    assert encoder.is_waiting

    encoder.encode_next()

    assert (first.done, second.done) == (True, False)
    assert not encoder.is_encoding
    encoder.encode_next()
    encoder.encode_next()
    assert not encoder.is_waiting
    assert projector.encoded == [picture(1), picture(2)]


def test_nothing_is_encoded_on_two_threads_at_once(encoder, projector, woken):
    """There is one buffer for what mtmd returns."""
    projector.gate.clear()
    want(encoder, 1)
    assert projector.begun.acquire(timeout=SECONDS)
    encoder.want(picture(2))

    encoder.encode_next()

    assert not encoder.is_waiting
    assert encoder.is_encoding
    assert projector.encoded == []
    projector.gate.set()
    woken.wait(2)
    assert projector.encoded == [picture(1), picture(2)]


def test_another_scope_encodes_the_same_image_again(encoder, projector):
    first = encoder.want(picture(7), "ann")
    encoder.encode_next()
    second = encoder.want(picture(7), "bob")
    encoder.encode_next()
    assert first is not second
    assert projector.encoded == [picture(7)] * 2
    assert encoder.counts() == (2, 0)


def test_an_owner_s_images_are_forgotten_with_every_salt(encoder):
    for scope in ("ann", "ann\0salt", "bob"):
        encoder.want(picture(7), scope)
        encoder.encode_next()
    encoder.forget("ann")
    again = [encoder.want(picture(7), scope) for scope in ("ann", "ann\0salt", "bob")]
    assert [one.done for one in again] == [False, False, True]
    encoder.forget(None)
    assert not encoder.want(picture(7), "bob").done


def test_a_request_keeps_what_is_forgotten_meanwhile(encoder):
    """Its encoding is made, and the next request's is another one."""
    running = encoder.want(picture(7), "ann")
    encoder.forget("ann")
    later = encoder.want(picture(7), "ann")
    encoder.encode_next()
    encoder.encode_next()
    assert running.done
    assert later.done
    assert later is not running
    encoder.release(running)
    assert encoder.want(picture(7), "ann") is later
