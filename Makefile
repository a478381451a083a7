# make demo   shows the main job without an account or a network
# make run    the real server on http://localhost:8080
# make test   all tests;   make check   lint, types, import contracts (seconds)
# make bench  performance ratios;   make fmt   formats;   make lock   renews the requirement files
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
CACHE := .cache

.PHONY: demo run test check bench fmt lock clean

demo: $(VENV)/demo.stamp
	@$(BIN)/ccflare demo

run: $(VENV)/run.stamp
	@$(BIN)/ccflare serve

test: $(VENV)/dev.stamp $(VENV)-sdk0/stamp
	@sh tests/install-programs.sh
	@$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

check: $(VENV)/dev.stamp
	@$(BIN)/ruff check --quiet --cache-dir $(CACHE)/ruff .
	@$(BIN)/ruff format --quiet --check --cache-dir $(CACHE)/ruff .
	@$(BIN)/mypy --cache-dir $(CACHE)/mypy
	@$(BIN)/lint-imports --cache-dir $(CACHE)/imports

fmt: $(VENV)/dev.stamp
	@$(BIN)/ruff check --quiet --fix --cache-dir $(CACHE)/ruff .
	@$(BIN)/ruff format --quiet --cache-dir $(CACHE)/ruff .

bench: $(VENV)/dev.stamp
	@$(BIN)/python -m bench $(BENCH_ARGS)

lock: $(VENV)/dev.stamp
	@for name in run demo dev sdk0; do \
	  $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	    --output-file requirements/$$name.txt requirements/$$name.in || exit 1; \
	done

clean:
	rm -rf $(VENV) $(VENV)-sdk0 $(CACHE) .hypothesis

# Debian's Python comes without venv; the package is installed where that is permitted.
$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y python3-venv; } \
	  && $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(VENV)/created
	@echo "Installing into $(VENV) ..."
	@$(PIP) --require-hashes -r requirements/run.txt
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/demo.stamp: requirements/demo.txt $(VENV)/run.stamp
	@echo "Installing the Anthropic SDK for the demo ..."
	@$(PIP) --require-hashes -r requirements/demo.txt
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/demo.stamp
	@echo "Installing what checks and tests need ..."
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)-sdk0/stamp: requirements/sdk0.txt | $(VENV)/created
	@$(PYTHON) -m venv $(VENV)-sdk0
	@$(VENV)-sdk0/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/sdk0.txt
	@touch $@
