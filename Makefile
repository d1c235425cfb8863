# `make serve` serves a real model, `make test` runs the tests; both install what they need.
# Two environments, because the serving one must hold no dev package: .venv and .venv-dev.

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .venv/bin/uv)
# The backend of the serving environment; `make serve BACKEND=onnx` has one of its own.
BACKEND ?= llama_cpp
VENV := $(if $(filter llama_cpp,$(BACKEND)),.venv,.venv-$(BACKEND))
SOURCES := $(wildcard pyproject.toml backends/*/pyproject.toml)
ARGS ?=
IMAGE ?=

.DEFAULT_GOAL := help
.PHONY: help serve test test-image check sbom audit format generated requirements clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.installed  ## serve the embedded model on port 8080 (ARGS="--port 9000" adds flags)
	$(VENV)/bin/pilotlight serve $(ARGS)

test: .venv-dev/.installed  ## run every test (ARGS="tests/output -k utf8" chooses)
	.venv-dev/bin/pytest $(ARGS)

check: .venv-dev/.installed  ## lint, types and import contracts
	.venv-dev/bin/ruff check
	.venv-dev/bin/ruff format --check
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports

test-image: .venv-dev/.installed  ## build, run and stop the image with podman (IMAGE="--backend onnx")
	.venv-dev/bin/python tests/container/image.py $(IMAGE)

sbom: $(VENV)/.installed .venv-sbom/.installed  ## write sbom.cdx.json: what the serving environment holds
	.venv-sbom/bin/python -m sbom --python $(VENV)/bin/python --output sbom.cdx.json $(ARGS)

audit: .venv-audit/.installed  ## look for known vulnerabilities in what is served (ARGS="--ignore ID")
	.venv-audit/bin/python -m audit requirements/serve-*.txt $(ARGS)

format: .venv-dev/.installed  ## format, and mend what lint can mend
	.venv-dev/bin/ruff check --fix
	.venv-dev/bin/ruff format

generated: .venv-dev/.installed  ## write openapi/openapi.yaml and docs/settings.md anew
	.venv-dev/bin/pilotlight openapi --output openapi/openapi.yaml
	.venv-dev/bin/pilotlight settings --output docs/settings.md

requirements: .venv/bin/python $(UV)  ## compile the pinned, hashed requirements anew
	$(UV) pip compile $(COMPILE) --output-file requirements/dev.txt $(SOURCES) --group dev \
		--extra pull --extra gs --extra s3
	for backend in llama_cpp onnx; do \
		$(UV) pip compile $(COMPILE) --output-file requirements/serve-$$backend.txt \
			pyproject.toml backends/contract/pyproject.toml backends/$$backend/pyproject.toml \
			--extra pull --extra otel --constraint requirements/dev.txt; \
	done
	for tool in audit sbom; do \
		$(UV) pip compile $(COMPILE) --output-file requirements/$$tool.txt \
			--group $$tool --constraint requirements/dev.txt; \
	done

COMPILE := --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-package pilotlight --no-emit-package pilotlight-backend \
	--no-emit-package pilotlight-llama-cpp --no-emit-package pilotlight-onnx \
	--custom-compile-command "make requirements" --quiet

# Where the machine has uv it is used; elsewhere it is installed here, by hash like the rest.
.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/bin/uv: .venv/bin/python requirements/uv.txt
	.venv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	touch $@

$(VENV)/.installed: requirements/serve-$(BACKEND).txt $(SOURCES) .venv/bin/python $(UV)
	test -d $(VENV) || $(UV) venv --quiet --python .venv/bin/python $(VENV)
	$(UV) pip install --compile-bytecode --python $(VENV)/bin/python --require-hashes -r $<
	$(UV) pip install --python $(VENV)/bin/python --no-deps \
		-e backends/contract -e backends/$(BACKEND) -e .
	touch $@

.venv-dev/.installed: requirements/dev.txt $(SOURCES) .venv/bin/python $(UV)
	$(UV) venv --quiet --allow-existing --python .venv/bin/python .venv-dev
	$(UV) pip install --python .venv-dev/bin/python --require-hashes -r $<
	$(UV) pip install --python .venv-dev/bin/python --no-deps $(addprefix -e ,$(dir $(SOURCES)))
	touch $@

# Tools that neither serve nor test.
.venv-sbom/.installed .venv-audit/.installed: .venv-%/.installed: requirements/%.txt .venv/bin/python $(UV)
	$(UV) venv --quiet --allow-existing --python .venv/bin/python .venv-$*
	$(UV) pip install --python .venv-$*/bin/python --require-hashes -r $<
	touch $@

clean:  ## remove the environments
	rm -rf .venv .venv-*
