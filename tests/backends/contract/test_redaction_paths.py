"""What errors for clients contain of paths."""

from pathlib import Path

import pytest

from pilotlight_backend.redaction import without_folders


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Load model from /srv/my models/m/a.onnx failed", "Load model from m/a.onnx failed"),
        (
            "[Errno 13] Permission denied: '/home/one/x.gguf'",
            "[Errno 13] Permission denied: 'x.gguf'",
        ),
        ("(/usr/lib/libonnxruntime.so.1): cannot open", "(libonnxruntime.so.1): cannot open"),
        ("open=/opt/a/b, or ~/.core/models/c", "open=b, or c"),
        ("m/a.onnx: 3/4 of its bytes, and/or none", "m/a.onnx: 3/4 of its bytes, and/or none"),
        ("https://hub.example/a/b.gguf: 404", "https://hub.example/a/b.gguf: 404"),
        ("", ""),
    ],
)
def test_paths_are_cut_to_what_a_client_knows(text, told):
    """The model's own files keep their place in its folder; addresses are no paths of ours."""
    assert without_folders(text, Path("/srv/my models/m")) == told


def test_model_without_a_folder():
    """A relative path has no folder to be cut, and nothing else of the text is lost."""
    assert without_folders("./m.gguf: torn", Path("m.gguf")) == "./m.gguf: torn"
