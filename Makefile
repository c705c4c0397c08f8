# SPDX-License-Identifier: Apache-2.0
# make setup | demo | test | bench | calibrate | lint; each is one command on a fresh clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := cmake g++ gcc gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm clang openocd python3-venv
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: setup demo test bench calibrate lint golden clean

setup: $(STAMP)
	@./scripts/install-packages $(PACKAGES)

$(STAMP): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

$(VENV)/bin/python:
	@./scripts/install-packages $(PACKAGES)
	$(PYTHON) -m venv $(VENV)

demo: setup
	$(BIN)/python examples/digits/demo.py

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

bench: setup
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/planning.py

# The cycle model beside llvm-mca's and published latencies.
calibrate: setup
	@./scripts/install-packages llvm-14
	$(BIN)/python benchmarks/calibrate.py --require-mca

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Rewrites the golden files after an intended change of the generated C; read the diff.
golden: setup
	$(BIN)/python -m pytest tests/golden --update-golden

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
