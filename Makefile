# make demo   shows the main job without an account or a network; on a terminal it stays until Ctrl+C
# make run    the real server on http://localhost:8080
# make test   all tests;   make check   lint, types, import contracts (seconds)
# make bench  performance ratios;   make fmt   formats;   make lock   renews the requirement files
# make sbom   the bill of materials, in dist/;   make audit  asks for known vulnerabilities
# make types  renews the dashboard's types from the API;   make pictures  renews those of the README
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
CACHE := .cache

.PHONY: demo run test check bench fmt lock types pictures dashboard sbom audit clean

demo: $(VENV)/demo.stamp dashboard
	@$(BIN)/ccflare demo

run: $(VENV)/run.stamp dashboard
	@$(BIN)/ccflare serve

test: $(VENV)/dev.stamp $(VENV)-sdk0/stamp dashboard
	@sh tests/install-programs.sh
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(PYTEST_ARGS)

check: $(VENV)/dev.stamp
	@$(BIN)/ruff check --quiet --cache-dir $(CACHE)/ruff .
	@$(BIN)/ruff format --quiet --check --cache-dir $(CACHE)/ruff .
	@$(BIN)/mypy --cache-dir $(CACHE)/mypy
	@$(BIN)/lint-imports --cache-dir $(CACHE)/imports
	@$(BIN)/python hatch_build.py run check

fmt: $(VENV)/dev.stamp
	@$(BIN)/ruff check --quiet --fix --cache-dir $(CACHE)/ruff .
	@$(BIN)/ruff format --quiet --cache-dir $(CACHE)/ruff .
	@$(BIN)/python hatch_build.py run format

# Builds what has changed; without Node it says so, and everything but the pages works.
dashboard: $(VENV)/node.stamp
	@$(BIN)/python hatch_build.py

types: $(VENV)/dev.stamp $(VENV)/node.stamp
	@$(BIN)/python -m ccflare.api | $(BIN)/python hatch_build.py run types

pictures: $(VENV)/dev.stamp dashboard
	@sh tests/install-programs.sh
	@$(BIN)/python tests/pictures.py

bench: $(VENV)/dev.stamp
	@$(BIN)/python -m bench $(BENCH_ARGS)

lock: $(VENV)/dev.stamp
	@for name in run demo otel dev sdk0 node audit; do \
	  $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	    --output-file requirements/$$name.txt requirements/$$name.in || exit 1; \
	done

sbom: $(VENV)/dev.stamp
	@$(BIN)/python -m tools.sbom dist

# Needs a service on the internet, so it is no part of `check`; where that cannot be reached it fails and says so.
audit: $(VENV)-audit/stamp
	@mkdir -p $(CACHE); for name in run demo otel dev sdk0 node; do \
	  $(VENV)-audit/bin/pip-audit --progress-spinner off --disable-pip --require-hashes -r requirements/$$name.txt \
	    2> $(CACHE)/audit.txt || { tail -n 1 $(CACHE)/audit.txt; \
	      echo "requirements/$$name.txt is not found clean: see above; an error of a connection means that nobody was asked"; \
	      exit 1; }; \
	done

clean:
	rm -rf $(VENV) $(VENV)-audit $(VENV)-sdk0 $(CACHE) .hypothesis dashboard/node_modules src/ccflare/dashboard

# Debian's Python comes without venv; the package is installed where that is permitted.
$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y python3-venv; } \
	  && $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(VENV)/created
	@echo "Installing into $(VENV) ..."
	@$(PIP) --require-hashes -r requirements/run.txt
	@CCFLARE_WITHOUT_DASHBOARD=1 $(PIP) --no-build-isolation --no-deps --editable .
	@$(BIN)/python -m compileall -q src/ccflare  # also where PYTHONDONTWRITEBYTECODE is set: commands start in half the time
	@touch $@

# A Node of our own where the machine has none.
$(VENV)/node.stamp: requirements/node.txt $(VENV)/run.stamp
	@$(BIN)/python -c 'import hatch_build, sys; sys.exit(hatch_build.find_node() is None)' \
	  || $(PIP) --require-hashes -r requirements/node.txt
	@touch $@

$(VENV)/demo.stamp: requirements/demo.txt $(VENV)/run.stamp
	@echo "Installing the Anthropic SDK for the demo ..."
	@$(PIP) --require-hashes -r requirements/demo.txt
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/demo.stamp
	@echo "Installing what checks and tests need ..."
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)-audit/stamp: requirements/audit.txt | $(VENV)/created
	@$(PYTHON) -m venv $(VENV)-audit
	@$(VENV)-audit/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/audit.txt
	@touch $@

$(VENV)-sdk0/stamp: requirements/sdk0.txt | $(VENV)/created
	@$(PYTHON) -m venv $(VENV)-sdk0
	@$(VENV)-sdk0/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/sdk0.txt
	@touch $@
