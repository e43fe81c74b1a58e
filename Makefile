# make demo   trace the embedded model and say where the page is
# make test   install what the tests need and run them
# make check  lint and types
# make test-verl  test the plug-in for verl in an environment of its own (.venv-verl)
# make bench  measure speed and memory (needs a folder with SmolLM2-135M, see docs/performance.md)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= flowtracer-out
TORCH := $(shell sed -n 's/^torch==//p' requirements-dev.txt)
VERL_VENV ?= .venv-verl
VERL_TORCH := $(shell sed -n "s/^torch==//p" requirements-verl.txt)
CPU_TORCH_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: demo test test-slow test-verl check bench wheel clean

# The CPU build by name, so that no pip ever fetches gigabytes of CUDA; from PyTorch's own index
# where the default index does not have it.
$(VENV)/torch: requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "torch==$(TORCH)+cpu" \
	  || $(BIN)/pip install --quiet --index-url $(CPU_TORCH_INDEX) "torch==$(TORCH)"
	touch $@

# What a user gets: the package and what it needs, at the pinned versions.
$(VENV)/package: $(VENV)/torch pyproject.toml
	$(BIN)/pip install --quiet --constraint requirements-dev.txt --editable .
	touch $@

$(VENV)/dev: $(VENV)/package
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@

demo: $(VENV)/package
	$(BIN)/flowtracer trace --out $(OUT)

test: $(VENV)/dev
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/dev
	$(BIN)/python -m pytest

# Without dependencies: verl's pins and this project's disagree, the list is complete by itself.
$(VERL_VENV)/ready: requirements-verl.txt pyproject.toml
	$(PYTHON) -m venv $(VERL_VENV)
	$(VERL_VENV)/bin/pip install --quiet --no-deps "torch==$(VERL_TORCH)+cpu" \
	  || $(VERL_VENV)/bin/pip install --quiet --no-deps --index-url $(CPU_TORCH_INDEX) "torch==$(VERL_TORCH)"
	$(VERL_VENV)/bin/pip install --quiet --no-deps --requirement requirements-verl.txt
	$(VERL_VENV)/bin/pip install --quiet --no-deps --editable .
	touch $@

test-verl: $(VERL_VENV)/ready
	OMP_NUM_THREADS=1 $(VERL_VENV)/bin/python -m pytest tests_verl

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev
	$(BIN)/python bench/trace.py

wheel: $(VENV)/dev
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) $(VERL_VENV) dist build *.egg-info
