"""Which of the service's environment variables an engine's process gets.

It reads model files in native code, so it is the process that a hostile file takes over; a secret
that it does not have cannot leak. This is a list of what is allowed: secrets cannot be listed.
"""

import os
import re
import sys
from collections.abc import Mapping

_NAMES = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LANGUAGE"),
        # Shared libraries: the dynamic loader's variables, and allocators that an image preloads.
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "GLIBC_TUNABLES"),
        # GPU drivers keep compiled kernels there.
        "XDG_CACHE_HOME",
        *("CUBLAS_WORKSPACE_CONFIG", "ONEAPI_DEVICE_SELECTOR", "OCL_ICD_VENDORS"),
    }
)
_PREFIXES = (
    "LC_",
    # The interpreter, with its home, its allocator, and whether it writes .pyc files.
    "PYTHON",
    # Threads of OpenMP (GNU, LLVM), of BLAS libraries, and allocators.
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "MALLOC_", "MIMALLOC_"),
    # llama.cpp and ONNX Runtime themselves.
    *("GGML_", "LLAMA_", "ORT_", "ORTGENAI_"),
    # GPUs: which are visible, and their runtimes' own.
    *("CUDA_", "NVIDIA_", "NCCL_", "HIP_", "HSA_", "ROCR_", "ROCM_", "ROCBLAS_", "MIOPEN_"),
    *("SYCL_", "ZE_", "UR_", "VK_", "VULKAN_", "MESA_", "OPENVINO_"),
)
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
"""Names that no prefix allows: llama.cpp's tools read `LLAMA_API_KEY`, for one."""


def child_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of *environ* that an engine's process gets, and its `PYTHONPATH`."""
    allowed = {name: value for name, value in environ.items() if _allowed(name)}
    return {**allowed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _allowed(name: str) -> bool:
    return name in _NAMES or (name.startswith(_PREFIXES) and not _SECRET.search(name))
