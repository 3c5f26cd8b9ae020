# The one list of commands. `make help` prints it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
TORCH := 2.13.0
SWIFT := 2.38.0
# Installed first: the pip that a distribution's Python brings can be too old for what follows.
PIP = $(shell grep -o '^pip==[^ ]*' requirements.lock)

# One environment per lock and interpreter, outside the checkout, so that repeated runs are cheap.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/glossa
INTEROP = $(CACHE)/interop-$(shell cat requirements-interop.lock <($(PYTHON) -VV) | cksum | cut -d' ' -f1)
SWIFT_ENV = $(CACHE)/swift-$(shell cat requirements-swift.lock <($(PYTHON) -VV) | cksum | cut -d' ' -f1)

SOURCES = $(wildcard madx registry trainer service glossa benchmarks tests)
TESTS = $(wildcard tests/unit tests/contracts tests/integration tests/faults)

.PHONY: help install lock format lint types test test-gpu promtool kills soak churn acceptance overlap swift-env interop interop-env demo results adapters openapi wheel benchmarks clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

install: $(INSTALLED) ## make .venv from requirements.lock, with this checkout in it

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$(PIP)"
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

lock: $(INSTALLED) ## bring the lock files in line with pyproject.toml (UPGRADE=1: to the newest versions)
	$(call compile,--extra test --extra services --extra dev,requirements.lock)
	$(call compile,--extra test --extra interop,requirements-interop.lock)
	echo "swift==$(SWIFT)" | $(COMPILE) --output-file requirements-swift.lock -

# Locked by version alone: no local version, no index, and no CUDA packages, which torch brings where they fit.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --allow-unsafe --strip-extras \
	--annotation-style line --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	$(if $(UPGRADE),--upgrade)

define compile
	$(COMPILE) $(1) --output-file $(2) --upgrade-package "torch==$(TORCH)" pyproject.toml
	sed -i.old -E -e 's/^(torch==[0-9.]+)\+[a-z0-9.]+/\1/' -e '/^(nvidia-|cuda-|triton)/d' $(2)
	rm $(2).old
endef

format: $(INSTALLED) ## format the sources and sort their imports
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

lint: $(INSTALLED) ## check style and format with ruff
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(INSTALLED) ## check types with mypy --strict
	$(BIN)/mypy --strict $(SOURCES)

test: lint types promtool ## set up, lint, check types, and run every test but those that need more than this environment
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal $(TESTS)

# The PATH's, else the distribution's: fetched once for all checkouts, without root and into no system folder. Where
# there is neither, the test that needs it says so.
PROMTOOL = $(CACHE)/promtool
APT = apt-get -qq -o APT::Sandbox::User= -o Dir::State::Lists="$$PWD/lists" -o Dir::Cache="$$PWD/cache"

promtool: $(INSTALLED) ## bring promtool, which checks the metrics, into .venv
	@test -x $(BIN)/promtool || { \
		found=$$(command -v promtool || echo "$(PROMTOOL)/promtool"); \
		{ test -x "$$found" || ($(fetch_promtool)); } && ln -sf "$$found" $(BIN)/promtool; \
	} || echo "no promtool: install Prometheus's, so that it is on the PATH" >&2

# Some distributions pack it alone, others with the server.
define fetch_promtool
rm -rf "$(PROMTOOL)" && mkdir -p "$(PROMTOOL)/new" && cd "$(PROMTOOL)/new" && \
	mkdir -p lists/partial cache/archives/partial && $(APT) update && \
	{ $(APT) download promtool 2> refused || $(APT) download prometheus; } && \
	dpkg-deb --extract *.deb . && mv usr/bin/promtool .. && cd .. && rm -rf new
endef

test-gpu: $(INSTALLED) ## run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu tests/gpu tests/unit/madx

acceptance: swift-env ## hold the registry against object stores that people run: Ceph's radosgw and OpenStack Swift
	GLOSSA_SWIFT_PROGRAMS="$(SWIFT_ENV)/bin" OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/acceptance

overlap: $(INSTALLED) ## hold the texts that are trained on against every evaluation set below GLOSSA_DATA_DIR
	$(BIN)/python -m pytest tests/contracts/test_evaluation_overlap.py

swift-env: $(INSTALLED) ## make the environment that `make acceptance` runs Swift from
	@test -f "$(SWIFT_ENV)/.installed" || { \
		$(PYTHON) -m venv --clear "$(SWIFT_ENV)"; \
		"$(SWIFT_ENV)/bin/python" -m pip install --quiet "$(PIP)"; \
		"$(SWIFT_ENV)/bin/python" -m pip install --quiet -r requirements-swift.lock; \
		touch "$(SWIFT_ENV)/.installed"; \
	}

kills: $(INSTALLED) ## kill publishers, PostgreSQL and an object store (KILLS=200: how many)
	GLOSSA_KILLS=$(or $(KILLS),200) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults/test_kills.py

soak: $(INSTALLED) ## upload, download and collect all at once, on both kinds of registry (MINUTES=10: each)
	for kind in sqlite postgresql; do $(BIN)/python -m tests.soak.soak --minutes $(or $(MINUTES),10) --on $$kind; done

churn: $(INSTALLED) ## let adapters come and go at random under load, and watch the server's memory (MINUTES=60)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak.churn --minutes $(or $(MINUTES),60)

interop: interop-env ## hold the network against AdapterHub's adapters, in an environment of its own
	GLOSSA_OTHER_PYTHON="$(CURDIR)/$(BIN)/python" PYTHONPATH="$(CURDIR)" OMP_NUM_THREADS=1 \
		"$(INTEROP)/bin/python" -m pytest --numprocesses auto --dist worksteal tests/interop

interop-env: $(INSTALLED) ## make the environment of `make interop`, which benchmarks use too
	@test -f "$(INTEROP)/.installed" || { \
		$(PYTHON) -m venv --clear "$(INTEROP)"; \
		"$(INTEROP)/bin/python" -m pip install --quiet "$(PIP)"; \
		"$(INTEROP)/bin/python" -m pip install --quiet -r requirements-interop.lock; \
		touch "$(INTEROP)/.installed"; \
	}

demo: $(INSTALLED) ## serve the demo and ask it in eight languages (ONCE=1: stop after the answers)
	$(BIN)/glossa demo $(if $(ONCE),--once)

results: $(INSTALLED) ## compute what is missing of docs/results
	$(BIN)/python -m benchmarks.results

adapters: $(INSTALLED) ## train the backbone and the adapters of demo/ again
	PATH="$(CURDIR)/$(BIN):$$PATH" demo/train.sh

openapi: $(INSTALLED) ## write docs/openapi.json again, after a change of the HTTP interface
	mkdir -p dist
	$(BIN)/python -c "import json; from service.app import create_app; from service.settings import Settings; \
		print(json.dumps(create_app(Settings(home='.', backbone='none')).openapi(), indent=2))" > dist/openapi.json
	mv dist/openapi.json docs/openapi.json

wheel: $(INSTALLED) ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

benchmarks: interop-env ## run every benchmark, each into dist/benchmarks/NAME.json
	mkdir -p dist/benchmarks
	for module in $(basename $(notdir $(shell grep -l '__name__ == "__main__"' benchmarks/*.py))); do \
		GLOSSA_INTEROP_PYTHON="$(INTEROP)/bin/python" $(BIN)/python -m benchmarks.$$module --json dist/benchmarks/$$module.json; \
	done

clean: ## remove what the other targets made in this checkout
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
