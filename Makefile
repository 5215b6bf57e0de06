# Each target makes .venv and installs into it, in pinned versions, what it needs and no more; nothing else needs
# preparing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-fast test-arithmetic lint check docs clean help
.NOTPARALLEL:  # two installs into one environment get in each other's way

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# The extra that the stamp is named after. A stamp is newer than the files it was made from.
$(VENV)/.installed-%: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "imbalance-doctor needs Python 3.10 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e '.[$*]'
	touch $@

demo: $(VENV)/.installed-demo  ## Train on rare digits, watch a planted failure get diagnosed and treated
	$(BIN)/imbalance-doctor demo --out demo-runs

test: $(VENV)/.installed-dev  ## Run every test, one process for each core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-fast: $(VENV)/.installed-dev  ## Run the tests that take no training and no processes
	$(BIN)/python -m pytest -m "not slow and not browser"

# Processors sum in different orders, and training amplifies the difference: these stand in for other machines.
CLINIC := tests/clinic/test_clinic.py tests/clinic/test_healthy.py tests/clinic/test_margin.py
TRAINING := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not browser"

test-arithmetic: $(VENV)/.installed-dev  ## Run the quick tests that train as other processors would calculate
	ATEN_CPU_CAPABILITY=default $(TRAINING) $(CLINIC)
	ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=AVX2 $(TRAINING) $(CLINIC)

lint: $(VENV)/.installed-dev  ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test test-arithmetic  ## What CI runs

docs: $(VENV)/.installed-dev $(if $(filter benchmarks all,$(PAGES)),$(VENV)/.installed-bench)  ## Write the pages that follow from the code; PAGES="clinic promise benchmarks" (or all) measures again, for hours
	$(if $(filter benchmarks all,$(PAGES)),$(PIP_INSTALL) --no-deps libauc)
	OMP_NUM_THREADS=1 $(BIN)/python docs/generate.py $(PAGES)

clean:  ## Remove the environment and everything generated
	rm -rf $(VENV) demo-runs build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
