# Each target makes .venv and installs pinned versions first; nothing else needs preparing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast lint check docs benchmarks clinic clean help

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# One install for every target. The stamp is newer than the files it was made from.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "imbalance-doctor needs Python 3.10 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,check]'
	touch $@

demo: $(VENV)/.installed  ## Train on rare digits, watch a planted failure get diagnosed and treated
	$(BIN)/imbalance-doctor demo --out demo-runs

test: $(VENV)/.installed  ## Run every test, one process for each core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-fast: $(VENV)/.installed  ## Run the tests that take no training and no processes
	$(BIN)/python -m pytest -m "not slow and not browser"

lint: $(VENV)/.installed  ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test  ## What CI runs

docs: $(VENV)/.installed  ## Write the pages that follow from the code
	$(BIN)/python docs/generate.py

clinic: $(VENV)/.installed  ## Plant every fault in real runs, apply the remedies, write docs/clinic.md (20 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.clinic

benchmarks: $(VENV)/.installed  ## Measure, and write docs/benchmarks.md (the better part of an hour)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps libauc
	$(BIN)/python -m benchmarks -o docs/benchmarks.md

clean:  ## Remove the environment and everything generated
	rm -rf $(VENV) demo-runs build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
