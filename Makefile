# Every target does the set-up that it needs: `make demo` or `make test` is enough in a fresh clone.

# The first of these that runs and is new enough; `make install PYTHON=...` chooses another.
CANDIDATES := python3.11 python3.12 python3.13 python3.14 python3 python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)

BIN := .venv/bin
INSTALLED := .venv/installed
INSTALLED_DOCS := .venv/installed-docs

# The environment in which pip builds packages is pinned as well.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

# OpenMP threads that spin while they wait stall training when another process wants the core.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help install demo test lint docs bench-speed bench-table2 bench-peers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with the package and everything that developing it takes
	@echo "Ready: $(BIN)/python has manyview."

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(NEW_ENOUGH)' || { \
		echo "manyview needs Python 3.11 or newer, and '$(or $(PYTHON),python3)' is older or missing." \
			"Install one, or name it: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || { echo "Creating .venv with $$($(PYTHON) --version) ..."; $(PYTHON) -m venv .venv; }
	@echo "Installing manyview and its dependencies into .venv (PyTorch is large: some minutes the first time) ..."
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	@echo "Installing what builds the documentation into .venv ..."
	@$(PIP_INSTALL) -e '.[docs]'
	@touch $@

demo: $(INSTALLED) ## train on handwritten digits and their labels; print a table, draw a picture in demo/
	@echo "Training on handwritten digits (image and label); the picture goes to demo/ ..."
	@OMP_NUM_THREADS=1 $(BIN)/python examples/demo.py

# One thread a process, as the processes already fill the cores; each has to import torch, hence four at most.
test: $(INSTALLED) ## run the tests and doctests; at least 92 % of lines must be covered
	@echo "Running tests and doctests, with shapes checked and lines counted ..."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=worksteal \
		--cov --cov-report=term --cov-fail-under=92

lint: $(INSTALLED) ## check style (ruff) and types (mypy --strict)
	@echo "Checking style with ruff ..."
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "Checking types with mypy ..."
	@$(BIN)/mypy --strict src

docs: $(INSTALLED_DOCS) ## build the documentation in docs/_build/html
	@echo "Building the documentation in docs/_build/html ..."
	@$(BIN)/python -m sphinx -W --keep-going docs docs/_build/html

# What may be given: QUICK=1, ONLY="W1 W3", THREADS="1 2".
bench-speed: $(INSTALLED) ## time beside other libraries, a bare loop and the machine's limit; QUICK=1 for some minutes
	@echo "Making environments of the libraries that are compared, in build/peers (gigabytes, the first time) ..."
	@$(BIN)/python -m benchmarks.peers.environments
	@echo "Timing; results go to build/speed ..."
	@$(BIN)/python -m benchmarks.speed.run $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) \
		$(if $(THREADS),--threads $(THREADS))

# What may be given: QUICK=1, ROWS="polymnist/mopoe all/mfeat", SEEDS="0 1", DEVICE=cuda, MINUTES=9, JOBS=1.
bench-table2: $(INSTALLED) ## reproduce published results; QUICK=1 for a version of some minutes
	@echo "Reproducing published results; what is done goes to build/table2, and is not done again ..."
	@$(BIN)/python -m benchmarks.table2.run $(ROWS) $(if $(QUICK),--quick) $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(DEVICE),--device $(DEVICE)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(JOBS),--jobs $(JOBS))

bench-peers: $(INSTALLED) ## quality and time beside two other libraries, in environments that it makes
	@echo "Comparing with multiviewae and multivae; their environments and the results go to build/peers ..."
	@$(BIN)/python -m benchmarks.peers.compare $(if $(SEEDS),--seeds $(SEEDS))

clean: ## remove what the other targets wrote, except .venv
	@echo "Removing outputs and caches ..."
	@rm -rf build dist demo docs/_build htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find src tests docs examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
