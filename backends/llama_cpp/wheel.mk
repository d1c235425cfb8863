# How llama.cpp becomes a wheel, and the environments for tools. An image copies this file alone before
# its longest step, so that another change of the Makefile, which includes it, does not compile again.

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .venv/bin/uv)
# A wheel of llama-cpp-python to use instead of compiling one: a file or an address. It has to be of
# the version that requirements/llama_cpp.txt pins; `#sha256=…` behind an address is checked.
LLAMA_CPP_WHEEL ?=
# Added to the flags of llama.cpp's CMake, such as -DGGML_CUDA=ON.
CMAKE_ARGS ?=
# Named by what decides about the wheel, not by times: a cache or a checkout brings new ones.
WHEEL_OF := requirements/llama_cpp.txt requirements/build.txt backends/llama_cpp/build.cmake
WHEEL := build/wheels/.llama_cpp-$(firstword $(shell cat $(WHEEL_OF) | cksum))

# llama.cpp is compiled once, to a wheel that every environment installs: uv keeps what it built only
# where the index lets it. The source's hash is checked, and so are those of the tools that build it;
# pip's cache is left out, for it knows a wheel by its name and not by CMAKE_ARGS.
wheel: $(WHEEL)  ## compile llama.cpp to a wheel in build/wheels/, once
$(WHEEL):
	$(MAKE) --no-print-directory --file backends/llama_cpp/wheel.mk .venv-build/.installed
	rm -rf build/wheels
ifeq ($(LLAMA_CPP_WHEEL),)
	@echo "compiling llama.cpp, once: this takes some minutes"
	PATH="$(CURDIR)/.venv-build/bin:$$PATH" \
	CMAKE_ARGS="-DCMAKE_PROJECT_llama_cpp_INCLUDE=$(CURDIR)/backends/llama_cpp/build.cmake $(CMAKE_ARGS)" \
		.venv-build/bin/python -m pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation \
			--no-binary llama-cpp-python --require-hashes -r requirements/llama_cpp.txt \
			--wheel-dir build/wheels
else
	.venv-build/bin/python -m pip download --quiet --no-deps --dest build/wheels "$(LLAMA_CPP_WHEEL)"
endif
	echo '$(MADE_WITH)' >$@

# Other flags than those of the wheel that is there make another one; none use it as it is.
MADE_WITH = $(strip $(CMAKE_ARGS) $(LLAMA_CPP_WHEEL))
ifneq ($(MADE_WITH),)
ifneq ($(MADE_WITH),$(shell cat $(WHEEL) 2>/dev/null))
.PHONY: $(WHEEL)
endif
endif

# Where the machine has uv it is used; elsewhere it is installed here, by hash like the rest.
.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/bin/uv: .venv/bin/python requirements/uv.txt
	.venv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	touch $@

# Tools that neither serve nor test, and what llama.cpp is compiled with.
.venv-sbom/.installed .venv-audit/.installed .venv-build/.installed \
.venv-docs/.installed: .venv-%/.installed: requirements/%.txt .venv/bin/python $(UV)
	$(UV) venv --quiet --allow-existing --python .venv/bin/python .venv-$*
	$(UV) pip install --python .venv-$*/bin/python --require-hashes -r $<
	touch $@
