# All targets work in an empty clone with Python 3.11 or newer and the package registries.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint crash chaos properties fuzz-rules fuzz-scan bench bench-parts wheels capture sbom audit clean

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml $(wildcard streams/decode/_*.pyx streams/decode/_*.pxd)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## Play a recorded day through a Kafka of its own and show the signals
	@$(BIN)/betrace demo

test: $(READY) ## Run every test, the short forms of the slow tiers included
	$(BIN)/pytest

lint: $(READY) ## Check style, types and imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

crash: $(READY) ## Kill betrace run, and the ledger, many times in the middle of their work and compare what they left
	$(BIN)/pytest tests/crash/test_kill.py tests/crash/test_kill_ledger.py --long

chaos: $(READY) ## Hurt workers and broker for a quarter of an hour and compare all that they left
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

wheels: $(READY) ## Build a wheel for this machine into dist/; a release runs cibuildwheel on Linux and macOS
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# What the image has, and nothing that only development needs.
PRODUCT := build/product
SBOM := build/sbom.json
$(PRODUCT)/ready: pyproject.toml
	$(PYTHON) -m venv --clear $(PRODUCT)
	$(PRODUCT)/bin/python -m pip install --quiet '.[archive,s3,tracing]'
	@touch $@

sbom: $(READY) $(PRODUCT)/ready ## List all that is installed with BeTrace, in build/sbom.json (CycloneDX)
	$(BIN)/cyclonedx-py environment --no-validate --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --output-file $(SBOM) $(PRODUCT)/bin/python

audit: $(READY) $(PRODUCT)/ready ## Look for known vulnerabilities in all that is installed with BeTrace
	$(PRODUCT)/bin/python -m pip freeze --exclude betrace > $(PRODUCT)/requirements.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement $(PRODUCT)/requirements.txt

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
