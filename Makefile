# Chorus. `make` alone lists what there is to do.

PYTHON ?= python3
VENV ?= .venv
# How many tests run at a time, and anything else for pytest: make test PYTEST_ARGS="-n 2 -k check_in"
PYTEST_ARGS ?= -n 2 --dist loadgroup

# Some machines (build servers, containers) have no home folder; pip, gunicorn and Chromium each want one.
ifeq ($(strip $(HOME)),)
export HOME := $(abspath $(VENV))/home
endif

RUN = $(VENV)/bin/python
PIP_INSTALL = $(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes
# The version of the tool that makes the locks is fixed, so that two people get the same files.
UV = uv==0.13.9
COMPILE = $(RUN) -m uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock"

# An installed set is remembered by a stamp inside the environment: a second `make` is quick, a changed lock installs again.
HAS_DEMO = $(VENV)/.has-demo
HAS_TESTS = $(VENV)/.has-tests

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench soak guards lock clean

help: ## List what there is to do
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(HAS_DEMO) ## Run all of Chorus here, with a pretend carrier and phones in the browser (PORT, CHORUS_HOME)
	@$(RUN) -m bot.demo --stop-with-parent

test: $(HAS_TESTS) ## Run every test, on SQLite and on the real PostgreSQL and Redis that come along
	$(RUN) -m pytest $(PYTEST_ARGS)

lint: $(HAS_TESTS) ## Check style, types and the direction of imports
	@failed=0; \
	$(RUN) -m ruff check . || failed=1; \
	$(RUN) -m mypy || failed=1; \
	$(VENV)/bin/lint-imports || failed=1; \
	exit $$failed

bench: $(HAS_TESTS) ## Print how Chorus compares, side by side in one run
	$(RUN) -m benchmarks

soak: $(HAS_TESTS) ## The long run under faults: killed workers, lost answers, a Redis that goes and comes
	$(RUN) -m pytest -m soak -n 0 --timeout 0

guards: $(HAS_TESTS) ## Take out each guard in turn, in a copy, and show that a test goes red
	$(RUN) -m tests.guards

lock: $(RUN) ## Write the locked requirements anew from pyproject.toml (add UPGRADE=1 to take newer versions)
	$(RUN) -m pip install --quiet --disable-pip-version-check $(UV)
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --output-file requirements.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group demo --constraints requirements.txt --output-file bot/demo/requirements.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group test --group lint --constraints requirements.txt --output-file tests/requirements.txt

clean: ## Remove the environment and all caches; the demo's data (var/) stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis test-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Chorus needs Python 3.11 or newer. Name yours, for example: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
		|| { echo "This Python comes without venv. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Making the Python environment in $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@mkdir -p "$$HOME"

$(HAS_DEMO): requirements.txt bot/demo/requirements.txt $(RUN)
	@echo "Installing what the demo needs (a minute or two, once) ..."
	@$(PIP_INSTALL) -r requirements.txt -r bot/demo/requirements.txt
	@touch $@

$(HAS_TESTS): requirements.txt tests/requirements.txt $(RUN)
	@echo "Installing what the tests need (a minute or two, once) ..."
	@$(PIP_INSTALL) -r requirements.txt -r tests/requirements.txt
	@touch $@
