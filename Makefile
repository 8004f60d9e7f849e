# `make help` prints the verbs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL_VENV := .venv-p4rt-shell
NAME ?=
SOAK_SECONDS ?= 600
DEMO_ARGS ?=

BENCHMARKS := $(filter-out __init__ harness report,$(basename $(notdir $(wildcard bench/*.py))))
# What starts servers, makes network namespaces or takes long runs alone; all else side by side.
ALONE := server or netns or system or slow or soak
WORKERS ?= 2
SIDE_BY_SIDE = $(BIN)/python -m pytest -q -rs -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test check p4 bench soak clean distclean

help: ## print the verbs
	@grep -E '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(VENV)/.setup-stamp ## system packages (as root), virtual environment, pinned Python packages

$(VENV)/.setup-stamp: pyproject.toml setup.py constraints.txt .ci/debian-packages .ci/install-debian-packages
	@.ci/install-debian-packages
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("setup: $(PYTHON) is Python %d.%d, needed is 3.11 or newer: make setup PYTHON=python3.x" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt setuptools wheel
	$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[dev]'
	@touch $@

$(SHELL_VENV)/.setup-stamp: constraints-p4runtime-shell.txt
	@test -x $(SHELL_VENV)/bin/python || $(PYTHON) -m venv $(SHELL_VENV)
	$(SHELL_VENV)/bin/pip install -q --disable-pip-version-check -c $< setuptools wheel
	$(SHELL_VENV)/bin/pip install -q --disable-pip-version-check -c $< p4runtime-shell
	@touch $@

demo: setup ## real HTTP over real switches: members die and come back; a cluster of proxies (root; DEMO_ARGS="--target bmv2")
	$(BIN)/depot demo $(DEMO_ARGS)
	$(BIN)/depot demo cluster $(DEMO_ARGS)

test: setup $(SHELL_VENV)/.setup-stamp ## everything: units, servers, packet tests on every target, whole systems
	$(SIDE_BY_SIDE) -m 'not ($(ALONE))'
	$(BIN)/python -m pytest -rs -m '($(ALONE)) and not matrix'

check: setup ## format, lint, types, import rules, unit tests: fails hard, quick
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p depot -p softswitch -p ptf_tests -p bench
	$(BIN)/python -m pytest -q -rs controller/tests/test_import_rules.py
	$(SIDE_BY_SIDE) -m 'not ($(ALONE)) and not kernel'

p4: setup ## compile the forwarding program (needs p4c)
	$(BIN)/python p4src/compile.py

bench: setup ## every benchmark, or one: make bench NAME=forwarding
	@set -e; for name in $(or $(NAME),$(BENCHMARKS)); do echo "== bench/$$name.py"; $(BIN)/python -m bench.$$name; done
	$(BIN)/python -m bench.report

soak: setup ## long random runs, and the system tests on every target: SOAK_SECONDS=600
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/python -m pytest -rs -m 'soak or matrix' --timeout 0

clean: ## remove caches and build output
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis ptf.log
	find controller sw_fallback ptf_tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the virtual environments too
	rm -rf $(VENV) $(SHELL_VENV)
