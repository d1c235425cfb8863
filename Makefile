# `make serve` serves a real model, `make test` runs the tests; both install what they need.
# Two environments, because the serving one must hold no dev package: .venv and .venv-dev.

# The backend that `make serve` makes sure of. ONNX Runtime comes as a wheel; llama.cpp is compiled
# once, and from then on the serving environment has both.
BACKEND ?= onnx
# How many processes the tests run in, side by side: two for each core, because a quarter of the
# tests' time is waiting, for other processes or for a limit to pass. On two cores one for each took
# 7:12 where two took 5:33.
WORKERS ?= $(shell expr 2 '*' `getconf _NPROCESSORS_ONLN`)
# How much `make test-long` does: generated requests of each operation, and minutes of parsers.
CASES ?= 500
MINUTES ?= 60
SOURCES := $(wildcard pyproject.toml backends/*/pyproject.toml)
# Developed and tested with the rest, and in no environment that serves.
EXAMPLES := $(wildcard examples/*/pyproject.toml)
# Draws the diagrams of the documentation's site; 11 is the version that the theme expects.
MERMAID := 11.17.2
MERMAID_SHA256 := 28302a2f6bd556bfd223acff76a1fd511bcc9e6f1cac1bad91b904469aeca102
ARGS ?=
IMAGE ?=
ENGINE ?= podman
TAG ?= pilotlight
VERSION ?= Unreleased

.DEFAULT_GOAL := help
include backends/llama_cpp/wheel.mk
.PHONY: help serve llama_cpp wheel test test-fast test-long dist image release-notes test-image clients check docs \
	sbom audit screenshots format generated requirements clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z_-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What is installed already is kept up to date, so an environment with both backends keeps both.
serve: .venv/.$(BACKEND) $(wildcard .venv/.llama_cpp .venv/.onnx)  ## serve the embedded model on port 8080 (ARGS="--port 9000" adds flags)
	.venv/bin/pilotlight serve $(ARGS)

llama_cpp: .venv/.llama_cpp  ## compile llama.cpp, once, and add it to what `make serve` serves with

# Each worker gets a run of neighbouring tests, which share fixtures; one that is done takes over some
# of another's. Bytecode is kept, and beside its module, whatever the environment says: without it each
# server that a test starts compiles its packages anew, and each worker the tests. Programs that are
# given an environment of their own find it there as well.
PYTEST := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX= \
	.venv-dev/bin/pytest --numprocesses $(WORKERS) --dist worksteal

test: .venv-dev/.installed .venv-dev/.llama_cpp  ## run every test (ARGS="tests/output -k utf8" chooses)
	$(PYTEST) $(ARGS)

test-fast: .venv-dev/.installed .venv-dev/.llama_cpp  ## run what takes no more than a minute in all
	$(PYTEST) -m "not slow and not clients" $(ARGS)

test-long: .venv-dev/.installed .venv-dev/.llama_cpp  ## try at length what the tests try in part: generated requests, parsers, the prompt cache (hours)
	.venv-dev/bin/python -m tests.openapi.long --cases $(CASES)
	.venv-dev/bin/python -m tests.fuzz --minutes $(MINUTES)
	.venv-dev/bin/python -m tests.fuzz.prompt_cache

clients: .venv-dev/.installed .venv-dev/.llama_cpp  ## run other people's clients, and write the table in docs/clients.md (ARGS=aider: that one alone)
	.venv-dev/bin/python -m tests.clients.table $(ARGS)

check: .venv-dev/.installed  ## lint, types and import contracts
	.venv-dev/bin/ruff check
	.venv-dev/bin/ruff format --check
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports
	for example in $(EXAMPLES); do .venv-dev/bin/lint-imports --config $$example || exit 1; done

dist: .venv/bin/python $(UV)  ## build the five distributions into dist/
	rm -rf dist
	for package in backends/contract backends/isolation backends/llama_cpp backends/onnx .; do \
		$(UV) build --quiet --no-sources --out-dir dist $$package || exit 1; \
	done

image:  ## build the image (BACKEND="llama_cpp onnx", ENGINE=docker, ARGS=--push)
	$(ENGINE) build --file Containerfile --build-arg BACKEND="$(BACKEND)" --tag $(TAG) $(ARGS) .

release-notes: .venv/bin/python  ## print the changelog's section (VERSION=0.1.0)
	@.venv/bin/python -m tools.release_notes $(VERSION)

test-image: .venv-dev/.installed  ## build, run and stop the image with podman (IMAGE="--backend onnx")
	.venv-dev/bin/python tests/container/image.py $(IMAGE)

sbom: .venv/.$(BACKEND) .venv-sbom/.installed  ## write sbom.cdx.json: what the serving environment holds
	.venv-sbom/bin/python -m tools.sbom --python .venv/bin/python --output sbom.cdx.json $(ARGS)

audit: .venv-audit/.installed  ## look for known vulnerabilities in what is served (ARGS="--ignore ID")
	.venv-audit/bin/python -m tools.audit requirements/serve-*.txt requirements/llama_cpp.txt $(ARGS)

