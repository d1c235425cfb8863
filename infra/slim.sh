#!/bin/sh
# Take out of the image's environment what serving never imports. Half of its size.
#   slim.sh ENVIRONMENT
set -eu
environment=$1
rm -rf "$environment/.lock" "$environment/include"
cd "$environment"/lib/python3.*/site-packages

# Litestar requires these for its command line and for examples in a schema of its own making.
rm -rf faker faker-* polyfactory polyfactory-* rich rich-* rich_click rich_click-* \
    markdown_it markdown_it_py-* mdurl mdurl-* pygments pygments-*
rm -rf litestar/testing litestar/cli
# The conformance suite and the fake backend are for those who write backends.
rm -rf pilotlight_backend/testing

# The C API through ctypes is all that the backends use of these libraries: pilotlight_*/native.py.
rm -rf llama_cpp/server diskcache diskcache-*
rm -rf bin include lib share # where llama.cpp installs itself once more
rm -rf onnxruntime/capi/onnxruntime_pybind11_state* onnxruntime/transformers \
    onnxruntime/quantization onnxruntime/tools onnxruntime/backend onnxruntime/datasets \
    onnxruntime_genai/models onnxruntime_genai/onnxruntime_genai.*.so \
    flatbuffers flatbuffers-*
rm -rf numpy/f2py numpy/distutils numpy/_core/include numpy/_core/lib
find . -type d -name tests -prune -exec rm -rf {} +

# OpenTelemetry's exporter requires Google's common messages and imports protobuf alone.
if [ -d google ]; then
    find google -mindepth 1 -maxdepth 1 ! -name protobuf -exec rm -rf {} +
fi
rm -rf googleapis_common_protos-*

# Images are decoded from JPEG, PNG, GIF, WebP and BMP. Pillow's other modules, and the libraries
# that only these link, draw text, convert colour profiles and read AVIF.
rm -f PIL/_avif.*.so PIL/_imagingft.*.so PIL/_imagingcms.*.so PIL/_imagingtk.*.so \
    pillow.libs/libavif-* pillow.libs/libfreetype-* pillow.libs/libharfbuzz-* \
    pillow.libs/libpng16-* pillow.libs/libbrotli* pillow.libs/liblcms2-*

if [ -d llama_cpp/lib ]; then
    # A wheel holds no links, so each library is there three times. Python loads libllama.so and
    # libmtmd.so, and the loader finds what they need by the name with the major version.
    rm -rf llama_cpp/lib/*.so.*.*.* llama_cpp/lib/libllama.so.* llama_cpp/lib/libmtmd.so.* \
        llama_cpp/lib/libggml*.so
    # Slim images lack OpenMP; the libraries look in their own folder first.
    cp "$(gcc -print-file-name=libgomp.so.1)" llama_cpp/lib/
fi

# Symbols for debuggers. Libraries that auditwheel has moved (*.libs) may not survive it.
find "$environment" -name '*.so*' -type f -not -path '*.libs/*' \
    -exec strip --strip-unneeded {} +
