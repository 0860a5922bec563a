# `make train` and `make test` are all that is needed; each makes the environment first if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The environment is remade when this differs from what it was made from.
STAMP := $(VENV)/.installed
SOURCES := pyproject.toml setup.py requirements.txt $(wildcard csrc/* csrc/*/*)

.DEFAULT_GOAL := help
.PHONY: help train test test-browser lint types sanitize fuzz format clean

help:  ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

train: $(STAMP)  ## Train a denoiser on the built-in photographs (ARGS="--epochs 3 ..." for more)
	$(BIN)/scratchnet train $(ARGS)

test: $(STAMP)  ## Run all tests (ARGS="-k conv -x ..." for more)
	$(BIN)/python -m pytest $(ARGS)

test-browser: $(STAMP)  ## Run the tests that need a browser (Debian, Ubuntu: apt install chromium)
	$(BIN)/python -m pytest tests/browser/check_report.py $(ARGS)

lint: $(STAMP)  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## Check types
	$(BIN)/mypy

# The kernels under AddressSanitizer and UndefinedBehaviorSanitizer, in a copy of the package: every
# read outside a tensor and every overflow ends the run. (libstdc++ is there for torch's exceptions.)
SANITIZED := build/sanitize
KERNEL_TESTS := $(addprefix backends/,test_backend_conformance.py test_kernels.py) \
    $(addprefix ops/,test_ops.py test_pool_kernels.py test_graph.py) \
    $(addprefix layers/,test_conv.py test_upsampling.py test_sequential.py)

sanitize: $(STAMP)  ## Run the kernels' tests under AddressSanitizer and UBSan
	SCRATCHNET_SANITIZE=1 $(BIN)/python setup.py --quiet build --build-temp $(SANITIZED)-temp \
	    --build-lib $(SANITIZED)
	cd $(SANITIZED) && LD_PRELOAD="$$(g++ -print-file-name=libasan.so) \
    $$(g++ -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
	    OMP_NUM_THREADS=2 ../../$(BIN)/python -m pytest -p no:cacheprovider \
	    $(addprefix ../../tests/,$(KERNEL_TESTS)) $(ARGS)

fuzz: $(STAMP)  ## Call the kernels with what nobody would (SECONDS=600 SEED=1 for more)
	$(BIN)/python tests/fuzz.py $(or $(SECONDS),60) $(SEED)

format: $(STAMP)  ## Put the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment and everything built
	rm -rf $(VENV) build dist *.egg-info scratchnet/_C*.so scratchnet/_build_info.json

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'scratchnet needs Python 3.11 or newer: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo 'no virtual environment could be made: install python3-venv (Debian, Ubuntu: apt install python3-venv)' >&2; \
	    exit 1; }

$(STAMP): $(BIN)/python $(SOURCES)
	@echo 'Installing torch and what else is pinned into $(VENV): about a minute ...'
	@$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@echo 'Building the C++ kernels: half a minute ...'
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	@$(BIN)/python -c 'import json; made = json.load(open("scratchnet/_build_info.json")); \
	    made["compiled"] or print("built WITHOUT the C++ kernels:", made["reason"])'
	@touch $@