docs: .venv-docs/.installed .venv-docs/mermaid-$(MERMAID).js  ## build the documentation's site into build/docs/site, with npm's Mermaid; a broken link fails
	rm -rf build/docs
	mkdir -p build/docs/pages
	git ls-files -z -- '*.md' LICENSE infra openapi docs/images ':!tests' ':!.github' \
		| tar --create --null --files-from=- | tar --extract --directory=build/docs/pages
	cp .venv-docs/mermaid-$(MERMAID).js build/docs/pages/mermaid.js
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict --config-file tools/docs/mkdocs.yml

screenshots: .venv-dev/.installed  ## write docs/images anew, with Chromium and npm's packages
	.venv-dev/bin/python -m tests.page.screenshots

format: .venv-dev/.installed  ## format, and mend what lint can mend
	.venv-dev/bin/ruff check --fix
	.venv-dev/bin/ruff format

generated: .venv-dev/.installed  ## write openapi/openapi.yaml and docs/settings.md anew
	.venv-dev/bin/pilotlight openapi --output openapi/openapi.yaml
	.venv-dev/bin/pilotlight settings --output docs/settings.md

# llama-cpp-python has a file of its own: its pin is of the source, which is compiled to a wheel, and
# its dependencies are in the others.
requirements: .venv/bin/python $(UV)  ## compile the pinned, hashed requirements anew
	$(UV) pip compile $(COMPILE) $(SOURCE_ELSEWHERE) --output-file requirements/dev.txt $(SOURCES) \
		--group dev --extra pull --extra buckets --extra gs --extra s3
	for backend in llama_cpp onnx; do \
		$(UV) pip compile $(COMPILE) $(SOURCE_ELSEWHERE) \
			--output-file requirements/serve-$$backend.txt \
			pyproject.toml backends/contract/pyproject.toml backends/isolation/pyproject.toml \
			backends/$$backend/pyproject.toml \
			--extra pull --extra otel --extra buckets --constraint requirements/dev.txt; \
	done
	for tool in audit build docs sbom; do \
		$(UV) pip compile $(COMPILE) --output-file requirements/$$tool.txt \
			--group $$tool --constraint requirements/dev.txt; \
	done
	grep --only-matching 'llama-cpp-python==[0-9.]*' backends/llama_cpp/pyproject.toml | \
		$(UV) pip compile $(COMPILE) --no-annotate --no-deps --no-binary llama-cpp-python \
			--output-file requirements/llama_cpp.txt - >/dev/null

COMPILE := --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-package pilotlight --no-emit-package pilotlight-backend \
	--no-emit-package pilotlight-isolation \
	--no-emit-package pilotlight-llama-cpp --no-emit-package pilotlight-onnx \
	--custom-compile-command "make requirements" --quiet
SOURCE_ELSEWHERE := --no-emit-package llama-cpp-python

.venv/.onnx .venv/.llama_cpp: .venv/.%: requirements/serve-%.txt $(SOURCES) .venv/bin/python $(UV)
	$(UV) pip install --compile-bytecode --python .venv/bin/python --require-hashes -r $<
	$(UV) pip install --python .venv/bin/python --no-deps \
		-e backends/contract -e backends/isolation -e backends/$* -e .
	$(if $(filter llama_cpp,$*),$(call install_wheel,.venv))
	touch $@

.venv-dev/.installed: requirements/dev.txt $(SOURCES) $(EXAMPLES) .venv/bin/python $(UV)
	$(UV) venv --quiet --allow-existing --python .venv/bin/python .venv-dev
	$(UV) pip install --compile-bytecode --python .venv-dev/bin/python --require-hashes -r $<
	$(UV) pip install --python .venv-dev/bin/python --no-deps \
		$(addprefix -e ,$(dir $(SOURCES) $(EXAMPLES)))
	touch $@

.venv-dev/.llama_cpp: .venv-dev/.installed $(WHEEL)
	$(call install_wheel,.venv-dev)
	touch $@

.venv/.llama_cpp: $(WHEEL)
install_wheel = $(UV) pip install --compile-bytecode --python $(1)/bin/python --no-deps \
	--reinstall-package llama-cpp-python build/wheels/llama_cpp_python-*.whl

# Diagrams are drawn in the reader's browser; the theme would load Mermaid from a CDN there. npm asks
# the registry that it is configured for.
.venv-docs/mermaid-$(MERMAID).js: .venv-docs/.installed
	cd .venv-docs && npm pack --silent @mermaid-js/tiny@$(MERMAID)
	cd .venv-docs && echo "$(MERMAID_SHA256)  mermaid-js-tiny-$(MERMAID).tgz" | sha256sum --check --quiet
	tar --extract --to-stdout --file .venv-docs/mermaid-js-tiny-$(MERMAID).tgz \
		package/dist/mermaid.tiny.js > $@.part
	mv $@.part $@

clean:  ## remove the environments, and what was compiled
	rm -rf .venv .venv-* build/wheels build/bytecode build/tests
