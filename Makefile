# All targets work in an empty clone with Python 3.11 or newer and the package registries.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
# The uv on the path, else one of our own.
UV := $(or $(shell command -v uv),$(BIN)/uv)
INSTALL := $(UV) pip install --quiet --constraint $(LOCK) --build-constraint $(LOCK) --python
# All that development needs, as the lock has it, and the extension compiled.
READY := $(VENV)/ready
# Less than that, where nothing is installed yet.
DEMO_READY := $(if $(wildcard $(READY)),$(READY),$(VENV)/demo-ready)
SCANNER := $(wildcard streams/decode/_*.pyx streams/decode/_*.pxd)

# uv does not read pip's settings.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif

.DEFAULT_GOAL := help
.PHONY: help demo check test test-all test-slow coverage lint crash chaos properties fuzz-rules fuzz-scan bench bench-parts lock jars wheels sdist capture sbom audit clean

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv --without-pip $(VENV)

# The pip that Python has already is faster than one more in the environment; where it has none, ensurepip brings one.
$(BIN)/uv: | $(BIN)/python
	uv=$$(grep -o '^uv==[^ ]*' $(LOCK)) && \
	  { $(PYTHON) -m pip --python $(BIN)/python install --quiet "$$uv" || \
	    { $(BIN)/python -m ensurepip && $(BIN)/python -m pip install --quiet "$$uv"; }; }

$(READY): pyproject.toml $(LOCK) $(SCANNER) | $(BIN)/python $(UV)
	$(INSTALL) $(BIN)/python --reinstall-package betrace --editable '.[dev]'
	@touch $@

# The compiler takes longer than the demo, which Python decodes as well: without Cython the build leaves the extension
# out. `make test` then builds it.
$(VENV)/demo-ready: pyproject.toml $(LOCK) | $(BIN)/python $(UV)
	$(INSTALL) $(BIN)/python --requirement pyproject.toml --extra embedded setuptools
	CC=false $(INSTALL) $(BIN)/python --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(DEMO_READY) ## Play a recorded day through a Kafka of its own and show the signals
	@$(BIN)/betrace demo

# Each process of pytest-xdist starts a Kafka of its own. One more than there are cores: most tests wait for something.
PROCESSES ?= $(shell $(PYTHON) -c 'import os; print(min((os.cpu_count() or 1) + 1, 4))')
XDIST := --numprocesses $(PROCESSES) --dist loadfile
PYTEST := $(BIN)/pytest $(XDIST)

check: lint ## Check style, types and imports, and run the fast unit tests
	$(PYTEST) --hypothesis-profile=quick -m "not slow and not medium and not broker" tests/dsl tests/topics tests/streams dsl topics streams

test: $(READY) ## Run what a contributor needs to trust a change
	$(PYTEST) --hypothesis-profile=quick -m "not slow"

test-all: $(READY) ## Run every test, the short forms of the slow tiers included
	$(PYTEST)

test-slow: $(READY) ## Run what `make test` leaves to `make test-all`
	$(PYTEST) -m slow

coverage: $(READY) ## Measure which lines `make test` reaches, and fail below the floor
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(XDIST) --hypothesis-profile=quick -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(READY) ## Check style, types and imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

crash: $(READY) ## Kill betrace run, and the ledger, many times in the middle of their work and compare what they left
	$(BIN)/pytest tests/crash/test_kill.py tests/crash/test_kill_ledger.py --long

chaos: $(READY) ## Hurt workers and broker beside 100,000 hostile records, and compare all that they left
	$(BIN)/python -m tests.crash.chaos

properties: $(READY) ## Run the properties with many more examples
	$(BIN)/pytest tests/properties tests/differential --hypothesis-profile=long

fuzz-rules: $(READY) ## Compile a million random and mutated rule texts
	$(BIN)/python -m tests.properties.fuzz_rules 1000000

fuzz-scan: $(READY) ## Read ten million odd and damaged requests with the scanner and without it
	$(BIN)/python -m tests.properties.fuzz_scan 10000000

bench: $(READY) ## Measure beside Kafka Streams and the Collector, in one run: tests/bench/README.md
	$(BIN)/python -m tests.bench

bench-parts: $(READY) ## Measure the parts: ingest, decoding, rules, windows, latency, an archive, evidence
	$(BIN)/python -m tests.bench.bench_ingest
	$(BIN)/python -m tests.bench.bench_decode
	$(BIN)/python -m tests.bench.bench_rules
	$(BIN)/python -m tests.bench.bench_scale
	$(BIN)/python -m tests.bench.bench_windows
	$(BIN)/python -m tests.bench.bench_latency
	$(BIN)/python -m tests.bench.bench_archive
	$(BIN)/python -m tests.bench.bench_evidence

capture: $(READY) ## Record the packaged captures again, with a real Collector (needs Go)
	$(BIN)/python -m tests.support.record

lock: | $(UV) ## Choose the newest versions that pyproject.toml allows, in requirements.lock
	$(UV) lock --quiet --upgrade
	$(UV) export --quiet --frozen --all-extras --no-emit-project --no-header --format requirements-txt \
	  --output-file $(LOCK) > /dev/null

jars: $(READY) ## Write down which jars the demo's Kafka needs, in topics/embedded/jars.txt
	$(BIN)/python -m tests.support.jars

wheels: | $(UV) ## Build a wheel for this machine into dist/; a release runs cibuildwheel on Linux and macOS
	$(UV) build --quiet --wheel --python $(PYTHON) --build-constraint $(LOCK) --out-dir dist

sdist: | $(UV) ## Build the sdist into dist/
	$(UV) build --quiet --sdist --python $(PYTHON) --build-constraint $(LOCK) --out-dir dist

# What the image has, and nothing that only development needs.
PRODUCT := build/product
SBOM := build/sbom.json
$(PRODUCT)/ready: pyproject.toml $(LOCK) | $(UV)
	$(PYTHON) -m venv --clear --without-pip $(PRODUCT)
	$(INSTALL) $(PRODUCT)/bin/python '.[archive,s3,tracing]'
	@touch $@

sbom: $(READY) $(PRODUCT)/ready ## List all that is installed with BeTrace, in build/sbom.json (CycloneDX)
	$(BIN)/cyclonedx-py environment --no-validate --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --output-file $(SBOM) $(PRODUCT)/bin/python

audit: $(READY) $(PRODUCT)/ready ## Look for known vulnerabilities in all that is installed with BeTrace
	$(UV) pip freeze --quiet --exclude betrace --python $(PRODUCT)/bin/python > $(PRODUCT)/requirements.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement $(PRODUCT)/requirements.txt

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
