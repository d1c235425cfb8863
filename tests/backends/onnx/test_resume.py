"""A generator of the library that was terminated, and continues."""

import threading

import numpy as np
import pytest

from pilotlight_backend.testing.conformance.listener import within
from pilotlight_onnx import probe
from pilotlight_onnx.backend import OnnxBackend
from pilotlight_onnx.model import OnnxModel
from pilotlight_onnx.native import NativeError

HELD, LONG, NEXT = (
    [(index * factor) % 700 + 5 for index in range(length)]
    for factor, length in ((7, 200), (11, 700), (13, 30))
)


@pytest.fixture(scope="module")
def model():
    path = OnnxBackend().embedded()
    model = OnnxModel(path, probe.read_config(path), threads=1)
    yield model
    model.close()


def scores(model, *, ended):
    """Return the scores behind `HELD` and `NEXT`, with an `append` between that was *ended*."""
    generator = model.open(1024)
    generator.append(HELD)
    if ended:
        ender = threading.Thread(target=generator.terminate)
        with pytest.raises(NativeError, match="erminate"):
            read_until_ended(generator, ender)
        within(ender.join)
        generator.resume(len(HELD))
    generator.append(NEXT)
    found = generator.logits().copy()
    generator.close()
    return found


def read_until_ended(generator, ender):
    ender.start()
    for _ in range(1000):  # however fast the machine is
        generator.append(LONG)
        generator.rewind(len(HELD))


def test_terminated_generator_goes_on_from_where_it_was(model):
    """Its content is as good as in a generator that was never terminated."""
    expected = scores(model, ended=False)
    for _ in range(3):
        assert np.array_equal(scores(model, ended=True), expected)
