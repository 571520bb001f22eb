# Everything a fresh machine needs: `make demo` and `make test` make the virtual environment and install first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
comma := ,
# TensorRT-RTX ships for x86-64 Linux and Windows; elsewhere the demo says that no engine was built.
EXTRAS := cpu,dev$(if $(filter x86_64,$(shell uname -m)),$(if $(filter Linux,$(shell uname -s)),$(comma)tensorrt-rtx))

.PHONY: demo test test-all faults fuzz lint bench clean
.DEFAULT_GOAL := demo

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

demo: $(VENV)/.installed ## the whole job on generated data, in minutes
	$(BIN)/das demo

test: $(VENV)/.installed ## the tests without the slow ones, in about 8 minutes on 2 cores
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-all: $(VENV)/.installed ## all tests
	$(BIN)/python -m pytest -n auto --dist worksteal

faults: $(VENV)/.installed ## mistakes of one line, one by one: does a test catch each
	$(BIN)/python -m tests.faults

fuzz: $(VENV)/.installed ## ten thousand damaged files: is each read, or refused as it should be
	$(BIN)/python -m tests.fuzz

lint: $(VENV)/.installed ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed ## the benchmarks that need no data of others
	$(BIN)/python -m benchmarks.paper.flops_tables
	$(BIN)/python -m benchmarks.paper.meter_full_size

clean:
	rm -rf $(VENV) demo work-*
